"""One trial as a plain function, and its evaluation against the plain loop."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_trials import changed, small_trial
from torch.nn import functional

from fusion_search.datasets.digits.data import DigitData
from fusion_search.models import gates
from fusion_search.models.early_fusion import EarlyFusionNetwork
from fusion_search.search.tasks.base import Task, TrialError
from fusion_search.search.tasks.digits.engine import choose_engine
from fusion_search.search.tasks.digits.task import Digits, digit_splits
from fusion_search.search.tasks.evaluation import evaluate
from fusion_search.search.tasks.named import find_task
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.tasks.run import Run
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.training import TrialTraining, draw_examples
from fusion_search.search.trials.trial import choose_device, run_trial

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "choice",
    [
        {"fusion_depth": 0},
        {"fusion_depth": 1},
        {"fusion_depth": 2},
        {"fusion_depth": 1, "couplings": ("mmtm",), "fusion": "gate_audio"},
        {"fusion_depth": 2, "to_image": ("cross", "none")},
    ],
)
@pytest.mark.parametrize("batch_size", [16, 70])
def test_grid_equals_the_condition_by_condition_loop(
    small_data: DigitData, choice: dict[str, Any], batch_size: int
) -> None:
    trial = small_trial(**choice)
    torch.manual_seed(0)
    network = EarlyFusionNetwork(trial.network.with_placement(trial.placement))
    pairs = draw_examples(len(small_data.splits["test"]), 15, seed=1, split="test")
    task, conditions = Digits(), trial.for_task(Digits()).test_conditions()
    assert len(conditions) == 100
    answers = list(
        task.answers(
            network.eval(),
            digit_splits(small_data).test,
            pairs.tolist(),
            conditions,
            Run(task, CPU),
            seed=5,
            size=batch_size,
        )
    )
    for cell in evaluate(task, answers, conditions)[::9]:
        mine = [one for one in answers if one.condition == cell.condition]
        shown = torch.cat([one.numbers for one in mine])
        assert sorted(shown.tolist()) == sorted(pairs.tolist())
        examples = small_data.examples("test", shown, noise_seed=5)
        audio, visual = cell.condition["audio_snr"], cell.condition["visual_snr"]
        assert isinstance(audio, float)
        assert isinstance(visual, float)
        with torch.no_grad():
            logits = network(examples.visual(visual), examples.audio(audio))
        loss = functional.cross_entropy(logits, examples.labels, reduction="sum").item()
        assert torch.equal(torch.cat([one.outputs for one in mine]).argmax(1), logits.argmax(1))
        assert cell.n == 15
        assert cell.sums["accuracy"] == int((logits.argmax(1) == examples.labels).sum())
        assert cell.loss_sum == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("choice", [{"fusion_depth": 0}, {"fusion_depth": 2}])
def test_the_tasks_own_answers_equal_the_plain_loops(
    small_data: DigitData, choice: dict[str, Any]
) -> None:
    trial = small_trial(**choice)
    torch.manual_seed(0)
    network = EarlyFusionNetwork(trial.network.with_placement(trial.placement)).eval()
    task, splits = Digits(), digit_splits(small_data)
    whole = trial.for_task(task).test_conditions()
    # A product of SNRs, as digits' own answers need.
    audio = {one["audio_snr"] for one in whole[::23]}
    conditions = [one for one in whole if one["audio_snr"] in audio]
    words = (network, splits.test, [3, 50, 7], conditions, Run(task, CPU))
    with torch.inference_mode():
        own = evaluate(task, task.answers(*words, seed=5, size=2), conditions)
        plain = evaluate(task, Task.answers(task, *words, seed=5, size=2), conditions)
    for one, other in zip(own, plain, strict=True):
        assert one.condition == other.condition
        assert (one.n, one.sums) == (other.n, other.sums)
        assert one.loss_sum == pytest.approx(other.loss_sum, rel=1e-5)


@pytest.mark.parametrize(("modality", "moving"), [("visual", 1), ("audio", 0)])
def test_a_single_sense_is_tested_over_its_own_snr(
    small_opened: OpenedTask, modality: str, moving: int
) -> None:
    pair = {"train_audio_snr": math.inf, "train_visual_snr": math.inf}
    result = run_trial(small_trial(modality=modality, **pair), small_opened)
    assert result.grid is not None
    pairs = [tuple(one.condition.values()) for one in result.grid.evaluations]
    assert len({pair[moving] for pair in pairs}) == 10
    assert {pair[1 - moving] for pair in pairs} == {math.inf}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_numbers(
    small_data: DigitData, small_opened: OpenedTask, precision: str
) -> None:
    trial = small_trial(precision=precision, fusion_depth=1)
    first, second = run_trial(trial, small_opened), run_trial(trial, small_opened)
    for name, value in first.state.items():
        assert torch.equal(value, second.state[name]), name
    assert first.grid is not None
    assert second.grid is not None
    assert [(one.sums, one.loss_sum) for one in first.grid.evaluations] == [
        (one.sums, one.loss_sum) for one in second.grid.evaluations
    ]
    other = run_trial(small_trial(precision=precision, fusion_depth=1, seed=1), small_opened)
    assert not torch.equal(first.state["head.0.weight"], other.state["head.0.weight"])


def test_the_same_seed_shows_every_depth_the_same_pairs(small_opened: OpenedTask) -> None:
    grids = [
        run_trial(small_trial(fusion_depth=depth, predictions=True), small_opened).grid
        for depth in (1, 2)
    ]
    shown = [grid.predictions[0][0] for grid in grids if grid is not None]
    assert torch.equal(*shown)


def test_epochs_count_examples_and_the_best_one_is_kept(
    small_data: DigitData, small_opened: OpenedTask
) -> None:
    seen = []
    trial = small_trial(examples=40, epoch_examples=56, epochs=4)
    result = run_trial(trial, small_opened, on_epoch=seen.append)
    assert seen == result.epochs
    assert [one.examples_seen for one in result.epochs] == [56, 112, 168, 224]
    assert result.best is not None
    best = max(one.validation["accuracy"] for one in result.epochs)
    assert result.best.validation["accuracy"] == best
    run = TrialTraining(trial.for_task(Digits()), digit_splits(small_data), CPU)
    run.network.load_state_dict(result.state)
    pairs = draw_examples(len(small_data.splits["validation"]), 20, seed=0, split="validation")
    (check,) = run.judge("validation", pairs, [trial.train])
    assert check.metrics["accuracy"] == pytest.approx(best)


@pytest.mark.slow  # of the layer itself, tests/models/test_convlstm.py asks the same
def test_engines_and_checkpointing_change_rounding_alone(small_opened: OpenedTask) -> None:
    trial = small_trial(fusion_depth=0, epochs=1)
    eager = run_trial(trial, small_opened)
    assert eager.engine == "eager"  # compiling would take longer than these few steps
    for other in ({"gates": "compiled"}, {"gates": "eager", "checkpoint_frames": 5}):
        result = run_trial(changed(trial, **other), small_opened)
        assert result.engine == other["gates"]
        assert result.grid is not None
        assert eager.grid is not None
        for name, value in eager.state.items():
            torch.testing.assert_close(result.state[name], value, atol=1e-5, rtol=1e-3)
        losses = [
            [one.loss for one in each.grid.evaluations]
            for each in (result, eager)
            if each.grid is not None
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_without_a_compiler_the_gates_run_eagerly_and_the_record_says_so(
    small_opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fusion_search.models.gates.probe", lambda device: "InvalidCxxCompiler: none found"
    )
    name, arithmetic = choose_engine("auto", recurrent=True, units=8, steps=2000, device=CPU)
    assert name == "eager, since nothing can be compiled: InvalidCxxCompiler: none found"
    assert arithmetic is gates.EAGER
    with pytest.raises(TrialError, match=r"nothing can be compiled .*none found.*gates: auto"):
        run_trial(small_trial(gates="compiled"), small_opened)


def test_a_machine_without_a_compiler_is_found_out(tmp_path: Path) -> None:
    code = "from fusion_search.models import gates; print(gates.probe('cpu'))"
    environment = {
        **os.environ,
        "CXX": str(tmp_path / "missing"),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert "compiler" in done.stdout.lower()


REAL = os.environ.get("FUSION_SEARCH_DATA")
SOURCES = [
    "builtin",
    pytest.param(
        "digits",
        marks=[
            pytest.mark.real_data,
            pytest.mark.skipif(REAL is None, reason="FUSION_SEARCH_DATA is not set"),
        ],
    ),
]


@pytest.mark.parametrize("source", SOURCES)
def test_training_lowers_the_loss(source: str) -> None:
    trial = small_trial(
        source=source,
        modality="visual",
        train_audio_snr=math.inf,
        train_visual_snr=math.inf,
        examples=2000,
        epoch_examples=1000,
        epochs=2,
        units=8,
        dense_units=32,
        validation_examples=200,
    )
    task = find_task("digits", Path(REAL) if REAL else None)
    result = run_trial(trial, OpenedTask(task, trial.data))
    assert result.epochs[-1].train_loss < 0.8 * math.log(10)
    assert result.epochs[-1].validation["accuracy"] > 0.4


def test_drawn_pairs_are_different_and_belong_to_the_split() -> None:
    pairs = draw_examples(1000, 900, seed=3, split="train").numpy()
    assert len(np.unique(pairs)) == 900
    assert pairs.min() >= 0
    assert pairs.max() < 1000
    assert not np.array_equal(pairs, draw_examples(1000, 900, seed=3, split="test").numpy())


def test_too_many_pairs_are_refused(small_opened: OpenedTask) -> None:
    with pytest.raises(TrialError, match=r"train has .* examples, .* were asked for"):
        run_trial(small_trial(examples=10**9), small_opened)


@pytest.mark.parametrize(
    ("precision", "remedy"), [("float32", ""), ("bfloat16", " or use precision float32")]
)
def test_a_loss_that_is_not_finite_ends_the_trial(
    precision: str, remedy: str, small_opened: OpenedTask
) -> None:
    said = rf"the loss became (nan|inf) in epoch 1 .*lower learning_rate \(1e\+30\){remedy}$"
    with pytest.raises(TrialError, match=said):
        run_trial(small_trial(learning_rate=1e30, precision=precision), small_opened)


def test_a_trial_runs_on_the_data_of_its_own_specification(small_opened: OpenedTask) -> None:
    longer = small_trial(frames=30, epochs=1)
    own = run_trial(longer, OpenedTask(Digits(), longer.data))
    shared = run_trial(longer, small_opened)
    assert shared.epochs[0].train_loss == own.epochs[0].train_loss
    assert small_opened.data(longer.data).fingerprint != small_opened.first.fingerprint
    assert small_opened.data(longer.data) is small_opened.data(longer.data)
    # Who brings no data gets those that the specification names.
    assert run_trial(longer).epochs[0].train_loss == own.epochs[0].train_loss


def test_a_missing_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrialError, match="no CUDA GPU"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def test_costs_are_measured(small_opened: OpenedTask, trial: TrialSpecification) -> None:
    result = run_trial(trial, small_opened)
    total = result.train_seconds + result.evaluation_seconds
    assert 0 < result.data_seconds < total
    assert result.peak_memory_bytes > 50 * 2**20
