"""Placements and layouts as data; views of what levels give."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from fusion_search.models.layout import (
    TOKENS,
    Feature,
    Layout,
    Placement,
    Site,
    direction,
    first_of,
    frames,
)

MAPS, VECTORS = Feature(8, (10, None)), Feature(12)
SITE = Site("s1", {"image": "conv", "audio": "dense"}, gated=("audio",))
LAYOUT = Layout(
    ("image", "audio"),
    {"image": Feature(1, (28, 28))},
    ((SITE, {"image": MAPS, "audio": VECTORS}),),
    {"s1": {"coupling": ("none", "mmtm"), "image>audio": ("none", "cross")}},
    ends=("concatenation", "gate"),
)


def test_placements_that_build_the_same_are_equal() -> None:
    one = Placement(
        {"s2": {"coupling": "none"}, "s1": {"image>audio": "cross", "coupling": "mmtm"}}
    )
    two = Placement({"s1": {"coupling": "mmtm", "image>audio": "cross", "audio>image": "none"}})
    assert one == two
    assert hash(one) == hash(two)
    assert one.at("s1") == "mmtm"
    assert one.at("s1", "image>audio") == "cross"
    assert one.at("s2") == one.at("s1", "audio>image") == "none"
    assert one != Placement(two.sites, end="gate")
    assert Placement(**one.to_plain()) == one
    assert Placement().sites == {}


def test_a_placement_is_immutable_and_travels() -> None:
    given = {"s1": {"coupling": "mmtm"}}
    placement = Placement(given, "gate", ("image",))
    given["s1"]["coupling"] = "sum"
    assert placement.at("s1") == "mmtm"
    with pytest.raises(TypeError):
        placement.sites["s1"]["coupling"] = "sum"  # type: ignore[index]
    for other in (pickle.loads(pickle.dumps(placement)), copy.deepcopy(placement)):
        assert other == placement
        assert hash(other) == hash(placement)


def test_a_layout_says_what_a_space_may_ask() -> None:
    assert LAYOUT.options() == {
        "s1.coupling": ("none", "mmtm"),
        "s1.image>audio": ("none", "cross"),
    }
    LAYOUT.check(Placement({"s1": {"coupling": "mmtm"}}, "gate", ("audio",)))
    for placement, message in (
        (Placement({"s2": {"coupling": "mmtm"}}), "names s2.coupling; allowed: s1.coupling, s1.im"),
        (Placement({"s1": {"audio>image": "cross"}}), "names s1.audio>image; allowed"),
        (Placement({"s1": {"coupling": "sum"}}), "s1.coupling is 'sum'; allowed: none, mmtm"),
        (Placement(end="sum"), "end is 'sum'; allowed: concatenation, gate"),
        (Placement(streams=("video",)), "streams holds 'video'; allowed: image, audio"),
    ):
        with pytest.raises(ValueError, match=message):
            LAYOUT.check(placement)
    again = pickle.loads(pickle.dumps(LAYOUT))
    assert again == LAYOUT
    assert MAPS.rank == 2
    assert VECTORS.rank == 0


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"s2": {}}, "choices name site 's2'; allowed: s1"),
        ({"s1": {"coupling": ("mmtm",)}}, "the first is to be 'none'"),
        ({"s1": {"image>video": ("none",)}}, "connect 'image>video'; allowed: image, audio"),
        ({"s1": {"image": ("none",)}}, "connection is 'image'; allowed: two streams"),
    ],
)
def test_a_layout_by_hand_is_checked(
    choices: dict[str, dict[str, tuple[str, ...]]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Layout(LAYOUT.streams, LAYOUT.inputs, LAYOUT.sites, choices)


def test_names_are_checked() -> None:
    with pytest.raises(ValueError, match="two streams of a layout have one name"):
        Layout(("a", "a"))
    with pytest.raises(ValueError, match=r"site name is 's\.1'; allowed: a word without"):
        Site("s.1", {"a": "x"})
    with pytest.raises(ValueError, match="site s1 gates 'c'; allowed: a, b"):
        Site("s1", {"a": "x", "b": "y"}, gated=("c",))
    assert direction("a>b") == ("a", "b")
    for name in ("a", "a>", ">b", "a>a"):
        with pytest.raises(ValueError, match="allowed: two streams"):
            direction(name)


def test_views_show_channels_second_and_put_back_what_is_changed() -> None:
    tokens = torch.arange(24.0).view(2, 3, 4)  # [B, N, C]
    assert torch.equal(TOKENS.see(tokens)[:, 1], tokens[..., 1])
    assert torch.equal(TOKENS.put(tokens, TOKENS.see(tokens)), tokens)

    clip = torch.arange(120.0).view(6, 5, 2, 2)  # two clips of three frames
    seen = frames(3).see(clip)
    assert seen.shape == (2, 5, 3, 2, 2)
    assert torch.equal(seen[1, :, 2], clip[5])
    assert torch.equal(frames(3).put(clip, seen), clip)

    both = (tokens, "state")
    view = first_of(TOKENS)
    assert torch.equal(view.see(both), TOKENS.see(tokens))
    new, rest = view.put(both, view.see(both) + 1)
    assert torch.equal(new, tokens + 1)
    assert rest == "state"
