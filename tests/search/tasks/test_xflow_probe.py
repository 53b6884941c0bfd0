"""What the XFlow task shows of its networks, against their equations written out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fusion_search.datasets.batch import Batch, Data
from fusion_search.datasets.clips import data as clip_data
from fusion_search.datasets.clips.clip import CLIP_KIND
from fusion_search.datasets.clips.stand_in import NOTE, stand_in
from fusion_search.datasets.decoded import in_memory
from fusion_search.datasets.loading import Presentation, load
from fusion_search.models.layout import Placement
from fusion_search.models.xflow.widths import WHOLE
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.tasks.xflow.task import XFlow
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.inspection.probe import Example, of_every_class, probe

WAYS = [
    f"{site}.{way}.{kind}"
    for site in ("level1", "level2")
    for kind in ("residual", "cross")
    for way in ("image>audio", "audio>image")
]


@pytest.fixture(scope="module")
def tasks() -> dict[str, OpenedTask]:
    """Of sixteen clips of eight persons, in both forms."""
    listed = in_memory(CLIP_KIND, stand_in(2, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip_data, "load_clips", lambda settings, folder=None: (listed, NOTE))
        task = XFlow()
        forms: Any = ("averaged", "sequence")
        return {form: OpenedTask(task, task.data(source="builtin", form=form)) for form in forms}


def made(opened: OpenedTask, placement: Placement = WHOLE) -> tuple[Any, Data]:
    torch.manual_seed(0)
    task, data = opened.task, opened.first
    network = task.build(task.network(slope=0.2), data, placement)
    with torch.no_grad():  # statistics that are none of their first values
        batch = some(data, [0, 1, 2])
        network(**batch.inputs)
    return network.eval(), data


def some(data: Data, numbers: list[int]) -> Batch:
    batch, _ = next(load(data.train, [[Presentation(one, one) for one in numbers]], seed=0))
    return batch


def prelu(values: Tensor, slopes: Tensor) -> Tensor:
    return torch.maximum(values, torch.zeros(())) + slopes * torch.minimum(values, torch.zeros(()))


def test_a_residual_over_time_is_its_equation_of_every_step_that_is_there(
    tasks: dict[str, OpenedTask],
) -> None:
    network, data = made(tasks["sequence"])
    steps = [int(data.train[one][0]["image"]["there"].sum()) for one in range(4)]
    short = steps.index(min(steps))
    batch = some(data, [short])
    with torch.inference_mode():
        found = tasks["sequence"].task.probe(network, batch)
    there = min(steps)
    assert there < batch.inputs["image"]["frames"].shape[1]
    assert set(found) == {"output", "input.image.frames", "input.audio.coefficients", *WAYS}
    assert {one.shape[1] for name, one in found.items() if name != "output"} == {there}
    coefficients = batch.inputs["audio"]["coefficients"][0, :there]
    assert torch.equal(found["input.audio.coefficients"][0], coefficients)
    dense, slopes, _, _, _, spread, more, _ = (
        network.exchanges["level1"].residuals["audio>image"].module.layers
    )
    with torch.no_grad():
        points = prelu(coefficients @ dense.weight.T + dense.bias, slopes.slopes)
        side = spread.weight.shape[-1]
        maps = points.reshape(there, 1, 40 - side + 1, 30 - side + 1)
        maps = prelu(functional.conv_transpose2d(maps, spread.weight, spread.bias), more.slopes)
    assert found["level1.audio>image.residual"].shape == (1, there, 8, 40, 30)
    torch.testing.assert_close(found["level1.audio>image.residual"][0], maps, rtol=1e-4, atol=1e-4)
    assert found["level2.image>audio.cross"].shape == (1, there, 64)


def test_what_an_averaged_network_shows_is_what_hooks_on_its_modules_get(
    tasks: dict[str, OpenedTask],
) -> None:
    network, data = made(tasks["averaged"])
    got: dict[str, Tensor] = {}
    for name in WAYS:
        site, way, kind = name.rsplit(".", 2)
        modules = getattr(network.exchanges[site], {"cross": "crosses"}.get(kind, "residuals"))
        last = modules[way].module.layers[-1]
        last.register_forward_hook(lambda _, __, out, name=name: got.__setitem__(name, out))
    found = list(probe(network, tasks["averaged"], data, [Example("train", 1)], [{}], seed=0))
    kept = {one.name: one.values for one in found}
    names = ["input.image.frames", "input.audio.coefficients", "output", *WAYS]
    assert sorted(kept) == sorted(names)
    for name in WAYS:
        assert torch.equal(kept[name], got[name][0])
    assert kept["level1.image>audio.cross"].shape == (64,)
    assert kept["level2.audio>image.cross"].shape == (32, 20, 15)
    clip = data.train.clips[1]  # type: ignore[attr-defined]
    assert {(one.group, one.label) for one in found} == {(clip.person, int(clip.label))}
    with torch.inference_mode():
        logits = network(**some(data, [1]).inputs)
    torch.testing.assert_close(kept["output"], logits[0])


def test_one_stream_alone_and_no_connection_are_shown_too(tasks: dict[str, OpenedTask]) -> None:
    network, data = made(tasks["sequence"], Placement(streams=("image",)))
    found = tasks["sequence"].task.probe(network, some(data, [0]))
    assert set(found) == {"output", "input.image.frames", "input.audio.coefficients"}


def test_one_clip_of_every_class_and_person(tasks: dict[str, OpenedTask]) -> None:
    data = tasks["averaged"].first
    chosen = of_every_class(data, ("test", "validation", "train"), 1, seed=0)
    clips = [data.split(one.split).clips[one.number] for one in chosen]  # type: ignore[attr-defined]
    told = [(clip.person, clip.label) for clip in clips]
    assert len(told) == len(set(told)) == 16  # eight persons, two digits
    of_test = of_every_class(data, ("test",), 1, seed=0)
    assert [one.split for one in of_test] == ["test", "test"]


@pytest.mark.parametrize("targets", [torch.zeros(2, 3), ["yes", "no"]])
def test_examples_of_several_classes_are_named_one_by_one(targets: Any) -> None:
    data: Any = SimpleNamespace(split=lambda _: SimpleNamespace(targets=targets))
    with pytest.raises(ConfigurationError, match="not one class; name examples by --example"):
        of_every_class(data, ["test"], 1, seed=0)
