"""Streams of a CoupledNetwork stay what they are: their modes, weights and names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from two_streams import (
    COUPLED,
    EXAMPLE,
    Ready,
    gradients,
    levels,
    modules,
    network_of,
    parts,
    ready,
)

from fusion_search.models.coupled.heads import Concatenate
from fusion_search.models.coupled.network import CoupledNetwork
from fusion_search.models.layout import Placement, Site, View

BUILDS = [levels, modules]


@pytest.mark.parametrize("build", BUILDS)
def test_weights_do_not_depend_on_the_placement(build: Any) -> None:
    plain, coupled = build(), build(COUPLED)
    assert len(coupled.state_dict()) > len(plain.state_dict())
    alone = build(Placement(streams=("emg",)))
    for name, one in plain.state_dict().items():
        assert torch.equal(one, coupled.state_dict()[name]), name
        if name.startswith("streams.emg"):
            assert torch.equal(one, alone.state_dict()[name]), name


def test_made_levels_draw_from_seeds_of_their_own() -> None:
    def built(placement: Placement | None, wider: int = 0) -> CoupledNetwork:
        def made(width: int) -> Any:
            return lambda given: nn.Linear(given.channels, width)

        streams = {"a": {"1": made(4 + wider), "2": made(3)}, "b": {"1": made(4), "2": made(3)}}
        sites = [Site("s", {"a": "1", "b": "1"})]
        return network_of(streams, placement, sites=sites, example=VECTORS)

    plain = built(None)
    # Whatever there is more of, in a stream or between them, draws nothing from the others.
    for other in (built(Placement({"s": {"coupling": "mmtm"}})), built(None, wider=2)):
        for name, one in plain.streams["b"].state_dict().items():
            assert torch.equal(one, other.streams["b"].state_dict()[name])
    drawn_from = torch.random.get_rng_state()
    assert torch.equal(drawn_from, torch.manual_seed(5).get_state())
    first, second = (plain.streams[name]["1"].weight for name in "ab")
    assert not torch.equal(first, second)


@pytest.mark.parametrize("build", BUILDS)
def test_a_dropped_stream_is_gone(build: Any) -> None:
    network = build(Placement(streams=("emg",)))
    assert list(network.streams) == ["emg"]
    assert not network.exchanges
    assert network(emg=EXAMPLE["emg"]).shape == (2, 5)
    # What it says of itself is the whole network's.
    assert network.layout.streams == ("video", "emg")
    assert not any("video" in name for name in network.state_dict())


def _video_with_statistics(build: Any) -> Any:
    streams = parts() if build is levels else ready()
    video: Any = streams["video"]
    (video["a"] if build is levels else video.a).append(nn.BatchNorm2d(6))
    return streams


@pytest.mark.parametrize("build", BUILDS)
def test_a_frozen_stream_stays_in_evaluation_mode(build: Any) -> None:
    streams = _video_with_statistics(build)
    network = network_of(streams, COUPLED)
    network.streams["video"].requires_grad_(False)
    network.train()
    assert network.training
    assert not network.streams["video"].training
    assert network.streams["emg"].training
    before = {name: one.clone() for name, one in network.streams["video"].state_dict().items()}
    network(**EXAMPLE).sum().backward()
    after = network.streams["video"].state_dict()
    assert all(torch.equal(one, after[name]) for name, one in before.items())
    learned = gradients(network)
    assert not any(name.startswith("streams.video") for name in learned)
    assert any(name.startswith("exchanges.s1") for name in learned)
    assert any(name.startswith("streams.emg.x") for name in learned)


def test_a_models_own_checkpoint_loads_by_its_own_names() -> None:
    trained = ready()["video"]
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1)
    network = modules(COUPLED)
    assert network.streams["video"].state_dict().keys() == trained.state_dict().keys()
    network.streams["video"].load_state_dict(trained.state_dict())
    assert torch.equal(network.streams["video"](EXAMPLE["video"]), trained(EXAMPLE["video"]))
    # And back: what was trained here is a checkpoint of the model.
    ready()["video"].load_state_dict(network.streams["video"].state_dict())


class Private(Ready):
    """Runs without gradients, in float16, whatever the others do."""

    gave: torch.dtype | None = None

    def forward(self, values: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.float16):
            values = super().forward(values)
        self.gave = values.dtype
        return values.float()


class Thinking(Ready):
    """Runs in inference mode."""

    def forward(self, values: Tensor) -> Tensor:
        with torch.inference_mode():
            values = super().forward(values)
        return values.clone()


FLOAT = View(lambda output: output.float(), lambda output, new: new)


@pytest.mark.parametrize("kind", [Private, Thinking])
def test_a_streams_own_modes_do_not_leak(kind: type[Ready]) -> None:
    sites = [Site("s1", {"video": "a", "emg": "x"}, views={"video": FLOAT}, gated=("video",))]
    network = network_of(ready(video=kind), sites=sites)
    output = network(**EXAMPLE)
    assert getattr(network.streams["video"], "gave", torch.float16) == torch.float16
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert not torch.is_autocast_enabled("cpu")
    assert output.dtype == torch.float32
    output.sum().backward()
    learned = gradients(network)
    assert {name.split(".")[1] for name in learned if "streams" in name} == {"emg"}
    # And those of who calls reach every stream, and end with the call.
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert network(**EXAMPLE).dtype == torch.bfloat16
    assert torch.is_grad_enabled()


class Entering(Ready):
    left = 0

    def forward(self, values: Tensor) -> Tensor:
        try:
            with torch.no_grad():
                return super().forward(values)
        finally:
            Entering.left += 1


class Failing(Ready):
    def forward(self, values: Tensor) -> Tensor:
        if values.isnan().any():
            self.names = ("x", "nowhere")
        return super().forward(values)


def test_what_a_stream_has_entered_is_left_when_another_fails() -> None:
    network = network_of(ready(video=Entering, emg=Failing))
    assert torch.is_grad_enabled()  # after a run without values, which fails
    Entering.left = 0
    with pytest.raises(AttributeError, match="nowhere") as error:
        network(video=EXAMPLE["video"], emg=EXAMPLE["emg"] * torch.nan)
    assert Entering.left == 1  # at once, not when the error is forgotten
    assert torch.is_grad_enabled()
    del error


class Checkpointed(Ready):
    """Keeps no activation, in either of torch's ways."""

    reentrant = False

    def forward(self, values: Tensor) -> Tensor:
        return checkpoint(super().forward, values, use_reentrant=self.reentrant)  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_around_a_site_is_refused(reentrant: bool) -> None:
    streams = ready(video=Checkpointed)
    streams["video"].reentrant = reentrant  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="level a lies inside activation checkpointing"):
        network_of(streams, COUPLED)


def test_activation_checkpointing_elsewhere_changes_no_gradient() -> None:
    plain, whole, between = (modules(COUPLED) for _ in range(3))
    plain(**EXAMPLE).sum().backward()
    checkpoint(lambda: whole(**EXAMPLE), use_reentrant=False).sum().backward()
    level = between.streams["video"].a
    forward = level.forward
    level.forward = lambda values: checkpoint(forward, values, use_reentrant=False)
    between(**EXAMPLE).sum().backward()
    expected = gradients(plain)
    for network in (whole, between):
        found = gradients(network)
        assert found.keys() == expected.keys()
        assert all(torch.equal(one, expected[name]) for name, one in found.items())


class Recurrent(nn.Module):
    """Calls one level three times."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, values: Tensor) -> Tensor:
        for _ in range(3):
            values = self.cell(values).relu()
        answer: Tensor = self.out(values)
        return answer


VECTORS = {"a": torch.randn(2, 4), "b": torch.randn(2, 4)}


def test_a_level_that_is_called_again_is_refused() -> None:
    streams = {"a": Recurrent(), "b": nn.Sequential(nn.Linear(4, 4), nn.ReLU())}
    with pytest.raises(ValueError, match="passes level cell again behind its last site"):
        network_of(streams, sites=[Site("s1", {"a": "cell", "b": "0"})], example=VECTORS)


def test_a_module_of_two_networks_is_whole_in_both() -> None:
    one, other = (
        nn.Sequential(nn.Linear(4, 4), nn.ReLU()),
        nn.Sequential(nn.Linear(4, 4), nn.Tanh()),
    )
    sites = [Site("s1", {"a": "0", "b": "0"})]
    head = lambda ends: Concatenate(ends, 2)  # noqa: E731
    CoupledNetwork({"a": one, "b": other}, sites, head, VECTORS)
    alone = CoupledNetwork(
        {"a": one, "b": other}, sites, head, VECTORS, Placement(streams=("a",))
    ).eval()
    assert torch.equal(alone(a=VECTORS["a"]), alone.head({"a": one(VECTORS["a"])}))
