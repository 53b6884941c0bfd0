"""Options of couplings and connections as dimensions of a space, each kind its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from odd_tasks import Sensors

from fusion_search.analysis.records.tables import FINISHED
from fusion_search.datasets.batch import Data
from fusion_search.models.layout import Feature, Layout, Placement, Site
from fusion_search.search.declaration.layouts import Layouts
from fusion_search.search.declaration.listed import listed_trials
from fusion_search.search.declaration.space_fields import build_space
from fusion_search.search.spaces.importance import compute_importance
from fusion_search.search.spaces.parameters import Choice, Range
from fusion_search.search.spaces.searchers import make_searcher
from fusion_search.search.spaces.searchers.base import Observation
from fusion_search.search.spaces.searchers.random_grid import enumerate_samples
from fusion_search.search.spaces.space import Space
from fusion_search.search.tasks.base import Task
from fusion_search.search.tasks.digits.task import Digits
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.specification import parse_specification

FEATURES = {"ecg": Feature(3, (8,)), "motion": Feature(2, (4, 5)), "heat": Feature(4)}
CONNECTIONS = ("none", "transfer", "cross", "residual", "both")
OWN = "own_couplings:Bottleneck"
MISBEHAVING = "own_couplings:Misbehaving"


class Open(Sensors):
    """With two sites at which anything may sit; no network is ever built."""

    def layout(self, network: Any, data: Callable[[], Data]) -> Layout:
        every = dict.fromkeys(FEATURES, "1")
        sites = (
            (Site("s1", every), FEATURES),
            (Site("s2", every, options={"mmtm": {"ratio": 2}}), FEATURES),
        )
        there = {
            "coupling": ("none", "mmtm", "squeeze_excitation", "low_rank", "bottleneck"),
            "motion>heat": CONNECTIONS,
            "heat>motion": CONNECTIONS,
        }
        return Layout(
            tuple(FEATURES), FEATURES, sites, {"s1": there, "s2": there}, widen=True, open=True
        )


def space(task: Task | None = None, **placement: Any) -> Space:
    task = task or Open()
    raw = {"placement": placement}
    return build_space(raw, "open", task, Layouts(task, {}), split="validation")


COUPLINGS = {
    "couplings": {"s1": ["none", "mmtm", OWN], "s2": ["none", "mmtm"]},
    "connections": {
        "motion>heat": {"s1": ["none", "cross", "both"]},
        "heat>motion": {"s1": "both"},
    },
    "options": {
        OWN: {"width": {"low": 1, "high": 3}},
        "mmtm": {"ratio": [2, 4, 8], "relu": False},
        "cross motion>heat": {"size": [1, None]},
        "residual": {"dropout": [0.0, 0.25]},
    },
}


def test_an_option_is_asked_for_where_its_kind_is_placed() -> None:
    whole = space(**COUPLINGS)
    parameters = whole.parameters()
    assert list(parameters) == [
        "coupling_s1",
        "to_heat_from_motion_s1",
        "coupling_s2",
        f"{OWN}.width",
        "mmtm.ratio",
        "cross motion>heat.size",
        "residual.dropout",
    ]
    assert parameters[f"{OWN}.width"] == Range(1, 3, integer=True)
    assert parameters["cross motion>heat.size"] == Choice(("1", "null"), (1, None))
    samples = list(enumerate_samples(whole))
    # By the couplings: none, mmtm anywhere, own at s1 alone or beside an mmtm; by the connection:
    # none (but residuals of the other direction), cross, both.
    assert whole.size() == len(samples) == (1 + 3 * 3 + 3 + 3 * 3) * (2 + 2 * 2 + 2 * 2)
    assert whole.placements() == 3 * 2 * 3
    for sample in samples:
        kinds = {sample["coupling_s1"], sample["coupling_s2"]}
        assert ("mmtm.ratio" in sample) == ("mmtm" in kinds)
        assert (f"{OWN}.width" in sample) == (OWN in kinds)
        crossed = sample["to_heat_from_motion_s1"] != "none"
        assert ("cross motion>heat.size" in sample) == crossed


def test_every_trial_is_found_again_and_told_by_its_json() -> None:
    whole, task = space(**COUPLINGS), Open()
    layout = task.layout(task.network(), lambda: pytest.fail("opens its data"))
    ids = set()
    for sample in enumerate_samples(whole):
        (trial,) = whole.trials(sample)
        layout.check(trial.placement)
        assert whole.sample_of(trial) == sample
        again = parse_specification(trial.to_json(), task)
        assert again == trial
        assert again.trial_id == trial.trial_id
        ids.add(trial.trial_id)
    assert len(ids) == whole.size()
    chosen = {
        "coupling_s1": "mmtm",
        "to_heat_from_motion_s1": "cross",
        "coupling_s2": "none",
        "mmtm.ratio": 8,
        "cross motion>heat.size": "1",
        "residual.dropout": 0.25,
    }
    (trial,) = whole.trials(chosen)
    # A residual from a vector has 0.5 where nothing is said.
    assert trial.placement.to_plain()["options"] == {
        "cross motion>heat": {"size": 1},
        "mmtm": {"ratio": 8, "relu": False},
        "residual": {"dropout": 0.25},
    }
    assert trial.trial_name == (
        "MMTM at s1, cross + residual from heat to motion at s1, cross from motion to heat at s1, "
        "cross from motion to heat size 1, MMTM ratio 8, MMTM relu False, residual dropout 0.25, "
        "seed 0"
    )
    assert trial.columns()["placement_options"] == (
        '{"cross motion>heat": {"size": 1}, "mmtm": {"ratio": 8, "relu": false}, '
        '"residual": {"dropout": 0.25}}'
    )


def test_an_option_at_its_default_is_the_trial_that_says_none() -> None:
    (silent,) = space(couplings="mmtm").trials({})
    said = space(couplings="mmtm", options={"mmtm": {"ratio": [2, 4], "relu": True}})
    ids = {ratio: said.trials({"mmtm.ratio": ratio})[0].trial_id for ratio in (2, 4)}
    # At s2 the site says 2, at s1 nothing: either is something else there.
    assert silent.trial_id not in ids.values()
    there = {"couplings": {"s1": "mmtm"}}
    (silent,) = space(**there).trials({})
    said = space(**there, options={"mmtm": {"ratio": [2, 4]}})
    assert said.trials({"mmtm.ratio": 4}) == (silent,)
    assert said.sample_of(silent) == {"mmtm.ratio": 4}
    assert said.trials({"mmtm.ratio": 2})[0].trial_id != silent.trial_id


def test_a_listed_trial_keeps_its_options() -> None:
    whole, task = space(**COUPLINGS), Open()
    trials = [whole.trials(sample)[0] for sample in enumerate_samples(whole)]
    found = listed_trials([one.to_plain() for one in trials], task, whole.name)
    assert [one.trial_id for one in found] == [one.trial_id for one in trials]
    silent = space(couplings={"s1": "mmtm"}).any_trial().to_plain()
    default = {**silent["placement"], "options": {"mmtm": {"ratio": 4}}}
    assert len(listed_trials([silent, {**silent, "placement": default}], task, whole.name)) == 1


def test_a_trial_made_by_hand_gets_the_id_that_a_search_gives_it() -> None:
    task = Open()
    opened = OpenedTask(task, task.data())
    whole = space(task, couplings={"s1": ["mmtm"], "s2": ["mmtm"]}, options={"mmtm": {"ratio": 4}})
    (sample,) = enumerate_samples(whole)
    (searched,) = whole.trials(sample)
    sites = {"s1": {"coupling": "mmtm"}, "s2": {"coupling": "mmtm"}}
    # What holds without it, and all streams in another order, are said.
    options = {"mmtm": {"ratio": 4, "relu": True, "gated": ["heat", "motion", "ecg"]}}
    ours = Placement(sites, streams=("heat", "motion", "ecg"), options=options)
    by_hand = replace(searched, placement=ours)
    assert by_hand.trial_id != searched.trial_id
    assert by_hand.canonical(opened).trial_id == searched.trial_id
    unknown = replace(searched, placement=Placement({"s3": {"coupling": "mmtm"}}))
    with pytest.raises(ValueError, match=r"placement names s3\.coupling"):
        unknown.canonical(opened)


def test_gated_streams_are_a_choice_among_subsets() -> None:
    subsets = [["ecg"], ["heat", "ecg"], ["ecg", "motion", "heat"]]
    whole = space(couplings={"s1": "mmtm"}, options={"mmtm": {"gated": subsets}})
    placements = [whole.trials(one)[0].placement for one in enumerate_samples(whole)]
    assert [dict(one.options.get("mmtm", {})) for one in placements] == [
        {"gated": ("ecg",)},
        {"gated": ("ecg", "heat")},
        {},
    ]
    for sample in enumerate_samples(whole):
        assert whole.sample_of(whole.trials(sample)[0]) == sample
    single = space(couplings={"s1": "mmtm"}, options={"mmtm": {"gated": ["ecg"]}})
    assert single.any_trial().placement.options["mmtm"]["gated"] == ("ecg",)


@pytest.mark.parametrize("name", ["tpe", "nsga2", "surrogate", "random"])
def test_searchers_propose_options_of_what_they_place(name: str) -> None:
    options = {**COUPLINGS["options"], OWN: {"width": {"low": 1, "high": 8, "log": True}}}
    whole = space(**{**COUPLINGS, "options": options})
    searcher = make_searcher(name, whole, ["maximize"], 0)
    history: list[Observation] = []
    for number in range(14):
        sample = searcher.propose(history, number)
        assert sample is not None
        (trial,) = whole.trials(sample)
        assert whole.sample_of(trial) == sample
        value = float(str(sample.get("mmtm.ratio", 0))) + len(sample)
        history.append(Observation(sample=sample, state=FINISHED, values=(value,)))
    assert set(compute_importance(whole, history)["parameter"]) <= set(whole.parameters())


@pytest.mark.parametrize(
    ("placement", "message"),
    [
        (
            {"options": ["mmtm"]},
            "placement.options must be a mapping, as {mmtm: {ratio: [2, 4]}}",
        ),
        (
            {"couplings": "mmtm", "options": {"mtm": {"ratio": 2}}},
            "placement.options.mtm: coupling is 'mtm'; allowed: mmtm, squeeze_excitation,",
        ),
        (
            {"couplings": "mmtm", "options": {"mmtm": {"ratoi": 2}}},
            "placement.options.mmtm.ratoi is not a field; did you mean ratio?",
        ),
        (
            {"couplings": "mmtm", "options": {"mmtm": {"ratio": [2, 1.5]}}},
            "placement.options.mmtm.ratio is 1.5; allowed: a whole number",
        ),
        (
            {"couplings": "mmtm", "options": {"mmtm": {"ratio": [2, 2]}}},
            "placement.options.mmtm.ratio holds 2 twice; keep one",
        ),
        (
            {"couplings": "mmtm", "options": {"mmtm": {"ratio": [2, 0]}}},
            "placement.options.mmtm: ratio is 0; allowed: 1 or more",
        ),
        (
            {"couplings": "mmtm", "options": {"mmtm": {"ratio": {"low": 0, "high": 2**31 - 1}}}},
            "placement.options.mmtm: ratio is 0; allowed: 1 or more",
        ),
        (
            {"couplings": "mmtm", "options": {"mmtm": {"ratio": {"low": 4, "high": 2}}}},
            "placement.options.mmtm.ratio",
        ),
        (
            {"couplings": "mmtm", "options": {"low_rank": {"rank": 2}}},
            "placement.options.low_rank.rank: low_rank is placed nowhere; leave it out",
        ),
        (
            {"couplings": "mmtm", "options": {"mmtm": {"gated": [["ecg"], ["ecg", "smell"]]}}},
            "placement.options.mmtm.gated holds 'smell'; allowed: ecg, motion, heat",
        ),
        (
            {"couplings": "mmtm", "options": {"mmtm": {"gated": [["ecg"], ["ecg", "ecg"]]}}},
            "placement.options.mmtm.gated holds ecg twice; keep one",
        ),
        (
            {"connections": {"motion>heat": "cross"}, "options": {"cross": {"kernel": 2}}},
            "placement.options.cross.kernel: nothing placed takes it; leave it out",
        ),
        (
            {"connections": {"heat>motion": "cross"}, "options": {"cross": {"kernel": [2, 5]}}},
            "placement.options.cross: kernel is 5, larger than the map (4 x 5)",
        ),
        (
            {"connections": {"heat>motion": "cross"}, "options": {"cross": {"slope": [0, ".nan"]}}},
            "placement.options.cross.slope is '.nan'; allowed: a number",
        ),
        (
            {
                "connections": {"heat>motion": "cross"},
                "options": {"cross": {"slope": float("nan")}},
            },
            "placement.options.cross.slope is nan; allowed: a number",
        ),
        (
            {"couplings": "own_couplings:Needy"},
            "placement.couplings: option 'share' of own_couplings:Needy is missing",
        ),
        (
            {"couplings": "own_couplings:Untyped"},
            "option 'width' of coupling 'own_couplings:Untyped' has no type",
        ),
        (
            {"couplings": MISBEHAVING, "options": {MISBEHAVING: {"fault": ["", "shape"]}}},
            f"placement.options.{MISBEHAVING}: coupling {MISBEHAVING} made ecg [2, 1, 8]",
        ),
        (
            {"couplings": ["none", "own_couplings:Unsure"]},
            "placement.couplings: coupling own_couplings:Unsure cannot say whether it fits",
        ),
        (
            {"couplings": ["none", "own_couplings:Picky"]},
            "placement.couplings holds 'own_couplings:Picky'; allowed: none, ",
        ),
    ],
)
def test_a_wrong_option_is_named(placement: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        space(**placement)
    assert message in str(caught.value)


def test_a_network_with_modules_of_its_own_says_where_its_options_are() -> None:
    task = Digits()
    raw = {
        "network": {"fusion_depth": 1, "units": 2},
        "placement": {"couplings": "mmtm", "options": {"mmtm": {"ratio": 2}}},
    }
    with pytest.raises(ConfigurationError) as caught:
        build_space(raw, "digits", task, Layouts(task, {}), split="validation")
    assert str(caught.value) == (
        "placement.options: networks of digits take none; their settings are "
        "network.mmtm_ratio, network.mmtm_relu, network.mmtm_identity"
    )


def test_a_field_of_a_placement_without_a_value_is_left_out() -> None:
    """As a section is: `--set placement.options=null` takes away what a file declares."""
    plain = {"couplings": ["none", "mmtm"]}
    found, without = space(**plain, options=None, ends=None), space(**plain)
    assert (found.options, found.ends, found.placed) == ({}, (), without.placed)
