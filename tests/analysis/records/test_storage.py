"""Files written whole, on disks and on S3; storage that is away, and storage that is full."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import NAME, sweep_folder
from descriptions import digit_description, write_description
from pyarrow import fs
from s3_server import CREDENTIALS, S3Server
from small_trials import small_trial

from fusion_search.analysis.records.filesystems import waiting
from fusion_search.analysis.records.filesystems.errors import RefusedError, StorageError
from fusion_search.analysis.records.processes import (
    is_leftover,
    process_start,
    temporary_name,
)
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import (
    ASHA_FILE,
    CANDIDATES_FILE,
    EXHAUSTED_FILE,
    IMPORTANCE_FILE,
    PLANNED_FILE,
    REPLAY_FILE,
    SPECIFICATION_FILE,
)
from fusion_search.search.commands.command_line import main
from fusion_search.search.records.driver_file import DRIVER_FILE
from fusion_search.search.records.identity import IDENTITY_FILE
from fusion_search.search.records.lease import STOP_FILE
from fusion_search.search.records.provenance import provenance
from fusion_search.search.records.recorder import Recorder
from fusion_search.search.running.recorded_trial import execute
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.specification import TrialSpecification


class Ailing:
    """A filesystem whose calls fail, as told by ``trouble``, before they reach the real one."""

    def __init__(self, trouble: Callable[[str], None]) -> None:
        self._real = fs.LocalFileSystem()
        self._trouble = trouble

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if not callable(value):
            return value

        def call(*args: Any, **options: Any) -> Any:
            self._trouble(name)
            return value(*args, **options)

        return call


def ailing(folder: Path, trouble: Callable[[str], None], patience: float) -> Storage:
    return Storage(str(folder), Ailing(trouble), str(folder), patience)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(waiting, "LONGEST_PAUSE_SECONDS", 0.02)


def test_a_reader_on_s3_never_sees_a_part_of_a_file(server: S3Server) -> None:
    storage = open_storage(server.uri)
    # Above ten million bytes, pyarrow uploads in several parts.
    large = [b"a" * 12_000_000, b"b" * 13_000_000]
    contents = large + [bytes([number]) * (1000 + number) for number in range(80)]
    storage.write(contents[0], "folder", "file")
    seen: list[bytes] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.append(storage.read("folder", "file"))

    reader = threading.Thread(target=read)
    reader.start()
    for content in contents:
        # Mostly small ones: the change must come in between two requests of the reader.
        storage.write(content, "folder", "file")
        assert storage.names("folder") == ["file"]
    while reader.is_alive() and len(seen) <= 10:  # a busy machine reads less in that time
        storage.write(contents[len(seen) % 2 - 2], "folder", "file")
    over.set()
    reader.join()
    assert len(seen) > 10
    assert {(len(one), one[:1]) for one in seen if one not in contents} == set()
    assert list(server.contents()) == ["bucket/results/folder/file"]


def test_s3_is_asked_once_for_a_small_file_and_once_for_a_list(server: S3Server) -> None:
    storage = open_storage(server.uri)
    server.requests.clear()
    for name in "abc":
        storage.below("folder").write(b"content", name)
    assert server.requests == [("PUT", f"/bucket/results/folder/{name}") for name in "abc"]
    server.requests.clear()
    assert storage.names("folder") == ["a", "b", "c"]
    assert server.requests == [("GET", "/bucket")]
    storage.remove("folder", "b")
    storage.remove("folder", "b")
    assert storage.names("folder") == ["a", "c"]
    assert storage.exists("folder")
    assert not storage.exists("folder", "b")
    with pytest.raises(FileNotFoundError):
        storage.read("folder", "b")


def test_storage_that_is_away_for_a_while_delays_and_loses_nothing(
    tmp_path: Path, quick: None
) -> None:
    fails = iter(["open_output_stream"] * 3 + ["move"] * 2 + ["open_input_file"])
    failing = [next(fails)]

    def trouble(name: str) -> None:
        if failing[0] == name:
            failing[0] = next(fails, "")
            raise OSError(112, "Host is down")

    storage = ailing(tmp_path, trouble, patience=20)
    storage.write(b"content", "folder", "file")
    assert storage.read("folder", "file") == b"content"
    assert failing == [""]
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]


def test_patience_ends_with_one_sentence(tmp_path: Path, quick: None) -> None:
    asked: list[str] = []

    def trouble(name: str) -> None:
        asked.append(name)
        raise OSError("no answer")

    expected = rf"storage {tmp_path}/b did not answer for 0 s \(no answer\)"
    with pytest.raises(StorageError, match=expected):
        ailing(tmp_path, trouble, patience=0.1).below("b").read("file")
    assert 3 < len(asked) < 20
    asked.clear()
    with pytest.raises(StorageError, match=r"did not answer \(no answer\); see to its disk"):
        ailing(tmp_path, trouble, patience=0).exists("file")
    assert len(asked) == 1


def test_who_asks_after_another_waited_in_vain_does_not_wait_anew(
    tmp_path: Path, quick: None
) -> None:
    asked: list[str] = []

    def trouble(name: str) -> None:
        asked.append(name)
        if failing:
            raise OSError("no answer")

    failing = True
    storage = ailing(tmp_path, trouble, patience=0.1)
    for most in (20, 1, 1):
        asked.clear()
        with pytest.raises(StorageError, match="did not answer for"):
            storage.exists("file")
        assert len(asked) <= most
    failing = False
    assert not storage.exists("file")
    failing = True  # another time
    asked.clear()
    with pytest.raises(StorageError, match="did not answer for"):
        storage.exists("file")
    assert len(asked) > 3


def test_a_request_to_s3_is_not_tried_thirty_times(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        came: list[int] = []

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listening.accept()[0].close()
                    came.append(1)

        threading.Thread(target=hang_up, daemon=True).start()
        port = listening.getsockname()[1]
        options = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        with pytest.raises(StorageError, match="did not answer"):
            open_storage(f"s3://bucket/results?{options}").exists("file")
        listening.shutdown(socket.SHUT_RDWR)
    assert 1 <= len(came) <= 6


def test_what_storage_says_of_a_file_is_not_asked_twice(tmp_path: Path) -> None:
    asked: list[str] = []
    storage = ailing(tmp_path, asked.append, patience=60)
    with pytest.raises(FileNotFoundError):
        storage.read("missing")
    assert asked == ["open_input_file"]


AWS = "When uploading object with key 'x' in bucket 'bucket': AWS Error {} during PutObject: m"


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system", "mount it so"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), "File name too long", "its name"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied", "let this user"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), "Not a directory", "move it away"),
        (OSError(AWS.format("NO_SUCH_BUCKET")), "NO_SUCH_BUCKET", "make that bucket"),
        (OSError(AWS.format("ACCESS_DENIED")), "ACCESS_DENIED", "list, read, write and delete"),
        (
            OSError(AWS.format("INVALID_ACCESS_KEY_ID")),
            "INVALID_ACCESS_KEY_ID",
            "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        (
            OSError(AWS.format("SIGNATURE_DOES_NOT_MATCH")),
            "SIGNATURE_DOES_NOT_MATCH",
            "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        # ExpiredToken, and one in another region, as a request without a body is answered.
        (OSError(AWS.format("UNKNOWN (HTTP status 400)")), "status 400", "expired renew them"),
        (OSError(AWS.format("UNKNOWN (HTTP status 301)")), "status 301", "in another region"),
        (
            OSError(AWS.format("NETWORK_CONNECTION") + ", SSL peer certificate was not OK"),
            "SSL peer certificate",
            "tls_ca_file_path=FILE",
        ),
    ],
)
def test_a_refusal_is_an_answer_with_a_remedy_and_ends_at_once(
    tmp_path: Path, error: OSError, reason: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def trouble(name: str) -> None:
        asked.append(name)
        if name in ("open_output_stream", "delete_file"):
            raise error

    storage = ailing(tmp_path, trouble, patience=60)
    for act in (lambda: storage.write(b"content", "folder", "file"), lambda: storage.remove("x")):
        asked.clear()
        with pytest.raises(
            StorageError, match=rf"storage {tmp_path} refuses \(.*{reason}.*\)"
        ) as told:
            act()
        assert remedy in str(told.value).rpartition("); ")[2]
        assert len([one for one in asked if one != "delete_file"]) <= 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EHOSTDOWN, "Host is down"),
        OSError(errno.ESTALE, "Stale file handle"),
        OSError(AWS.format("NETWORK_CONNECTION")),
        OSError(AWS.format("SLOW_DOWN")),
        OSError(AWS.format("INTERNAL_FAILURE")),
        OSError(AWS.format("UNKNOWN (HTTP status 503)")),
        OSError(AWS.format("UNKNOWN (HTTP status 429)")),
        OSError("Couldn't resolve host name"),
    ],
)
def test_what_passes_is_waited_for_and_that_is_said_once_and_its_end(
    tmp_path: Path, error: OSError, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def trouble(name: str) -> None:
        if fails and name == "open_output_stream":
            fails.pop()
            raise error

    storage = ailing(tmp_path, trouble, patience=60)
    for _ in range(2):  # and again when it is away again
        fails = [1, 2, 3]
        storage.write(b"content", "folder", "file")
        first, last = capsys.readouterr().err.splitlines()
        assert first.startswith(f"waiting up to 60 s for storage {tmp_path}: ")
        assert last == f"storage {tmp_path} answers again"
    fails, heard = [1, 2, 3], list[str]()
    with waiting.waiting_told(heard.append):  # as a worker does, whose stderr nobody sees
        storage.write(b"content", "folder", "file")
    assert [line.partition(f"storage {tmp_path}")[0] for line in heard] == [
        "waiting up to 60 s for ",
        "",
    ]
    assert capsys.readouterr().err == ""


def test_what_is_no_folder_is_named_with_a_remedy_before_it_is_asked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for name, blocked, what, remedy in (
        ("file", "it", "a file, not a folder", "move it away"),
        ("file/a/b", f"{tmp_path}/file", "a file, not a folder", "move it away"),
        ("pipe", "it", "a pipe, not a folder", "move it away"),
        ("link", "it", "a link to nowhere, where nothing is", "make that folder, correct the link"),
        ("link/a", f"{tmp_path}/link", "a link to nowhere, where nothing is", "make that folder"),
        ("loop", "it", "a link that leads back to itself", "correct the link"),
        ("loop/a", f"{tmp_path}/loop", "a link that leads back to itself", "correct the link"),
    ):
        for location in (f"{tmp_path}/{name}", f"file://{tmp_path}/{name}"):
            with pytest.raises(RefusedError) as told:
                open_storage(location)
            words = f"storage {location} cannot be used: {blocked} is {what}; {remedy}"
            assert str(told.value).startswith(words)
    assert open_storage(tmp_path).exists("file")
    assert open_storage(tmp_path / "new" / "below").names() == []


def test_a_folder_that_may_not_be_entered_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = os.stat

    def refuse(path: object, **options: bool) -> object:
        if str(path).startswith(f"{tmp_path}/"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return stat(path, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(RefusedError, match=f"{tmp_path} is a folder that this user may not enter"):
        open_storage(tmp_path / "below" / "it")


def test_a_file_that_takes_a_folders_place_later_ends_a_search_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(tmp_path / "results").below("test").patient(60)
    (tmp_path / "results").write_text("")
    with pytest.raises(StorageError, match=r"refuses \(.*(Not a directory|File exists)\); a file"):
        storage.write(b"", "trials", "x")
    with pytest.raises(FileNotFoundError):
        storage.read("trials", "x")
    with pytest.raises(RefusedError, match="move it away"):
        storage.parent.names()
    assert capsys.readouterr().err == ""


def test_resuming_an_ended_search_on_a_read_only_disk_ends_at_once(
    small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_folder(small_disk).remove("driver.json")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert main(["resume", NAME, "--storage", str(small_disk)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: storage {small_disk}/{NAME} refuses (")
    assert "Read-only file system" in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_s3_that_is_down_ends_with_one_sentence(server: S3Server) -> None:
    storage = open_storage(server.uri)
    server.stop()
    try:
        with pytest.raises(
            StorageError, match=r"did not answer .*Could not connect.*; start its server"
        ):
            storage.names()
    finally:
        server.start()
    assert storage.names() == []


def test_a_full_disk_is_named_and_keeps_what_it_had(small_disk: Path) -> None:
    storage = open_storage(small_disk / "results").patient(60)
    storage.write(b"old", "folder", "file")
    with pytest.raises(StorageError, match=rf"the disk at {small_disk} is full \(.* of 1\.0 MiB"):
        storage.write(b"new" * 500_000, "folder", "file")
    assert storage.read("folder", "file") == b"old"
    assert [path.name for path in (small_disk / "results" / "folder").iterdir()] == ["file"]


def test_a_trial_whose_records_find_no_room_has_not_ended(
    small_disk: Path, trial: TrialSpecification, small_opened: OpenedTask
) -> None:
    storage = open_storage(small_disk / "results" / "test").patient(60)
    write_description(storage)
    recorder = Recorder(storage, "test", digit_description(), provenance())
    ballast = small_disk / "ballast"

    def fill(row: object) -> None:
        with contextlib.suppress(OSError):
            ballast.write_bytes(bytes(2**20))

    with pytest.raises(StorageError, match="is full"):
        execute(trial, small_opened, recorder, on_epoch=fill)
    assert not list((small_disk / "results").rglob(".*"))
    assert storage.names("trials") == []
    ballast.unlink()
    assert execute(trial, small_opened, recorder)["status"] == "finished"
    assert storage.names("trials") == [f"{trial.trial_id}.parquet"]


def test_parts_of_a_location_go_before_its_options() -> None:
    storage = open_storage("mock:///results?option=1").below("search")
    assert storage.named("trials", "a") == "mock:///results/search/trials/a?option=1"
    assert storage.path("trials", "a") == "results/search/trials/a"
    local = open_storage("what?/results")
    assert local.below("search").location == "what?/results/search"


def test_a_location_that_holds_a_password_is_refused() -> None:
    with pytest.raises(ValueError, match="AWS_SECRET_ACCESS_KEY") as refusal:
        open_storage("s3://somebody:sesame@bucket/results")
    assert "sesame" not in str(refusal.value)


def test_a_half_written_file_lies_in_no_table(tmp_path: Path) -> None:
    seen: list[Path] = []

    def look(name: str) -> None:
        if name == "move":
            seen.extend(path for path in tmp_path.rglob("*") if path.is_file())

    ailing(tmp_path, look, 0).write(b"content", "trials", "x.parquet")
    (temporary,) = seen
    assert temporary.parent == tmp_path
    assert temporary.name.startswith(".x.parquet~")
    assert [path.name for path in tmp_path.rglob("*")] == ["trials", "x.parquet"]


def test_a_resume_removes_what_dead_processes_left_half_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = sweep_folder(tmp_path)
    storage.remove("driver.json")
    folder = tmp_path / NAME
    here, pid, start = platform.node(), os.getpid(), process_start(os.getpid())
    mine = f".{'a' * 12}.parquet"
    kept = [
        folder / f"{mine}~{here}~{pid}~{start}~00000000",  # is being written
        folder / f"{mine}~elsewhere~1~1~00000000",  # perhaps, since it is young
        folder / "trials" / ".hidden",
        # A user's.
        folder / ".notes.20251126",
        folder / f".notes~{here}~{2**31 - 1}~5~00000000",
        folder / "trials" / ".env.deadbeef",
    ]
    left = [
        folder / f"{mine}~{here}~{pid}~1~00000000",  # the number was another's
        folder / f".driver.json~{here}~{2**31 - 1}~5~00000000",
        folder / f".{'b' * 12}.pt~elsewhere~1~1~00000000",
        folder / "trials" / f"{mine}.0123abcd",  # of an earlier version
    ]
    folders = [folder / f"{mine}.00000000", folder / "trials" / f"{mine}.00000000"]
    for path in folders:
        path.mkdir()
    for path in (*kept, *left):
        path.write_text("half")
    for path in (*left[2:], *kept[2:], *folders):
        os.utime(path, (time.time() - 7200,) * 2)
    none_finished = 1
    code = main(["resume", NAME, "--storage", str(tmp_path)])
    assert code == none_finished, capsys.readouterr().err
    assert [path for path in (*kept, *left) if path.exists()] == kept
    assert all(path.is_dir() for path in folders)


@pytest.mark.parametrize(
    "name",
    [
        *(SPECIFICATION_FILE, PLANNED_FILE, DRIVER_FILE, STOP_FILE, IDENTITY_FILE, EXHAUSTED_FILE),
        *(ASHA_FILE, CANDIDATES_FILE, IMPORTANCE_FILE, REPLAY_FILE),
        *(f"{small_trial().trial_id}.{end}" for end in ("parquet", "pt", "txt")),
    ],
)
def test_every_file_of_a_search_that_is_left_half_written_is_known(name: str) -> None:
    temporary = temporary_name(name)
    assert not is_leftover(temporary, None)
    own = f"~{os.getpid()}~"
    assert own in temporary
    assert is_leftover(temporary.replace(own, f"~{2**31 - 1}~"), None)
