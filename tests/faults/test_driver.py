"""What the driver does about workers that hang or die, and about a cluster that is gone."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from descriptions import digit_description, write_description
from small_trials import small_trial

from fusion_search.analysis.records.failures import read_failure
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_rows
from fusion_search.search.declaration.specification import Resources
from fusion_search.search.dispatch import adapters as ray_adapters
from fusion_search.search.dispatch.adapters import Driver
from fusion_search.search.dispatch.messages import proposed, swept, write_row
from fusion_search.search.records.provenance import provenance
from fusion_search.search.records.recorder import Recorder
from fusion_search.search.tasks.digits.task import Digits

DATA: Any = SimpleNamespace(fingerprint="f", split_fingerprint="", note="n")
OPENED: Any = SimpleNamespace(task=Digits(), data=lambda settings, fold=0: DATA)
ROOT = Path(__file__).parents[2]


class Console:
    """Keeps what people would be told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def started(self, row: Any) -> None:
        pass

    def epoch(self, trial_id: str, row: Any) -> None:
        pass

    def ended(self, row: Any) -> None:
        self.told.append(f"{row['status']} {row['trial_id']}")

    def say(self, text: str) -> None:
        self.told.append(text)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Proposed:
    """Remembers how proposals were closed."""

    def __init__(self) -> None:
        self.closed: list[tuple[int, list[str]]] = []

    def close(self, number: int, rows: Any, progress: Any = None) -> None:
        self.closed.append((number, [row["status"] for row in rows]))

    def wanted(self, number: int) -> bool:
        return True


class Scene:
    """A driver with one Ray trial, and what it is told; nothing of Ray runs."""

    def __init__(self, folder: Path, config: dict[str, Any], resources: Resources) -> None:
        self.storage: Storage = open_storage(folder / "test")
        write_description(self.storage)
        self.recorder = Recorder(self.storage, "test", digit_description(), provenance())
        self.console, self.proposals = Console(), Proposed()
        self.driver = Driver(
            OPENED,
            self.recorder,
            self.console,  # type: ignore[arg-type]
            None,
            resources,
            "",
            self.proposals if "sample" in config["proposal"] else None,  # type: ignore[arg-type]
        )
        self.trial = SimpleNamespace(
            trial_id="ray",
            config=config,
            num_failures=0,
            max_failures=resources.retries,
            last_result={"hostname": "there", "node_ip": "10.0.0.2"},
            local_path=str(folder),
            run_metadata=SimpleNamespace(error_filename=None),
            temporary_state=SimpleNamespace(ray_actor="worker"),
        )
        self.error = folder / "error.txt"

    def report(self, event: str, row: dict[str, Any]) -> None:
        result = {"event": event, "row": write_row(row), "hostname": "there"}
        self.driver.on_trial_result(0, [], self.trial, result)

    def start(self, trial: Any) -> None:

        row = self.recorder.started(trial, DATA, datetime.now(UTC))
        self.report("start", {**row, "host": "there"})

    def lose(self, words: str, times: int = 1) -> None:
        self.trial.num_failures += times
        with self.error.open("a") as file:
            file.write(f"Failure # {self.trial.num_failures} (occurred at noon)\n{words}\n")

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["trial_id"]: row for row in read_rows(self.storage, "trials")}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ray_adapters, "time", clock)
    return clock


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    killed: list[str] = []
    monkeypatch.setattr(ray_adapters.ray, "kill", killed.append)
    return killed


def test_a_worker_past_the_deadline_is_killed_once_and_not_tried_again(
    tmp_path: Path, clock: Clock, killed: list[str]
) -> None:
    trial = small_trial()
    scene = Scene(tmp_path, swept([trial]), Resources(trial_deadline_seconds=10, retries=3))
    scene.driver.on_step_end(0, [])  # nothing runs yet
    clock.now = 100
    scene.start(trial)
    scene.report("epoch", {"trial_id": trial.trial_id, "epoch": 1})
    clock.now = 109
    scene.driver.on_step_end(0, [])
    assert killed == []
    clock.now = 111
    scene.driver.on_step_end(0, [])
    scene.driver.on_step_end(0, [])
    assert killed == ["worker"]
    assert scene.trial.max_failures == 0
    scene.lose("The actor died")
    scene.driver.on_trial_error(0, [], scene.trial)
    row = scene.rows()[trial.trial_id]
    assert row["status"] == "failed"
    assert row["reason"] == (
        "it ran for longer than resources.trial_deadline_seconds (10) and was killed after 1 epoch "
        "on there; give it more, or find out why it hangs"
    )


def test_every_trial_of_a_sample_has_the_deadline_to_itself(
    tmp_path: Path, clock: Clock, killed: list[str]
) -> None:
    first, second = small_trial(seed=0), small_trial(seed=1)
    proposal = SimpleNamespace(trials=(first, second), number=7, sample={})
    scene = Scene(tmp_path, proposed(proposal), Resources(trial_deadline_seconds=10))  # type: ignore[arg-type]
    scene.start(first)
    clock.now = 8
    scene.report("end", {"trial_id": first.trial_id, "status": "finished"})
    scene.start(second)
    clock.now = 16
    scene.driver.on_step_end(0, [])
    assert killed == []
    clock.now = 19
    scene.driver.on_step_end(0, [])
    assert killed == ["worker"]


def test_a_trial_whose_worker_died_after_recording_it_is_not_recorded_as_failed(
    tmp_path: Path,
) -> None:
    first, second = small_trial(seed=0), small_trial(seed=1)
    proposal = SimpleNamespace(trials=(first, second), number=7, sample={})
    scene = Scene(tmp_path, proposed(proposal), Resources(retries=0))  # type: ignore[arg-type]
    scene.start(first)

    started = scene.recorder.started(first, DATA, datetime.now(UTC))
    shares = {"validation_accuracy": 0.5, "mean_accuracy": 0.5}
    ended = {"ended_at": datetime.now(UTC), "seconds": 1.0, "device": "cpu", **shares}
    scene.recorder._end(first, {**started, "status": "finished", **ended})
    scene.lose("The actor died")
    scene.driver.on_trial_error(0, [], scene.trial)
    rows = scene.rows()
    assert rows[first.trial_id]["status"] == "finished"
    assert rows[second.trial_id]["status"] == "failed"
    assert rows[second.trial_id]["reason"] == (
        "the worker failed once, the last time on there (10.0.0.2): The actor died"
    )
    assert scene.proposals.closed == [(7, ["finished", "failed"])]


def test_a_lost_trials_seconds_are_the_drivers_own(tmp_path: Path) -> None:
    """The machine that began it has another clock, and cannot be asked any more."""
    trial = small_trial()
    scene = Scene(tmp_path, swept([trial]), Resources(retries=0))
    started = scene.recorder.started(trial, DATA, datetime.now(UTC) + timedelta(hours=1))
    scene.report("start", started)
    scene.lose("The actor died")
    scene.driver.on_trial_error(0, [], scene.trial)
    assert 0 <= scene.rows()[trial.trial_id]["seconds"] < 60


def test_a_trial_that_ray_gives_up_too_early_is_left_for_resume(tmp_path: Path) -> None:
    trial = small_trial()
    scene = Scene(tmp_path, swept([trial]), Resources(retries=2))
    scene.lose("The actor died", times=2)  # Ray heard twice of one death
    scene.driver.on_trial_error(0, [], scene.trial)
    assert scene.rows() == {}
    assert scene.console.told[0].endswith("The actor died; left for resume")
    scene.lose("The actor died")
    scene.driver.on_trial_error(0, [], scene.trial)
    assert scene.rows()[trial.trial_id]["status"] == "failed"


def test_what_is_known_of_a_lost_worker_is_kept(tmp_path: Path) -> None:
    trial = small_trial()
    scene = Scene(tmp_path, swept([trial]), Resources(retries=1))
    scene.start(trial)
    scene.report("epoch", {"trial_id": trial.trial_id, "epoch": 1})
    words = "Traceback (most recent call last):\n  in run\nOSError: https://me:hunter2@host away"
    scene.lose(words)
    scene.lose("The actor died because of hunger")
    scene.driver.on_trial_error(0, [], scene.trial)
    assert scene.rows()[trial.trial_id]["status"] == "failed"
    text = read_failure(scene.storage, trial.trial_id)
    assert text is not None
    assert "reason: the worker failed 2 times, the last time on there (10.0.0.2)" in text
    assert "epochs it told of: 1; what Ray says:\n" in text
    assert words.replace("hunter2", "***") in text
    assert text.endswith("The actor died because of hunger\n")


def test_people_are_told_that_a_trial_is_tried_again(tmp_path: Path) -> None:
    trial = small_trial()
    scene = Scene(tmp_path, swept([trial]), Resources(retries=2))
    scene.start(trial)
    scene.lose("The actor died")
    scene.driver.on_trial_recover(0, [], scene.trial)
    assert scene.console.told == [
        f"{trial.trial_name}: the worker failed once, the last time on there (10.0.0.2): The actor "
        "died; tried again (1 of 2)"
    ]


WATCHING = """
import sys, time
from fusion_search.search.dispatch.head_watch import head_watched
with head_watched(sys.argv[1], "the head is gone", lambda: print("closed", flush=True)):
    time.sleep(float(sys.argv[2]))
print("ended in order")
"""


@contextlib.contextmanager
def watching(port: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WATCHING, f"127.0.0.1:{port}", str(seconds)]
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_driver_whose_head_is_gone_ends_with_a_sentence_and_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        with watching(server.getsockname()[1], 600) as process:
            # The head closes a connection on which nothing is said: that is not its end.
            server.accept()[0].close()
            connection, _ = server.accept()
            assert process.poll() is None
            began = time.monotonic()
            server.close()
            connection.close()
            output, errors = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert (process.returncode, output, errors) == (1, "closed\n", "error: the head is gone\n")


def test_a_driver_whose_head_stays_ends_in_order() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        watching(server.getsockname()[1], 0.1) as process,
    ):
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, "ended in order\n", "")
