"""The space: every sample of it is a valid trial, and equal networks are equal trials."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_search.models.early_fusion import EarlyFusionNetwork
from fusion_search.models.placement import CONNECTIONS, COUPLINGS, FUSIONS
from fusion_search.search.declaration.configuration import build_search, parse_yaml, to_yaml
from fusion_search.search.declaration.space_fields import build_space, space_to_plain
from fusion_search.search.spaces.parameters import Choice
from fusion_search.search.spaces.searchers.random_grid import RandomChooser, enumerate_samples
from fusion_search.search.spaces.space import Space
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.specification import TRAIN_PAIRS, TrialSpecification

FIXED = {"units": 2, "dense_units": 3}
FULL: dict[str, Any] = {
    "couplings": list(COUPLINGS),
    "to_audio": list(CONNECTIONS),
    "to_image": list(CONNECTIONS),
    "fusion": list(FUSIONS),
    "mmtm_ratio": {"low": 1, "high": 16, "log": True},
    "mmtm_relu": [True, False],
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "batch_size": [16, 32],
    "dropout": {"low": 0.0, "high": 0.5},
    "weight_decay": [0.0, 1e-4],
    "train_pairs": "all",
}


def space(**fields: Any) -> Space:
    return build_space(fields, FIXED)


def draw(one: Space, seed: int) -> dict[str, Any]:
    return one.sample(RandomChooser(np.random.default_rng(seed)))


@pytest.mark.parametrize(
    "levels",
    [2, *(pytest.param(levels, marks=pytest.mark.slow) for levels in (3, 4, 5))],
)
def test_every_sample_builds_runs_and_round_trips(levels: int) -> None:
    whole = space(**{**FULL, "levels": levels})
    # The network's inputs need no more than show that every gradient arrives.
    images, sound = torch.rand(2, 1, 28, 28), torch.rand(2, 2, 201)
    built: set[str] = set()
    for seed in range(1000):
        sample = draw(whole, seed)
        (trial,) = whole.trials(sample)
        text = yaml.safe_dump(trial.to_plain())
        again = TrialSpecification.from_json(trial.to_json())
        assert again == trial
        assert build_search({"name": "x", "listed": [yaml.safe_load(text)]}).listed == (trial,)
        names = set(sample)
        assert ("fusion" in names) == (trial.fusion_depth > 0)
        points = {int(name[-1]) for name in names if name[:-1] in ("coupling_", "to_audio_")}
        assert points == set(range(1, trial.fusion_depth + 1))
        coupled = any(sample[f"coupling_{point}"] != "none" for point in points)
        assert ("mmtm_ratio" in names) == coupled
        shape = str(replace(trial.network, dropout=0.0))
        if shape in built:
            continue
        built.add(shape)
        network = EarlyFusionNetwork(trial.network)
        loss = network(images, sound).square().sum()
        loss.backward()
        assert torch.isfinite(loss)
        assert all(one.grad is not None for one in network.parameters())
    assert len(built) > 500


@pytest.mark.parametrize("levels", [2, 3])
def test_duplicates_hash_equal_and_different_networks_do_not(levels: int) -> None:
    declared = {"levels": levels, "couplings": ["none", "mmtm", "squeeze_excitation"]}
    small = space(**declared, mmtm_ratio=[1, 2, 3, 4, 5, 8], train_pairs=[[1, 1]])
    by_network: dict[tuple[Any, ...], set[str]] = {}
    for sample in enumerate_samples(small):
        network = EarlyFusionNetwork(small.trials(sample)[0].network)
        shapes = tuple((name, tuple(one.shape)) for name, one in network.state_dict().items())
        by_network.setdefault(shapes, set()).add(small.sample_id(sample))
    assert all(len(ids) == 1 for ids in by_network.values())
    assert len(set().union(*by_network.values())) == len(by_network)
    # 2 channels each: MMTM's joint of 4 has sizes 4, 2, 1, SE's joint of 2 has 2, 1.
    assert len(by_network) < small.size()  # type: ignore[operator]


def product_count(levels: int, couplings: int, connections: int, fusions: int, ratios: int) -> int:
    """By brute force over all combinations, without the space."""
    total = 0
    for depth in range(levels + 1):
        for chosen in itertools.product(range(couplings), repeat=depth):
            with_ratio = ratios if any(chosen) else 1
            total += with_ratio * connections ** (2 * depth) * (fusions if depth else 1)
    return total


@pytest.mark.parametrize("levels", [1, 2])
def test_the_size_is_what_can_be_enumerated(levels: int) -> None:
    declared = space(
        levels=levels,
        couplings=["none", "mmtm", "sum"],
        to_audio=["none", "cross"],
        to_image=["none", "both"],
        fusion=["concatenation", "gate_image"],
        mmtm_ratio={"low": 2, "high": 4},
        train_pairs=[[1, 1], [2, 1]],
    )
    samples = list(enumerate_samples(declared))
    keys = {tuple(sorted(sample.items())) for sample in samples}
    expected = 2 * product_count(levels, 3, 2, 2, 3)
    assert len(samples) == len(keys) == expected == declared.size()


def test_a_range_of_numbers_is_not_countable() -> None:
    assert space(learning_rate={"low": 0.1, "high": 0.2}, train_pairs="all").size() is None
    assert space(batch_size={"low": 3, "high": 7}, train_pairs="all").size() == 3 * 5 * 16


def test_a_sample_is_found_again_from_its_trial() -> None:
    whole = space(**FULL)
    for seed in range(200):
        sample = draw(whole, seed)
        found = whole.sample_of(whole.trials(sample)[0])
        # A ratio is known up to the network it builds.
        assert found is not None
        assert whole.sample_id(found) == whole.sample_id(sample)
    outside = replace(whole.trials(draw(whole, 0))[0], batch_size=8)
    assert whole.sample_of(outside) is None
    assert whole.sample_of(replace(outside, batch_size=16, train_audio_snr=3.0)) is None


@pytest.mark.parametrize("ratios", [[8, 16], {"low": 8, "high": 16}])
@pytest.mark.parametrize("coupling", ["mmtm", "sum"])
def test_a_sample_is_found_whose_ratio_a_trial_keeps_as_another(coupling: str, ratios: Any) -> None:
    # With 2 units, a joint of one from 4 on; a sum has no joint at all.
    narrow = space(fusion_depths=[1], couplings=[coupling], mmtm_ratio=ratios, train_pairs=[[1, 1]])
    (trial,) = narrow.trials({"mmtm_ratio": 16})
    assert narrow.sample_of(trial) == {"mmtm_ratio": 8}
    other = space(fusion_depths=[1], couplings=["mmtm"], mmtm_ratio=[1, 2], train_pairs=[[1, 1]])
    assert narrow.sample_of(other.trials({"mmtm_ratio": 2})[0]) is None


def test_averaging_gives_a_trial_per_train_pair() -> None:
    whole = space(fusion_depths=[1, 2], train_pairs={"average": "all"})
    trials = whole.trials({"fusion_depth": 2})
    assert {one.train_pair for one in trials} == set(TRAIN_PAIRS)
    assert whole.trials_per_sample == 16
    assert whole.size() == 2


def test_insertion_points_may_be_declared_one_by_one() -> None:
    declared = space(levels=2, couplings={2: ["none", "mmtm"]}, train_pairs=[[1, 1]])
    assert declared.size() == 1 + 1 + 2
    assert set(declared.parameters()) == {"fusion_depth", "coupling_2"}


@pytest.mark.parametrize("levels", [2, [2, 4]])
def test_a_space_round_trips_through_yaml(levels: Any) -> None:
    raw = {"name": "x", "trials": FIXED, "space": {**FULL, "levels": levels}}
    search = build_search(raw)
    assert build_search(parse_yaml(to_yaml(search), "text")) == search
    assert search.space is not None
    by_point = space(couplings={1: ["sum"], 2: ["none", "mmtm"]}, train_pairs={"average": [[1, 2]]})
    again = build_space(space_to_plain(by_point), FIXED)
    assert again.trials(draw(again, 3)) == by_point.trials(draw(by_point, 3))


def test_a_name_always_has_the_same_options() -> None:
    # Optuna refuses a parameter whose options change from trial to trial.
    whole = space(**{**FULL, "levels": [2, 3]})
    declared = whole.parameters()
    assert {"fusion_depth_of_2", "fusion_depth_of_3"} <= set(declared)
    for seed in range(100):
        assert set(draw(whole, seed)) <= set(declared)


def some(values: Sequence[Any], least: int = 1) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=3, unique_by=str)


@st.composite
def spaces(draw_one: st.DrawFn) -> Space:
    """Any space: every field fixed, searched or left out, placements alike or point by point."""
    levels = draw_one(some([1, 2, 3]))
    fields: dict[str, Any] = {"levels": levels}
    depths = draw_one(some([0, 1, 2, 3]).filter(lambda them: min(them) <= min(levels)))
    fields["fusion_depths"] = [one for one in depths if one <= max(levels)]
    for name, kinds in {
        "couplings": COUPLINGS,
        "to_audio": CONNECTIONS,
        "to_image": CONNECTIONS,
    }.items():
        options = some(kinds[:3])
        by_point = st.dictionaries(st.integers(1, max(levels)), options, max_size=3)
        fields[name] = draw_one(st.none() | options | by_point)
    ratio = st.just({"low": 1, "high": 3}) | some([1, 2, 4])
    rate = st.just({"low": 0.001, "high": 0.1}) | some([0.001, 0.01])
    fields |= draw_one(
        st.fixed_dictionaries(
            {"train_pairs": some([[1, 1], [2, 1]]) | st.just({"average": [[1, 1], [2, 1]]})},
            optional={
                "fusion": some(FUSIONS),
                "mmtm_ratio": ratio,
                "mmtm_relu": some([True, False]),
                "mmtm_identity": some([True, False]),
                "learning_rate": rate,
                "batch_size": some([16, 32]),
            },
        )
    )
    return space(**{name: value for name, value in fields.items() if value is not None})


@given(whole=spaces(), seed=st.integers(0, 2**31))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_the_declared_parameters_are_those_of_the_samples(whole: Space, seed: int) -> None:
    declared = whole.parameters()
    size = whole.size()
    if size is not None and size <= 100:
        samples = list(enumerate_samples(whole))
        assert set().union(*samples) == set(declared)
        assert len(samples) == size
    else:
        samples = [draw(whole, seed + number) for number in range(20)]
    for sample in samples:
        assert list(sample) == [name for name in declared if name in sample]
        for name, value in sample.items():
            parameter = declared[name]
            if isinstance(parameter, Choice):
                assert value in parameter.options
            else:
                assert parameter.low <= float(value) <= parameter.high
    for sample in samples[:3]:
        found = whole.sample_of(whole.trials(sample)[0])
        assert found is not None
        assert whole.sample_id(found) == whole.sample_id(sample)


def test_a_fixed_coupling_has_its_parameters() -> None:
    declared = {"levels": 2, "mmtm_ratio": [1, 2], "train_pairs": [[2, 1]]}
    fixed = space(**declared, fusion_depths=[1], couplings=["mmtm"])
    assert fixed.parameters() == {"mmtm_ratio": Choice((1, 2))}
    # The coupling at the second insertion point is deeper than any network fuses.
    for couplings in (["none"], {2: ["mmtm"]}):
        assert space(**declared, fusion_depths=[1], couplings=couplings).parameters() == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"couplings": ["mmtn"]}, "space.couplings is 'mmtn'; allowed: none, mmtm"),
        (
            {"to_audio": {3: ["none"]}},
            "space.to_audio.3 is not an insertion point; allowed: 1 to 2",
        ),
        ({"fusion_depths": [3]}, "space.fusion_depths holds 3; allowed: 0 to 2"),
        ({"levels": [2, 4], "fusion_depths": [3]}, "nothing for levels 2"),
        ({"learning_rate": {"low": 1}}, "space.learning_rate must have low and high"),
        (
            {"learning_rate": {"low": 2, "high": 1}},
            "space.learning_rate.low is 2.0 and high is 1.0",
        ),
        ({"learning_rate": {"low": 0, "high": 1, "log": True}}, "low is 0.0 with log: true"),
        ({"learning_rate": {"low": -1, "high": 1}}, "learning_rate is -1.0; allowed: above 0"),
        ({"dropout": {"low": 0, "high": 1}}, "dropout is 1.0; allowed: 0 to below 1"),
        ({"units": [4, 4]}, "space.units holds 4 twice"),
        ({"units": ["four"]}, "space.units is 'four'; allowed: a whole number"),
        ({"mmtm_relu": {"low": 0, "high": 1}}, "space.mmtm_relu must be true, false"),
        ({"coupling": ["none"]}, "space.coupling is not a field; did you mean couplings?"),
        ({"train_pairs": [[1]]}, r"allowed: \[audio SNR, visual SNR\]"),
        ({"train_pairs": {"mean": "all"}}, "space.train_pairs.mean is not a field"),
        ({"train_pairs": None}, "space.train_pairs must be a list"),
        ({"train_pairs": [[1.0000001, 1], [1, 1]]}, "space.train_pairs holds '1/1' twice"),
    ],
)
def test_a_wrong_space_names_the_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build_search({"name": "x", "space": {"train_pairs": "all", **fields}})


def test_a_field_is_fixed_or_searched_not_both() -> None:
    with pytest.raises(ConfigurationError, match=r"trials.units is searched in space"):
        build_search(
            {"name": "x", "trials": {"units": 4}, "space": {"units": [4], "train_pairs": "all"}}
        )
