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

from fusion_search.models.early_fusion import EarlyFusionNetwork, EarlyFusionSettings
from fusion_search.models.placement import CONNECTIONS, COUPLINGS, FUSIONS
from fusion_search.search.declaration.configuration import build_search, parse_yaml, to_yaml
from fusion_search.search.declaration.layouts import Layouts
from fusion_search.search.declaration.space_fields import build_space
from fusion_search.search.spaces.parameters import Choice
from fusion_search.search.spaces.searchers.random_grid import RandomChooser, enumerate_samples
from fusion_search.search.spaces.space import Space
from fusion_search.search.tasks.digits.task import Digits
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.specification import TrialSpecification, parse_specification

FIXED = {"units": 2, "dense_units": 3}
PAPERS = {"audio_snr": [2, 1, 0.5, 0.25], "visual_snr": [1, 0.5, 0.25, 0.125]}
FULL: dict[str, Any] = {
    "network": {
        "fusion_depth": [0, 1, 2],
        "mmtm_ratio": {"low": 1, "high": 16, "log": True},
        "mmtm_relu": [True, False],
        "dropout": {"low": 0.0, "high": 0.5},
    },
    "training": {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "batch_size": [16, 32],
        "weight_decay": [0.0, 1e-4],
    },
    "placement": {
        "couplings": list(COUPLINGS),
        "connections": {"image>audio": list(CONNECTIONS), "audio>image": list(CONNECTIONS)},
        "ends": list(FUSIONS),
    },
    "train": {"choose": PAPERS},
}


def space(network: Any = None, *, train: Any = ((1, 1),), **raw: Any) -> Space:
    """Of digits; ``network`` beside ``FIXED``, which has every fusion depth."""
    task = Digits()
    train = [list(one) for one in train] if isinstance(train, tuple) else train
    network = {"fusion_depth": [0, 1, 2], **FIXED, **(network or {})}
    whole = {"network": network, "train": train, **raw}
    return build_space(whole, "digits", task, Layouts(task, {}), split="validation")


def full(levels: Any) -> dict[str, Any]:
    """``FULL`` with so many levels."""
    deepest = max(levels) if isinstance(levels, list) else levels
    depths = {"levels": levels, "fusion_depth": list(range(deepest + 1))}
    return {**FULL, "network": {**FULL["network"], **depths}}


def draw(one: Space, seed: int) -> dict[str, Any]:
    return one.sample(RandomChooser(np.random.default_rng(seed)))


def settings_of(trial: TrialSpecification) -> EarlyFusionSettings:
    whole: EarlyFusionSettings = trial.network.with_placement(trial.placement)
    return whole


@pytest.mark.parametrize(
    ("levels", "count"),
    [(2, 500), *(pytest.param(levels, 1000, marks=pytest.mark.slow) for levels in (2, 3, 4, 5))],
)
def test_every_sample_builds_runs_and_round_trips(levels: int, count: int) -> None:
    whole = space(**full(levels))
    # The network's inputs need no more than show that every gradient arrives.
    images, sound = torch.rand(2, 1, 28, 28), torch.rand(2, 2, 201)
    built: set[str] = set()
    for seed in range(count):
        sample = draw(whole, seed)
        (trial,) = whole.trials(sample)
        text = yaml.safe_dump(trial.to_plain())
        assert parse_specification(trial.to_json(), whole.task) == trial
        if seed % 10 == 0:
            listed = {"name": "x", "task": "digits", "listed": [yaml.safe_load(text)]}
            assert build_search(listed).listed == (trial,)
        names, depth = set(sample), trial.network.fusion_depth
        assert ("end" in names) == (depth > 0)
        places = ("coupling_level", "to_audio_from_image_level", "to_image_from_audio_level")
        for place in places:
            points = {int(name[-1]) for name in names if name[:-1] == place}
            assert points == set(range(1, depth + 1))
        coupled = any(sample[f"coupling_level{one}"] != "none" for one in range(1, depth + 1))
        assert ("mmtm_ratio" in names) == coupled
        shape = str(replace(settings_of(trial), dropout=0.0))
        if shape in built:
            continue
        built.add(shape)
        network = EarlyFusionNetwork(settings_of(trial))
        loss = network(images, sound).square().sum()
        loss.backward()
        assert torch.isfinite(loss)
        assert all(one.grad is not None for one in network.parameters())
    assert len(built) > count // 2


@pytest.mark.parametrize("levels", [2, 3])
def test_duplicates_hash_equal_and_different_networks_do_not(levels: int) -> None:
    depths = {"levels": levels, "fusion_depth": list(range(levels + 1))}
    small = space(
        {**depths, "mmtm_ratio": [1, 2, 3, 4, 5, 8]},
        placement={"couplings": ["none", "mmtm", "squeeze_excitation"]},
    )
    by_network: dict[tuple[Any, ...], set[str]] = {}
    for sample in enumerate_samples(small):
        network = EarlyFusionNetwork(settings_of(small.trials(sample)[0]))
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
        {
            "levels": levels,
            "fusion_depth": list(range(levels + 1)),
            "mmtm_ratio": {"low": 2, "high": 4},
        },
        placement={
            "couplings": ["none", "mmtm", "sum"],
            "connections": {"image>audio": ["none", "cross"], "audio>image": ["none", "both"]},
            "ends": ["concatenation", "gate_image"],
        },
        train={"choose": [[1, 1], [2, 1]]},
    )
    samples = list(enumerate_samples(declared))
    keys = {tuple(sorted(sample.items())) for sample in samples}
    expected = 2 * product_count(levels, 3, 2, 2, 3)
    assert len(samples) == len(keys) == expected == declared.size()


def test_a_range_of_numbers_is_not_countable() -> None:
    chosen = {"choose": PAPERS}
    rate = {"learning_rate": {"low": 0.1, "high": 0.2}}
    assert space(training=rate, train=chosen).size() is None
    batches = {"batch_size": {"low": 3, "high": 7}}
    assert space(training=batches, train=chosen).size() == 3 * 5 * 16


def test_a_sample_is_found_again_from_its_trial() -> None:
    whole = space(**FULL)
    for seed in range(200):
        sample = draw(whole, seed)
        found = whole.sample_of(whole.trials(sample)[0])
        # A ratio is known up to the network it builds.
        assert found is not None
        assert whole.sample_id(found) == whole.sample_id(sample)
    inside = whole.trials(draw(whole, 0))[0]
    assert whole.sample_of(inside) is not None
    assert whole.sample_of(inside.with_settings({"batch_size": 8})) is None
    assert whole.sample_of(replace(inside, train={**inside.train, "audio_snr": 3.0})) is None


@pytest.mark.parametrize("ratios", [[8, 16], {"low": 8, "high": 16}])
@pytest.mark.parametrize("coupling", ["mmtm", "sum"])
def test_a_sample_is_found_whose_ratio_a_trial_keeps_as_another(coupling: str, ratios: Any) -> None:
    # With 2 units, a joint of one from 4 on; a sum has no joint at all.
    one_level, placed = {"fusion_depth": 1}, {"couplings": [coupling]}
    narrow = space({**one_level, "mmtm_ratio": ratios}, placement=placed)
    (trial,) = narrow.trials({"mmtm_ratio": 16})
    assert narrow.sample_of(trial) == {"mmtm_ratio": 8}
    other = space({**one_level, "mmtm_ratio": [1, 2]}, placement={"couplings": ["mmtm"]})
    assert narrow.sample_of(other.trials({"mmtm_ratio": 2})[0]) is None


def test_a_sample_is_trained_at_every_train_condition() -> None:
    whole = space({"fusion_depth": [1, 2]}, train=PAPERS, seeds=[3, 4])
    trials = whole.trials({"fusion_depth": 2})
    assert len(set(trials)) == 32
    assert {tuple(one.train.values()) for one in trials} == set(
        itertools.product((2.0, 1.0, 0.5, 0.25), (1.0, 0.5, 0.25, 0.125))
    )
    assert {one.seed for one in trials} == {3, 4}
    assert whole.trials_per_sample == 32
    assert whole.size() == 2
    # One that is trained at several belongs to the sample by each of them.
    assert all(whole.sample_of(one) == {"fusion_depth": 2} for one in trials)


def test_sites_may_be_declared_one_by_one() -> None:
    declared = space(placement={"couplings": {"level2": ["none", "mmtm"]}})
    assert declared.size() == 1 + 1 + 2
    assert set(declared.parameters()) == {"fusion_depth", "coupling_level2"}


@pytest.mark.parametrize("levels", [2, [2, 4]])
def test_a_space_round_trips_through_yaml(levels: Any) -> None:
    by_site = {"couplings": {"level1": ["sum"], "level2": ["none", "mmtm"]}}
    for raw in (full(levels), {**full(levels), "placement": by_site, "train": [[1, 2]]}):
        search = build_search(
            {"name": "x", "task": "digits", **raw, "searcher": {"name": "random"}}
        )
        again = build_search(parse_yaml(to_yaml(search), "text"))
        assert again == search
        assert search.space is not None
        assert again.space is not None
        sample = draw(search.space, 3)
        assert again.space.trials(sample) == search.space.trials(sample)
        assert {one.evaluation.split for one in search.space.trials(sample)} == {"validation"}


def test_a_name_always_has_the_same_options() -> None:
    # Optuna refuses a parameter whose options change from trial to trial.
    whole = space(**full([2, 3]))
    declared = whole.parameters()
    assert {"fusion_depth_of_2", "fusion_depth_of_3"} <= set(declared)
    for seed in range(100):
        assert set(draw(whole, seed)) <= set(declared)


def some(values: Sequence[Any], least: int = 1) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=3, unique_by=str)


@st.composite
def spaces(draw_one: st.DrawFn) -> Space:
    """Any space: every field fixed, searched or left out, placements alike or site by site."""
    levels = draw_one(some([1, 2, 3]))
    depths = draw_one(some([0, 1, 2, 3]).filter(lambda them: min(them) <= min(levels)))
    fitting = [one for one in depths if one <= max(levels)]
    sites = [f"level{one}" for one in range(1, max(fitting) + 1)]

    def placed(kinds: Sequence[str]) -> Any:
        options = some(kinds[:3])
        by_site = st.dictionaries(st.sampled_from(sites), options, max_size=3) if sites else options
        return draw_one(options | by_site) if sites else ["none"]

    connections = {name: placed(CONNECTIONS) for name in ("image>audio", "audio>image")}
    placement = {"couplings": placed(COUPLINGS), "connections": connections}
    if sites and draw_one(st.booleans()):
        placement["ends"] = draw_one(some(FUSIONS))
    ratio = st.just({"low": 1, "high": 3}) | some([1, 2, 4])
    rate = st.just({"low": 0.001, "high": 0.1}) | some([0.001, 0.01])
    either = some([True, False])
    optional = {"mmtm_ratio": ratio, "mmtm_relu": either, "mmtm_identity": either}
    network = draw_one(st.fixed_dictionaries({}, optional=optional))
    training = draw_one(
        st.fixed_dictionaries({}, optional={"learning_rate": rate, "batch_size": some([16, 32])})
    )
    rows = [[1, 1], [2, 1]]
    train = draw_one(some(rows).map(lambda them: {"choose": them}) | st.just(rows))
    network |= {"levels": levels, "fusion_depth": fitting}
    return space(network, training=training, placement=placement, train=train)


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
    one_level = {"fusion_depth": [1], "mmtm_ratio": [1, 2]}
    fixed = space(one_level, placement={"couplings": ["mmtm"]})
    assert fixed.parameters() == {"mmtm_ratio": Choice((1, 2))}
    # Where nothing is coupled, a ratio means nothing.
    assert space(one_level, placement={"couplings": ["none"]}).parameters() == {}
    assert space({**one_level, "fusion_depth": 0}).parameters() == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"placement": {"couplings": ["mmtn"]}},
            "placement.couplings holds 'mmtn'; allowed: none, ",
        ),
        (
            {"placement": {"connections": {"image>audio": {"level3": ["none"]}}}},
            "placement.connections.image>audio.level3 is not a site; allowed: level1, level2",
        ),
        (
            {"placement": {"connections": {"image": ["cross"]}}},
            "placement.connections: connection is 'image'; allowed: two streams, as image>audio",
        ),
        (
            {"placement": {"connections": {"audio>video": ["cross"]}}},
            "placement.connections.audio>video is offered nowhere; allowed: image>audio, audio>ima",
        ),
        (
            {"placement": {"ends": ["gate"]}},
            "placement.ends holds 'gate'; allowed: concatenation, gate_audio, gate_image",
        ),
        (
            {"placement": {"streams": [["video"]]}},
            "placement.streams holds 'video'; allowed: image, audio",
        ),
        ({"network": {"fusion_depth": [3]}}, "fusion_depth is 3; allowed: 0 to levels"),
        ({"network": {"levels": [2, 4], "fusion_depth": [3]}}, "network.levels: fusion_depth is 3"),
        ({"network": {"levels": 9}}, "network.levels is 9; allowed: 1 to "),
        (
            {"training": {"learning_rate": {"low": 1}}},
            "training.learning_rate must have low and high, or be a list of values",
        ),
        (
            {"training": {"learning_rate": {"low": 2, "high": 1}}},
            "training.learning_rate.low is 2.0 and high is 1.0; allowed: low < high",
        ),
        (
            {"training": {"learning_rate": {"low": 0, "high": 1, "log": True}}},
            "training.learning_rate.low is 0.0 with log: true; allowed: above 0",
        ),
        (
            {"training": {"learning_rate": {"low": 1, "high": 2, "step": 1}}},
            "training.learning_rate.step is not a field; allowed: low, high, log",
        ),
        (
            {"training": {"learning_rate": {"low": -1, "high": 1}}},
            "learning_rate is -1.0; allowed: above 0",
        ),
        ({"network": {"dropout": {"low": 0, "high": 1}}}, "dropout is 1.0; allowed: 0 to below 1"),
        ({"network": {"units": [4, 4]}}, "network.units holds 4 twice; keep one"),
        ({"network": {"units": []}}, "network.units must be a list with at least one value"),
        ({"network": {"units": ["four"]}}, "network.units is 'four'; allowed: a whole number"),
        ({"network": {"mmtm_relu": {"low": 0, "high": 1}}}, "network.mmtm_relu is "),
        ({"network": {"unit": 3}}, "network.unit is not a field; did you mean units?"),
        (
            {"placement": {"coupling": "sum"}},
            "placement.coupling is not a field; did you mean coup",
        ),
        ({"placement": {"couplings": []}}, "placement.couplings must be a list with at least one"),
        ({"train": [[1]]}, "train holds [1]; allowed: [audio_snr, visual_snr]"),
        ({"train": [[1, 0]]}, "train: visual_snr is 0.0; allowed: above 0, original or absent"),
        ({"train": [[1, "loud"]]}, "train: 'loud' is no train condition; allowed: a number"),
        ({"train": {"mean": [1]}}, "train.mean is not a field"),
        ({"train": []}, "train must be a list with at least one value"),
        ({"train": [[1.0000001, 1], [1, 1]]}, "train holds 1/1 twice; keep one"),
        ({"folds": [1], "data": {"source": "builtin"}}, "folds holds 1; allowed: 0 to 0, or all"),
        ({"folds": [-1], "data": {"source": "builtin"}}, "folds holds -1; allowed: 0 to 0, or all"),
        ({"folds": "every"}, "folds must be a list with at least one value, or all"),
        (
            {"network": {"fusion_depth": 0}, "placement": {"couplings": "sum"}},
            "placement.couplings: no network of the search has a site; leave it out, or give other "
            "network.levels, network.fusion_depth",
        ),
        ({"seeds": [-1]}, "seed is -1; allowed: 0 to"),
        ({"seeds": [0, 0]}, "seeds holds 0 twice; keep one"),
        (
            {"scheduler": {"name": "asha", "within": ["fusion_depth", "fusion_depth"]}},
            "scheduler.within holds fusion_depth twice; keep one",
        ),
        (
            {"searcher": {"name": "tpe", "warm_start": ["one", "two", "one"]}},
            "searcher.warm_start holds one twice; keep one",
        ),
        (
            {"objectives": ["mean_accuracy", {"name": "mean_accuracy", "direction": "minimize"}]},
            "objectives holds mean_accuracy twice; keep one",
        ),
        (
            {"placement": {"streams": [["image", "image"]]}},
            "a subset in placement.streams holds image twice; keep one",
        ),
        ({"seeds": "all"}, "seeds must be a list"),
        ({"evaluation": {"split": "train"}}, "evaluation.split is 'train'; allowed: test, validat"),
    ],
)
def test_a_wrong_space_names_the_field(fields: dict[str, Any], message: str) -> None:
    network = {"fusion_depth": [0, 1, 2], **fields.get("network", {})}
    raw = {"name": "x", "task": "digits", "searcher": {"name": "random"}}
    with pytest.raises(ConfigurationError) as caught:
        build_search({**raw, **fields, "network": network})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
