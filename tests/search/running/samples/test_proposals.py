"""Proposals without Ray: repeats, restoring, what becomes of each; objectives by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_recorder import small_recorder
from small_trials import changed, small_configuration, small_trial

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import FAILED, FINISHED, STOPPED
from fusion_search.analysis.statistics import seeds_needed
from fusion_search.datasets.metrics import Metric
from fusion_search.search.declaration.configuration import build_search, to_plain
from fusion_search.search.declaration.specification import Confirmation, SearcherSettings
from fusion_search.search.running import confirmation
from fusion_search.search.running.confirmation import choose_candidates, confirmation_search
from fusion_search.search.running.recorded_trial import execute
from fusion_search.search.running.samples.earlier import _read_sample, known_observations
from fusion_search.search.running.samples.observations import observation
from fusion_search.search.running.samples.parts import Proposal
from fusion_search.search.running.samples.proposals import Proposals, read_proposals, record_plan
from fusion_search.search.running.space_search import make_proposals
from fusion_search.search.spaces.objectives import Objective, objective_names, with_direction
from fusion_search.search.spaces.parameters import Choice, Sample
from fusion_search.search.spaces.searchers import make_searcher
from fusion_search.search.spaces.searchers.base import RUNNING, Observation, Searcher
from fusion_search.search.spaces.space import Space
from fusion_search.search.tasks.base import Classification, Regression
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.settings import EvaluationSettings
from fusion_search.search.trials.trial import Continuation, run_trial

(ACCURACY,) = Classification.metrics


def small_space(**fields: Any) -> Space:
    own = {"couplings": ["none", "mmtm"]}
    declared = {"fusion_depth": [0, 1, 2], "mmtm_ratio": [3, 4, 5, 6], "train": [[2, 1]]}
    more = {"placement": own, **declared, **fields}
    space = build_search(small_configuration(searcher={}, **more)).space
    assert space is not None
    return space


class Scripted(Searcher):
    """Proposes from a list, by how much history there is and how often it was refused."""

    def __init__(self, space: Space, samples: list[Sample]) -> None:
        super().__init__(space, ["maximize"], 0)
        self.samples = samples
        self.asked = 0

    def propose(self, history: Any, attempt: int = 0) -> Sample | None:
        self.asked += 1
        return self.samples[self.asked - 1] if self.asked <= len(self.samples) else None


def row(status: str = FINISHED, value: float = 0.5) -> dict[str, Any]:
    return {
        "status": status,
        "objective_values": [value],
        "epochs_run": 2,
        "validation_accuracy": value,
    }


def row_of(proposal: Proposal | None, *told: Any) -> dict[str, Any]:
    """Of its only trial."""
    assert proposal is not None
    return {"trial_id": proposal.trials[0].trial_id, **row(*told)}


def test_a_sample_that_builds_the_same_trial_is_not_run_again() -> None:
    space = small_space()
    first = {"fusion_depth": 1, "coupling_level1": "mmtm", "mmtm_ratio": 4}
    # 3 units twice: 6 channels over 4, 5 and 6 are 1 each; over 3 they are 2.
    same = [{**first, "mmtm_ratio": 5}, {**first, "mmtm_ratio": 6}, dict(first)]
    other = {**first, "mmtm_ratio": 3}
    proposals = Proposals(space, Scripted(space, [first, *same, other]), 10)
    drawn = list(iter(proposals.next, None))
    assert [one.sample for one in drawn] == [first, other]
    assert proposals.exhausted
    assert not proposals.complete
    for number, one in enumerate(drawn):
        proposals.close(number, [row_of(one)])
    assert proposals.complete


def test_enough_is_enough_and_plans_come_before_trials() -> None:
    space = small_space()
    seen: list[int] = []
    searcher = make_searcher("random", space, ["maximize"], 0)
    proposals = Proposals(space, searcher, 3, on_change=lambda all_, _: seen.append(len(all_)))
    drawn = list(iter(proposals.next, None))
    assert seen == [1, 2, 3]
    assert len({space.sample_id(one.sample) for one in drawn}) == 3
    assert not proposals.exhausted


@pytest.mark.parametrize("name", ["tpe", "surrogate", "random", "nsga2"])
def test_saving_and_restoring_changes_no_later_proposal(name: str) -> None:
    space = small_space(mmtm_relu=[True, False], dropout={"low": 0.0, "high": 0.5})

    def fresh() -> Proposals:
        return Proposals(space, make_searcher(name, space, ["maximize"], 1), 40)

    proposals = fresh()
    for number in range(15):
        one = proposals.next()
        status = [FINISHED, STOPPED, FAILED][number % 3]
        if number < 13:
            proposals.close(number, [row_of(one, status, number / 20)])
    restored = fresh()
    restored.load_json(proposals.to_json())
    assert restored.history == proposals.history
    # What was under way comes first, then what the other proposes next.
    waiting = [restored.next(), restored.next()]
    assert [one.number for one in waiting if one] == [13, 14]
    expected, found = proposals.next(), restored.next()
    assert expected is not None
    assert found is not None
    assert found.sample == expected.sample


def test_what_a_searcher_learns() -> None:
    sample: Sample = {"fusion_depth": 0}

    def seen(rows: list[dict[str, Any]], *progress: tuple[int, float]) -> Observation:
        return observation(sample, rows, ACCURACY, *progress)

    assert seen([row(value=0.2), row(value=0.4)]).values == (pytest.approx(0.3),)
    assert seen([row(), row(FAILED)]).state == FAILED
    stopped = seen([row(value=0.2), row(STOPPED, 0.4)])
    assert (stopped.state, stopped.progress) == (STOPPED, (4, pytest.approx(0.3)))
    assert seen([row(STOPPED)], (7, 0.9)).progress == (7, 0.9)


def test_of_an_error_a_searcher_learns_that_less_is_better() -> None:
    rows = [
        {"status": STOPPED, "epochs_run": 2, "validation_mean_absolute_error": value}
        for value in (0.2, 0.4)
    ]
    (error,) = Regression.metrics
    told = observation({}, rows, error)
    assert (told.state, told.progress) == (STOPPED, (4, pytest.approx(-0.3)))


def test_objectives_by_hand() -> None:
    accuracies = np.linspace(0.0, 1.0, 101).tolist()
    cells = {"mean_accuracy": 0.6, "parameters": 12, "worst_accuracy": 0.1}
    error = Metric("error", lambda outputs, batch: outputs, direction="minimize")

    def directed(name: str, **more: Any) -> Objective:
        return with_direction(Objective(name=name, **more), [ACCURACY, error])

    assert directed("quantile_accuracy", quantile=0.25).value(cells, accuracies) == 0.25
    assert directed("quantile_accuracy", quantile=0).value(cells, accuracies) == 0.0
    # 0 is the worst condition of an error too, which is its largest.
    assert directed("quantile_error", quantile=0).value(cells, accuracies) == 1.0
    assert directed("quantile_error", quantile=0.25).value(cells, accuracies) == 0.75
    assert directed("mean_error").direction == "minimize"
    assert directed("parameters").value(cells, accuracies) == 12.0
    assert directed("parameters").direction == "minimize"
    assert directed("parameters", direction="maximize").direction == "maximize"
    with pytest.raises(ValueError, match="direction is 'up'; allowed: maximize, minimize"):
        Objective(name="parameters", direction="up")
    with pytest.raises(ValueError, match="quantile is 2; allowed: 0 to 1"):
        Objective(name="quantile_accuracy", quantile=2)


@pytest.fixture(scope="module")
def recorded(
    tmp_path_factory: pytest.TempPathFactory, small_opened: OpenedTask
) -> tuple[Any, Storage]:
    """A search of four samples, run without Ray; tests only read it."""
    folder = tmp_path_factory.mktemp("recorded")
    search = build_search(
        small_configuration(
            storage=str(folder),
            fusion_depth=[0, 1, 2],
            placement={"couplings": {"level1": ["mmtm"], "level2": ["none", "mmtm"]}},
            train=[[2, 1]],
            objectives=list(objective_names([ACCURACY])),
            searcher={"name": "grid"},
            confirmation={"top": 2, "seeds": 3, "training": {"examples": 100}},
        )
    )
    storage = open_storage(folder / "test")
    recorder = small_recorder(storage, small_opened, search.objectives)
    space = search.space
    assert space is not None
    directions = [one.direction for one in search.objectives]
    proposals = Proposals(
        space,
        make_searcher("grid", space, directions, 0),
        10,
        on_change=lambda all_, _: record_plan(storage, all_, 4),
    )
    for proposal in iter(proposals.next, None):
        execute(proposal.trials[0], small_opened, recorder, sample=proposal.sample)
    return search, storage


def test_records_tell_a_later_searcher_the_same(recorded: tuple[Any, Storage]) -> None:
    search, storage = recorded
    own = [observation(sample, rows, ACCURACY) for sample, rows in read_proposals(storage)]
    assert len(own) == 4
    assert all(len(one.values) == len(search.objectives) == 7 for one in own)
    found = known_observations(search.space, search.objectives, storage)
    assert sorted(map(str, found)) == sorted(map(str, own))
    # Other objectives are computed from the records; a narrower space takes what lies in it.
    half = (with_direction(Objective(name="quantile_accuracy", quantile=0.5), [ACCURACY]),)
    narrow = small_space(fusion_depth=[2])
    assert len(known_observations(narrow, half, storage)) == 2
    proposals = Proposals(search.space, make_searcher("random", search.space, ["maximize"], 0), 9)
    proposals.restore(read_proposals(storage))
    assert list(proposals.history) == own
    assert all(one.state != RUNNING for one in proposals.history)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"folds": (1,)}, "of fold 0, which this search does not have"),
        ({"folds": (0, 1)}, "whose sample lacks a fold or train condition of this search"),
        ({"evaluation": EvaluationSettings(split="test")}, "tested on the validation split"),
        (
            {"train": ({"audio_snr": 1.0, "visual_snr": 1.0},)},
            "outside this space, or trained at other conditions",
        ),
        ({"name": "other"}, "of the task digits"),
        (
            {"settings": {("data", "split_seed"): Choice((1,))}},
            "with other data settings",
        ),
    ],
)
def test_a_searcher_learns_only_from_what_was_measured_like_its_own(
    recorded: tuple[Any, Storage], fields: dict[str, Any], reason: str
) -> None:
    search, storage = recorded
    settings = {**search.space.settings, **fields.pop("settings", {})}
    other = replace(search.space, settings=settings, **fields)
    left_out: Counter[str] = Counter()
    assert known_observations(other, search.objectives, storage, left_out) == []
    assert left_out == {reason: 4}
    warm = replace(
        search,
        name="warm",
        space=other,
        searcher=SearcherSettings(name="tpe", warm_start=("test",)),
        objectives=search.objectives[:1],
    )
    with pytest.raises(ConfigurationError, match=f"nothing of test can be .* 4 trials {reason}"):
        make_proposals(warm, open_storage(search.storage).below("warm"))


def test_candidates_are_the_best_and_plain_fusion_at_every_depth(
    recorded: tuple[Any, Storage],
) -> None:
    search, storage = recorded
    candidates = choose_candidates(search, storage)
    assert [one.role for one in candidates] == ["top"] * 2 + ["plain"] * 3
    values = {
        rows[0]["trial_id"]: rows[0]["train_condition_accuracy"]
        for _, rows in read_proposals(storage)
    }
    best = sorted(values.values(), reverse=True)[:2]
    assert [one.search_value for one in candidates[:2]] == best
    assert [one.trials[0].network.fusion_depth for one in candidates[2:]] == [0, 1, 2]
    for one in candidates:
        assert [trial.seed for trial in one.trials] == [1000, 1001, 1002]
        assert {trial.training.examples for trial in one.trials} == {100}
        assert {trial.evaluation.split for trial in one.trials} == {"test"}
    # The plain network at d = 0 was tried; the others take the winner's hyperparameters.
    assert candidates[2].search_value in values.values()
    assert candidates[4].search_value is None
    confirming = confirmation_search(search, candidates)
    ids = {trial.trial_id for one in candidates for trial in one.trials}
    assert {trial.trial_id for trial in confirming.planned_trials()} == ids
    assert build_search(to_plain(confirming)) == confirming


def test_of_equal_samples_the_first_that_ended_is_confirmed_as_it_is_best_everywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = {"top": 1, "seeds": 1}
    search = build_search(
        small_configuration(fusion_depth=[0, 1, 2], searcher={}, confirmation=settings)
    )
    assert search.space is not None
    ended = dict(zip((1, 0, 2), (3, 2, 1), strict=True))  # fusion depth -> hour
    tied: list[tuple[Sample, list[dict[str, Any]]]] = [
        ({"fusion_depth": depth}, [{"status": FINISHED, "objective_values": [0.5], "ended_at": at}])
        for depth, hour in ended.items()
        for at in [datetime(2026, 1, 1, hour, tzinfo=UTC)]
    ]
    monkeypatch.setattr(confirmation, "read_proposals", lambda _: tied)
    (best, *_) = choose_candidates(search, open_storage(tmp_path))
    assert best.role == "top"
    assert best.trials[0].network.fusion_depth == 2


def test_a_candidate_is_called_by_what_was_searched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not by what all have, such as the levels; by how it was trained only where else alike."""
    space = {"fusion_depth": [0, 1], "dropout": [0.1, 0.3], "learning_rate": [0.01, 0.02]}
    search = build_search(
        small_configuration(**space, searcher={}, confirmation={"top": 3, "seeds": 1})
    )
    values = ((1, 0.3, 0.01, 0.9), (0, 0.3, 0.01, 0.8), (0, 0.3, 0.02, 0.7))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    samples: list[tuple[Sample, list[dict[str, Any]]]] = [
        (
            dict(zip(space, chosen, strict=True)),
            [{"status": FINISHED, "objective_values": [value], "ended_at": at}],
        )
        for *chosen, value in values
    ]
    monkeypatch.setattr(confirmation, "read_proposals", lambda _: samples)
    labels = [one.label for one in choose_candidates(search, open_storage(tmp_path))]
    assert labels[:3] == [
        "fusion depth 1, plain, dropout 0.3",
        "fusion depth 0, plain, dropout 0.3, learning rate 0.01",
        "fusion depth 0, plain, dropout 0.3, learning rate 0.02",
    ]


def test_a_trial_that_goes_on_equals_one_that_was_never_interrupted(
    small_opened: OpenedTask,
) -> None:
    trial = changed(small_trial(train_audio_snr=2.0), dropout=0.3, epochs=3, examples=50)
    saved: list[bytes] = []
    whole = run_trial(trial, small_opened, continuation=Continuation(save=saved.append))
    assert len(saved) == 3
    again = run_trial(trial, small_opened, continuation=Continuation(saved=saved[0]))
    assert [one.epoch for one in again.epochs] == [1, 2, 3]
    for one, same in zip(whole.epochs, again.epochs, strict=True):
        assert one.train_loss == same.train_loss
        assert one.validation_loss == same.validation_loss
    assert all(torch.equal(whole.state[name], again.state[name]) for name in whole.state)
    other = Continuation(saved=saved[0], hyperparameters={"learning_rate": 0.05, "dropout": 0.0})
    other_rate = run_trial(trial, small_opened, continuation=other)
    assert other_rate.schedule == [(2, {"learning_rate": 0.05, "dropout": 0.0})]
    assert other_rate.epochs[0].train_loss == whole.epochs[0].train_loss
    assert other_rate.epochs[1].train_loss != whole.epochs[1].train_loss


def test_seeded_dropout_is_reproducible_and_leaves_the_callers_generator(
    small_opened: OpenedTask,
) -> None:
    trial = small_trial(dropout=0.5, epochs=1)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = run_trial(trial, small_opened)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    second = run_trial(trial, small_opened)
    assert first.epochs[0].train_loss == second.epochs[0].train_loss
    without = run_trial(changed(trial, dropout=0.0), small_opened)
    assert without.epochs[0].train_loss != first.epochs[0].train_loss


def test_of_a_table_with_other_streams_a_searcher_learns_nothing() -> None:
    row = {"task": "digits", "train": '{"first_snr": 2.0}', "specification": "{}"}
    assert _read_sample(small_space(), row) == "with other axes"


def test_an_observation_of_several_objectives_keeps_their_order() -> None:
    rows = [{"status": FINISHED, "objective_values": [1.0, 10.0]}]
    assert observation({}, rows, ACCURACY) == Observation(
        sample={}, state=FINISHED, values=(1.0, 10.0)
    )


def test_a_confirmation_has_as_many_seeds_as_can_tell_a_difference() -> None:
    assert Confirmation().seeds == seeds_needed() == 6
