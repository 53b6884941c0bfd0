"""Spaces of tasks that are not digits: sites, settings, streams, folds and train conditions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_tasks import Amount, Imbalanced, NoisySensors, Sensors, Widths
from torch import nn

from fusion_search.datasets.batch import Data
from fusion_search.datasets.conditions import ABSENT, ORIGINAL, Range
from fusion_search.models.layout import Feature, Layout, Placement, Site
from fusion_search.search.declaration.layouts import Layouts
from fusion_search.search.declaration.space_fields import build_space
from fusion_search.search.spaces.parameters import Choice, Parameter
from fusion_search.search.spaces.parameters import Range as NumberRange
from fusion_search.search.spaces.searchers import make_searcher
from fusion_search.search.spaces.searchers.random_grid import RandomChooser, enumerate_samples
from fusion_search.search.spaces.space import Space
from fusion_search.search.tasks.base import Task
from fusion_search.search.trials.fields import ConfigurationError

EVERYTHING = {"couplings": ["none", "gates"], "connections": {"ecg>heat": ["none", "transfer"]}}


def space(task: Task, **raw: Any) -> Space:
    layouts = Layouts(task, raw.get("data", {}))
    return build_space(raw, "odd", task, layouts, split="validation", folds=layouts.folds)


def draw(one: Space, seed: int) -> dict[str, Any]:
    return one.sample(RandomChooser(np.random.default_rng(seed)))


def test_sites_and_connections_are_those_of_the_tasks_networks() -> None:
    whole = space(Sensors(), placement=EVERYTHING)
    assert whole.parameters() == {
        "coupling_s1": Choice(("none", "gates")),
        "to_heat_from_ecg_s1": Choice(("none", "transfer")),
    }
    (trials,) = zip(*(whole.trials(one) for one in enumerate_samples(whole)), strict=True)
    assert [one.placement.to_plain()["sites"] for one in trials] == [
        {},
        {"s1": {"ecg>heat": "transfer"}},
        {"s1": {"coupling": "gates"}},
        {"s1": {"coupling": "gates", "ecg>heat": "transfer"}},
    ]
    assert {one.placement.end for one in trials} == {""}
    # What is not declared is not there, and a single option is in no sample.
    assert space(Sensors()).parameters() == {}
    fixed = space(Sensors(), placement={"couplings": {"s1": "gates"}})
    assert list(enumerate_samples(fixed)) == [{}]
    assert fixed.any_trial().placement.at("s1") == "gates"


def test_settings_are_chosen_or_drawn_from_ranges() -> None:
    whole = space(
        Imbalanced(),
        network={"width": {"low": 2, "high": 5}, "dropout": [0.0, 0.5]},
        data={"size": [12, 24]},
        training={
            "learning_rate": {"low": 0.001, "high": 0.1, "log": True},
            "optimizer": ["adamw", "sgd"],
            "coupling_weight_decay": [None, 0.1],
            "epochs": 3,
        },
    )
    expected: dict[str, Parameter] = {
        "width": NumberRange(2, 5, integer=True),
        "dropout": Choice((0.0, 0.5)),
        "size": Choice((12, 24)),
        "learning_rate": NumberRange(0.001, 0.1, log=True),
        "optimizer": Choice(("adamw", "sgd")),
        "coupling_weight_decay": Choice(("null", "0.1"), (None, 0.1)),
    }
    assert whole.parameters() == expected
    assert whole.size() is None
    sample = {"width": 3, "dropout": 0.5, "size": 12, "learning_rate": 0.01, "optimizer": "sgd"}
    sample["coupling_weight_decay"] = "null"
    (trial,) = whole.trials(sample)
    assert (trial.network.width, trial.network.dropout, trial.data.size) == (3, 0.5, 12)
    training = trial.training
    assert (training.learning_rate, training.optimizer, training.epochs) == (0.01, "sgd", 3)
    assert training.coupling_weight_decay is None
    assert whole.sample_of(trial) == sample
    assert whole.sample_of(trial.with_settings({"width": 6})) is None
    assert whole.sample_of(trial.with_settings({"coupling_weight_decay": 0.2})) is None
    assert trial.evaluation.split == "validation"


def test_folds_are_those_of_the_data() -> None:
    every = space(Sensors(), folds="all", data={"subjects": 4}, seeds=[0, 7])
    assert every.folds == (0, 1, 2, 3)
    trials = every.trials({})
    assert [(one.fold, one.seed) for one in trials] == list(itertools.product(range(4), (0, 7)))
    assert every.trials_per_sample == 8
    assert every.epochs_per_sample == 8 * 5
    assert space(Sensors(), folds=[0, 2]).folds == (0, 2)
    assert space(Sensors(), folds=1).folds == (1,)
    with pytest.raises(ConfigurationError, match="folds holds 3; allowed: 0 to 2, or all"):
        space(Sensors(), folds=[0, 3])


def test_of_a_dropped_stream_nothing_is_asked() -> None:
    subsets = [["motion", "heat", "ecg"], ["motion", "ecg"], ["heat"]]
    whole = space(
        NoisySensors(),
        placement={**EVERYTHING, "streams": subsets},
        train=[[1, 0], [0.5, 0], [1, 5]],
    )
    assert whole.parameters()["streams"].options == ("all", "ecg+motion", "heat")  # type: ignore[union-attr]
    samples = list(enumerate_samples(whole))
    assert len(samples) == whole.size() == 4 + 2 + 1
    names = {one["streams"]: set(one) - {"streams"} for one in samples}
    # A connection needs both of its streams, a coupling two.
    assert names == {
        "all": {"coupling_s1", "to_heat_from_ecg_s1"},
        "ecg+motion": {"coupling_s1"},
        "heat": set(),
    }
    conditions = {}
    for sample in samples:
        trials = whole.trials(sample)
        assert {one.placement.streams for one in trials} == {
            {"all": (), "ecg+motion": ("ecg", "motion"), "heat": ("heat",)}[str(sample["streams"])]
        }
        conditions[sample["streams"]] = [tuple(one.train.values()) for one in trials]
        assert all(whole.sample_of(one) == sample for one in trials)
    # What differs in the SNR of what is not there is trained once.
    assert conditions == {
        "all": [(1.0, 0.0), (0.5, 0.0), (1.0, 5.0)],
        "ecg+motion": [(1.0, ORIGINAL), (0.5, ORIGINAL)],
        "heat": [(ORIGINAL, 0.0), (ORIGINAL, 5.0)],
    }


def test_a_chosen_condition_of_a_dropped_stream_is_found_again() -> None:
    whole = space(
        NoisySensors(),
        placement={"streams": [["ecg", "motion", "heat"], ["heat"]]},
        train={"choose": [[1, 0], [2, 5]]},
    )
    for sample in enumerate_samples(whole):
        (trial,) = whole.trials(sample)
        assert whole.sample_of(trial) == sample


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        (None, [(ORIGINAL, ORIGINAL)]),
        ([["absent", "original"]], [(ABSENT, ORIGINAL)]),
        ([[1, -5], [0.5, 20]], [(1.0, -5.0), (0.5, 20.0)]),
        ({"ecg_snr": [1, "original"], "heat_snr": [0, 5]}, "product"),
        ({"heat_snr": [-5]}, [(ORIGINAL, -5.0)]),
        ([[{"low": 0.5, "high": 2}, "original"]], [(Range(0.5, 2.0), ORIGINAL)]),
        (
            {"ecg_snr": [{"any": [1, "absent"]}, {"any": [{"low": 1, "high": 2}, 4]}]},
            [((1.0, ABSENT), ORIGINAL), ((Range(1.0, 2.0), 4.0), ORIGINAL)],
        ),
    ],
    ids=["none", "absent", "rows", "product", "one axis", "range", "any"],
)
@pytest.mark.parametrize("choose", [False, True])
def test_train_conditions_are_rows_or_a_product_or_a_choice(
    train: Any, expected: Any, choose: bool
) -> None:
    if expected == "product":
        expected = list(itertools.product((1.0, ORIGINAL), (0.0, 5.0)))
    whole = space(NoisySensors(), train={"choose": train} if choose else train)
    samples = list(enumerate_samples(whole))
    trials = [one for sample in samples for one in whole.trials(sample)]
    assert [tuple(one.train.values()) for one in trials] == expected
    assert len(samples) == whole.size() == (len(expected) if choose else 1)
    assert whole.trials_per_sample == (1 if choose else len(expected))
    assert [whole.sample_of(one) for one in trials] == (
        samples if choose else samples * len(trials)
    )


@pytest.mark.parametrize(
    ("task", "train", "message"),
    [
        (NoisySensors(), [[1]], "train holds [1]; allowed: [ecg_snr, heat_snr]"),
        (NoisySensors(), [[0, 0]], "train: ecg_snr is 0.0; allowed: above 0, original or absent"),
        (NoisySensors(), {"ecg": [1]}, "train.ecg is not a field; did you mean ecg_snr?"),
        (NoisySensors(), {"ecg_snr": 1}, "train.ecg_snr must be a list"),
        (NoisySensors(), {"choose": [[1, 2], [1, 2]]}, "train holds 1/2 twice; keep one"),
        (NoisySensors(), [[{"low": 2, "high": 1}, 0]], "low is 2.0, high is 1.0; allowed: low be"),
        (NoisySensors(), [[{"low": -1, "high": 1}, 0]], "train: ecg_snr is -1.0; allowed: above"),
        (NoisySensors(), [[{"any": []}, 0]], "is no train condition; allowed: a number, original"),
        (NoisySensors(), [[{"low": 2}, 0]], "is no train condition; allowed: a number, original"),
        (Sensors(), [[1]], "train holds [1]; allowed: none, for the task has no axis"),
        (Sensors(), {"ecg_snr": [1]}, "train.ecg_snr is not a field"),
    ],
)
def test_a_wrong_train_condition_is_named(task: Task, train: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        space(task, train=train)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {"placement": {"couplings": ["mmtm"]}},
            "placement.couplings holds 'mmtm'; allowed: none, g",
        ),
        (
            {"placement": {"couplings": {"s2": ["gates"]}}},
            "placement.couplings.s2 is not a site; allowed: s1",
        ),
        (
            {"placement": {"connections": {"heat>ecg": ["transfer"]}}},
            "placement.connections.heat>ecg is offered nowhere; allowed: ecg>heat",
        ),
        ({"placement": {"ends": ["gate"]}}, "placement.ends holds 'gate'; allowed: none"),
        (
            {"placement": {"streams": [["ecg"], ["sound"]]}},
            "placement.streams holds 'sound'; allowed: ecg, motion, heat",
        ),
        (
            {"placement": {"streams": [["ecg", "heat"], ["heat", "ecg"]]}},
            "placement.streams holds ecg, heat twice; keep one",
        ),
        ({"placement": {"streams": ["ecg"]}}, "placement.streams must be a list"),
        ({"network": {"width": [1, 0]}}, "network.width is 0; allowed: 1 or more"),
        ({"network": {"wide": 3}}, "network.wide is not a field; did you mean width?"),
        ({"data": {"size": 2.5}}, "data.size is 2.5; allowed: a whole number"),
        ({"training": {"epochs": [1, 0]}}, "epochs is 0; allowed: 1 or more"),
        (
            {"training": {"momentum": 0.9}},
            "momentum is 0.9 with optimizer adamw; allowed with: sgd",
        ),
    ],
)
def test_what_the_task_does_not_have_is_named(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        space(Sensors(), **raw)
    assert message in str(caught.value)


@dataclass(frozen=True)
class Needy:
    width: int
    depth: int = 1


class NeedySensors(Sensors):
    network = Needy


def test_a_setting_without_a_default_must_be_declared() -> None:
    with pytest.raises(ConfigurationError, match=r"^network\.width is missing$"):
        space(NeedySensors(), network={"depth": 2})


class Varied(Sensors):
    """Which couplings fit depends on the width."""

    def layout(self, network: Any, data: Callable[[], Data]) -> Layout:
        vectors = {"ecg": Feature(2), "heat": Feature(2)}
        site = Site("s1", dict.fromkeys(vectors, "1"))
        kinds = ("none", "sum") if network.width > 4 else ("none", "sum", "gates")
        return Layout(tuple(vectors), {}, ((site, vectors),), {"s1": {"coupling": kinds}})


def test_options_that_differ_between_networks_are_refused() -> None:
    every = ["none", "sum", "gates"]
    varied = space(Varied(), network={"width": [4, 8]}, placement={"couplings": every})
    with pytest.raises(ValueError, match="coupling_s1 has other options in other networks"):
        varied.parameters()
    assert varied.size() == len(list(enumerate_samples(varied))) == 3 + 2
    both = space(Varied(), network={"width": [4, 8]}, placement={"couplings": ["none", "sum"]})
    assert set(both.parameters()) == {"width", "coupling_s1"}


def test_a_setting_named_like_a_placement_is_none() -> None:
    whole = space(
        Sensors(), placement=EVERYTHING, training={"coupling_weight_decay": [0.0, 0.1, None]}
    )
    sample = {"coupling_s1": "gates", "to_heat_from_ecg_s1": "none", "coupling_weight_decay": "0.1"}
    assert whole.complexity(sample) == 1
    assert whole.placed_names == {"coupling_s1", "to_heat_from_ecg_s1"}
    (trial,) = whole.trials(sample)
    assert whole.sample_of(trial) == sample
    searcher = make_searcher("surrogate", whole, ["maximize"], 0)
    first = [searcher.propose((), attempt) for attempt in range(9)]
    assert all(one is not None and whole.complexity(one) <= 1 for one in first)
    assert {one["coupling_weight_decay"] for one in first if one} == {"0.0", "0.1", "null"}


# A task whose networks have sites by their settings; no network is ever built.


@dataclass(frozen=True)
class Blocks:
    layout_fields: ClassVar = ("blocks", "share_of_blocks")
    coupling_fields: ClassVar = ("ratio",)

    blocks: int = 2
    share_of_blocks: int = 1
    ratio: int = 2
    sizes: tuple[int, ...] = (4,)
    mode: Literal["fast", "slow"] = "fast"
    share: float = 0.5
    limit: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share_of_blocks <= self.blocks:
            raise ValueError(
                f"share_of_blocks is {self.share_of_blocks}; allowed: 0 to blocks ({self.blocks})"
            )


def layout_of(network: Blocks) -> Layout:
    names = [f"b{one}" for one in range(1, network.share_of_blocks + 1)]
    vectors = {name: Feature(2) for name in ("ecg", "motion", "heat")}
    sites = tuple(
        # After the second block there are two streams left.
        (Site(name, dict.fromkeys(list(vectors)[number // 2 :], "1")), vectors)
        for number, name in enumerate(names, 1)
    )
    choices = {name: {"coupling": ("none", "sum", "gates")} for name in names}
    if "b1" in choices:
        choices["b1"]["ecg>heat"] = ("none", "cross", "both")
    if "b2" in choices:
        choices["b2"]["heat>motion"] = ("none", "cross")
    return Layout(tuple(vectors), {}, sites, choices, ends=("mean", "last") if names else ("mean",))


class MadeOfBlocks(NoisySensors):
    network = Blocks

    def layout(self, network: Any, data: Callable[[], Data]) -> Layout:
        return layout_of(network)


def some(values: list[Any], most: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique_by=str)


@st.composite
def declared(draw_one: st.DrawFn) -> dict[str, Any]:
    """Any space of ``MadeOfBlocks``, as YAML has it."""
    blocks = draw_one(some([1, 2, 3]))
    # Every number of blocks needs a share that it can have, and every share such a number.
    shares = draw_one(some([0, 1, 2, 3]).filter(lambda them: min(them) <= min(blocks)))
    shares = [one for one in shares if one <= max(blocks)]
    network: dict[str, Any] = {"blocks": blocks, "share_of_blocks": shares}
    network |= draw_one(
        st.fixed_dictionaries(
            {},
            optional={
                "ratio": some([1, 2, 4]) | st.just({"low": 1, "high": 3}),
                "sizes": some([[1], [2, 3], []]),
                "mode": some(["fast", "slow"]),
                "share": some([0.25, 0.5]) | st.just({"low": 0, "high": 1}),
                "limit": some([None, 3]),
            },
        )
    )
    placement: dict[str, Any] = {}
    if max(shares):
        kinds = some(["none", "sum", "gates"])
        by_site = {"b1": kinds} if max(shares) == 1 else {"b1": kinds, "b2": kinds}
        placement["couplings"] = draw_one(kinds | st.fixed_dictionaries({}, optional=by_site))
        connections = {"ecg>heat": some(["none", "cross", "both"])}
        if max(shares) > 1:
            connections["heat>motion"] = some(["none", "cross"])
        placement["connections"] = draw_one(st.fixed_dictionaries({}, optional=connections))
        placement["ends"] = draw_one(some(["mean", "last"]))
    subsets = [["ecg", "motion", "heat"], ["ecg", "heat"], ["motion", "heat"], ["motion"]]
    placement["streams"] = draw_one(some(subsets))
    rows = [[1, 0], [2, 0], [{"any": [1, "absent"]}, {"low": 0, "high": 5}]]
    train = draw_one(some(rows).map(lambda them: {"choose": them}) | some(rows))
    training = draw_one(st.fixed_dictionaries({}, optional={"batch_size": some([16, 32])}))
    return {"network": network, "placement": placement, "train": train, "training": training}


@given(raw=declared(), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_every_sample_lies_in_the_space_and_is_found_again(raw: dict[str, Any], seed: int) -> None:
    task = MadeOfBlocks()
    whole = space(task, **raw)
    parameters, size = whole.parameters(), whole.size()
    if size is not None and size <= 200:
        samples = list(enumerate_samples(whole))
        assert len({str(sorted(one.items())) for one in samples}) == len(samples) == size
        assert set().union(*samples) == set(parameters)
    else:
        samples = [draw(whole, seed + number) for number in range(20)]
    for sample in samples[:: max(1, len(samples) // 20)]:
        assert list(sample) == [name for name in parameters if name in sample]
        for name, value in sample.items():
            parameter = parameters[name]
            if isinstance(parameter, Choice):
                assert value in parameter.options
            else:
                assert parameter.low <= float(value) <= parameter.high
        for trial in whole.trials(sample):
            layout_of(trial.network).check(trial.placement)
            found = whole.sample_of(trial)
            assert found is not None
            # Of conditions that differ in what is not there, the first is found.
            assert whole.sample_id(found) == whole.sample_id(sample)
            if not whole.choose or whole.streams == ((),):
                assert found == sample
    if not whole.choose:
        assert len({whole.sample_id(one) for one in samples}) == len(
            {str(sorted(one.items())) for one in samples}
        )


@dataclass(frozen=True)
class Required:
    """Settings without a default, and one that means something only where streams are coupled."""

    layout_fields: ClassVar = ("depth",)
    coupling_fields: ClassVar = ("ratio",)

    width: int
    ratio: int
    depth: int = 1


@dataclass(frozen=True)
class Sizes:
    sizes: tuple[int, ...] = (4, 5)
    gain: float = 1.0


class Demanding(Sensors):
    network, data = Required, Sizes

    def open(self, data: Sizes, fold: int = 0) -> Data:
        return super().open(Amount(), fold)

    def build(self, network: Required, data: Data, placement: Placement) -> nn.Module:
        return super().build(Widths(width=network.width), data, placement)


def demanding(**more: Any) -> Space:
    task = Demanding()
    raw = {"network": {"width": [4, 8], "ratio": [2, 3]}, **more}
    layouts = Layouts(task, raw.get("data", {}))
    return build_space(raw, "demanding", task, layouts, split="validation", folds=layouts.folds)


def test_settings_without_a_default_are_taken_from_what_is_declared() -> None:
    space = demanding(placement={"couplings": ["none", "gates"]})
    samples = list(enumerate_samples(space))
    assert space.size() == len(samples) == 2 * (1 + 2)
    ratios = {space.trials(one)[0].network.ratio for one in samples if "ratio" not in one}
    assert ratios == {2}  # of a network without a coupling the first, which means nothing


def test_a_tuple_and_a_range_among_the_settings_of_data() -> None:
    space = demanding(data={"sizes": [5, 6], "gain": {"low": 1, "high": 2}}, folds="all")
    trial = space.any_trial()
    assert trial.data == Sizes(sizes=(5, 6), gain=1.0)
    assert space.folds == (0, 1, 2)


def test_a_range_that_sites_may_depend_on_is_bounded() -> None:
    task = Sensors()
    raw = {"network": {"width": {"low": 1, "high": 2000}}}
    with pytest.raises(ConfigurationError, match=r"network\.width has 2,000 values"):
        build_space(raw, "sensors", task, Layouts(task, {}), split="validation")
