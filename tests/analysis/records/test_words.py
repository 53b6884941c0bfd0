"""Networks and trials in words: each network once, whatever says it."""

from __future__ import annotations

import itertools
import json

import pytest

from fusion_search.analysis.records.words.counts import best_label, count_label
from fusion_search.analysis.records.words.durations import duration
from fusion_search.analysis.records.words.names import few_of, shared_parts, without_common
from fusion_search.analysis.records.words.networks import (
    placed_words,
    placement_words,
    setting_words,
    value_words,
    varied_words,
)

WAYS = ("image>audio", "audio>image")
LEVELS = ("level1", "level2")


@pytest.mark.parametrize(
    ("sites", "words"),
    [
        (
            {one: dict.fromkeys(WAYS, "both") for one in LEVELS},
            "cross + residual between audio and image at level1 + level2",
        ),
        ({"level1": dict.fromkeys(WAYS, "cross")}, "cross between audio and image at level1"),
        (
            {one: {WAYS[0]: "cross"} for one in LEVELS},
            "cross from image to audio at level1 + level2",
        ),
        (
            {"level1": {WAYS[0]: "cross", WAYS[1]: "residual"}, "level2": {WAYS[0]: "cross"}},
            "cross from image to audio at level1 + level2, residual from audio to image at level1",
        ),
        ({"s10": {"coupling": "mmtm"}, "s2": {"coupling": "mmtm"}}, "MMTM at s2 + s10"),
        ({"s1": {"coupling": "my_lab.couplings:Mine"}}, "Mine at s1"),
        ({}, "plain"),
    ],
)
def test_a_kind_is_said_once_with_all_its_sites_and_directions(
    sites: dict[str, dict[str, str]], words: str
) -> None:
    assert (", ".join(placed_words(sites, {})) or "plain") == words
    assert placement_words({"placement": json.dumps(sites)}) == words


def test_no_two_placements_of_a_site_or_two_have_the_same_words() -> None:
    kinds = ("none", "cross", "residual", "both")
    said = set()
    for chosen in itertools.product(kinds, repeat=4):
        places = dict(zip(itertools.product(LEVELS, WAYS), chosen, strict=True))
        sites = {
            level: {way: places[level, way] for way in WAYS if places[level, way] != "none"}
            for level in LEVELS
        }
        parts = placed_words(sites, {})
        assert not any("," in part for part in parts)
        said.add(", ".join(parts))
    assert len(said) == len(kinds) ** 4


def test_options_ends_and_lone_streams_are_said() -> None:
    options = {"mmtm": {"gated": ["map"], "relu": False}, "cross a>b": {"size": 2}}
    sites = {"s1": {"coupling": "mmtm", "a>b": "cross"}}
    assert placed_words(sites, options, "gate_audio", ("a", "b"))[2:] == [
        *("MMTM gated map", "MMTM relu False", "cross from a to b size 2", "gate audio"),
        "a + b alone",
    ]


def test_a_setting_that_is_true_or_false_is_named_when_true() -> None:
    assert setting_words("widened", True) == "widened"
    assert setting_words("widened", False) == ""
    assert setting_words("learning_rate", 0.0043123) == "learning rate 0.004312"
    assert varied_words('{"widened": false, "units": 8}') == "units 8"
    assert varied_words(None) == ""


@pytest.mark.parametrize("empty", ["", [], (), None])
def test_an_empty_setting_is_said_to_be_none(empty: object) -> None:
    assert setting_words("rgb_weights", empty) == "no rgb weights"
    assert value_words(empty) == "none"
    text = json.dumps({"rgb_network": "small", "rgb_weights": empty})
    assert varied_words(text) == "rgb network small, no rgb weights"
    assert placed_words({}, {"mmtm": {"gated": empty}}) == ["MMTM gated none"]


def test_names_beside_each_other_leave_out_what_all_have() -> None:
    names = [f"plain, audio SNR 1, fold {one}, seed 0" for one in range(5)]
    common = shared_parts(names)
    assert common == {"plain", "audio SNR 1", "seed 0"}
    assert shared_parts(names[:1]) == set()
    short = [without_common(one, common) for one in names]
    assert few_of(short) == "fold 0; fold 1; fold 2; and 2 more"
    assert few_of(short[:3]) == "fold 0; fold 1; fold 2"
    assert few_of(["x" * 60] * 3) == f"{'x' * 60}; and 2 more"
    assert few_of(["x" * 150]) == "x" * 150


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"),
        (0.44, "0.4 s"),
        (4.21, "4.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1m 00s"),
        (129.4, "2m 09s"),
        (3599.4, "59m 59s"),
        (3600.0, "1h 00m"),
        (7175.0, "2h 00m"),
        (86_369.0, "23h 59m"),
        (86_371.0, "1d 00h"),
        (200_000.0, "2d 08h"),
    ],
)
def test_a_time_is_rounded_to_what_is_shown_of_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_one_of_a_kind_is_no_plural() -> None:
    assert [count_label(one, "view") for one in (0, 1, 1200)] == [
        "0 views",
        "1 view",
        "1,200 views",
    ]
    assert [count_label(one, "class", "classes") for one in (1, 2)] == ["1 class", "2 classes"]
    assert count_label(10**30, "sample") == "about 10^30 samples"
    assert best_label(1, 6) == "its best, with 6 fresh seeds"
    assert best_label(3, 1) == "its best 3, with 1 fresh seed each"
