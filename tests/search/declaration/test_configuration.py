"""A search as declared in YAML: its trials, and the sentence for what is wrong."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, make_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from odd_tasks import Amount, NoisySensors, Sensors, Widths
from small_clips import letter, write_letter
from small_views import view, write_frame, write_png

from fusion_search.datasets.batch import Data
from fusion_search.datasets.clips import stand_in
from fusion_search.datasets.rgbd import data as rgbd_data
from fusion_search.datasets.rgbd.stand_in import stand_in as rendered
from fusion_search.search.declaration.configuration import (
    build_search,
    load_configuration,
    parse_yaml,
    to_yaml,
)
from fusion_search.search.spaces.searchers.random_grid import enumerate_samples
from fusion_search.search.spaces.space import Space
from fusion_search.search.tasks.rgbd import task as rgbd_task
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.specification import TrialSpecification, parse_specification

CONFIGS = Path(__file__).parents[3] / "search" / "configs"


DIGITS = "name: x\ntask: digits"


def build(text: str) -> object:
    return build_search(parse_yaml(text, "test"))


PAPERS = {"audio_snr": [2, 1, 0.5, 0.25], "visual_snr": [1, 0.5, 0.25, 0.125]}


def test_a_sweep_is_the_product_of_its_choices_each_trial_once() -> None:
    search = build_search(
        {
            "name": "x",
            "task": "digits",
            "sweep": [
                {"network": {"fusion_depth": [0, 1, 2]}, "train": PAPERS, "seeds": [0, 1]},
                {"network": {"fusion_depth": [0]}, "train": [[0.5, 0.25]], "seeds": [0, 2]},
            ],
        }
    )
    trials = search.planned_trials()
    assert len(trials) == 3 * 16 * 2 + 1
    assert len({one.trial_id for one in trials}) == len(trials)
    # Seed by seed, so that a search that is interrupted has compared something.
    assert [one.seed for one in trials] == [0] * 48 + [1] * 48 + [2]
    assert {one.evaluation.split for one in trials} == {"test"}


def test_whatever_part_of_a_sweep_has_run_compares_its_blocks() -> None:
    search = build_search(
        {
            "name": "x",
            "task": "odd_tasks:Sensors",
            "data": {"subjects": 2},
            "folds": [1, 0],
            "seeds": [5, 3],
            "sweep": [
                {"network": {"width": [3, 4]}},
                {"network": {"width": 5}},
                {"network": {"width": 6}, "folds": [0]},
            ],
        }
    )
    order = [(one.seed, one.fold, one.network.width) for one in search.planned_trials()]
    assert order == [
        *((5, 1, 3), (5, 1, 4), (5, 1, 5), (5, 0, 3), (5, 0, 4), (5, 0, 5), (5, 0, 6)),
        *((3, 1, 3), (3, 1, 4), (3, 1, 5), (3, 0, 3), (3, 0, 4), (3, 0, 5), (3, 0, 6)),
    ]


def test_blocks_of_a_sweep_are_told_apart_by_what_differs_between_them() -> None:
    blocks = [{"network": {"units": units}, "data": {"split_seed": units}} for units in (4, 8)]
    search = build_search({"name": "x", "task": "digits", "train": [[1, 1]], "sweep": blocks})
    trials = search.planned_trials()
    assert len({one.trial_name for one in trials}) == 2
    settings = [one.planned()["settings"] for one in trials]
    assert settings == [{"units": units, "split_seed": units} for units in (4, 8)]


SEARCHED = {"searcher": {"name": "random"}, "objectives": ["parameters"]}
BLOCKS = {"sweep": [{"network": {"width": 3}, "folds": [1]}, {"network": {"width": 4}}]}


@pytest.mark.parametrize(
    ("declared", "folds"),
    [
        ({"folds": "all"}, {"fold 0", "fold 1"}),
        ({"folds": "all", "network": {"width": [3, 4]}, **SEARCHED}, {"fold 0", "fold 1"}),
        (BLOCKS, {"fold 0", "fold 1"}),
        ({"folds": [1]}, {"fold 1"}),
        ({}, set()),
    ],
)
def test_every_trial_names_its_fold_where_there_are_several(
    declared: dict[str, Any], folds: set[str]
) -> None:
    raw = {"name": "x", "task": "odd_tasks:Sensors", "data": {"subjects": 2}, **declared}
    search = build_search(raw)
    trials = search.planned_trials() if search.space is None else _some_trials(search.space)
    names = [[part for part in one.name_parts if part.startswith("fold ")] for one in trials]
    assert names == [[f"fold {one.fold}"] * bool(folds) for one in trials]
    assert {part for one in names for part in one} == folds
    # A name is no identity: what is told in it changes no id and is no setting.
    ids = [replace(one, varied=()).trial_id for one in trials]
    assert ids == [one.trial_id for one in trials]
    assert not any("fold" in one.planned()["settings"] for one in trials)
    rebuilt = [parse_specification(one.to_json(), Sensors()) for one in trials]
    assert [one.trial_name for one in rebuilt] == [one.trial_name for one in trials]


def _some_trials(space: Space) -> list[TrialSpecification]:
    return [trial for sample in enumerate_samples(space) for trial in space.trials(sample)]


def test_without_sweep_or_searcher_everything_declared_is_run() -> None:
    search = build_search(
        {
            "name": "x",
            "task": "digits",
            "network": {"fusion_depth": [0, 1], "units": 4},
            "placement": {"couplings": ["none", "sum"], "ends": ["concatenation", "gate_audio"]},
            "training": {"learning_rate": [0.1, 0.01]},
            "train": {"choose": [[1, 1], [2, 1]]},
        }
    )
    trials = search.planned_trials()
    # At depth 0 there is nothing to couple and no other end.
    assert len(trials) == (1 + 2 * 2) * 2 * 2
    assert {one.network.units for one in trials} == {4}
    assert {one.training.learning_rate for one in trials} == {0.1, 0.01}


def test_a_block_says_what_is_different() -> None:
    search = build_search(
        {
            "name": "x",
            "task": "odd_tasks:Sensors",
            "network": {"width": 3, "dropout": 0.5},
            "data": {"size": 12},
            "seeds": [0, 1],
            "training": {"epochs": 2, "batch_size": 8},
            "sweep": [
                {"network": {"width": [4, 5]}, "seeds": [7]},
                {"data": {"subjects": 2}, "folds": "all", "training": {"epochs": 9}},
            ],
        }
    )
    first, second = search.planned_trials()[:2], search.planned_trials()[2:]
    assert [(one.network.width, one.network.dropout, one.seed) for one in first] == [
        (4, 0.5, 7),
        (5, 0.5, 7),
    ]
    assert {(one.training.epochs, one.training.batch_size) for one in first} == {(2, 8)}
    # How many folds there are is said by the block's own data.
    assert [(one.seed, one.fold) for one in second] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert {(one.data.size, one.data.subjects) for one in second} == {(12, 2)}
    assert {(one.training.epochs, one.training.batch_size) for one in second} == {(9, 8)}
    assert build_search(yaml.safe_load(to_yaml(search))) == search


def test_conditions_that_differ_only_in_the_absent_stream_are_one_trial() -> None:
    search = build_search(
        {
            "name": "x",
            "task": "digits",
            "placement": {"streams": [["image"]]},
            "train": [[2, 1], [1, 1], [1, "original"]],
        }
    )
    conditions = [tuple(one.train.values()) for one in search.planned_trials()]
    assert conditions == [(math.inf, 1.0), (math.inf, math.inf)]


class Late(NoisySensors):
    """What it is tested on is known once its data are open."""

    axes = ()
    metrics = ()

    def open(self, data: Amount, fold: int = 0) -> Data:
        opened = super().open(data, fold)
        opened.axes, opened.metrics = NoisySensors.axes, NoisySensors.metrics
        return opened


def listed_sensors(**fields: Any) -> dict[str, Any]:
    """A trial of three streams, written out."""
    raw = {"name": "x", "task": "odd_tasks:NoisySensors", "seeds": [3]}
    return {**build_search(raw).planned_trials()[0].to_plain(), **fields}


def listed_search(*trials: dict[str, Any]) -> list[Any]:
    raw = {"name": "x", "task": "odd_tasks:NoisySensors", "listed": list(trials)}
    return build_search(raw).planned_trials()


def test_listed_trials_of_the_same_network_are_one() -> None:
    gates = {"s1": {"coupling": "gates"}}
    orders = (["heat", "ecg"], ["ecg", "heat"], ["heat", "ecg", "motion"], [])
    found = listed_search(
        *(listed_sensors(placement={"sites": gates, "streams": one}) for one in orders)
    )
    assert [one.placement.streams for one in found] == [("ecg", "heat"), ()]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fold": 3}, r"listed\.0\.fold is 3; allowed: 0 to 2"),
        ({"task": "digits"}, r"listed\.0\.task is 'digits'; allowed: odd_tasks:NoisySensors"),
        (
            {"placement": {"sites": {"s2": {"coupling": "gates"}}}},
            r"listed\.0\.placement: placement names s2\.coupling; allowed: s1\.coupling",
        ),
        (
            {"placement": {"sites": {"s1": {"coupling": "mmtm"}}}},
            r"listed\.0\.placement: s1\.coupling is 'mmtm'; allowed: none, gates",
        ),
        ({"placement": {"end": "gate"}}, r"listed\.0\.placement: end is 'gate'; allowed"),
        ({"placement": {"streams": ["eeg"]}}, r"placement: streams holds 'eeg'; allowed: ecg"),
        (
            {"placement": {"sites": {"s1": {"coupling": "gates"}}, "streams": ["ecg"]}},
            r"s1\.coupling is 'gates', but of its streams only ecg is there",
        ),
        (
            {"placement": {"sites": {"s1": {"ecg>heat": "transfer"}}, "streams": ["heat"]}},
            r"s1\.ecg>heat is 'transfer', but of its streams only heat is there",
        ),
    ],
)
def test_a_listed_trial_that_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        listed_search(listed_sensors(**fields))


def test_data_with_other_folds_are_named() -> None:
    raw = {"name": "x", "task": "odd_tasks:Sensors", "data": {"subjects": [3, 2]}}
    assert len(build_search(raw).planned_trials()) == 2
    message = "data with subjects 3 have 3 folds, and with subjects 2 2; declare options"
    for folds in ("all", [2]):
        with pytest.raises(ConfigurationError, match=message):
            build_search({**raw, "folds": folds})


class Twice(Sensors):
    """A setting of the network is called like one of training."""

    @dataclass(frozen=True)
    class network(Widths):  # noqa: N801
        batch_size: int = 3
        size: int = 4


class Ends(Sensors):
    @dataclass(frozen=True)
    class network(Widths):  # noqa: N801
        end: int = 3


@pytest.mark.parametrize("searched", [False, True])
def test_axes_and_metrics_may_come_from_the_data(searched: bool) -> None:
    raw: dict[str, Any] = {"name": "x", "task": f"{__name__}:Late", "train": [[1, 0], [2, 5]]}
    search = build_search({**raw, **({"searcher": {"name": "random"}} if searched else {})})
    space = search.space if searched else search.sweep[0]
    assert space is not None
    trials = space.trials({})
    assert [dict(one.train) for one in trials] == [
        {"ecg_snr": 1.0, "heat_snr": 0.0},
        {"ecg_snr": 2.0, "heat_snr": 5.0},
    ]
    if searched:
        (objective,) = search.objectives
        assert (objective.name, objective.direction) == ("mean_mean_absolute_error", "minimize")
    listed = {**raw, "listed": [one.to_plain() for one in trials]}
    del listed["train"]
    assert build_search(listed).planned_trials() == list(trials)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("Twice", "Twice has settings of one name: batch_size, size; network, data, training and"),
        ("Ends", "Ends has a setting of its network called end, which means something else in"),
    ],
)
def test_names_of_settings_are_told_apart(task: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build_search({"name": "x", "task": f"{__name__}:{task}"})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("coupling_s1", "says in samples what sits at a site"),
        ("to_heat_from_ecg_s1", "says in samples what sits at a site"),
        *(
            (name, f"is a column of every search's {table}")
            for name, table in {
                **dict.fromkeys(("seed", "fold", "status", "train_ecg_snr", "placement"), "trials"),
                **dict.fromkeys(("mean_mean_absolute_error", "threads"), "trials"),
                **dict.fromkeys(("epoch", "train_mean_absolute_error"), "epochs"),
                **dict.fromkeys(("n", "test_heat_snr"), ""),
                **dict.fromkeys(("loss", "mean_absolute_error"), "grid"),
            }.items()
        ),
    ],
)
@pytest.mark.parametrize("group", ["network", "data"])
def test_no_setting_is_called_like_a_column_or_a_part_of_a_sample(
    group: str, name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = {"network": Widths, "data": Amount}[group]
    named = make_dataclass("Named", [(name, int, 1)], bases=(base,), frozen=True)
    monkeypatch.setattr(NoisySensors, group, named)
    with pytest.raises(ConfigurationError) as caught:
        build_search({"name": "x", "task": "odd_tasks:NoisySensors"})
    assert f"NoisySensors has a setting of its {group} called {name}" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("section", ["confirmation", "scheduler", "training", "train", "mlflow"])
def test_a_section_without_a_value_is_left_out(section: str) -> None:
    raw = load_configuration(CONFIGS / "rgbd-space.yaml", [f"{section}=null"])
    assert build_search(raw).confirmation.top == (0 if section == "confirmation" else 1)
    raw = load_configuration(CONFIGS / "rgbd-space.yaml", ["confirmation.training=null"])
    assert build_search(raw).confirmation.training == {}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of ten persons, in the form of AVletters; of ten objects of two classes, RGB-D."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(1, 11):
        for said in ("apple", "bell_pepper"):
            one = view(f"{said}_{number}_1_1")
            write_frame(folder / "washington/rgbd-dataset", one)
            stem = str(folder / "rgbd" / said / one.group / "a")
            write_png(Path(f"{stem}_rgb.png"), one.colour)
            write_png(Path(f"{stem}_depth.png"), one.depth)
    for number in range(10):
        for said in "AB":
            write_letter(folder, f"{said}1_{chr(65 + number)}", *letter(3, 5))
    return folder


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_are_valid_and_round_trip(
    path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUSION_SEARCH_DATA", str(data))
    monkeypatch.setenv("XDG_CACHE_HOME", str(data / "cache"))
    # What would be downloaded; and the stand-ins' examples, all of which take long.
    monkeypatch.setattr(rgbd_task, "weights_file", lambda *_: path)
    monkeypatch.setattr(rgbd_task, "check_weights", lambda *_: None)
    monkeypatch.setattr(rgbd_data, "stand_in", lambda *sizes: rendered(*sizes[:2], 1))
    monkeypatch.setattr(stand_in, "stand_in", partial(stand_in.stand_in, 2, 1))
    search = build_search(load_configuration(path))
    assert search.name == path.stem
    assert build_search(yaml.safe_load(to_yaml(search))) == search


def test_the_paper_configuration_is_the_papers_sweep() -> None:
    trials = build_search(load_configuration(CONFIGS / "paper.yaml")).planned_trials()
    assert len(trials) == 3 * 16 * 5
    settings = [(one.network, one.training) for one in trials]
    assert {
        (network.units, training.examples, training.learning_rate) for network, training in settings
    } == {(64, 87_516, 1e-3)}
    conditions = {tuple(one.train.values()) for one in trials}
    assert len(conditions) == 16
    assert {(0.5, 0.25), (2.0, 0.125)} <= conditions
    assert {one.network.fusion_depth for one in trials} == {0, 1, 2}
    assert {one.seed for one in trials} == set(range(5))


def test_overrides_reach_nested_fields_and_lists() -> None:
    raw = load_configuration(
        CONFIGS / "digits-small.yaml",
        [
            "training.examples=2000",
            "sweep.0.seeds=[4]",
            "name=other",
            "training.learning_rate=1e-2",
            "network.units=5",
        ],
    )
    search = build_search(raw)
    first = search.planned_trials()[0]
    training = first.training
    assert (search.name, training.examples, first.seed, training.learning_rate) == (
        "other",
        2000,
        4,
        0.01,
    )
    assert first.network.units == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "name is missing"),
        ("name: ../x", "name is '../x'"),
        ("name: x\nname: y", "name is written twice"),
        ("name: x", "task is missing; say what is fused, such as task: digits"),
        (f"{DIGITS}\nnetworks: {{}}", "networks is not a field; did you mean network"),
        (f"{DIGITS}\ntrials: {{}}", "trials belongs to configurations of an earlier version; "),
        (f"{DIGITS}\nnetwork: {{unit: 3}}", "network.unit is not a field; did you mean units"),
        (f"{DIGITS}\nnetwork: {{units: many}}", "network.units is 'many'; allowed: a whole number"),
        (f"{DIGITS}\nnetwork: {{units: 3.5}}", "network.units is 3.5; allowed: a whole number"),
        (f"{DIGITS}\nnetwork: {{units: true}}", "network.units is True; allowed: a whole number"),
        (f"{DIGITS}\nnetwork: [3]", "network must be a mapping"),
        (f"{DIGITS}\ntraining: {{learning_rate: .nan}}", "training.learning_rate is nan"),
        *(
            (f"{DIGITS}\n{field}: {{{name}: {word}}}", f"{field}.{name} is .*; allowed: a number")
            for field, name in (
                ("training", "learning_rate"),
                ("network", "dropout"),
                ("resources", "save_seconds"),
            )
            for word in ("original", "absent", "inf", "true", "'1'")
        ),
        (f"{DIGITS}\ntraining: {{learning_rate: .inf}}", "learning_rate is inf; .* finite"),
        (
            f"{DIGITS}\ntraining: {{learning_rate: {{low: 1, high: .inf}}}}\nsearcher: {{}}",
            r"training\.learning_rate\.high is inf; allowed: a finite number",
        ),
        (f"{DIGITS}\nnetwork: {{units: 0}}", "units is 0"),
        (f"{DIGITS}\nnetwork: {{seed: 3}}", "network.seed is not a field"),
        (f"{DIGITS}\nsweep: []", "sweep is empty"),
        (f"{DIGITS}\ntraining: 3\nsweep: [{{training: {{}}}}]", "training must be a mapping"),
        (f"{DIGITS}\nsweep: {{seeds: 1.5}}", "seeds must be a list"),
        (f"{DIGITS}\nsweep: {{seed: [1]}}", "sweep.0.seed is not a field; did you mean seeds"),
        (f"{DIGITS}\nsweep: {{train: [[1]]}}", r"allowed: \[audio_snr, visual_snr\]"),
        (f"{DIGITS}\nnetwork: {{fusion_depth: [5]}}", "fusion_depth is 5; allowed: 0 to levels"),
        (
            f"{DIGITS}\ntraining: {{learning_rate: {{low: 0.1, high: 1}}}}",
            "sweep.0 has a range of numbers; declare a searcher, or give a list of values",
        ),
        (
            f"{DIGITS}\nnetwork: {{units: {{low: 1, high: 100_001}}}}",
            "sweep.0 has 100,001 trials; allowed: up to 100,000",
        ),
        (f"{DIGITS}\nsweep: []\nsearcher: {{}}", "sweep and searcher are both there; keep one"),
        (f"{DIGITS}\nscheduler: {{name: asha}}", "scheduler is there without a searcher"),
        (
            f"{DIGITS}\nsearcher: null\nobjectives: [mean_accuracy]",
            "objectives is there without a searcher.* leave objectives out, as objectives: null",
        ),
        (f"{DIGITS}\nlisted: []\nseeds: [1]", "seeds is there beside listed"),
        (
            f"{DIGITS}\nlisted: [3]",
            r"listed\.0 must be a mapping",
        ),
        (f"{DIGITS}\nlisted: [{{}}]", r"listed\.0\.task is missing"),
        (
            f"{DIGITS}\nsearcher: {{}}\nobjectives: [mean_recall]",
            r"objectives\.0\.name is 'mean_recall'; allowed: train_condition_accuracy, mean",
        ),
        (
            f"{DIGITS}\nsearcher: {{}}\nconfirmation: {{training: {{epoch: 3}}}}",
            r"confirmation\.training\.epoch is not a field; did you mean epochs",
        ),
        (
            f"{DIGITS}\nsearcher: {{}}\nconfirmation: {{data: {{frames: 0}}}}",
            r"confirmation\.data\.frames must be a whole number from 1 up",
        ),
        (
            "name: x\ntask: numbers",
            "task is 'numbers'; allowed: digits, rgbd, table, xflow, or a class of yours as",
        ),
        ("name: x\ntask: [digits]", r"task is \['digits'\]; allowed: text"),
        (f"{DIGITS}\nresources: {{cpus_per_trial: 0}}", "resources.cpus_per_trial is 0"),
        (f"{DIGITS}\nresources: {{gpus_per_trial: 1.5}}", "resources.gpus_per_trial is 1.5"),
        (f"{DIGITS}\nresources: {{gpus_per_trial: .inf}}", "resources.gpus_per_trial is inf"),
        (
            f"{DIGITS}\nresources: {{packed_trials: 0}}",
            r"packed_trials is 0; allowed: 1 \(each",
        ),
        (f"{DIGITS}\nresources: {{packed_trials: 2.5}}", "packed_trials is 2.5; allowed: a whole"),
        (f"{DIGITS}\nmlflow: {{tracking_uri: 5}}", "mlflow.tracking_uri is 5; allowed: text"),
        (f"{DIGITS}\nmlflow: {{tracking_uri: 'http://a:b@c'}}", "tracking_uri holds a password"),
        ("name: !!python/object:os.system x", "not valid YAML"),
        ("name: [", "not valid YAML"),
        ("name: 25921e05", r"name is 2592100000.0; allowed: text; .*, put it in quotes"),
        ("name: 1_000", "name is 1000; allowed: text; .*, put it in quotes"),
        ("name: 2025-11-25", "name is the date 2025-11-25; allowed: text; .*, put it in quotes"),
        ("name: no", "name is False; allowed: text; .*, put it in quotes"),
        ("name: ~", "name is empty; allowed: text$"),
        ("name: .hidden", "of which a letter or digit comes first"),
        ("name: größe", r"letters \(a to z, A to Z\)"),
        ("name: 010", "a text in quotes: YAML reads 010 in base 8$"),
        ("name: x\nstorage: 1e5", "storage is 100000.0; .*, put it in quotes"),
        ("name: x\nsweep: {seeds: [010]}", r"write a number in base 10.* 010 in base 8"),
        ("name: x\nsweep: {seeds: [-0_7]}", "-0_7 in base 8"),
        ("name: x\nsweep: {seeds: [1:30]}", "1:30 in base 60"),
        ("name: x\nsweep: {train: [[1:30.5, 1]]}", "1:30.5 in base 60"),
        ("name: x\nplacement: {couplings: {01: none}}", "01 in base 8"),
    ],
)
def test_wrong_configurations_name_the_field(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build(text)


@pytest.mark.parametrize("scheduler", ["none", "asha", "median", "pbt"])
def test_packing_is_refused_where_trials_are_proposed_or_stopped(scheduler: str) -> None:
    raw = {
        "name": "x",
        "task": "digits",
        "training": {"learning_rate": {"low": 0.001, "high": 0.1}},
        "searcher": {"name": "random"},
        "scheduler": {"name": scheduler},
        "resources": {"packed_trials": 4},
    }
    with pytest.raises(ConfigurationError, match=r"resources.packed_trials is 4 .*; allowed: 1"):
        build_search(raw)


def test_population_based_training_takes_no_parameter_of_a_fixed_coupling() -> None:
    raw = {
        "name": "x",
        "task": "digits",
        "network": {"fusion_depth": 1, "mmtm_ratio": [1, 2]},
        "placement": {"couplings": "mmtm"},
        "training": {"learning_rate": {"low": 0.001, "high": 0.1}},
        "searcher": {"name": "random"},
        "scheduler": {"name": "pbt"},
    }
    with pytest.raises(ConfigurationError, match=r"pbt.*copies weights between trials"):
        build_search(raw)


@pytest.mark.parametrize(
    "override", ["training.examples", "=3", "name.deeper=1", "sweep.7.seeds=1"]
)
def test_wrong_overrides_are_refused(override: str) -> None:
    with pytest.raises(ConfigurationError, match="--set"):
        load_configuration(CONFIGS / "digits-small.yaml", [override])


@pytest.mark.parametrize("text", ["1e5", "25921e05", "no", "On", "2025-11-25", "1_000", "0x1F"])
def test_a_name_that_yaml_takes_for_something_else_is_shown_as_it_was_written(
    text: str, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    advice = f'in quotes, as in "{text}" (or --set \'name="{text}"\')'
    for content, overrides in (
        (f"# mine\nname: {text}  # really\n", []),
        ("name: x", [f"name={text}"]),
    ):
        config.write_text(content)
        with pytest.raises(ConfigurationError, match=re.escape(advice)):
            load_configuration(config, overrides)
    assert load_configuration(config, [f'name="{text}"'])["name"] == text


def test_where_yaml_is_wrong_is_said_of_many_lines(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("name: x\nsweep:\n  seeds: [010]\n")
    with pytest.raises(ConfigurationError, match=r"010 in base 8 \(line 3, column 11\)$"):
        load_configuration(config)
    config.write_text("name: x")
    for value in ("010", "1:30", "["):
        with pytest.raises(ConfigurationError) as caught:
            load_configuration(config, [f"name={value}"])
        assert "line" not in str(caught.value)
        assert "string" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="name is empty"):
        build_search(load_configuration(config, ["name="]))


def test_numbers_that_mean_one_thing_are_read() -> None:
    text = "[0, -0, 10, 1_000, 0x1F, 0b11, 1e5, 1.5e-3, .5, 0.5, 00.5]"
    assert parse_yaml(text, "") == [0, 0, 10, 1000, 31, 3, 1e5, 1.5e-3, 0.5, 0.5, 0.5]
    assert parse_yaml("['010', '1:30', 08, 0o7, a:30]", "") == ["010", "1:30", "08", "0o7", "a:30"]


@pytest.mark.parametrize("text", ["/x/run #2", "a b #c", "it's #2"])
def test_an_override_loses_no_comment(text: str) -> None:
    demo = CONFIGS / "demo.yaml"
    with pytest.raises(ConfigurationError, match=r"--set .*would be read as .* in quotes"):
        load_configuration(demo, [f"storage={text}"])
    assert load_configuration(demo, [f'storage="{text}"'])["storage"] == text
    assert load_configuration(demo, ["storage= a  b "])["storage"] == "a  b"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.yaml cannot be read"):
        load_configuration(tmp_path / "nothing.yaml")


def test_in_what_the_data_of_trials_differ_is_said() -> None:
    kinds = {"data": {"fold_by": ["random", "instance"], "folds": 3}, "folds": "all"}
    other = {"data": {"size": 16, "rgb_network": "resnet18", "rgb_weights": "random"}}
    raw: dict[str, Any] = {"name": "x", "task": "rgbd"}
    sweep = build_search({**raw, "sweep": [kinds, {**other, "folds": [0]}]})
    assert sweep.data_words("a, b") == (
        f"data of the first trial: a, b; others differ in {sweep.data_differences}"
    )
    assert "fold by (random or instance)" in sweep.data_differences
    assert "rgb network (small or resnet18), rgb weights (none or random)" in sweep.data_differences
    assert sweep.data_differences.endswith(", fold")
    listed = replace(sweep, sweep=(), listed=tuple(sweep.planned_trials()))
    assert listed.data_differences == sweep.data_differences
    assert replace(listed, listed=listed.listed[:1]).data_words("a, b") == "data: a, b"
    space = {"data": {"focal": {"low": 400, "high": 600}}, "searcher": {"name": "random"}}
    assert build_search({**raw, **space}).data_differences == "focal"
