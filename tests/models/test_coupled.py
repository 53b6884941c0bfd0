"""CoupledNetwork: ready-made modules and levels, what sites exchange, and what stays itself."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from two_streams import COUPLED, EXAMPLE, SITES, Ready, block2, levels, modules, parts

from fusion_search.models.coupled.heads import Concatenate
from fusion_search.models.coupled.network import CoupledNetwork
from fusion_search.models.layout import TOKENS, Feature, Layout, Placement, Site, View


@pytest.mark.parametrize("placement", [Placement(), COUPLED])
def test_modules_and_levels_give_equal_numbers(placement: Placement) -> None:
    one, other = levels(placement), modules(placement)
    with torch.no_grad():
        for network in (one, other):
            for name, parameter in network.exchanges.named_parameters():
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
                del name
    assert torch.equal(one(**EXAMPLE), other(**EXAMPLE))
    one(**EXAMPLE).sum().backward()
    other(**EXAMPLE).sum().backward()
    for mine, its in zip(one.streams.parameters(), other.streams.parameters(), strict=True):
        assert torch.equal(mine.grad, its.grad)  # type: ignore[arg-type]


def test_a_plain_network_is_its_streams_and_its_head() -> None:
    network = modules().eval()
    video, emg = (network.streams[name](EXAMPLE[name]) for name in ("video", "emg"))
    by_hand = network.head.dense(torch.cat([video.mean((2, 3)), emg.mean(2)], 1))
    assert torch.equal(network(**EXAMPLE), by_hand)


def test_an_exchange_by_hand() -> None:
    network = levels(Placement({"s1": {"emg>video": "transfer"}})).eval()
    dense = network.exchanges["s1"].transfers["emg>video"].dense
    assert not dense.weight.any()
    assert torch.equal(network(**EXAMPLE), levels().eval()(**EXAMPLE))
    with torch.no_grad():
        dense.weight.fill_(0.1)
    video = network.streams["video"]["a"](EXAMPLE["video"])
    emg = network.streams["emg"]["x"](EXAMPLE["emg"])
    video = video + 0.1 * emg.mean(2).sum(1)[:, None, None, None]
    video = network.streams["video"]["b"](video)
    emg = network.streams["emg"]["y"](emg)
    by_hand = network.head({"video": video, "emg": emg})
    torch.testing.assert_close(network(**EXAMPLE), by_hand)


def test_the_layout_offers_what_fits() -> None:
    layout = levels().layout
    assert layout.inputs == {"video": Feature(3, (16, 16)), "emg": Feature(4, (40,))}
    (_, first), _ = layout.sites
    assert first == {"video": Feature(6, (8, 8)), "emg": Feature(6, (20,))}
    offered = layout.options()
    # Positions of a map and of a wave do not correspond, and XFlow connects maps and vectors.
    assert offered["s1.coupling"] == (
        "none",
        "mmtm",
        "squeeze_excitation",
        "bottleneck",
        "low_rank",
    )
    assert offered["s1.emg>video"] == ("none", "transfer")


def test_a_level_is_widened_by_what_is_concatenated() -> None:
    vector = {
        "v1": lambda given: nn.Linear(given.channels, 7),
        "v2": lambda g: nn.Linear(g.channels, 4),
    }
    image = {
        "m1": lambda given: block2(given.channels, 6),
        "m2": lambda given: block2(given.channels, 8),
    }
    sites = [Site("s", {"image": "m1", "vector": "v1"})]
    example = {"image": torch.randn(2, 3, 8, 8), "vector": torch.randn(2, 9)}

    def built(**placed: str) -> CoupledNetwork:
        torch.manual_seed(0)
        streams: dict[str, Any] = {"image": image, "vector": vector}
        head = lambda ends: Concatenate(ends, 2)  # noqa: E731
        return CoupledNetwork(streams, sites, head, example, Placement({"s": placed}))

    network = built(**{"vector>image": "cross", "image>vector": "both"})
    assert network.streams["image"]["m2"][0].in_channels == 12
    assert network.streams["vector"]["v2"].in_features == 14
    assert network(**example).shape == (2, 2)
    offered = network.layout.options()
    assert offered["s.vector>image"] == ("none", "transfer", "cross", "residual", "both")
    # What is not widened has the weights of the plain network.
    plain = built()
    for name, one in plain.state_dict().items():
        if "2." not in name:
            assert torch.equal(one, network.state_dict()[name]), name


def test_weights_do_not_depend_on_the_placement() -> None:
    plain, coupled = levels(), levels(COUPLED)
    for name, one in plain.state_dict().items():
        assert torch.equal(one, coupled.state_dict()[name]), name


def test_a_dropped_stream_is_gone() -> None:
    network = levels(Placement(streams=("emg",)))
    assert list(network.streams) == ["emg"]
    assert not network.exchanges
    assert network(emg=EXAMPLE["emg"]).shape == (2, 5)
    assert network.layout.streams == ("video", "emg")
    assert not any("video" in name for name in network.state_dict())


def test_a_frozen_stream_stays_in_evaluation_mode() -> None:
    streams = parts()
    streams["video"]["a"].append(nn.BatchNorm2d(6))
    for parameter in (one for level in streams["video"].values() for one in level.parameters()):
        parameter.requires_grad_(False)
    head = lambda ends: Concatenate(ends, 5)  # noqa: E731
    network = CoupledNetwork(streams, SITES, head, EXAMPLE)
    assert network.training
    assert not network.streams["video"].training
    assert network.streams["emg"].training
    before = {name: one.clone() for name, one in network.streams["video"].state_dict().items()}
    network(**EXAMPLE)
    after = network.streams["video"].state_dict()
    assert all(torch.equal(one, after[name]) for name, one in before.items())


def test_sites_that_cross_are_refused() -> None:
    crossing = [Site("s1", {"video": "a", "emg": "y"}), Site("s2", {"video": "b", "emg": "x"})]
    for build in (levels, modules):
        with pytest.raises(ValueError, match="site s1: stream emg is at x, not at y"):
            build(sites=crossing)
    with pytest.raises(ValueError, match=r"level 'z' is no submodule of Ready; its own are: a, b"):
        modules(sites=[Site("s", {"video": "z", "emg": "x"})])
    with pytest.raises(ValueError, match=r"levels of video: a, b"):
        levels(sites=[Site("s", {"video": "z", "emg": "x"})])
    with pytest.raises(ValueError, match="names stream 'sound'; allowed: video, emg"):
        levels(sites=[Site("s", {"sound": "a"})])


class Private(Ready):
    """Runs without gradients, in bfloat16, whatever the others do."""

    def forward(self, values: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return super().forward(values).float()


def test_a_streams_own_modes_do_not_leak() -> None:
    video, emg = parts()["video"], parts()["emg"]
    streams = {
        "video": Private(*video.values(), names=("a", "b")),
        "emg": Ready(*emg.values(), names=("x", "y")),
    }
    view = View(lambda out: out.float(), lambda out, new: new)
    sites = [Site("s1", {"video": "a", "emg": "x"}, views={"video": view})]
    head = lambda ends: Concatenate(ends, 5)  # noqa: E731
    network = CoupledNetwork(streams, sites, head, EXAMPLE, Placement({"s1": {"coupling": "mmtm"}}))
    output = network(**EXAMPLE)
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")
    assert output.dtype == torch.float32
    output.sum().backward()
    assert all(one.grad is not None for one in network.streams["emg"].parameters())
    assert all(one.grad is None for one in network.streams["video"].parameters())


def test_copies_and_pickles_answer_alike() -> None:
    for build in (levels, modules):
        network = build(COUPLED).eval()
        expected = network(**EXAMPLE)
        assert torch.equal(copy.deepcopy(network)(**EXAMPLE), expected)
    ready = modules(COUPLED).eval()
    again = pickle.loads(pickle.dumps(ready.streams))
    assert torch.equal(again["video"](EXAMPLE["video"]), ready.streams["video"](EXAMPLE["video"]))


class Checkpointed(Ready):
    """Keeps no activation, in either of torch's ways."""

    reentrant = False

    def forward(self, values: Tensor) -> Tensor:
        return checkpoint(super().forward, values, use_reentrant=self.reentrant)  # type: ignore[no-any-return]


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_around_a_site_is_refused(reentrant: bool) -> None:
    streams = {
        "video": Checkpointed(*parts()["video"].values(), names=("a", "b")),
        "emg": Ready(*parts()["emg"].values(), names=("x", "y")),
    }
    streams["video"].reentrant = reentrant
    with pytest.raises(RuntimeError, match="level a lies inside activation checkpointing"):
        CoupledNetwork(streams, SITES, lambda ends: Concatenate(ends, 5), EXAMPLE, COUPLED)


def test_activation_checkpointing_elsewhere_changes_no_gradient() -> None:
    plain, whole, between = (modules(COUPLED) for _ in range(3))
    plain(**EXAMPLE).sum().backward()
    checkpoint(lambda: whole(**EXAMPLE), use_reentrant=False).sum().backward()
    level = between.streams["video"].a
    forward = level.forward
    level.forward = lambda values: checkpoint(forward, values, use_reentrant=False)
    between(**EXAMPLE).sum().backward()
    for network in (whole, between):
        assert all(map(torch.equal, _gradients(network), _gradients(plain)))


def _gradients(network: nn.Module) -> list[Tensor]:
    return [one.grad for one in network.parameters() if one.grad is not None]


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 8)
        self.last = nn.Linear(8, 8)

    def forward(self, embeddings: Tensor, valid: Tensor) -> Tensor:
        values = self.last(self.layer(embeddings).relu()) * valid[:, :, None]
        return values.sum(1) / valid.sum(1, keepdim=True)


def test_padding_changes_no_answer() -> None:
    view = View(TOKENS.see, TOKENS.put, mask=lambda given: given["valid"].bool())
    words = {"embeddings": torch.randn(2, 5, 6), "valid": torch.ones(2, 5)}
    example = {"text": words, "video": EXAMPLE["video"]}
    video = Ready(*parts()["video"].values(), names=("a", "b"))
    sites = [Site("s", {"text": "layer", "video": "a"}, views={"text": view})]
    head = lambda ends: Concatenate(ends, 3)  # noqa: E731
    for placed in ({"coupling": "mmtm"}, {"text>video": "transfer"}):
        torch.manual_seed(0)
        network = CoupledNetwork(
            {"text": Tokens(), "video": video}, sites, head, example, Placement({"s": placed})
        ).eval()
        with torch.no_grad():
            for parameter in network.exchanges.parameters():
                parameter.normal_()
        longer = {
            "embeddings": torch.cat([words["embeddings"], torch.randn(2, 3, 6)], 1),
            "valid": torch.cat([words["valid"], torch.zeros(2, 3)], 1),
        }
        short = network(text=words, video=EXAMPLE["video"])
        torch.testing.assert_close(network(text=longer, video=EXAMPLE["video"]), short)


def test_ends_and_the_streams_they_are_made_of() -> None:
    ends = {
        "concatenation": lambda ends: Concatenate(ends, 5),
        "last": lambda ends: nn.Sequential(_Video(), nn.Linear(ends["video"].channels, 5)),
    }
    network = levels(head=ends)
    assert network.layout.ends == ("concatenation", "last")
    assert isinstance(network.head, Concatenate)
    assert levels(Placement(end="last"), head=ends)(**EXAMPLE).shape == (2, 5)


class _Video(nn.Module):
    def forward(self, ends: dict[str, Tensor]) -> Tensor:
        return ends["video"].mean((2, 3))


OWN = "own_couplings:Bottleneck"


def test_a_coupling_of_ones_own_sits_at_a_site_by_its_name() -> None:
    network = levels(Placement({"s1": {"coupling": OWN}}))
    assert type(network.exchanges["s1"].coupling).__name__ == "Bottleneck"
    network(**EXAMPLE).sum().backward()
    assert all(one.grad is not None for one in network.exchanges.parameters())
    layout = network.layout
    assert layout.offers("s1", "coupling", OWN)
    assert not layout.offers("s1", "coupling", "own_couplings:Picky")
    assert not layout.offers("s1", "emg>video", OWN)
    layout.check(Placement({"s2": {"coupling": OWN}}))
    with pytest.raises(ValueError, match="no class with fits, __init__ and forward"):
        layout.offers("s1", "coupling", "own_couplings:Unfinished")
    with pytest.raises(ValueError, match="cannot be imported"):
        layout.offers("s1", "coupling", "no_such_module:Bottleneck")


def test_the_layout_of_a_network_with_modules_of_its_own_is_closed() -> None:
    closed = Layout(
        ("video", "emg"),
        sites=levels().layout.sites,
        choices={"s1": {"coupling": ("none", "mmtm")}},
    )
    assert not closed.offers("s1", "coupling", OWN)
    with pytest.raises(ValueError, match="allowed: none, mmtm"):
        closed.check(Placement({"s1": {"coupling": OWN}}))


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
    head = lambda ends: Concatenate(ends, 2)  # noqa: E731
    with pytest.raises(ValueError, match="passes level cell again behind its last site"):
        CoupledNetwork(streams, [Site("s1", {"a": "cell", "b": "0"})], head, VECTORS)


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


def test_streams_that_are_not_gated_stay_so_when_the_gated_one_is_dropped() -> None:
    streams = {name: {"0": nn.Linear(4, 4)} for name in "abc"}
    example = {name: torch.randn(2, 4) for name in "abc"}
    sites = [Site("s1", dict.fromkeys("abc", "0"), gated=("a",))]
    head = lambda ends: Concatenate(ends, 2)  # noqa: E731
    whole = CoupledNetwork(streams, sites, head, example).layout.options()
    assert "s1.b>c" not in whole
    assert "s1.b>a" in whole
    dropped = CoupledNetwork(streams, sites, head, example, Placement(streams=("b", "c"))).layout
    assert dropped.options() == {"s1.coupling": ("none",)}
    placed = Placement({"s1": {"coupling": "mmtm"}}, streams=("b", "c"))
    with pytest.raises(ValueError, match=r"s1\.coupling is 'mmtm'; allowed: none"):
        CoupledNetwork(streams, sites, head, example, placed)


class Thinking(Ready):
    """Runs in inference mode."""

    def forward(self, values: Tensor) -> Tensor:
        with torch.inference_mode():
            values = super().forward(values)
        return values.clone()


def test_a_streams_inference_mode_does_not_leak() -> None:
    video, emg = parts()["video"], parts()["emg"]
    streams = {
        "video": Thinking(*video.values(), names=("a", "b")),
        "emg": Ready(*emg.values(), names=("x", "y")),
    }
    head = lambda ends: Concatenate(ends, 5)  # noqa: E731
    network = CoupledNetwork(streams, SITES, head, EXAMPLE)
    network(**EXAMPLE).sum().backward()
    assert all(one.grad is not None for one in network.streams["emg"].parameters())


@pytest.mark.parametrize(
    ("placement", "words"),
    [
        (Placement({"zz": {"coupling": "mmtm"}}), "placement names site 'zz'; allowed: s1, s2"),
        (Placement(streams=("zz",)), "streams holds 'zz'; allowed: video, emg"),
        (Placement({"s1": {"emg>zz": "transfer"}}), "s1.emg>zz connects 'zz'"),
        (Placement({"s1": {"coupling": "sum"}}), "s1.coupling is 'sum'; allowed: none, mmtm"),
        (Placement(end="last"), "end is 'last'"),
    ],
)
def test_a_placement_that_is_none_of_the_networks_is_refused(
    placement: Placement, words: str
) -> None:
    for build in (levels, modules):
        with pytest.raises(ValueError, match=words.replace(".", r"\.")):
            build(placement)


def test_names_that_are_taken_are_refused() -> None:
    with pytest.raises(ValueError, match="'keys' names a stream or site"):
        levels(sites=[Site("keys", {"video": "a", "emg": "x"})])
