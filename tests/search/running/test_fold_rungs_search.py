"""Samples over folds, with fold rungs and without: made-up trials, without Ray's processes."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from odd_tasks import Amount, Sensors
from synthetic_records import write_rows

from fusion_search import trials as trials_of
from fusion_search.analysis.records.description import read_description
from fusion_search.analysis.records.filesystems.errors import StorageError
from fusion_search.analysis.records.samples import objectives_of, sample_table
from fusion_search.analysis.records.selection import open_search, read_specification
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import FAILED, FINISHED, STOPPED, read_rows
from fusion_search.analysis.report.page import _summary
from fusion_search.search.commands.command_line import main
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.declaration.specification import SearchSpecification
from fusion_search.search.dispatch.adapters import Driver
from fusion_search.search.dispatch.messages import proposed, write_row
from fusion_search.search.dispatch.schedulers import make_scheduler
from fusion_search.search.records.planned import read_plan
from fusion_search.search.records.provenance import Provenance
from fusion_search.search.records.recorder import Recorder
from fusion_search.search.running import space_search
from fusion_search.search.running.confirmation import choose_candidates
from fusion_search.search.running.progress import Progress
from fusion_search.search.running.run import Environment, write_specification
from fusion_search.search.running.samples.proposals import read_proposals
from fusion_search.search.running.space_search import make_proposals, run_space
from fusion_search.search.spaces.searchers.base import Observation, ranks
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.fields import ConfigurationError

METRIC = "mean_absolute_error"
REDUCTION = 2
SAMPLES = 12


class KilledError(BaseException):
    """The driver is gone."""


class Workers:
    """In the place of Ray: workers whose trials end in an order drawn by chance.

    Args:
        count: how many.
        seed: of the order.
        ends: after so many ends of trials the driver is killed: half of the times when the trial
            has its record and nobody has heard of it, else when its driver has.
        failing: samples fail in this fold.
    """

    def __init__(
        self, count: int, seed: int = 0, ends: int = 10**6, failing: int | None = None
    ) -> None:
        self.count, self.left, self.failing = count, ends, failing
        self.chance = np.random.default_rng(seed)
        self.heard_before = bool(seed % 2)
        self.ran: list[str] = []
        self.beside = 0  # the most parts of one sample at once

    def connected(self, resources: object) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def run_trials(
        self, trials: Any, opened: Any, recorder: Any, search: Any, progress: Any, *_: Any
    ) -> None:
        driver = Driver(
            opened, recorder, progress, None, search.resources, search.scheduler.name, trials
        )
        scheduler = make_scheduler(search.scheduler, {}, driver.goes_on)
        working: list[Any] = []
        count = itertools.count()

        def told(event: str, ray_trial: Any, row: Any) -> bool:
            result = {"event": event, "row": write_row(row)}
            decision = scheduler.on_trial_result(None, ray_trial, result)  # type: ignore[arg-type]
            driver.on_trial_result(0, [], ray_trial, result)
            return decision != "STOP"

        while True:
            while len(working) < self.count and (one := trials.next()) is not None:
                ray_trial = SimpleNamespace(trial_id=str(next(count)), config=proposed(one))
                working.append((ray_trial, one.sample, list(one.trials)))
            if not working:
                return
            samples = [json.dumps(sample) for _, sample, _ in working]
            self.beside = max(self.beside, *map(samples.count, samples))
            at = int(self.chance.integers(len(working)))
            ray_trial, sample, waiting = working[at]
            trial = waiting.pop(0)
            row, goes_on = recorder.ended_row(trial), True
            if row is None or row["status"] == FAILED:
                data = opened.data(trial.data, trial.fold)
                started = recorder.started(trial, data, datetime.now(UTC), sample)
                goes_on = told("start", ray_trial, started)
                row = {**started, **made_up(sample, trial.fold)}
                if trial.fold == self.failing:
                    row |= {"status": FAILED, "reason": "made up"}
                if goes_on:
                    schema = recorder.description.schema("trials")
                    write_rows(recorder.storage, "trials", trial.trial_id, [row], schema)
                    self.ran.append(trial.trial_id)
                    self.left -= 1
                    self._die(heard=False)
            goes_on = goes_on and told("end", ray_trial, row) and row["status"] == FINISHED
            if not goes_on or not waiting:
                driver.on_trial_complete(0, [], ray_trial)
                del working[at]
            self._die(heard=True)

    def _die(self, heard: bool) -> None:
        if self.left <= 0 and heard == self.heard_before:
            raise KilledError


def made_up(sample: Any, fold: int) -> dict[str, Any]:
    """The results of a trial: one of ten errors, so that some are equal."""
    error = crc32(json.dumps([sample, fold]).encode()) % 10 / 10
    return {
        "status": FINISHED,
        "device": "cpu",
        "epochs_run": 1,
        f"validation_{METRIC}": error,
        f"mean_{METRIC}": error,
        f"train_condition_{METRIC}": error,
        "objective_values": [error],
        "ended_at": datetime.now(UTC),
        "seconds": 1.0,
    }


def declared(
    parent: Path, name: str, searcher: str = "random", samples: int = SAMPLES, **fields: Any
) -> SearchSpecification:
    return build_search(
        {
            "name": name,
            "task": "odd_tasks:Sensors",
            "training": {"learning_rate": {"low": 0.001, "high": 0.01}},
            "placement": {"couplings": ["none", "gates"]},
            "folds": "all",
            "searcher": {"name": searcher, "samples": samples},
            "scheduler": {"name": "fold_rungs", "reduction": REDUCTION},
            "mlflow": {"enabled": False},
            "storage": str(parent),
            **fields,
        }
    )


def run(
    search: SearchSpecification, workers: Workers, begin: bool, failed_too: bool = False
) -> int:
    """As ``launch``, ``resume`` and ``retry`` do; returns the exit code."""
    storage = open_storage(search.storage).below(search.name)
    environment = Environment(data_folder=None, dispatcher=workers)
    return run_space(search, storage, environment, begin=begin, failed_too=failed_too)


class Silent(Progress):
    """Tells nobody."""

    def __init__(self) -> None: ...

    def started(self, row: Any) -> None: ...

    def ended(self, row: Any) -> None: ...

    def dropped(self, *_: Any) -> None: ...


def go_on(search: SearchSpecification, workers: Workers, opened: OpenedTask) -> bool:
    """The heart of the same, which costs less; whether the search came to its end."""
    storage = open_storage(search.storage).below(search.name)
    proposals = make_proposals(search, storage)
    if storage.exists("planned.json"):
        proposals.restore(read_proposals(storage), read_plan(storage).decisions)
    else:
        assert search.space is not None
        write_specification(search, storage, opened, search.space.any_trial())
    origin = Provenance(git_commit="none")
    description = read_description(storage)
    recorder = Recorder(storage, search.name, description, origin, search.objectives)
    try:
        workers.run_trials(proposals, opened, recorder, search, Silent())
    except (KilledError, KeyboardInterrupt):
        return False
    assert proposals.complete
    return True


@pytest.fixture(scope="module")
def opened() -> OpenedTask:
    return OpenedTask(Sensors(), Amount())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> SearchSpecification:
    """A search that one worker ran; tests only read it."""
    search = declared(tmp_path_factory.mktemp("results"), "whole", "tpe")
    assert run(search, Workers(1), begin=True) == 0
    return search


def check(storage: Storage) -> None:
    """Every decision and its consequences, counted anew from the plan and the records."""
    rows = {row["trial_id"]: row for row in read_rows(storage, "trials")}
    plan = json.loads(storage.read("planned.json"))
    own: dict[str, list[str]] = {}
    for planned in plan["trials"]:
        own.setdefault(json.dumps(planned["sample"]), []).append(planned["trial_id"])
    came: dict[int, list[float]] = {1: [], 2: []}
    verdicts: dict[str, list[bool]] = {}
    for one in plan["fold_rungs"]:
        sample, folds = json.dumps(one["sample"]), one["folds"]
        errors = [rows[trial]["objective_values"][0] for trial in own[sample][:folds]]
        assert one["value"] == pytest.approx(statistics.fmean(errors))
        better = sum(other < one["value"] for other in came[folds])
        came[folds].append(one["value"])
        assert (one["better"], one["of"]) == (better, len(came[folds]))
        assert one["kept"] == (better + 1 <= math.ceil(Fraction(len(came[folds]), REDUCTION)))
        verdicts.setdefault(sample, []).append(one["kept"])
        assert len(verdicts[sample]) == folds  # in order, each once
    assert len(own) == len(verdicts) == SAMPLES
    for sample, ids in own.items():
        kept = verdicts[sample]
        assert False not in kept[:-1]
        ended = [trial in rows for trial in ids]
        ran = 3 if kept[-1] else len(kept)
        assert ended == [True] * ran + [False] * (3 - ran)


def killed(
    search: SearchSpecification, opened: OpenedTask, workers: int, seed: int
) -> Iterator[Workers]:
    """Begin and go on until all is over; each driver but the last is killed after a few trials."""
    over = False
    while not over:
        driver = Workers(workers, seed, ends=1 + 2 * (seed % 3))
        over = go_on(search, driver, opened)
        seed += 1
        yield driver


@pytest.mark.parametrize("seed", [0, 1])
def test_decisions_outlive_kills_and_nothing_is_repeated_or_lost(
    tmp_path: Path, opened: OpenedTask, seed: int
) -> None:
    search = declared(tmp_path, "killed")
    storage = open_storage(tmp_path / "killed")
    ran: list[str] = []
    before: list[Any] = []
    for number, workers in enumerate(killed(search, opened, 3, seed)):
        ran += workers.ran
        decisions = read_plan(storage).decisions
        assert decisions[: len(before)] == before
        before = decisions
        assert number < 40
    check(storage)
    assert len(ran) == len(set(ran))
    assert set(ran) == {row["trial_id"] for row in read_rows(storage, "trials")}


def test_one_worker_that_is_killed_decides_as_one_that_never_was(
    tmp_path: Path, opened: OpenedTask, undisturbed: SearchSpecification
) -> None:
    search = declared(tmp_path, "killed", "tpe")
    drivers = list(killed(search, opened, 1, 0))
    assert len(drivers) > 4
    whole = open_storage(undisturbed.storage).below("whole")
    check(whole)
    assert open_storage(tmp_path / "killed").read("planned.json") == whole.read("planned.json")


def test_a_searcher_learns_that_a_dropped_sample_ranks_below_those_with_more_folds(
    undisturbed: SearchSpecification,
) -> None:
    storage = open_storage(undisturbed.storage).below("whole")
    proposals = make_proposals(undisturbed, storage)
    decisions = read_plan(storage).decisions
    proposals.restore(read_proposals(storage), decisions)
    assert proposals.complete
    found = ranks(proposals.history, "minimize")
    dropped = {json.dumps(one.sample): one for one in decisions if not one.kept}
    keys = []
    for one, rows in read_proposals(storage):
        errors = [row["objective_values"][0] for row in rows]
        keys.append((len(rows), -round(statistics.fmean(errors), 9)))
        assert (len(rows) < 3) == (json.dumps(one) in dropped)
    order = sorted(set(keys))
    assert found.tolist() == [order.index(key) / (len(order) - 1) for key in keys]
    assert {one.state for one in proposals.history} == {FINISHED, STOPPED}


def test_who_was_dropped_and_after_how_many_folds_is_said_everywhere(
    undisturbed: SearchSpecification, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(undisturbed.storage).below("whole")
    dropped = {
        json.dumps(one.sample): one.folds for one in read_plan(storage).decisions if not one.kept
    }
    counts = [sum(folds == one for folds in dropped.values()) for one in (1, 2)]
    assert min(counts) > 0
    words = (
        f"{counts[0]} samples dropped after 1 fold, "
        f"{counts[1]} sample{'s' * (counts[1] > 1)} dropped after 2 folds"
    )
    left_out = 2 * counts[0] + counts[1]
    at = ["--storage", undisturbed.storage]
    assert main(["status", *at]) == 0
    searches = capsys.readouterr().out
    assert words in searches
    assert f"{3 * SAMPLES - left_out} of {3 * SAMPLES - left_out}" in searches
    assert main(["status", "whole", *at]) == 0
    said = capsys.readouterr().out
    assert f"fold rungs: {words}" in said
    assert said.count("left out: its sample was dropped after 1 fold\n") == 2 * counts[0]
    assert said.count("left out: its sample was dropped after 2 folds\n") == counts[1]

    table = trials_of(storage.location)
    plan = json.loads(storage.read("planned.json"))["trials"]
    expected = {one["trial_id"]: dropped.get(json.dumps(one["sample"])) for one in plan}
    folds = dict(zip(table["trial_id"], table["dropped_after"].astype(object), strict=True))
    assert {one: None if value is None else value for one, value in expected.items()} == {
        one: value if isinstance(value, int) else None for one, value in folds.items()
    }
    assert (table["status"] == "skipped").sum() == left_out

    search = open_search(open_storage(undisturbed.storage), "whole")
    objectives = objectives_of(read_specification(search), search.description)
    samples = sample_table(search.trials, objectives)
    assert (samples["status"] == STOPPED).sum() == len(dropped)
    assert (samples["status"] == FINISHED).sum() == SAMPLES - len(dropped)
    assert samples.loc[samples["status"] == STOPPED, "value_0"].isna().all()
    assert search.gaps() == []
    (lead, *_) = _summary(search, read_specification(search), objectives, sampled=True)
    assert words in lead
    assert "not run yet" not in lead


def test_whole_samples_alone_are_confirmed_and_a_resume_has_nothing_left(
    undisturbed: SearchSpecification, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(undisturbed.storage).below("whole")
    dropped = [one.sample for one in read_plan(storage).decisions if not one.kept]
    assert undisturbed.space is not None
    whole = {
        (trial.placement, trial.training.learning_rate)
        for sample, rows in read_proposals(storage)
        for trial in undisturbed.space.trials(sample)
        if len(rows) == 3 and sample not in dropped
    }
    # More than there are.
    confirmation = replace(undisturbed.confirmation, top=99, seeds=1)
    candidates = choose_candidates(replace(undisturbed, confirmation=confirmation), storage)
    top = [one for one in candidates if one.role == "top"]
    assert len(top) == SAMPLES - len(dropped)
    for one in top:
        assert {(trial.placement, trial.training.learning_rate) for trial in one.trials} <= whole
    workers = Workers(1)
    assert run(undisturbed, workers, begin=False) == 0
    assert workers.ran == []
    printed = capsys.readouterr().out
    ended = len(read_rows(storage, "trials"))
    assert f"{ended} of {ended} trials have ended before" in printed
    assert f"{ended} of {3 * SAMPLES} trials finished, 0 failed, 0 not run, " in printed
    assert "left out: their sample was dropped after some of its folds" in printed


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"folds": [1]}, "scheduler.name is 'fold_rungs' with one fold, after which"),
        (
            {"objectives": [f"mean_{METRIC}", "parameters"]},
            "'fold_rungs' with 2 objectives, by which .*; allowed: one objective",
        ),
        (
            {"scheduler": {"name": "fold_rungs", "grace_epochs": 2}},
            "scheduler.grace_epochs is 2 with fold_rungs, which stops no trial within a fold",
        ),
        (
            {"scheduler": {"name": "fold_rungs", "reduction": 1}},
            "scheduler.reduction is 1; allowed: 2 or more",
        ),
        (
            {"scheduler": {"name": "asha+fold_rungs"}},
            "allowed: none, asha, median, pbt, fold_rungs",
        ),
    ],
)
def test_where_fold_rungs_mean_nothing_a_sentence_says_so(
    tmp_path: Path, fields: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        declared(tmp_path, "refused", **fields)


def test_nothing_follows_from_a_decision_that_cannot_be_written(
    tmp_path: Path, opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = declared(tmp_path, "full")
    storage = open_storage(tmp_path / "full")
    write = Storage.write

    def full(self: Storage, content: bytes, *names: str) -> None:
        if names == ("planned.json",) and b"fold_rungs" in content:
            raise StorageError("the disk is full")
        write(self, content, *names)

    monkeypatch.setattr(Storage, "write", full)
    assert not go_on(search, Workers(1), opened)
    assert len(read_rows(storage, "trials")) == 1
    assert read_plan(storage).decisions == []
    monkeypatch.undo()
    assert go_on(search, Workers(2), opened)
    check(storage)


NONE: dict[str, Any] = {"searcher": "tpe", "samples": 4, "scheduler": {"name": "none"}}


def whole_history(search: SearchSpecification) -> tuple[Observation, ...]:
    storage = open_storage(search.storage).below(search.name)
    proposals = make_proposals(search, storage)
    proposals.restore(read_proposals(storage))
    assert proposals.complete
    return proposals.history


def test_without_a_scheduler_the_folds_of_a_sample_run_beside_each_other(
    tmp_path: Path, opened: OpenedTask
) -> None:
    search = declared(tmp_path, "apart", **NONE)
    workers = Workers(3)
    assert go_on(search, workers, opened)
    assert workers.beside == 3
    assert len(workers.ran) == len(set(workers.ran)) == 3 * 4
    for one in whole_history(search):
        errors = [made_up(one.sample, fold)["objective_values"][0] for fold in range(3)]
        assert one.values == (sum(errors) / 3,)  # in the order of the folds, to the bit


def test_one_worker_runs_and_proposes_the_same_whether_folds_are_apart_or_not(
    tmp_path: Path, opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart, together = (declared(tmp_path, name, **NONE) for name in ("apart", "together"))
    first, second = Workers(1), Workers(1)
    assert go_on(apart, first, opened)
    monkeypatch.setattr(space_search, "folds_apart", lambda scheduler: False)
    assert go_on(together, second, opened)
    assert first.ran == second.ran
    assert whole_history(apart) == whole_history(together)
    plans = [open_storage(tmp_path / one).read("planned.json") for one in ("apart", "together")]
    assert plans[0] == plans[1]


@pytest.mark.parametrize("seed", [0, 1])
def test_folds_that_run_beside_each_other_outlive_kills_one_by_one(
    tmp_path: Path, opened: OpenedTask, seed: int
) -> None:
    search = declared(tmp_path, "killed", **NONE)
    ran = [one for workers in killed(search, opened, 3, seed) for one in workers.ran]
    assert len(ran) == len(set(ran)) == 3 * 4
    assert {one.state for one in whole_history(search)} == {FINISHED}


@pytest.mark.parametrize("workers", [1, 3])
def test_what_of_a_failed_sample_has_not_begun_is_left_out_and_retried(
    tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    search = declared(tmp_path, "failing", **{**NONE, "samples": 1})
    assert run(search, Workers(workers, seed=3, failing=1), begin=True) == 3
    rows = read_rows(open_storage(tmp_path / "failing"), "trials")
    left_out = 3 - len(rows)
    assert sorted(row["status"] for row in rows) == [FAILED] + [FINISHED] * (2 - left_out)
    assert left_out == 1 or workers > 1
    (one,) = whole_history(search)
    assert one.state == FAILED
    capsys.readouterr()
    main(["status", "failing", "--storage", str(tmp_path)])
    assert capsys.readouterr().out.count("left out: another of its sample failed") == left_out
    again = Workers(workers)
    assert run(search, again, begin=False, failed_too=True) == 0
    assert len(again.ran) == 1 + left_out
    (one,) = whole_history(search)
    assert one.state == FINISHED
