from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import yaml

from fusion_search.search.declaration.configuration import (
    build_search,
    load_configuration,
    parse_yaml,
    to_yaml,
)
from fusion_search.search.trials.fields import ConfigurationError

CONFIGS = Path(__file__).parents[3] / "search" / "configs"


def build(text: str) -> object:
    return build_search(parse_yaml(text, "test"))


def test_a_sweep_is_the_product_of_its_choices_each_trial_once() -> None:
    search = build_search(
        {
            "name": "x",
            "sweep": [
                {"fusion_depths": [0, 1, 2], "train_pairs": "all", "seeds": [0, 1]},
                {"fusion_depths": [0], "train_pairs": [[0.5, 0.25]], "seeds": [0, 2]},
            ],
        }
    )
    trials = search.planned_trials()
    assert len(trials) == 3 * 16 * 2 + 1
    assert len({one.trial_id for one in trials}) == len(trials)


def test_pairs_that_differ_only_in_the_absent_sense_are_one_trial() -> None:
    search = build_search(
        {
            "name": "x",
            "sweep": {
                "modalities": ["visual"],
                "train_pairs": [[2, 1], [1, 1], [1, "original"]],
            },
        }
    )
    pairs = [one.train_pair for one in search.planned_trials()]
    assert pairs == [(math.inf, 1.0), (math.inf, math.inf)]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_are_valid_and_round_trip(path: Path) -> None:
    search = build_search(load_configuration(path))
    assert search.name == path.stem
    assert build_search(yaml.safe_load(to_yaml(search))) == search


def test_the_paper_configuration_is_the_papers_sweep() -> None:
    trials = build_search(load_configuration(CONFIGS / "paper.yaml")).planned_trials()
    assert len(trials) == 3 * 16 * 5
    assert {(one.units, one.examples, one.learning_rate) for one in trials} == {(64, 87_516, 1e-3)}


def test_overrides_reach_nested_fields_and_lists() -> None:
    raw = load_configuration(
        CONFIGS / "demo.yaml",
        ["trials.examples=2000", "sweep.0.seeds=[4]", "name=other", "trials.learning_rate=1e-2"],
    )
    search = build_search(raw)
    first = search.planned_trials()[0]
    assert (search.name, first.examples, first.seed, first.learning_rate) == (
        "other",
        2000,
        4,
        0.01,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "name is missing"),
        ("name: ../x", "name is '../x'"),
        ("name: x\nname: y", "name is written twice"),
        ("name: x\ntrial: {}", "trial is not a field; did you mean trials"),
        ("name: x\ntrials: {unit: 3}", "trials.unit is not a field; did you mean units"),
        ("name: x\ntrials: {units: many}", "trials.units is 'many'; allowed: a whole number"),
        ("name: x\ntrials: {units: 3.5}", "trials.units is 3.5; allowed: a whole number"),
        ("name: x\ntrials: {units: true}", "trials.units is True; allowed: a whole number"),
        ("name: x\ntrials: {learning_rate: .nan}", "trials.learning_rate is nan"),
        ("name: x\ntrials: {units: 0}", "units is 0"),
        ("name: x\ntrials: {seed: 3}", "trials.seed is swept; declare it under sweep"),
        ("name: x\nsweep: []", "sweep is empty"),
        ("name: x\nsweep: {seeds: 3}", "sweep.0.seeds must be a list"),
        ("name: x\nsweep: {train_pairs: [[1]]}", r"allowed: \[audio SNR, visual SNR\]"),
        ("name: x\nsweep: {fusion_depths: [5]}", "fusion_depth is 5; allowed: 0 to levels"),
        ("name: x\nresources: {cpus_per_trial: 0}", "resources.cpus_per_trial is 0"),
        ("name: x\nresources: {gpus_per_trial: 1.5}", "resources.gpus_per_trial is 1.5"),
        ("name: x\nresources: {packed_trials: 0}", r"packed_trials is 0; allowed: 1 \(each trial"),
        ("name: x\nresources: {packed_trials: 2.5}", "packed_trials is 2.5; allowed: a whole"),
        ("name: x\nmlflow: {tracking_uri: 5}", "mlflow.tracking_uri is 5; allowed: text"),
        ("name: x\nmlflow: {tracking_uri: 'http://a:b@c'}", "tracking_uri holds a password"),
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
        ("name: x\nsweep: {train_pairs: [[1:30.5, 1]]}", "1:30.5 in base 60"),
        ("name: x\nspace: {to_audio: {01: none}}", "01 in base 8"),
    ],
)
def test_wrong_configurations_name_the_field(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build(text)


@pytest.mark.parametrize("scheduler", ["none", "asha", "median", "pbt"])
def test_packing_is_refused_where_trials_are_proposed_or_stopped(scheduler: str) -> None:
    raw = {
        "name": "x",
        "space": {"train_pairs": [[0.5, 0.25]], "learning_rate": {"low": 0.001, "high": 0.1}},
        "scheduler": {"name": scheduler},
        "resources": {"packed_trials": 4},
    }
    with pytest.raises(ConfigurationError, match=r"resources.packed_trials is 4 .*; allowed: 1"):
        build_search(raw)


def test_population_based_training_takes_no_parameter_of_a_fixed_coupling() -> None:
    raw = {
        "name": "x",
        "space": {
            "fusion_depths": [1],
            "couplings": ["mmtm"],
            "mmtm_ratio": [1, 2],
            "learning_rate": {"low": 0.001, "high": 0.1},
            "train_pairs": [[1, 1]],
        },
        "scheduler": {"name": "pbt"},
    }
    with pytest.raises(ConfigurationError, match=r"pbt.*copies weights between trials"):
        build_search(raw)


@pytest.mark.parametrize("override", ["trials.examples", "=3", "name.deeper=1", "sweep.7.seeds=1"])
def test_wrong_overrides_are_refused(override: str) -> None:
    with pytest.raises(ConfigurationError, match="--set"):
        load_configuration(CONFIGS / "demo.yaml", [override])


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
