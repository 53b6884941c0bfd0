"""What every coupling and connection has of weights, and what it changes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from fusion_search.models.coupled.exchange import Exchange
from fusion_search.models.couplings.contract import Features
from fusion_search.models.couplings.transfer import Transfer
from fusion_search.models.layout import Feature, Site

MAPS = {"a": Feature(6, (4, 4)), "b": Feature(10, (4, 4))}
BOTH = {"map": Feature(2, (4, 3)), "wave": Feature(5, (20,))}
RAW = {"map": Feature(1, (8, 6)), "wave": Feature(9)}
OWN = "own_couplings:Bottleneck"
Given = dict[str, dict[str, Any]]


def count_parameters(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())


def exchange(
    features: Features, placed: dict[str, str], options: Given, of_site: Given | None = None
) -> Exchange:
    inputs = RAW if features is BOTH else {}
    site = Site("s", dict.fromkeys(features, "l"), options=of_site or {})
    return Exchange(site, features, inputs, placed, options)


@pytest.mark.parametrize(
    ("kind", "options", "count"),
    [
        # Joint of Z = 16 // ratio, then an excitation per gated stream.
        ("mmtm", {}, (16 * 4 + 4) + (4 * 6 + 6) + (4 * 10 + 10)),
        ("mmtm", {"ratio": 2}, (16 * 8 + 8) + (8 * 6 + 6) + (8 * 10 + 10)),
        ("mmtm", {"gated": ["a"]}, (16 * 4 + 4) + (4 * 6 + 6)),
        # A joint for each stream alone, which one that is not gated does not need.
        ("squeeze_excitation", {}, (6 * 3 + 3) + (3 * 6 + 6) + (10 * 5 + 5) + (5 * 10 + 10)),
        ("squeeze_excitation", {"ratio": 3, "gated": ["b"]}, (10 * 3 + 3) + (3 * 10 + 10)),
        # As many as MMTM: the joint is shared.
        ("convolutional", {}, (16 * 4 + 4) + (4 * 6 + 6) + (4 * 10 + 10)),
        ("convolutional", {"gated": ["b"]}, (16 * 4 + 4) + (4 * 10 + 10)),
        ("sum", {"ratio": 8}, (16 * 2 + 2) + (2 * 6 + 6) + (2 * 10 + 10)),
        # Tokens; keys, values and queries of both streams; what moves them.
        (
            "bottleneck",
            {"tokens": 3, "width": 5},
            3 * 5 + 3 * (6 * 5 + 5 + 10 * 5 + 5) + (5 * 6 + 6) + (5 * 10 + 10),
        ),
        (
            "bottleneck",
            {"tokens": 3, "width": 5, "gated": ["a"]},
            3 * 5 + 2 * (6 * 5 + 5 + 10 * 5 + 5) + (6 * 5 + 5) + (5 * 6 + 6),
        ),
        # Factors of C + 1 channels for every rank, then what moves the streams.
        ("low_rank", {"rank": 2}, 2 * (7 + 11) * 4 + (4 * 6 + 6) + (4 * 10 + 10)),
        ("low_rank", {"rank": 3, "ratio": 8, "gated": ["b"]}, 3 * (7 + 11) * 2 + (2 * 10 + 10)),
        (OWN, {"width": 3}, (16 * 3 + 3) + (3 * 6 + 6) + (3 * 10 + 10)),
        (OWN, {"gated": ["a"]}, (16 * 2 + 2) + (2 * 6 + 6)),
    ],
)
def test_couplings_have_the_weights_counted_by_hand(
    kind: str, options: dict[str, Any], count: int
) -> None:
    made = exchange(MAPS, {"coupling": kind}, {kind: options})
    assert count_parameters(made) == count
    # Options of the site are those of a placement that says nothing else.
    site = exchange(MAPS, {"coupling": kind}, {}, {kind: options})
    assert count_parameters(site) == count


# Slopes of PReLU, one per element, in the last terms.
_CROSS_TO_WAVE = (2 * 3 + 3) + 3 * 12 + 2 * 3 + (3 * 12 * 7 + 7) + 7
_CROSS_TO_MAP = (5 * 6 + 6) + 6 + 2 * 6 + (1 * 4 * 2 * 2 + 4) + 4 * 12
_RESIDUAL_TO_WAVE = (2 * 2 * 5 + 5) + 5
_RESIDUAL_TO_MAP = (9 * 6 + 6) + 6 + (1 * 2 * 2 * 2 + 2) + 2 * 12
OPTIONS: Given = {
    "cross": {"size": 4, "kernel": 2},
    "cross map>wave": {"size": 7, "hidden_channels": 3},
    "residual": {"pool": (4, 3)},
    "residual wave>map": {"kernel": 2, "batch_norm": False},
}


@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [
        ("map>wave", "transfer", 2 * 5 + 5),
        ("wave>map", "transfer", 5 * 2 + 2),
        ("map>wave", "cross", _CROSS_TO_WAVE),
        ("wave>map", "cross", _CROSS_TO_MAP),
        ("map>wave", "residual", _RESIDUAL_TO_WAVE),
        ("wave>map", "residual", _RESIDUAL_TO_MAP),
        ("map>wave", "both", _CROSS_TO_WAVE + _RESIDUAL_TO_WAVE),
        ("wave>map", "both", _CROSS_TO_MAP + _RESIDUAL_TO_MAP),
    ],
)
def test_connections_have_the_weights_counted_by_hand(name: str, kind: str, count: int) -> None:
    made = exchange(BOTH, {name: kind}, OPTIONS)
    assert count_parameters(made) == count
    widened = {"map>wave": 5 + 7, "wave>map": 2 + 4}[name] if kind in ("cross", "both") else None
    target = name.partition(">")[2]
    assert made.features[target].channels == (widened or BOTH[target].channels)


@pytest.mark.parametrize("target", [(), (7,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("source", [(), (5,), (6, 2), (3, 2, 2)])
def test_a_transfer_is_added_between_any_ranks(
    source: tuple[int, ...], target: tuple[int, ...]
) -> None:
    features = {"a": Feature(3, source), "b": Feature(2, target)}
    made = exchange(features, {"a>b": "transfer"}, {})
    streams = {name: torch.randn(2, one.channels, *one.size) for name, one in features.items()}
    assert torch.equal(made(streams, {}, {})["b"], streams["b"])
    transfer = made.transfers["a>b"]
    assert isinstance(transfer, Transfer)
    nn.init.normal_(transfer.dense.weight)
    nn.init.normal_(transfer.dense.bias)
    found = made(streams, {}, {})
    assert torch.equal(found["a"], streams["a"])
    mean = streams["a"].reshape(2, 3, -1).sum(2) / max(1, torch.Size(source).numel())
    shift = torch.stack([transfer.dense.weight @ one + transfer.dense.bias for one in mean])
    moved = (found["b"] - streams["b"]).reshape(2, 2, -1)
    torch.testing.assert_close(moved, shift[:, :, None].expand_as(moved))


@pytest.mark.parametrize("gated", [("a",), ("b", "c"), ("c", "a"), ("a", "b", "c")])
@pytest.mark.parametrize(
    "kind", ["mmtm", "squeeze_excitation", "convolutional", "sum", "bottleneck", "low_rank", OWN]
)
def test_any_subset_of_the_streams_is_gated(kind: str, gated: tuple[str, ...]) -> None:
    features = {name: Feature(4, (3,)) for name in "abc"}
    made = exchange(features, {"coupling": kind}, {kind: {"gated": gated}})
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    streams = {name: torch.randn(2, 4, 3) for name in features}
    found = made(streams, {}, {})
    assert {name for name in features if not torch.equal(found[name], streams[name])} == set(gated)
    # All weights are used.
    sum(found[name].sum() for name in gated).backward()
    assert all(one.grad is not None for one in made.parameters())


def test_what_stands_behind_merging_points_has_the_order_of_the_streams() -> None:
    # An optimiser knows parameters by their order alone, and a set's is another in every process.
    streams = [f"stream{number}" for number in range(8)]
    features = {
        name: Feature(5) if number % 2 else Feature(2, (4, 3))
        for number, name in enumerate(streams)
    }
    site = Site("s", dict.fromkeys(streams, "l"), merged=lambda stream, feature: nn.Linear(2, 2))
    ways = {f"{one}>{other}": "cross" for one, other in itertools.pairwise([*streams, streams[0]])}
    backwards = dict(reversed(ways.items()))
    made = Exchange(site, features, features, backwards)
    assert list(made.merged) == streams
