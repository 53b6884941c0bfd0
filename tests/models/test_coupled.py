"""CoupledNetwork: ready-made modules and levels, what sites exchange, and what stays itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from two_streams import (
    COUPLED,
    EXAMPLE,
    block2,
    drawn,
    gradients,
    levels,
    modules,
    network_of,
    parts,
    ready,
)

from fusion_search.models.coupled.heads import Concatenate
from fusion_search.models.coupled.network import CoupledNetwork
from fusion_search.models.layout import Feature, Layout, Placement, Site


@pytest.mark.parametrize("placement", [Placement(), COUPLED])
def test_modules_and_levels_give_equal_numbers(placement: Placement) -> None:
    mixed = network_of({"video": parts()["video"], "emg": ready()["emg"]}, placement)
    networks = [drawn(one) for one in (levels(placement), modules(placement), mixed)]
    answers = [one(**EXAMPLE) for one in networks]
    for one in answers:
        one.sum().backward()
    expected = gradients(networks[0])
    assert len(expected) == len(list(networks[0].parameters()))
    for network, answer in zip(networks, answers, strict=True):
        assert torch.equal(answer, answers[0])
        found = gradients(network)
        assert found.keys() == expected.keys()
        assert all(torch.equal(one, expected[name]) for name, one in found.items())


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
    # Positions of a map and of a wave do not correspond; the level that follows is made already,
    # and takes no more channels.
    assert offered["s1.coupling"] == (
        "none",
        "mmtm",
        "squeeze_excitation",
        "bottleneck",
        "low_rank",
    )
    assert offered["s1.emg>video"] == offered["s1.video>emg"] == ("none", "transfer", "residual")
    assert offered["s2.emg>video"] == ("none", "transfer", "cross", "residual", "both")
    assert modules().layout.options()["s2.emg>video"] == ("none", "transfer", "residual")


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
    with pytest.raises(ValueError, match="has no static method fits"):
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
