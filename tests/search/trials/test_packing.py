"""Trials trained together against each alone, as plain functions and in whole searches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from search_processes import on_one_ray, records, run_here
from small_trials import changed, small_configuration, small_trial

from fusion_search.analysis.records.description import TASK_FILE
from fusion_search.analysis.records.failures import read_failure
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import SPECIFICATION_FILE, read_table
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.records.provenance import provenance
from fusion_search.search.records.recorder import Recorder
from fusion_search.search.running import recorded_trial
from fusion_search.search.running.recorded_trial import execute, execute_pack
from fusion_search.search.tasks.base import TrialError
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.describe import describe
from fusion_search.search.trials.packing import News, packing_sentence, packs, run_pack
from fusion_search.search.trials.results import Epoch
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.training import TrialTraining
from fusion_search.search.trials.trial import TrialResult, run_trial


def different_trials(**fields: object) -> list[TrialSpecification]:
    """Trials that differ in all that those of a pack may differ in."""
    return [
        small_trial(**fields, seed=0),
        small_trial(**fields, seed=1, learning_rate=0.01),
        small_trial(**fields, seed=1, train_audio_snr=2.0, train_visual_snr=1.0),
        small_trial(**fields, seed=2, weight_decay=0.1, learning_rate=0.01),
    ]


def a_recorder(storage: Storage, opened: OpenedTask) -> Recorder:
    description = describe("digits", opened.task, opened.first, ("image", "audio"))
    storage.write(description.to_json().encode(), TASK_FILE)
    return Recorder(storage, "test", description, provenance())


def outcomes(
    trials: Sequence[TrialSpecification], opened: OpenedTask
) -> tuple[dict[str, News], list[str]]:
    """How each ended, by trial id, and the ids in the order of their epochs and ends."""
    news = list(run_pack(trials, opened))
    ends = {one.trial_id: what for one, what in news if not isinstance(what, Epoch)}
    return ends, [one.trial_id for one, _ in news]


def assert_same(packed: News, alone: TrialResult) -> None:
    """Equal to what float32 allows after two epochs; what is counted is equal."""
    assert isinstance(packed, TrialResult)
    assert packed.parameters == alone.parameters
    assert packed.multiply_accumulates == alone.multiply_accumulates
    for one, other in zip(packed.epochs, alone.epochs, strict=True):
        assert (one.epoch, one.examples_seen) == (other.epoch, other.examples_seen)
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-5)
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=1e-5)
        assert one.train == other.train
        assert one.validation == other.validation
        assert one.test_loss == pytest.approx(other.test_loss, rel=1e-5)
        assert one.test == other.test
    assert packed.best is not None
    assert alone.best is not None
    assert packed.best.epoch == alone.best.epoch
    for name, value in alone.state.items():
        # Adam divides by a gradient's own size: where it is next to nothing, so is its precision.
        # A hundredth of one step of 0.01 is allowed.
        torch.testing.assert_close(packed.state[name], value, rtol=1e-4, atol=1e-4)
    assert packed.grid is not None
    assert alone.grid is not None
    for mine, theirs in zip(packed.grid.evaluations, alone.grid.evaluations, strict=True):
        assert mine.condition == theirs.condition
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-4)
        assert mine.sums == theirs.sums
    for some, others in zip(packed.grid.predictions, alone.grid.predictions, strict=True):
        for one_part, other_part in zip(some, others, strict=True):
            assert torch.equal(one_part, other_part)


@pytest.mark.parametrize("depth", [pytest.param(0, marks=pytest.mark.slow), 1, 2])
def test_packed_training_gives_the_numbers_of_training_alone(
    small_opened: OpenedTask, depth: int
) -> None:
    # An epoch ends within a batch, and goes on within a pass.
    trials = different_trials(
        fusion_depth=depth,
        epoch_examples=40,
        validation_examples=8,
        test_examples=3,
        predictions=True,
        each_epoch=True,
    )
    assert packs(trials, 4) == [tuple(trials)]
    ends, order = outcomes(trials, small_opened)
    ids = [one.trial_id for one in trials]
    assert order == ids * 3  # two epochs, then the ends
    for trial in trials:
        assert_same(ends[trial.trial_id], run_trial(trial, small_opened))


def test_a_trial_that_diverges_fails_alone(small_opened: OpenedTask) -> None:
    diverging = small_trial(seed=1, learning_rate=1e30)
    trials = [small_trial(seed=0), diverging, small_trial(seed=2)]
    ends, order = outcomes(trials, small_opened)
    assert order[0] == diverging.trial_id
    failed = ends.pop(diverging.trial_id)
    with pytest.raises(TrialError) as alone:
        run_trial(diverging, small_opened)
    assert isinstance(failed, TrialError)
    assert str(failed) == str(alone.value)
    for trial in (trials[0], trials[2]):
        assert_same(ends[trial.trial_id], run_trial(trial, small_opened))


def test_packs_hold_trials_of_one_architecture_in_the_order_declared() -> None:
    pairs = [(2.0, 1.0), (1.0, 0.5), (0.5, 0.25)]
    trials = [
        small_trial(seed=seed, fusion_depth=depth, train_audio_snr=audio, train_visual_snr=visual)
        for seed in (0, 1)
        for audio, visual in pairs
        for depth in (0, 1)
    ]
    found = packs(trials, 4)
    # Of each depth six trials, in the order declared: four, then two.
    assert [[(one.network.fusion_depth, one.seed) for one in pack] for pack in found] == [
        [(0, 0), (0, 0), (0, 0), (0, 1)],
        [(1, 0), (1, 0), (1, 0), (1, 1)],
        [(0, 1), (0, 1)],
        [(1, 1), (1, 1)],
    ]
    assert packs(trials, 1) == [(one,) for one in trials]
    assert packs([], 4) == []


def test_adam_without_decay_is_packed_and_with_decay_is_not(small_opened: OpenedTask) -> None:
    trials = [small_trial(optimizer="adam", seed=seed) for seed in (0, 1)]
    assert packs(trials, 4) == [tuple(trials)]
    decayed = [changed(one, weight_decay=0.1) for one in trials]
    assert packs(decayed, 4) == [(one,) for one in decayed]
    mixed = [decayed[0], trials[0], decayed[1], trials[1]]
    assert packs(mixed, 4) == [(decayed[0],), tuple(trials), (decayed[1],)]
    ends, _ = outcomes(trials, small_opened)
    for one in trials:
        assert_same(ends[one.trial_id], run_trial(one, small_opened))


@pytest.mark.parametrize(
    "fields",
    [
        *({name: 7} for name in ("units", "batch_size", "epochs", "examples", "epoch_examples")),
        *({name: 7} for name in ("validation_examples", "test_examples", "frames", "split_seed")),
        {"fusion_depth": 1},
        {"precision": "bfloat16"},
        {"device": "cuda"},
        {"split": "validation"},
        {"modality": "audio"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_trials_that_differ_in_more_are_not_packed(fields: dict[str, object]) -> None:
    assert len(packs([small_trial(), small_trial(seed=1), small_trial(**fields)], 4)) == 2


def test_what_cannot_be_packed_runs_alone_and_it_is_said() -> None:
    trials = [small_trial(dropout=0.1, seed=seed) for seed in (0, 1)]
    trials += [small_trial(couplings=("mmtm", "none"), seed=seed) for seed in (0, 1)]
    trials += [small_trial(seed=seed) for seed in range(5)]
    assert [len(pack) for pack in packs(trials, 3)] == [1, 1, 1, 1, 3, 2]
    sentence = packing_sentence(trials, 3, 0.0)
    assert "5 trials in 2 packs of up to 3, 4 alone (couplings, gate, dropout" in sentence
    assert "on a CPU" in sentence
    assert "was measured to bring nothing" in sentence
    on_gpu = [changed(one, device="cuda") for one in trials[4:]]
    assert packing_sentence(on_gpu, 5, 1.0) == "packing: 5 trials in 1 pack of up to 5"


def test_every_packed_trial_has_records_as_if_alone(
    tmp_path: Path, small_opened: OpenedTask
) -> None:
    trials = [small_trial(seed=0), small_trial(seed=1, learning_rate=1e30), small_trial(seed=2)]
    storages = {name: open_storage(tmp_path / name) for name in ("packed", "alone")}
    recorders = {name: a_recorder(storage, small_opened) for name, storage in storages.items()}
    news: list[tuple[str, str]] = []
    execute_pack(
        trials,
        small_opened,
        recorders["packed"],
        on_start=lambda row: news.append(("start", row["trial_id"])),
        on_epoch=lambda row: news.append(("epoch", row["trial_id"])),
        on_end=lambda row: news.append((row["status"], row["trial_id"])),
    )
    first, failing, last = (one.trial_id for one in trials)
    assert news == [
        *(("start", one) for one in (first, failing, last)),
        ("failed", failing),
        *(("epoch", one) for one in (first, last) * 2),
        *(("finished", one) for one in (first, last)),
    ]
    for trial in trials:
        execute(trial, small_opened, recorders["alone"])
    assert_same_records(storages["packed"], storages["alone"])
    for storage in storages.values():
        assert storage.names("failures") == [f"{failing}.txt"]
        assert storage.read("failures", f"{failing}.txt").endswith(b"lower learning_rate (1e+30)\n")
    table = read_table(storages["packed"], "trials")
    assert (table["packed_trials"] == 3).all()
    assert (read_table(storages["alone"], "trials")["packed_trials"] == 1).all()

    # Once more: what has finished is answered from its record, the other is tried again.
    news.clear()
    execute_pack(
        trials,
        small_opened,
        recorders["packed"],
        on_start=lambda row: news.append(("start", row["trial_id"])),
        on_end=lambda row: news.append((row["status"], row["trial_id"])),
    )
    assert news == [
        ("finished", first),
        ("finished", last),
        ("start", failing),
        ("failed", failing),
    ]


def test_what_befalls_a_pack_is_told_of_each_in_the_same_words(
    tmp_path: Path, small_opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(trials: object, data: object) -> object:
        raise TypeError("'method' object is not iterable")

    monkeypatch.setattr(recorded_trial, "run_pack", broken)
    storage = open_storage(tmp_path)
    recorder = a_recorder(storage, small_opened)
    trials = [small_trial(seed=seed) for seed in range(3)]
    execute_pack(trials, small_opened, recorder)
    texts = [read_failure(storage, one.trial_id) or "" for one in trials]
    tracebacks = {text.partition("\n\n")[2] for text in texts}
    assert len(tracebacks) == 1
    (known,) = tracebacks
    assert known.startswith("Traceback (most recent call last):\n")
    assert known.endswith("TypeError: 'method' object is not iterable\n")


def assert_same_records(packed: Storage, alone: Storage) -> None:
    """But for times, cost and what says that they were packed."""
    same = {
        "trials": [
            *("trial_id", "status", "reason", "specification", "epochs_run", "best_epoch"),
            *("mean_accuracy", "worst_accuracy", "train_condition_accuracy", "validation_accuracy"),
        ],
        "epochs": ["trial_id", "epoch", "examples_seen", "train_accuracy", "validation_accuracy"],
        "grid": ["trial_id", "test_audio_snr", "test_visual_snr", "n", "accuracy_sum"],
    }
    for table, columns in same.items():
        tables = [read_table(one, table)[columns] for one in (packed, alone)]
        pd.testing.assert_frame_equal(*tables)
    losses = [read_table(one, "epochs")["train_loss"] for one in (packed, alone)]
    pd.testing.assert_series_equal(*losses, rtol=1e-5)


def test_what_befalls_a_whole_pack_is_recorded_of_each(
    tmp_path: Path, small_opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(TrialTraining, "loaded", full)
    storage = open_storage(tmp_path)
    recorder = a_recorder(storage, small_opened)
    execute_pack([small_trial(seed=seed) for seed in (0, 1)], small_opened, recorder)
    trials = read_table(storage, "trials")
    assert len(trials) == 2
    assert all(one.startswith("out of memory (MemoryError: no room)") for one in trials["reason"])


def test_an_evaluation_that_fails_fails_its_trial_alone(
    small_opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = TrialTraining.evaluate

    def fail_for_one(self: TrialTraining) -> object:
        if self.trial.seed == 0:
            raise MemoryError("no room")
        return evaluate(self)

    monkeypatch.setattr(TrialTraining, "evaluate", fail_for_one)
    trials = [small_trial(seed=seed) for seed in (0, 1)]
    ends, _ = outcomes(trials, small_opened)
    assert isinstance(ends[trials[0].trial_id], MemoryError)
    assert isinstance(ends[trials[1].trial_id], TrialResult)


def write_search(folder: Path, packed_trials: int) -> list[TrialSpecification]:
    """A sweep of six trials that was launched and then interrupted before any ended."""
    config = small_configuration(
        name="test",
        storage=str(folder),
        train=[[1.0, 1.0], [0.5, 0.25], [2.0, 1.0]],
        seeds=[0, 1],
        resources={"concurrent_trials": 1, "packed_trials": packed_trials},
        mlflow={"enabled": False},
    )
    open_storage(folder).below("test").write(yaml.safe_dump(config).encode(), SPECIFICATION_FILE)
    return build_search(config).planned_trials()


@pytest.mark.slow
@on_one_ray
def test_a_sweep_resumed_in_packs_ends_as_it_would_alone(
    tmp_path: Path, small_opened: OpenedTask
) -> None:
    trials = write_search(tmp_path / "packed", 4)
    storages = [open_storage(tmp_path / name).below("test") for name in ("packed", "alone")]
    for storage, count in zip(storages, (1, 6), strict=True):
        recorder = a_recorder(storage, small_opened)
        for trial in trials[:count]:
            execute(trial, small_opened, recorder)
    packed, alone = storages
    before = records(packed)

    code, output = run_here("resume", "test", "--storage", str(tmp_path / "packed"))
    assert code == 0, output
    assert "1 of 6 trials have ended before" in output
    assert "packing: 4 trials in 1 pack of up to 4, 1 alone" in output
    assert "run on a CPU" in output
    assert "6 of 6 trials finished, 0 failed" in output
    after = records(packed)
    assert {name: after[name] for name in before} == before
    assert_same_records(packed, alone)
    sizes = read_table(packed, "trials").set_index("trial_id")["packed_trials"]
    assert [sizes[one.trial_id] for one in trials] == [1, 4, 4, 4, 4, 1]
