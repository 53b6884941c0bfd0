"""A lease on a search: renewed, lost to who takes it over, asked to stop. Tests set the clock."""

from __future__ import annotations

import pickle
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from drivers import Clock, write_driver

from fusion_search.analysis.records.filesystems.errors import StorageError
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import SPECIFICATION_FILE
from fusion_search.search.records import lease as leases
from fusion_search.search.records.claim import claimed, held_lease, release_all
from fusion_search.search.records.driver_file import (
    DRIVER_FILE,
    read_driver,
    read_driver_file,
    seconds_silent,
    standing,
)
from fusion_search.search.records.lease import STOP_FILE, Lease, LeaseLostError, ask_to_stop

OTHER = {"host": "elsewhere", "pid": 7, "lease": "7" * 32}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "test")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def put_specification(storage: Storage) -> None:
    storage.write(b"name: test", SPECIFICATION_FILE)


@pytest.fixture
def interrupts(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each time that the search was interrupted."""
    interrupts: list[None] = []
    monkeypatch.setattr(Lease, "_end", lambda self: interrupts.append(None))
    return interrupts


def test_a_driver_is_heard_while_no_trial_tells_anything(storage: Storage, clock: Clock) -> None:
    with claimed(storage, "test", "launch") as lease:
        heard = []
        for _ in range(100):  # looks, of five minutes
            clock.now += 3
            lease.look()
            state = read_driver_file(storage)
            assert state is not None
            heard.append(seconds_silent(state))
        assert max(heard) <= 9  # renewed at every third look
        assert standing(state) == "running"
        assert state["started_at"] == "2026-01-01T12:00:00.000+00:00"


def test_what_trials_tell_stays_when_the_lease_is_renewed(storage: Storage, clock: Clock) -> None:
    running = {"aaaa": {"trial_name": "a", "epoch": 1}}
    with claimed(storage, "test") as lease:
        lease.tell(running)
        running["aaaa"]["epoch"] = 2  # not told yet
        clock.now += 100
        lease.renew()
        state = read_driver(storage)
        assert state is not None
        assert state["running"] == {"aaaa": {"trial_name": "a", "epoch": 1}}
        assert state["heard_at"] == "2026-01-01T12:01:40.000+00:00"


def test_a_driver_that_was_taken_over_stops_and_writes_nothing_more(
    storage: Storage, clock: Clock, interrupts: list[None]
) -> None:
    def drive() -> None:
        with claimed(storage, "test") as lease:
            lease.storage.write(b"1", "planned.json")
            clock.now += 300  # it slept
            there = write_driver(storage, **OTHER)
            for change in (
                lambda: lease.storage.write(b"2", "planned.json"),
                lambda: lease.storage.remove("planned.json"),
                lambda: lease.storage.below("trials").write(b"2", "one"),
                lambda: lease.storage.create(b"2", "two"),
                lambda: lease.tell({}),
            ):
                with pytest.raises(LeaseLostError, match="taken over by process 7 on elsewhere"):
                    change()
            lease.look()
            assert lease.storage.read("planned.json") == b"1"
            assert read_driver_file(storage) == there
            raise KeyboardInterrupt  # as its interruption does

    with pytest.raises(LeaseLostError) as lost:
        drive()
    assert interrupts == [None]
    assert storage.names() == [DRIVER_FILE, "planned.json"]
    state = read_driver_file(storage)
    assert state is not None
    assert state["lease"] == OTHER["lease"]  # not removed at the end
    assert str(lost.value).startswith("search 'test' was taken over by process 7 on elsewhere")
    assert "it writes nothing more" in str(lost.value)


def test_a_driver_that_was_halted_while_it_wrote_leaves_the_search_to_the_other(
    storage: Storage, clock: Clock, interrupts: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Storage.write

    def halted(self: Storage, *words: Any) -> None:
        monkeypatch.setattr(Storage, "write", write)
        clock.now += 300
        write_driver(storage, **OTHER)
        write(self, *words)

    def drive() -> None:
        with claimed(storage, "test") as lease:
            monkeypatch.setattr(Storage, "write", halted)
            with pytest.raises(LeaseLostError, match="taken over by another process, perhaps"):
                lease.tell({})

    with pytest.raises(LeaseLostError):
        drive()
    assert interrupts == [None]
    assert storage.names() == []  # the other writes its own again:
    with claimed(storage, "test") as lease:
        storage.remove(DRIVER_FILE)
        lease.renew()
        assert read_driver(storage) is not None


def test_the_storage_is_asked_before_a_writing_only_after_a_pause(
    storage: Storage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    read = leases.read_driver_file
    monkeypatch.setattr(leases, "read_driver_file", lambda at: asked.append(1) or read(at))
    with claimed(storage, "test") as lease:
        clock.now = 30
        lease.storage.write(b"1", "one")
        assert asked == []
        clock.now = 31
        lease.storage.write(b"2", "one")
        lease.storage.write(b"3", "one")
        assert asked == [1]


def test_a_driver_whose_storage_was_cut_goes_on_if_nobody_took_it_over(
    storage: Storage, clock: Clock, interrupts: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with claimed(storage, "test") as lease:
        with monkeypatch.context() as away:

            def refuse(*_: object, **__: object) -> bytes:
                raise StorageError("away")

            away.setattr(Storage, "read", refuse)
            clock.now = 500
            with pytest.raises(StorageError, match="away"):
                lease.look()
        lease.storage.write(b"1", "one")
        state = read_driver(storage)
        assert state is not None
        assert seconds_silent(state) == 0
    assert interrupts == []


def test_a_request_ends_the_driver_that_it_is_for(
    storage: Storage,
    clock: Clock,
    interrupts: list[None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with claimed(storage, "test") as lease:
        ask_to_stop(storage, "0" * 32, "who@where")  # of an earlier driver
        lease.look()
        assert interrupts == []
        ask_to_stop(storage, lease.id, "who@\x1b[2Jwhere")
        lease.look()
        lease.look()
        assert interrupts == [None]  # a second interrupt would not be in order
        clock.now += 60  # which takes its time: it is heard until it has ended
        lease.look()
        state = read_driver(storage)
        assert state is not None
        assert seconds_silent(state) == 0
    assert storage.names() == []
    assert capsys.readouterr().out == "search test is stopped, as who@�[2Jwhere asked\n"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"lease": 5}'])
def test_a_damaged_request_is_none(
    content: bytes, storage: Storage, clock: Clock, interrupts: list[None]
) -> None:
    with claimed(storage, "test") as lease:
        storage.write(content, STOP_FILE)
        lease.look()
        assert interrupts == []


def test_a_lease_stays_in_its_process(storage: Storage, clock: Clock) -> None:
    with claimed(storage, "test") as lease:
        assert lease.storage.guard is not None
        travelled = pickle.loads(pickle.dumps(lease.storage))
        assert travelled == lease.storage
        assert travelled.guard is None
        assert held_lease(storage) is lease
        # Another search's folder is not this lease's.
        assert lease.storage.parent.below("other").guard is None
    assert held_lease(storage) is None


def test_a_process_that_ends_at_once_gives_back_what_it_holds(tmp_path: Path, clock: Clock) -> None:
    one, two = (open_storage(tmp_path / name) for name in ("one", "two"))
    with claimed(one, "one"), claimed(two, "two"):
        release_all()
        assert read_driver_file(one) is None
        assert read_driver_file(two) is None


def test_the_thread_renews_and_sees_a_request(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.01)

    def drive() -> None:
        with claimed(storage, "test") as lease:
            ask_to_stop(storage, lease.id, "a test")
            lease._thread.join(60)  # until the interrupt comes

    with pytest.raises(KeyboardInterrupt):
        drive()


def test_a_search_whose_folder_is_deleted_ends_and_says_so(
    storage: Storage, clock: Clock, interrupts: list[None], tmp_path: Path
) -> None:
    lease = Lease(storage, "test", "launch")
    lease.renew()
    rmtree(tmp_path / "test")  # before it is written, it is only beginning
    lease.renew()
    assert read_driver_file(storage) is not None
    put_specification(storage)
    lease.renew()
    assert lease.lost == ""
    rmtree(tmp_path / "test")
    lease.renew()
    assert len(interrupts) == 1
    assert read_driver_file(storage) is None
    assert "was deleted or moved while it ran" in lease.lost
    assert f"fusion-search resume test --storage {tmp_path}; else" in lease.lost
