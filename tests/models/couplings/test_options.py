"""Options of couplings and connections: where they come from, and when two placements agree."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from fusion_search.models.coupled.exchange import Exchange
from fusion_search.models.couplings.options import canonical, value_of_option
from fusion_search.models.layout import Feature, Layout, Placement, Site

BOTH = {"map": Feature(2, (4, 3)), "wave": Feature(5, (20,))}
RAW = {"map": Feature(1, (8, 6)), "wave": Feature(9)}
Given = dict[str, dict[str, Any]]
SITES = (
    (Site("s1", {"map": "1", "wave": "1"}, options={"mmtm": {"ratio": 2}}), BOTH),
    (Site("s2", {"map": "2", "wave": "2"}, gated=("map",)), BOTH),
)
CHOICES = {
    site.name: {
        "coupling": ("none", "mmtm", "low_rank"),
        "map>wave": ("none", "transfer", "cross", "residual", "both"),
        "wave>map": ("none", "transfer", "cross", "residual", "both"),
    }
    for site, _ in SITES
}
LAYOUT = Layout(("map", "wave"), RAW, SITES, CHOICES, widen=True, open=True)
MMTM = {"coupling": "mmtm"}
CROSS = {"map>wave": "cross", "wave>map": "both"}


@pytest.mark.parametrize(
    ("sites", "given", "kept"),
    [
        ({"s2": MMTM}, {"mmtm": {"ratio": 4, "relu": True}}, {}),
        ({"s2": MMTM}, {"mmtm": {"ratio": 2}}, {"mmtm": {"ratio": 2}}),
        # What holds without it says the site.
        ({"s1": MMTM}, {"mmtm": {"ratio": 2}}, {}),
        ({"s1": MMTM}, {"mmtm": {"ratio": 4}}, {"mmtm": {"ratio": 4}}),
        ({"s1": MMTM, "s2": MMTM}, {"mmtm": {"ratio": 2}}, {"mmtm": {"ratio": 2}}),
        # Of one site only one stream may be changed.
        ({"s2": MMTM}, {"mmtm": {"gated": ["map", "wave"]}}, {}),
        ({"s2": MMTM}, {"mmtm": {"gated": ["map"]}}, {}),
        ({"s1": MMTM}, {"mmtm": {"gated": ["wave", "map"]}}, {}),
        ({"s1": MMTM}, {"mmtm": {"gated": ["wave"]}}, {"mmtm": {"gated": ("wave",)}}),
        # The same in all directions, or of one.
        ({"s1": CROSS}, {"cross": {"size": 4}}, {"cross": {"size": 4}}),
        (
            {"s1": CROSS},
            {"cross map>wave": {"size": 4}, "cross wave>map": {"size": 4}},
            {"cross": {"size": 4}},
        ),
        ({"s1": CROSS}, {"cross map>wave": {"size": 4}}, {"cross map>wave": {"size": 4}}),
        (
            {"s1": CROSS},
            {"cross": {"size": 4}, "cross wave>map": {"size": None}},
            {"cross map>wave": {"size": 4}},
        ),
        (
            {"s1": {"map>wave": "cross"}},
            {"cross": {"size": 8}, "cross map>wave": {"size": 8}},
            {"cross": {"size": 8}},
        ),
        # Only one direction takes it.
        ({"s1": CROSS}, {"cross": {"kernel": 2}}, {"cross": {"kernel": 2}}),
        ({"s1": CROSS}, {"cross wave>map": {"kernel": 2}}, {"cross": {"kernel": 2}}),
        ({"s1": CROSS}, {"residual": {"dropout": 0.5}}, {}),
    ],
)
def test_options_that_make_the_same_network_are_one_placement(
    sites: dict[str, dict[str, str]], given: Given, kept: Given
) -> None:
    placement = Placement(sites, options=given)
    LAYOUT.check(placement)
    found = canonical(LAYOUT, placement)
    assert found == Placement(sites, options=kept)
    assert canonical(LAYOUT, found) == found
    # The canonical one makes what was asked for.
    for site, features in SITES:
        placed = dict(placement.sites.get(site.name, {}))
        both = [Exchange(site, features, RAW, placed, one.options) for one in (placement, found)]
        states = [{name: one.shape for name, one in made.state_dict().items()} for made in both]
        assert states[0] == states[1]


class Counted(int):
    """A ratio that counts how often it is compared."""

    compared = 0

    def __ne__(self, other: object) -> bool:
        Counted.compared += 1
        return int(self) != other

    __hash__ = int.__hash__


def test_four_times_the_sites_take_four_times_as_long() -> None:
    counts = []
    for number in (8, 32):
        sites = tuple((Site(f"s{one}", {"map": "1", "wave": "1"}), BOTH) for one in range(number))
        layout = Layout(("map", "wave"), RAW, sites, open=True)
        placed = {site.name: MMTM for site, _ in sites}
        ratio = Counted(4)  # its default
        Counted.compared = 0
        found = canonical(layout, Placement(placed, options={"mmtm": {"ratio": ratio}}))
        assert not found.options
        counts.append(Counted.compared)
    assert counts == [8, 32]


def test_what_a_placement_says_stands_above_its_site_and_a_direction_above_all() -> None:
    placement = Placement(
        {"s1": {**MMTM, **CROSS}}, options={"cross": {"size": 4}, "cross map>wave": {"size": 3}}
    )
    assert value_of_option(LAYOUT, placement, "mmtm", "ratio") == 2
    assert value_of_option(LAYOUT, placement, "cross map>wave", "size") == 3
    assert value_of_option(LAYOUT, placement, "cross wave>map", "size") == 4
    assert value_of_option(LAYOUT, placement, "residual", "kernel") is None
    with pytest.raises(ValueError, match="nothing that is placed takes low_rank rank"):
        value_of_option(LAYOUT, placement, "low_rank", "rank")


def test_a_placement_with_options_is_data() -> None:
    placement = Placement(
        {"s2": MMTM, "s1": {"map>wave": "both"}},
        options={"residual": {"pool": [4, 3]}, "mmtm": {"ratio": 2, "gated": ["map"]}},
    )
    plain = placement.to_plain()
    assert plain["options"] == {
        "mmtm": {"gated": ["map"], "ratio": 2},
        "residual": {"pool": [4, 3]},
    }
    again = Placement(plain["sites"], options=plain["options"])
    assert again == placement == pickle.loads(pickle.dumps(placement))
    assert hash(again) == hash(placement)
    assert placement != Placement(placement.sites)
    assert "options" not in Placement({"s2": MMTM}, options={"mmtm": {}}).to_plain()


@pytest.mark.parametrize(
    ("sites", "options", "message"),
    [
        ({"s1": MMTM}, {"low_rank": {"rank": 2}}, "options of 'low_rank', which is placed nowhere"),
        ({"s1": MMTM}, {"mmtm": {"size": 2}}, "mmtm has no option 'size'; allowed: ratio, relu,"),
        ({"s1": MMTM}, {"mmtm": {"gated": ["smell"]}}, "gated of mmtm holds 'smell'; allowed: map"),
        ({"s2": MMTM}, {"mmtm": {"gated": ["wave"]}}, "gated is wave at site s2; allowed: map"),
        (
            {"s1": {"map>wave": "cross"}},
            {"cross map>wave": {"kernel": 2}},
            "cross map>wave has no option 'kernel'; allowed: size, hidden_channels",
        ),
    ],
)
def test_options_that_nothing_takes_are_named(
    sites: dict[str, dict[str, str]], options: Given, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LAYOUT.check(Placement(sites, options=options))
