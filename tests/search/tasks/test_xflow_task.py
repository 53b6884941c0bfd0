from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fusion_search.datasets.batch import Data
from fusion_search.datasets.clips import data as clip_data
from fusion_search.datasets.clips.clip import CLIP_KIND, Clip
from fusion_search.datasets.clips.stand_in import NOTE, stand_in
from fusion_search.datasets.decoded import Listed, in_memory
from fusion_search.datasets.loading import Presentation, load
from fusion_search.models.layout import Placement
from fusion_search.models.xflow.averaged import AveragedXFlow
from fusion_search.models.xflow.recurrent import RecurrentXFlow
from fusion_search.models.xflow.widths import WHOLE, trainable
from fusion_search.search.declaration.configuration import build_search, load_configuration
from fusion_search.search.tasks.named import find_task
from fusion_search.search.tasks.opened import open_task
from fusion_search.search.tasks.xflow.task import XFlow
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings
from fusion_search.search.trials.task_trial import TaskTrial
from fusion_search.search.trials.trial import run_task_trial

CONFIGS = Path(__file__).parents[3] / "search/configs"


@pytest.fixture(scope="module")
def listed() -> Listed[Clip]:
    """Sixteen clips of eight persons, which take a second."""
    return in_memory(CLIP_KIND, stand_in(2, 1))


@pytest.fixture
def task(listed: Listed[Clip], monkeypatch: pytest.MonkeyPatch) -> XFlow:
    monkeypatch.setattr(clip_data, "load_clips", lambda settings, folder=None: (listed, NOTE))
    found = find_task("xflow")
    assert isinstance(found, XFlow)
    return found


def opened(task: XFlow, form: str) -> Data:
    return open_task(task, task.data(source="builtin", form=form))


@pytest.mark.parametrize(
    ("form", "kind"), [("averaged", AveragedXFlow), ("sequence", RecurrentXFlow)]
)
def test_the_form_of_the_clips_says_which_network(task: XFlow, form: str, kind: type) -> None:
    data = opened(task, form)
    settings = task.network(widened=True, slope=0.2)
    wide, whole = (task.build(settings, data, one) for one in (Placement(), WHOLE))
    assert isinstance(whole, kind)
    assert abs(trainable(wide) / trainable(whole) - 1) < 0.02
    assert trainable(task.build(task.network(), data, Placement())) < 0.7 * trainable(whole)


def test_widened_means_nothing_beside_connections() -> None:
    settings = XFlow.network(widened=True)
    assert settings.canonical(WHOLE) == (XFlow.network(), WHOLE)
    gated = Placement({"level1": {"coupling": "mmtm"}})
    assert settings.canonical(gated) == (settings, gated)


@pytest.mark.parametrize(
    ("field", "value"),
    [("slope", 2.0), ("norm_momentum", 0.0), ("dropouts", "none"), ("step_statistics", "some")],
)
def test_settings_name_what_is_allowed(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"{field} is .*; allowed: "):
        XFlow.network(**{field: value})


def test_noise_meets_its_ratio_and_leaves_padding_alone(task: XFlow) -> None:
    data = opened(task, "sequence")
    shown = [Presentation(number, number) for number in range(2)]
    batch, _ = next(load(data.validation, [shown], seed=0))
    assert not batch.inputs["image"]["there"].all()
    condition = {name: torch.full((2,), 2.0) for name in ("audio_snr", "visual_snr")}
    met = task.impair(batch, condition, torch.arange(2), 0)
    for stream, part in (("image", "frames"), ("audio", "coefficients")):
        clean, noisy = batch.inputs[stream][part], met.inputs[stream][part]
        mask = batch.inputs[stream]["there"]
        assert torch.equal(met.inputs[stream]["there"], mask)
        assert not noisy[~mask].any()
        for number in range(2):
            signal = clean[number][mask[number]]
            noise = noisy[number][mask[number]] - signal
            ratio = signal.square().mean().sqrt() / noise.square().mean().sqrt()
            assert float(ratio) == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("form", ["averaged", "sequence"])
def test_a_trial_learns_and_is_tested_under_noise(task: XFlow, form: str) -> None:
    task.axes = tuple(
        type(one)(one.name, one.input, one.test[:2], where=one.where) for one in task.axes
    )
    trial = TaskTrial(
        task=task,
        network=task.network(),
        data=task.data(source="builtin", form=form),
        placement=Placement({"level1": {"image>audio": "residual", "audio>image": "cross"}}),
        train={},
        training=TrainingSettings(epochs=3, batch_size=5, optimizer="adam"),
        evaluation=EvaluationSettings(absent=False),
    )
    result = run_task_trial(trial, opened(task, form), torch.device("cpu"))
    assert len(result.grid.evaluations) == 4
    losses = [one.train_loss for one in result.epochs]
    assert losses[-1] < losses[0]


def test_the_demo_is_four_variants_on_two_folds(task: XFlow) -> None:
    search = build_search(load_configuration(CONFIGS / "xflow-demo.yaml", ()))
    trials = search.planned_trials()
    assert len(trials) == 8
    assert {one.fold for one in trials} == {0, 1}
    kinds = {one.placement.at("level1", "image>audio") for one in trials}
    assert kinds == {"none", "cross", "residual", "both"}
