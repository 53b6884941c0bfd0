"""What the driver makes of the news from workers that train a pack, without Ray's processes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_recorder import small_recorder
from small_trials import small_trial

from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import read_rows
from fusion_search.search.declaration.specification import Resources
from fusion_search.search.dispatch import messages as ray_messages
from fusion_search.search.dispatch.adapters import Driver
from fusion_search.search.dispatch.messages import packed, proposed, reporter, specifications, swept
from fusion_search.search.records.recorder import Recorder
from fusion_search.search.running.progress import Progress
from fusion_search.search.running.recorded_trial import execute_pack
from fusion_search.search.tasks.digits.task import Digits
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.specification import TrialSpecification


class Console(Progress):
    """Keeps what people would be told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def started(self, row: Any) -> None:
        self.told.append(("started", row["trial_id"]))

    def epoch(self, trial_id: str, row: Any) -> None:
        self.told.append((f"epoch {row['epoch']}", trial_id))

    def ended(self, row: Any) -> None:
        self.told.append((row["status"], row["trial_id"]))


def test_a_pack_whose_worker_dies_twice_has_failed_but_for_what_ended(
    tmp_path: Path, small_opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [small_trial(seed=0), small_trial(seed=1, learning_rate=1e30), small_trial(seed=2)]
    storage = open_storage(tmp_path / "test")
    recorder = small_recorder(storage, small_opened)
    console = Console()
    driver = Driver(small_opened, recorder, console, None, Resources(retries=1))
    ray_trial = SimpleNamespace(
        trial_id="ray",
        config=swept(trials),
        num_failures=2,
        last_result={"hostname": "here", "node_ip": "10.0.0.1"},
        local_path=str(tmp_path),
        run_metadata=SimpleNamespace(error_filename=None),
    )
    (tmp_path / "error.txt").write_text("Failure # 1\nsome\nFailure # 2\nThe actor died\n")
    monkeypatch.setattr(
        ray_messages.tune,
        "report",
        lambda content: driver.on_trial_result(0, [], ray_trial, content),
    )
    first, failing, last = (one.trial_id for one in trials)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            work(trials, small_opened, recorder, dies_after=first)
    driver.on_trial_error(0, [], ray_trial)

    attempt = [("started", first), ("started", failing), ("started", last)]
    assert console.told == [
        *attempt,
        ("failed", failing),
        ("epoch 1", first),
        # The second worker trains the failing one again: that is no news.
        ("started", first),
        ("started", last),
        ("epoch 1", first),
        ("failed", first),
        ("failed", last),
    ]
    rows = {row["trial_id"]: row for row in read_rows(storage, "trials")}
    assert "the loss became" in rows[failing]["reason"]
    for one in (first, last):
        assert rows[one]["reason"] == (
            "the worker failed 2 times, the last time on here (10.0.0.1): The actor died"
        )


def work(
    trials: list[TrialSpecification], opened: OpenedTask, recorder: Recorder, *, dies_after: str
) -> None:
    """A worker that dies when this trial has ended an epoch."""
    report = reporter()

    def on_epoch(row: dict[str, Any]) -> None:
        report("epoch", row)
        if row["trial_id"] == dies_after:
            raise KeyboardInterrupt

    execute_pack(
        trials,
        opened,
        recorder,
        on_start=lambda row: report("start", row),
        on_epoch=on_epoch,
        on_end=lambda row: report("end", row),
    )


def test_trials_of_a_sweep_are_packed_and_those_of_a_proposal_are_not() -> None:
    trials = (small_trial(seed=0), small_trial(seed=1))
    assert specifications(swept(trials), Digits()) == list(trials)
    assert packed(swept(trials))
    assert not packed(swept(trials[:1]))
    proposal = SimpleNamespace(trials=trials, number=0, sample={"dropout": 0.0})
    assert not packed(proposed(proposal))  # type: ignore[arg-type]
