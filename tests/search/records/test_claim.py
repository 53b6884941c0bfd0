"""One process at a time runs a search, also while its data are still loaded."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from damage import fingerprint
from drivers import Clock, write_driver
from pyarrow import fs
from s3_server import S3Server
from search_processes import write_config

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.commands.command_line import main
from fusion_search.search.records import claim
from fusion_search.search.records.claim import DrivenError, claimed
from fusion_search.search.records.driver_file import (
    DRIVER_FILE,
    RENEW_SECONDS,
    STALE_SECONDS,
    read_driver,
    remove_driver_file,
    seconds_silent,
)
from fusion_search.search.records.lease import LOOK_SECONDS
from fusion_search.search.running import listed_trials

# Says when it is ready, waits to be told, claims, and holds what it got until its input ends.
CLAIM = """
import sys
from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.records.claim import claimed

print("ready", flush=True)
sys.stdin.readline()
try:
    with claimed(open_storage(sys.argv[1]), "test"):
        print("got it", flush=True)
        sys.stdin.read()
except ValueError as error:
    print(error, flush=True)
"""


# Claims N searches, each at the instant at which another process does, and holds what it got
# until the other was refused.
ROUNDS = """
import sys, time
from pathlib import Path
from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.records import claim

place, gate, name, rounds = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
for number in range(rounds):
    (gate / f"{name}-{number}").touch()
    while len(list(gate.glob(f"*-{number}"))) < 2:
        time.sleep(0.001)
    try:
        with claim.claimed(open_storage(place).below(f"s{number}"), "test"):
            until = time.monotonic() + 60
            while not (gate / f"refused{number}").exists() and time.monotonic() < until:
                time.sleep(0.001)
            print("got it", flush=True)
    except claim.DrivenError:
        (gate / f"refused{number}").touch()
        print("refused", flush=True)
"""


# Drives a search, with all times of a lease a hundred times shorter, and writes its own number
# again and again. Told to, it halts itself, at once when it has said so.
HALT = """
import os, signal, sys, time
from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.records import claim, driver_file, lease

for module in (driver_file, claim, lease):
    for name in [one for one in vars(module) if one.endswith("_SECONDS")]:
        setattr(module, name, getattr(module, name) / 100)
try:
    with claim.claimed(open_storage(sys.argv[1]), "test") as own:
        if sys.argv[2] == "halts":
            with own._lock:  # not while the folder is locked
                print("got it", flush=True)
                os.kill(os.getpid(), signal.SIGSTOP)
        while True:
            own.storage.write(str(os.getpid()).encode(), "mine")
            if sys.argv[2] == "works":
                print("got it", flush=True)
                sys.argv[2] = ""
            time.sleep(0.01)
except (ValueError, OSError) as error:
    print(error, flush=True)
"""


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(stack: ExitStack, code: str, *words: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def leave_dead_claim(storage: Storage) -> None:
    write_driver(storage, pid=2**31 - 1)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("verb", ["launch", "resume"])
def test_a_search_that_is_claimed_is_left_alone(
    verb: str, tmp_path: Path, processes: ExitStack, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, mlflow={"enabled": False})
    folder = tmp_path / "results" / "test"
    words = ["launch", str(config)]
    if verb == "resume":
        open_storage(folder).write(config.read_bytes(), "specification.yaml")
        words = ["resume", "test", "--storage", str(tmp_path / "results")]
    first = start(processes, CLAIM, str(folder))
    assert line(first) == "ready"
    tell(first)
    assert line(first) == "got it"
    before = fingerprint(folder)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: search 'test' is being run by process {first.pid} on ")
    assert error.count("\n") == 1
    assert fingerprint(folder) == before
    first.communicate(timeout=60)
    assert folder.exists() == (verb == "resume")
    assert not (folder / DRIVER_FILE).exists()


def test_of_two_threads_of_a_process_one_runs_the_search(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "test")
    (tmp_path / "link").symlink_to(tmp_path)
    refused = []

    def second(location: Path) -> None:
        try:
            with claimed(open_storage(location), "test"):
                raise AssertionError("it is the first's")
        except ValueError as error:
            refused.append(str(error))

    with claimed(storage, "test"):
        for location in (tmp_path / "test", tmp_path / "link" / "test"):
            other = threading.Thread(target=second, args=(location,))
            other.start()
            other.join()
        assert storage.exists(DRIVER_FILE)
    assert (
        refused
        == ["search 'test' is being run by this process already; wait until that has ended"] * 2
    )
    with claimed(storage, "test"):
        assert storage.exists(DRIVER_FILE)


@pytest.mark.parametrize("stale", [False, True], ids=["nobody's", "a dead process's"])
def test_of_many_that_claim_at_once_one_succeeds(
    stale: bool, tmp_path: Path, processes: ExitStack
) -> None:
    storage = open_storage(tmp_path / "test")
    if stale:
        leave_dead_claim(storage)
    several = [start(processes, CLAIM, str(tmp_path / "test")) for _ in range(3)]
    assert [line(one) for one in several] == ["ready"] * 3
    for one in several:
        tell(one)
    answers = {one.pid: line(one) for one in several}
    (winner,) = [pid for pid, answer in answers.items() if answer == "got it"]
    for pid, answer in answers.items():
        assert pid == winner or f"is being run by process {winner} on" in answer
    driver = read_driver(storage)
    assert driver is not None
    assert driver["pid"] == winner


@pytest.mark.parametrize(
    ("where", "rounds"), [("disk", 20), pytest.param("S3", 20, marks=pytest.mark.slow)]
)
def test_of_two_that_claim_at_one_instant_one_succeeds_every_time(
    where: str, rounds: int, tmp_path: Path, processes: ExitStack, server: S3Server
) -> None:
    place = server.uri if where == "S3" else str(tmp_path)
    gate = tmp_path / "gate"
    gate.mkdir()
    both = [
        start(processes, ROUNDS, place, str(gate), name, str(rounds)) for name in ("one", "two")
    ]
    answers = list(zip(*([line(one) for _ in range(rounds)] for one in both), strict=True))
    assert [sorted(one) for one in answers] == [["got it", "refused"]] * rounds
    assert [one.wait(60) for one in both] == [0, 0]
    for number in range(rounds):
        assert read_driver(open_storage(place).below(f"s{number}")) is None


def test_a_process_that_was_halted_writes_nothing_when_another_has_taken_over(
    tmp_path: Path, processes: ExitStack
) -> None:
    first = start(processes, HALT, str(tmp_path / "test"), "halts")
    assert line(first) == "got it"
    storage = open_storage(tmp_path / "test")
    state = read_driver(storage)
    assert state is not None
    while seconds_silent(state) <= STALE_SECONDS / 100:
        time.sleep(0.05)
    second = start(processes, HALT, str(tmp_path / "test"), "works")
    assert line(second).startswith("search 'test' is held by process")  # when it was silent
    assert line(second) == "got it"
    first.send_signal(signal.SIGCONT)
    told = line(first)
    assert told.startswith(f"search 'test' was taken over by process {second.pid} on ")
    assert first.wait(60) == 0
    assert storage.read("mine") == str(second.pid).encode()
    driver = read_driver(storage)
    assert driver is not None
    assert driver["pid"] == second.pid


def test_a_dead_claim_is_taken_over_by_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(tmp_path)
    leave_dead_claim(storage)
    waiting = []

    def remove(*_: object) -> None:
        folder = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting.append(True)  # so would another that saw the dead claim
        os.close(folder)
        remove_driver_file(storage)

    monkeypatch.setattr(claim, "remove_driver_file", remove)
    with claimed(storage, "test"):
        assert waiting == [True]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_claim_ends_with_whatever_ends_its_search(
    error: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = []

    def open_data(*_: object) -> None:
        held.append((tmp_path / "results" / "test" / DRIVER_FILE).exists())
        raise error

    monkeypatch.setattr(listed_trials, "open_data", open_data)
    assert main(["launch", str(write_config(tmp_path))]) in (2, 130)
    assert held == [True]
    assert not (tmp_path / "results" / "test").exists()


class Objects:
    """A store whose files cannot be made exclusively, as an object store's."""

    type_name = "s3"

    def __init__(self) -> None:
        self._real = fs.LocalFileSystem()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.fixture
def objects(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path), Objects(), str(tmp_path))  # type: ignore[arg-type]


def test_where_files_cannot_be_made_exclusively_the_last_claim_counts(
    objects: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    with claimed(objects, "test"):
        assert objects.exists(DRIVER_FILE)
    assert not objects.exists(DRIVER_FILE)
    assert clock.waits == [2.0]  # as docs/faults.md has it
    other = {"host": "elsewhere", "pid": 7, "lease": "7" * 32}
    clock.meanwhile = lambda: write_driver(objects, **other)
    with (
        pytest.raises(ValueError, match="is being run by process 7 on elsewhere"),
        claimed(objects, "test"),
    ):
        raise AssertionError("it is another's")
    assert json.loads(objects.read(DRIVER_FILE))["host"] == "elsewhere"


def test_who_was_slow_to_write_waits_until_a_driver_has_seen_it(
    objects: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, write = Clock(monkeypatch), Storage.write

    def slowly(self: Storage, *words: Any) -> None:
        clock.now += 2.1  # longer than the other waits before it looks again
        write(self, *words)

    monkeypatch.setattr(Storage, "write", slowly)
    with claimed(objects, "test"):
        assert clock.waits == [20.0]
        assert clock.waits[0] > RENEW_SECONDS + LOOK_SECONDS


@pytest.mark.parametrize("driver", [{"host": "elsewhere"}, {}], ids=["elsewhere", "halted, here"])
def test_a_silent_driver_is_watched_and_then_taken_over(
    driver: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock, storage = Clock(monkeypatch), open_storage(tmp_path / "test")
    driver = {"pid": os.getppid(), "process_start": None, **driver}
    write_driver(storage, 239, **driver)
    with pytest.raises(DrivenError, match="last heard 4 min ago"), claimed(storage, "test"):
        raise AssertionError("it is another's")
    assert clock.waits == []
    write_driver(storage, 240, **driver, lease="e" * 32)
    with claimed(storage, "test", "resume") as lease:
        assert clock.waits == [40.0]
        state = read_driver(storage)
        assert state is not None
        assert state["lease"] == lease.id
        assert state["verb"] == "resume"
    told = capsys.readouterr().err
    assert f"search 'test' is held by process {os.getppid()} on " in told
    assert "last heard 4 min ago); if it says nothing for 40 s more, it is taken over" in told


@pytest.mark.parametrize("silent", [3 * 3600, -3600], ids=["behind", "ahead"])
@pytest.mark.parametrize(
    "where", [{"host": "elsewhere"}, {"boot": "another"}], ids=["elsewhere", "namesake"]
)
def test_a_driver_whose_clock_is_off_is_heard_while_it_is_watched(
    where: dict[str, Any], silent: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, storage = Clock(monkeypatch), open_storage(tmp_path / "test")
    write_driver(storage, silent, pid=7, **where)
    clock.meanwhile = lambda: write_driver(storage, silent, pid=7, **where)
    with (
        pytest.raises(DrivenError, match=r"is being run by process 7 on .*last heard 0 s ago"),
        claimed(storage, "test"),
    ):
        raise AssertionError("it is another's")
    assert clock.waits == [40.0]


@pytest.mark.parametrize("silent", [1, 239, 240, 3 * 3600])
def test_what_a_container_left_that_was_started_again_is_watched_and_taken_over(
    silent: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, storage = Clock(monkeypatch), open_storage(tmp_path / "test")
    write_driver(storage, silent, namespace="another", pid=1)
    with claimed(storage, "test"):
        assert clock.waits == [40.0]


def test_the_second_is_told_who_drives_and_how_to_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, storage = Clock(monkeypatch), open_storage(tmp_path / "test")
    write_driver(storage, 0, host="node-3", pid=4711)
    clock.now = 12
    with pytest.raises(DrivenError) as refused, claimed(storage, "test"):
        raise AssertionError("it is another's")
    assert str(refused.value) == (
        "search 'test' is being run by process 4711 on node-3 (launch since 2026-01-01 12:00:00 "
        "UTC, last heard 12 s ago); wait, follow it with `fusion-search attach test --storage "
        f"{tmp_path}`, or stop it with `fusion-search stop test --storage {tmp_path}`"
    )


def test_a_disk_without_hard_links_is_claimed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(claim, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(claim, "SLOW_SECONDS", 0.0)
    with claimed(open_storage(tmp_path / "test"), "test"):
        assert names(tmp_path / "test") == [DRIVER_FILE]
    assert names(tmp_path) == []


def test_a_file_is_created_once_and_whole(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    made: list[int] = []

    def make(number: int) -> None:
        if storage.create(bytes([number]) * 100_000, "one"):
            made.append(number)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(made) == 1
    assert storage.read("one") == bytes(made) * 100_000
    assert names(tmp_path) == ["one"]
