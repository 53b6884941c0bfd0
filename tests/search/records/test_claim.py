"""One process at a time runs a search, also while its data are still loaded."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from damage import fingerprint
from pyarrow import fs
from search_processes import write_config

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.commands.command_line import main
from fusion_search.search.records import claim
from fusion_search.search.records.claim import claimed
from fusion_search.search.records.driver_file import (
    DRIVER_FILE,
    read_driver,
    remove_driver_file,
    write_driver_file,
)
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
    write_driver_file(storage, "2026-01-01", {})
    dead = {**json.loads(storage.read(DRIVER_FILE)), "pid": 2**31 - 1}
    storage.write(json.dumps(dead).encode(), DRIVER_FILE)


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


def test_where_files_cannot_be_made_exclusively_the_last_claim_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(str(tmp_path), Objects(), str(tmp_path))  # type: ignore[arg-type]
    monkeypatch.setattr(claim, "SETTLE_SECONDS", 0.0)
    with claimed(storage, "test"):
        assert storage.exists(DRIVER_FILE)
    assert not storage.exists(DRIVER_FILE)

    def written_over(seconds: float) -> None:
        other = {**json.loads(storage.read(DRIVER_FILE)), "host": "elsewhere", "pid": 7}
        storage.write(json.dumps(other).encode(), DRIVER_FILE)

    monkeypatch.setattr(claim.time, "sleep", written_over)
    with (
        pytest.raises(ValueError, match="is being run by process 7 on elsewhere"),
        claimed(storage, "test"),
    ):
        raise AssertionError("it is another's")
    assert json.loads(storage.read(DRIVER_FILE))["host"] == "elsewhere"


def test_a_disk_without_hard_links_is_claimed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(claim, "SETTLE_SECONDS", 0.0)
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
