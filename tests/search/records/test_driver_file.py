"""Who drives a search: a process is known by more than its number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from descriptions import write_description
from drivers import Clock, write_driver
from search_processes import write_config

from fusion_search.analysis.records.filesystems import whole_files
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.commands.command_line import main
from fusion_search.search.records.driver_file import (
    DRIVER_FILE,
    ago,
    driver_words,
    hear_driver,
    is_this_process,
    read_driver,
    standing,
)
from fusion_search.search.running import listed_trials

# A name with blanks and parentheses in it stands in /proc/PID/stat before what is read there.
DRIVE = """
import sys
from pathlib import Path
from fusion_search.analysis.records.storage import open_storage
from drivers import write_driver
Path("/proc/self/comm").write_text("a) Z (b 1 2")
write_driver(open_storage(sys.argv[1]))
print("written", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = open_storage(tmp_path / "results" / "test")
    storage.write(write_config(tmp_path).read_bytes(), "specification.yaml")
    write_description(storage)
    return storage


@pytest.fixture
def other(storage: Storage) -> Iterator[subprocess.Popen[bytes]]:
    """A living process that drives the search."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVE, storage.root],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},  # where tests/support is, too
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def changed(storage: Storage, **fields: Any) -> None:
    """Other words in the file; None takes one out."""
    state = {**json.loads(storage.read(DRIVER_FILE)), **fields}
    kept = {name: value for name, value in state.items() if value is not None}
    storage.write(json.dumps(kept).encode(), DRIVER_FILE)


def resume(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> int:
    def idle(*_: object) -> None:
        raise ValueError("nobody drives it")

    monkeypatch.setattr(listed_trials, "open_data", idle)
    return main(["resume", "test", "--storage", str(Path(storage.root).parent)])


def test_a_living_process_drives_and_a_dead_one_does_not(
    storage: Storage,
    other: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    driver = read_driver(storage)
    assert driver is not None
    assert driver["pid"] == other.pid
    assert not is_this_process(driver)
    assert resume(storage, monkeypatch) == 2
    assert f"is being run by process {other.pid} on" in capsys.readouterr().err
    changed(storage, process_start=None, boot=None)  # of an earlier version
    assert read_driver(storage) is not None
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the list
    os.kill(other.pid, 0)
    assert read_driver(storage) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"boot": "another", "heard_at": "2026-01-01T00:00:00+00:00"},
        {"namespace": "another", "heard_at": "2026-01-01T00:00:00+00:00"},
        {"process_start": 1},
    ],
    ids=["another boot", "another container", "another start"],
)
def test_a_stranger_with_the_number_of_a_dead_driver_drives_nothing(
    fields: dict[str, Any],
    storage: Storage,
    other: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Clock(monkeypatch)
    changed(storage, **fields)
    left = storage.read(DRIVER_FILE)
    assert read_driver(storage) is None
    assert main(["status", "--storage", str(Path(storage.root).parent)]) == 0
    assert "interrupted" in capsys.readouterr().out
    assert resume(storage, monkeypatch) == 2
    assert "nobody drives it" in capsys.readouterr().err
    storage.write(left, DRIVER_FILE)
    changed(storage, host="elsewhere")  # that machine cannot be asked
    assert read_driver(storage) is not None
    capsys.readouterr()
    assert main(["status", "--storage", str(Path(storage.root).parent)]) == 0
    assert "interrupted" not in capsys.readouterr().out


@pytest.mark.parametrize("start", [1, None], ids=["restarted container", "earlier version"])
def test_the_own_number_in_a_file_of_an_earlier_process_blocks_nobody(
    start: int | None,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_driver(storage)
    driver = read_driver(storage)
    assert driver is not None
    assert is_this_process(driver)
    assert resume(storage, monkeypatch) == 2  # the own file does not block either
    assert "nobody drives it" in capsys.readouterr().err
    write_driver(storage)
    changed(storage, process_start=start)
    assert read_driver(storage) is None
    assert resume(storage, monkeypatch) == 2
    assert "nobody drives it" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["driver.json", "stop.json"])
@pytest.mark.parametrize("folder", [True, False], ids=["folder", "forbidden"])
def test_what_cannot_be_read_or_written_there_is_named_with_a_remedy(
    name: str,
    folder: bool,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_driver(storage, pid=os.getppid(), process_start=None)
    if folder:
        storage.remove(name)
        (Path(storage.root) / name).mkdir()
    else:  # which root is never
        for where, verb, of in (
            (Storage, "read", "driver.json"),
            (whole_files, "write", "stop.json"),
        ):
            monkeypatch.setattr(where, verb, forbidden(getattr(where, verb), name, of))
    assert main(["stop", "test", "--storage", str(Path(storage.root).parent)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{storage.named(name)}" in told
    assert "Errno" not in told
    assert ("delete it if no process" in told) == (name == "driver.json")
    assert ("remove what lies there" in told) == (name == "stop.json")


def forbidden(act: Any, name: str, of: str) -> Any:
    """The same, but for a file of a name."""

    def refuse(*words: Any, **more: Any) -> Any:
        if name == of and any(name in str(one) for one in words):
            raise PermissionError(13, "Permission denied")
        return act(*words, **more)

    return refuse


@pytest.mark.parametrize("fields", [{"boot": 5}, {"process_start": "then"}])
def test_a_damaged_identity_is_named(fields: dict[str, Any], storage: Storage) -> None:
    write_driver(storage)
    changed(storage, **fields)
    with pytest.raises(ValueError, match=r"driver\.json is damaged"):
        read_driver(storage)


@pytest.mark.parametrize(
    "fields",
    [{"heard_at": "noon"}, {"heard_at": "2026-01-01T12:00:00"}, {"started_at": None}, {"lease": 5}],
    ids=["no time", "no zone", "none", "no text"],
)
def test_a_damaged_time_or_lease_is_named(fields: dict[str, Any], storage: Storage) -> None:
    write_driver(storage)
    changed(storage, **fields)
    with pytest.raises(ValueError, match=r"driver\.json is damaged"):
        read_driver(storage)


ELSEWHERE = {"host": "elsewhere"}
NAMESAKE = {"boot": "another"}


@pytest.mark.parametrize(
    ("fields", "silent", "expected"),
    [
        # A driver of elsewhere is silent after four minutes, by two clocks.
        (ELSEWHERE, 239, "running"),
        (ELSEWHERE, 240, "silent"),
        (ELSEWHERE, -239, "running"),
        (ELSEWHERE, -240, "silent"),
        # This machine's are asked, and may be halted.
        ({}, 239, "running"),
        ({}, 240, "silent"),
        ({"process_start": 1}, 0, "dead"),
        # Of another boot or container of this name, which may be another machine.
        (NAMESAKE, 39, "running"),
        (NAMESAKE, 40, "silent"),
        (NAMESAKE, 239, "silent"),
        (NAMESAKE, 240, "dead"),
        (NAMESAKE, -240, "silent"),
        ({"namespace": "another"}, 39, "running"),
        ({"namespace": "another"}, 40, "silent"),
        ({"namespace": "another"}, 240, "dead"),
    ],
)
def test_who_is_not_heard_is_silent(
    fields: dict[str, Any],
    silent: float,
    expected: str,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Clock(monkeypatch)
    assert standing(write_driver(storage, silent, **fields)) == expected


@pytest.mark.parametrize("fields", [ELSEWHERE, NAMESAKE], ids=["elsewhere", "namesake"])
@pytest.mark.parametrize("off", [300, -300, 3 * 3600])
def test_who_is_silent_by_two_clocks_is_listened_for(
    off: float, fields: dict[str, Any], storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    said = standing(write_driver(storage, off, **fields))
    assert said == ("dead" if off > 0 and fields is NAMESAKE else "silent")
    heard = hear_driver(storage)
    assert heard is not None
    assert standing(heard) == said  # nothing was heard
    assert sum(clock.waits) == 15  # as docs/cluster.md has it
    hear_driver(storage)
    assert sum(clock.waits) == 15  # it is known by now
    write_driver(storage, off, **fields)
    heard = hear_driver(storage)
    assert heard is not None
    assert standing(heard) == "running"
    assert "last heard 0 s ago" in driver_words(heard)
    clock.now += 39
    assert standing(heard) == "running"
    clock.now += 201  # four minutes since it was heard, by one clock
    assert standing(heard) == ("dead" if fields is NAMESAKE else "silent")


def test_a_driver_that_is_heard_while_it_is_listened_for_is_not_waited_for_longer(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    write_driver(storage, 300, host="elsewhere")
    clock.meanwhile = lambda: write_driver(storage, 300, host="elsewhere")
    heard = read_driver(storage)
    assert heard is not None
    assert standing(heard) == "running"
    assert clock.waits == [1.0]
    write_driver(storage, 3 * 3600, lease="e" * 32, pid=os.getppid(), process_start=None)
    assert standing(read_driver(storage) or {}) == "silent"  # halted, here: it is asked
    assert clock.waits == [1.0]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-90, "in the future, by this machine's clock"),
        (-0.4, "0 s ago"),
        (119.4, "119 s ago"),
        (120, "2 min ago"),
        (7199, "120 min ago"),
        (3 * 3600, "3 h ago"),
        (50 * 3600, "2 days ago"),
    ],
)
def test_how_long_ago_in_words(seconds: float, words: str) -> None:
    assert ago(seconds) == words
