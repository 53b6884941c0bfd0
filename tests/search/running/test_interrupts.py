"""What a search does that is stopped from outside."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from descriptions import digit_description, write_description
from search_processes import ROOT, write_config
from small_recorder import small_recorder
from small_trials import small_configuration, small_trial

from fusion_search.analysis.records.filesystems.errors import StorageError
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_table
from fusion_search.search.commands import command_line, launching
from fusion_search.search.commands.command_line import main
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.dispatch import jobs
from fusion_search.search.records.claim import claimed
from fusion_search.search.records.lease import (
    LeaseLostError,
    ask_to_stop,
    interrupt_main_thread,
)
from fusion_search.search.records.planned import write_plan
from fusion_search.search.running import run, space_search
from fusion_search.search.running.interrupts import (
    children_apart,
    interrupt,
    interrupt_lent,
    interrupted_by,
    stopped_as_by_interrupt,
)
from fusion_search.search.running.progress import Progress
from fusion_search.search.running.recorded_trial import SearchStoppedError
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.specification import TrialSpecification


@pytest.mark.slow
def test_a_closed_terminal_stops_the_search_in_order(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fusion_search", "launch", str(write_config(tmp_path))],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    try:
        os.close(theirs)
        seen = b""
        while b"[1/5]" not in seen:
            seen += os.read(ours, 4096)
        os.close(ours)
        code = process.wait(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert code == 130
    storage = open_storage(tmp_path / "results" / "test")
    trials = read_table(storage, "trials")
    assert 1 <= len(trials) < 5
    assert (trials["status"] == "finished").all()
    assert not storage.exists("driver.json")


def test_a_hang_up_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stopped_as_by_interrupt():
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_stops_a_search_does_so_in_the_background_of_a_script() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does there
    try:
        with stopped_as_by_interrupt():
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                interrupt_main_thread()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_that_a_library_leaves_is_taken_away() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopped_as_by_interrupt():
        signal.signal(signal.SIGINT, lambda *_: None)  # as Ray Tune does
    assert signal.getsignal(signal.SIGINT) is before


WORDS = {
    signal.SIGINT: "Ctrl-C (SIGINT)",
    signal.SIGTERM: "SIGTERM",
    signal.SIGHUP: "a closed terminal (SIGHUP)",
}


@pytest.mark.parametrize("number", WORDS)
@pytest.mark.parametrize("more", ["", "go on with: fusion-search resume test"])
def test_a_command_that_is_interrupted_says_by_what_and_what_to_type(
    number: signal.Signals,
    more: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run_verb(_: Any) -> int:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(*filter(None, [more])) from None
        return 0

    monkeypatch.setattr(command_line, "_run", run_verb)
    assert main(["status"]) == 130
    told = capsys.readouterr()
    assert told.err == f"interrupted by {WORDS[number]}; {more or 'give the command again'}\n"


@pytest.mark.parametrize("number", WORDS)
def test_a_search_that_is_interrupted_says_by_what(
    tmp_path: Path,
    small_opened: OpenedTask,
    number: signal.Signals,
    capsys: pytest.CaptureFixture[str],
) -> None:
    storage = open_storage(tmp_path).below("test")
    write_description(storage)
    own = {"name": "test", "task": "digits", "storage": str(tmp_path), "mlflow": {"enabled": False}}
    search = build_search(own)
    with stopped_as_by_interrupt(), claimed(storage, "test") as lease:
        run_nothing(search, lease.storage, small_opened, Interrupted(number))
    assert f"\ninterrupted by {WORDS[number]}\n" in capsys.readouterr().out
    with stopped_as_by_interrupt(), claimed(storage, "test") as lease:
        run_nothing(search, lease.storage, small_opened, Idle())
    assert "interrupted" not in capsys.readouterr().out


def test_trials_that_are_recorded_while_nobody_listens_have_their_lines(
    tmp_path: Path, small_opened: OpenedTask, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of workers that end a trial after Ctrl-C; each counts once, and a retried one anew."""
    trials = [small_trial(seed=seed) for seed in range(4)]
    storage = open_storage(tmp_path).below("test")
    recorder = small_recorder(storage, small_opened)
    write_plan(storage, trials, 5)

    def recorded(trial: TrialSpecification) -> dict[str, Any]:
        now = datetime.now(UTC)
        started = recorder.started(trial, small_opened.first, now, None)
        return recorder.failed(trial, "it was made up", started, "", time.monotonic())

    class Unheard(Idle):
        def run_trials(self, *more: Any) -> None:
            progress = more[4]
            with contextlib.suppress(KeyboardInterrupt):
                progress.ended(recorded(trials[2]))
                signal.raise_signal(signal.SIGTERM)
            recorded(trials[3])
            recorded(trials[1])

    for trial in trials[:2]:
        recorded(trial)
    own = {"name": "test", "task": "digits", "storage": str(tmp_path), "mlflow": {"enabled": False}}
    environment = run.Environment(data_folder=None, dispatcher=cast(Any, Unheard()))
    with stopped_as_by_interrupt(), claimed(storage, "test") as lease:
        run.run(
            build_search(own),
            lease.storage,
            trials[1:],
            small_opened,
            environment,
            planned=5,
            remaining=4,
            epochs=1,
        )
    told = capsys.readouterr().out.splitlines()
    lines = [one.partition(" ")[0] for one in told if "FAILED" in one or "interrupted" in one]
    assert lines == ["[2/5]", "interrupted", "[3/5]", "[4/5]"]
    seeds = [one.partition("seed ")[2][0] for one in told if "FAILED" in one]
    assert seeds == ["2", "3", "1"]


def test_a_search_that_is_interrupted_as_its_last_trials_end_begins_no_confirmation(
    tmp_path: Path,
    small_opened: OpenedTask,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dispatcher = Interrupted(signal.SIGTERM)
    monkeypatch.setattr(space_search, "open_data", lambda *_: small_opened)
    monkeypatch.setattr(space_search, "summary", lambda *_: 0)  # all have finished
    monkeypatch.setattr(launching, "_confirm", lambda *_: pytest.fail("a confirmation began"))
    own = {"searcher": {"name": "random"}, "confirmation": {"top": 1}, "storage": str(tmp_path)}
    search = build_search(small_configuration(**own, mlflow={"enabled": False}))
    environment = run.Environment(data_folder=None, dispatcher=cast(Any, dispatcher))
    with stopped_as_by_interrupt():
        assert launching.launch(search, environment) == 130
    assert capsys.readouterr().out.endswith(
        "its confirmation has not been run; go on with: fusion-search confirm small "
        f"--storage {tmp_path}\n"
    )


def test_a_search_that_is_stopped_says_as_who_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(tmp_path).below("test")
    with stopped_as_by_interrupt(), claimed(storage, "test", "launch", interrupt) as lease:
        ask_to_stop(storage, lease.id, "me@here")
        with pytest.raises(KeyboardInterrupt):
            lease.look()
    assert capsys.readouterr().out == "search test is stopped, as me@here asked\n"
    assert interrupted_by() == ""


def test_a_job_that_is_shown_no_longer_says_by_what(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def show(*_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    client = SimpleNamespace(get_job_info=lambda _: SimpleNamespace(metadata={}))
    monkeypatch.setattr(jobs, "_client", lambda _: contextlib.nullcontext(client))
    monkeypatch.setattr(jobs, "_show", show)
    with stopped_as_by_interrupt():
        assert jobs.attach("http://head:8265", "test-20260101T000000-1") == 130
    told = capsys.readouterr().out
    assert told.startswith("\ninterrupted by SIGTERM, detached; the job goes on\nfollow it with: ")


def test_what_ray_heard_is_known() -> None:
    with stopped_as_by_interrupt():
        with interrupt_lent():
            signal.signal(signal.SIGINT, lambda *_: None)  # Ray Tune's, which heard nothing
        assert interrupted_by() == ""
        with interrupt_lent():
            ours = signal.signal(signal.SIGINT, lambda *_: signal.signal(signal.SIGINT, ours))
            signal.raise_signal(signal.SIGINT)
        assert interrupted_by() == "Ctrl-C (SIGINT)"
    with stopped_as_by_interrupt():
        with pytest.raises(KeyboardInterrupt), children_apart():
            sys.exit(signal.SIGTERM)  # its answer while it starts
        assert interrupted_by() == "SIGTERM"


def child_as_ray_starts_it() -> tuple[int, int, int]:
    """Its blocked signals as a mask, its number, and its session."""
    of_itself = ["cat", "/proc/self/stat", "/proc/self/status"]
    words = subprocess.run(
        of_itself, capture_output=True, text=True, check=True, preexec_fn=lambda: None
    ).stdout.split()
    return int(words[words.index("SigBlk:") + 1], 16), int(words[0]), int(words[5])


def test_processes_of_ray_hear_nothing_that_is_meant_for_ours() -> None:
    own = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with children_apart():
        blocked, process, session = child_as_ray_starts_it()
    assert blocked & 1 << (signal.SIGHUP - 1)
    assert session == process
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == own
    assert child_as_ray_starts_it()[2] == os.getsid(0)


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "the terminal is gone")


def test_a_search_that_nobody_can_hear_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Progress(open_storage(tmp_path), 2, 0, 1, digit_description())
    monkeypatch.setattr(sys, "stdout", Gone())
    progress.say("a word")
    progress.close()
    assert not list(tmp_path.iterdir())


class Idle:
    """A dispatcher that runs nothing."""

    def connected(self, *_: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def run_trials(self, *more: Any) -> None:
        pass


@dataclass
class Interrupted(Idle):
    """One that a signal interrupts, and that ends in order, as Ray Tune does."""

    number: signal.Signals

    def run_trials(self, *more: Any) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(self.number)


def run_nothing(search: Any, storage: Storage, opened: OpenedTask, dispatcher: Any) -> None:
    environment = run.Environment(data_folder=None, dispatcher=dispatcher)
    trials = [small_trial()]
    run.run(search, storage, trials, opened, environment, planned=1, remaining=1, epochs=1)


def test_an_interrupt_while_the_end_is_told_leaves_no_driver_behind(
    tmp_path: Path, small_opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Waiting:
        page = None

        def close(self, seconds: float, unreadable: str) -> None:
            assert storage.exists("driver.json")
            raise KeyboardInterrupt

    monkeypatch.setattr(run, "start_tracker", lambda *_: Waiting())
    storage = open_storage(tmp_path).below("test")
    write_description(storage)
    search = build_search({"name": "test", "task": "digits", "storage": str(tmp_path)})
    with pytest.raises(KeyboardInterrupt), claimed(storage, "test") as lease:
        run_nothing(search, lease.storage, small_opened, Idle())
    assert not storage.exists("driver.json")


def test_the_first_error_is_told_and_storage_that_is_away_is_not_waited_for_again(
    tmp_path: Path, small_opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    class Waiting:
        page = None

        def close(self, seconds: float, unreadable: str) -> None:
            closed.append((seconds, unreadable))
            if unreadable:
                raise KeyboardInterrupt  # nobody wants to wait

    monkeypatch.setattr(run, "start_tracker", lambda *_: Waiting())
    storage = open_storage(tmp_path).below("test")
    write_description(storage)
    search = build_search({"name": "test", "task": "digits", "storage": str(tmp_path)})
    away = StorageError("storage x did not answer")
    patience = []

    def guard(seconds: float) -> None:
        patience.append(seconds)
        if guarding:
            raise away

    guarding = False
    guarded = storage.patient(180).guarded(guard)

    class Cut(Idle):
        def run_trials(self, *more: Any) -> None:
            nonlocal guarding
            guarding = True
            patience.clear()
            raise StorageError("it is full")

    expected = "it is full; when that is repaired, go on with: fusion-search resume test"
    with pytest.raises(SearchStoppedError, match=expected):
        run_nothing(search, guarded, small_opened, Cut())
    assert closed == [(0, "storage x did not answer")]
    assert patience == [0]

    class Taken(Cut):
        def run_trials(self, *more: Any) -> None:
            nonlocal away
            away = LeaseLostError("another drives it")
            super().run_trials()

    guarding = False
    with pytest.raises(LeaseLostError, match="another drives it"):
        run_nothing(search, guarded, small_opened, Taken())


@pytest.mark.parametrize("error", [StorageError("it was cut"), KeyboardInterrupt()])
def test_what_ends_a_search_that_has_begun_says_how_to_go_on(
    tmp_path: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(search: Any, storage: Storage, *_: Any, begin: bool, **more: Any) -> int:
        monkeypatch.setattr(Storage, "exists", away)
        raise error

    def away(self: Storage, *parts: str) -> bool:
        assert self.patience_seconds == 0
        raise StorageError("it is away")

    def end() -> str:
        monkeypatch.setattr(launching, "run_listed", ends)
        search = build_search({"name": "test", "task": "digits", "storage": str(tmp_path)})
        environment = run.Environment(data_folder=None, dispatcher=cast(Any, Idle()))
        with pytest.raises((SearchStoppedError, KeyboardInterrupt)) as raised:
            launching.launch(search, environment)
        return str(raised.value)

    assert f"go on with: fusion-search resume test --storage {tmp_path}" in end()
