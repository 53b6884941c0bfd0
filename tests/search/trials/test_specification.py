"""The description of a trial: its identity, its names, and the way to JSON and back."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
from odd_tasks import NoisySensors, Widths
from small_trials import changed, small_trial

from fusion_search.datasets.conditions import ABSENT, ORIGINAL, Range
from fusion_search.datasets.digits.data import DigitsSettings
from fusion_search.datasets.noise import TEST_SNRS
from fusion_search.models.layout import Placement
from fusion_search.search.tasks.base import Task
from fusion_search.search.tasks.digits.task import Digits, DigitsNetwork
from fusion_search.search.trials.settings import TrainingSettings
from fusion_search.search.trials.specification import (
    TrialSpecification,
    make_train,
    parse_specification,
)


def conditions(trial: TrialSpecification) -> list[tuple[Any, ...]]:
    return [tuple(one.values()) for one in trial.for_task(Digits()).test_conditions()]


def sensors_trial(**fields: Any) -> TrialSpecification:
    task = NoisySensors()
    given = {"task": "sensors", "network": Widths(), "data": task.data(), **fields}
    given["train"] = make_train(task, given.get("train", {}), given.get("streams", ()))
    return TrialSpecification(**given)


def test_the_papers_conditions() -> None:
    found = conditions(small_trial())
    assert len(set(found)) == 100
    assert {snr for pair in found for snr in pair} == set(TEST_SNRS)
    assert sorted(TEST_SNRS)[:2] == [1 / 16, 1 / 8]
    assert max(TEST_SNRS) == math.inf


def test_unimodal_trials_have_ten_conditions() -> None:
    found = conditions(small_trial(modality="visual"))
    assert len(found) == 10
    assert {audio for audio, _ in found} == {math.inf}


@pytest.mark.parametrize(
    ("trial", "task"),
    [
        (small_trial(modality="audio", train_audio_snr=math.inf, seed=7), Digits()),
        (small_trial(couplings=("mmtm", "none"), to_audio=("none", "both"), fold=2), Digits()),
        (small_trial(fusion="gate_audio", precision="bfloat16", split="validation"), Digits()),
        (sensors_trial(train={"ecg_snr": Range(0.5, 2), "heat_snr": ABSENT}), NoisySensors()),
        (
            sensors_trial(
                train={"ecg_snr": (1, ABSENT, Range(2, 3)), "heat_snr": 3},
                placement=Placement({"s1": {"coupling": "gates", "ecg>heat": "transfer"}}),
                training=TrainingSettings(coupling_weight_decay=0.1),
            ),
            NoisySensors(),
        ),
    ],
    ids=["audio", "placed", "gate", "range", "choice"],
)
def test_json_round_trip_keeps_the_identity(trial: TrialSpecification, task: Task) -> None:
    for again in (parse_specification(trial.to_json(), task), pickle.loads(pickle.dumps(trial))):
        assert again.to_json() == trial.to_json()
        assert again == trial
        assert hash(again) == hash(trial)
        assert again.trial_id == trial.trial_id
        assert again.columns() == trial.columns()
    assert len(trial.trial_id) == 12


def test_whatever_differs_is_another_trial() -> None:
    different = [
        *(small_trial(seed=seed) for seed in (0, 1)),
        small_trial(fold=1),
        small_trial(train_audio_snr=1.0),
        small_trial(train_audio_snr=math.inf),
        small_trial(units=4),
        small_trial(frames=30),
        small_trial(learning_rate=0.1),
        small_trial(split="validation"),
        small_trial(couplings=("mmtm", "none")),
        small_trial(couplings=("none", "mmtm")),
        small_trial(fusion="gate_image"),
        small_trial(modality="visual"),
    ]
    assert len({one.trial_id for one in different}) == len(different)
    assert len(set(different)) == len(different)


def test_settings_that_build_one_network_are_one_trial() -> None:
    plain = small_trial()
    # A setting of MMTM says nothing where there is none, and "none" is as good as nothing.
    assert small_trial(mmtm_ratio=2, couplings=("none", "none")) == plain
    assert changed(plain, mmtm_ratio=2).trial_id == plain.trial_id
    coupled = small_trial(couplings=("mmtm", "none"))
    assert changed(coupled, mmtm_ratio=1).trial_id != coupled.trial_id


@dataclass(frozen=True)
class Later(Widths):
    """As a task's settings look after someone has added one."""

    layout_fields: ClassVar = ()

    slope: float = 0.5
    sizes: tuple[int, ...] = field(default_factory=lambda: (1, 2))


def test_a_setting_at_its_default_does_not_change_the_identity() -> None:
    before = sensors_trial(network=Widths(width=3))
    assert replace(before, network=Later(width=3)).trial_id == before.trial_id
    assert replace(before, network=Later(width=3, sizes=(1, 2))).trial_id == before.trial_id
    for other in (Later(width=3, slope=0.6), Later(width=3, sizes=(2, 1)), Later(width=4)):
        assert replace(before, network=other).trial_id != before.trial_id
    # What is written is whole: a default that changes later changes no trial of the past.
    assert json.loads(before.to_json())["training"]["learning_rate"] == 1e-3


def test_what_an_earlier_program_wrote_is_of_the_same_trial() -> None:
    """It lacked a setting that has its default now; and what a search varies is not the trial's."""
    trial = small_trial(learning_rate=0.01)
    told = json.loads(trial.to_json())
    assert trial.is_told_in(json.dumps(told))
    del told["training"]["weight_decay"], told["evaluation"]["each_epoch"]
    assert trial.is_told_in(json.dumps({**told, "varied": ["units"]}))
    assert not trial.is_told_in(json.dumps({**told, "seed": 7}))
    for other in ({"learning_rate": 0.02}, {}, {"learning_rate": 0.01, "gone": 1}):
        assert not trial.is_told_in(json.dumps({**told, "training": other}))
    assert not trial.is_told_in("[]")
    with pytest.raises(ValueError, match="Expecting value"):
        trial.is_told_in("")


def test_the_papers_training_is_the_default() -> None:
    network, training = DigitsNetwork(), TrainingSettings()
    assert (training.examples, training.learning_rate, network.units) == (0, 1e-3, 64)


def test_names_for_people() -> None:
    assert small_trial(seed=3).trial_name == (
        "levels 2, fusion depth 2, plain, audio SNR 0.5, visual SNR 0.25, seed 3"
    )
    trial = small_trial(couplings=("mmtm", "none"), fusion="gate_audio", fold=1)
    assert "MMTM at level1, gate audio, audio SNR" in trial.trial_name
    assert trial.trial_name.endswith("fold 1, seed 0")
    # All settings of a network of which none are said to make sites are no part of the name.
    named = sensors_trial(train={"ecg_snr": Range(1, 20), "heat_snr": (ABSENT, 10.0)})
    assert named.trial_name == "plain, ecg SNR 1..20, heat SNR absent|10, seed 0"
    assert sensors_trial().trial_name == "plain, ecg SNR original, heat SNR original, seed 0"


def test_columns_are_what_was_tried() -> None:
    columns = small_trial(
        couplings=("mmtm", "none"), to_audio=("none", "cross"), fusion="gate_audio"
    ).columns()
    assert json.loads(columns["placement"]) == {
        "level1": {"coupling": "mmtm"},
        "level2": {"image>audio": "cross"},
    }
    assert (columns["streams"], columns["end"]) == ([], "gate_audio")
    assert (columns["train_audio_snr"], columns["train_visual_snr"]) == (0.5, 0.25)
    assert json.loads(columns["train"]) == {"audio_snr": 0.5, "visual_snr": 0.25}
    assert (columns["task"], columns["units"], columns["source"]) == ("digits", 3, "builtin")
    assert "device" not in columns  # the record says which it was
    drawn = sensors_trial(train={"ecg_snr": Range(1, 2), "heat_snr": ABSENT}).columns()
    assert (drawn["train_ecg_snr"], drawn["train_heat_snr"]) == (None, -math.inf)
    assert json.loads(drawn["train"]) == {
        "ecg_snr": {"low": 1.0, "high": 2.0},
        "heat_snr": "absent",
    }
    planned = small_trial(train_audio_snr=math.inf).planned()
    assert json.loads(planned["train"]) == {"audio_snr": "original", "visual_snr": 0.25}
    assert (planned["levels"], planned["fusion_depth"]) == (2, 2)


def test_streams_that_are_not_there_train_at_original() -> None:
    task = NoisySensors()
    snrs = {"ecg_snr": 1.0, "heat_snr": -5.0}
    assert make_train(task, snrs, ()) == snrs
    assert make_train(task, snrs, ("heat", "motion")) == {"ecg_snr": ORIGINAL, "heat_snr": -5.0}
    assert make_train(task, {}, ()) == {"ecg_snr": ORIGINAL, "heat_snr": ORIGINAL}
    assert small_trial(modality="visual", train_audio_snr=0.5) == small_trial(
        modality="visual", train_audio_snr=2.0
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seed": -1}, "seed is -1; allowed: 0 to"),
        ({"seed": 2**31}, "seed is 2147483648; allowed: 0 to"),
        ({"fold": -1}, "fold is -1; allowed: 0 or more"),
        ({"examples": -1}, r"examples is -1; allowed: 0 \(all\) or more"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"precision": "half"}, "precision is 'half'; allowed: float32, tf32, bfloat16"),
        ({"device": "tpu"}, "device is 'tpu'; allowed: auto, cpu, cuda"),
        ({"split": "train"}, "split is 'train'; allowed: test, validation"),
        ({"test_examples": -1}, r"test_examples is -1; allowed: 0 \(all\) or more"),
        ({"gates": "quick"}, "gates is 'quick'; allowed: auto, eager, compiled"),
        ({"train_visual_snr": 0.0}, "visual_snr is 0.0; allowed: above 0, original or absent"),
        ({"train_visual_snr": math.nan}, "visual_snr is nan"),
        ({"fusion_depth": 3}, "fusion_depth is 3"),
        ({"snr_ratio": "decibel"}, "snr_ratio"),
        (
            {"placement": Placement({"level3": {"coupling": "mmtm"}})},
            r"placement names level3\.coupling; allowed: level1\.coupling",
        ),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_trial(**fields)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("train", {"audio_snr": -1.0}, "audio_snr is -1.0; allowed: above 0"),
        ("train", {"audio_snr": "loud"}, "'loud' is no train condition; allowed: a number"),
        (
            "train",
            {"pressure": 1.0},
            r"train\.pressure is not a field; allowed: audio_snr, visual_snr",
        ),
        ("network", {"unit": 3}, r"network\.unit is not a field; did you mean units"),
        ("network", {"units": 2.5}, r"network\.units is 2\.5; allowed: a whole number"),
        ("data", {"source": 3}, r"data\.source is 3; allowed: "),
        ("training", {"epochs": 0}, r"training\.epochs is 0; allowed: 1 or more"),
        ("evaluation", [], "evaluation must be a mapping"),
        ("placement", [], "placement must be a mapping"),
        ("placement", {"sites": []}, r"placement\.sites is \[\]; allowed: a mapping"),
        (
            "placement",
            {"sites": {"level1": "mmtm"}},
            r"sites\.level1 is 'mmtm'; allowed: a mapping",
        ),
        (
            "placement",
            {"sites": {"level1": {"coupling": 3}}},
            r"level1\.coupling is 3; allowed: text",
        ),
        ("placement", {"streams": "image"}, r"placement\.streams must be a list"),
        ("placement", {"streams": ["video"]}, "streams holds 'video'; allowed: image, audio"),
        ("fold", "first", "fold is 'first'; allowed: a whole number"),
        ("seed", None, "seed is None; allowed: a whole number"),
        ("task", 3, "task is 3; allowed: text"),
    ],
)
def test_a_text_that_is_no_trial_says_what_is_wrong(part: str, value: Any, message: str) -> None:
    plain = small_trial().to_plain()
    with pytest.raises(ValueError, match=message):
        parse_specification(json.dumps({**plain, part: value}), Digits())
    left = {name: one for name, one in plain.items() if name != part}
    with pytest.raises(ValueError, match=f"^{part} is missing$"):
        parse_specification(json.dumps(left), Digits())
    with pytest.raises(ValueError, match="levels is not a field"):
        parse_specification(json.dumps({**plain, "levels": 3}), Digits())
    with pytest.raises(ValueError, match="the configuration must be a mapping"):
        parse_specification("[]", Digits())


def test_a_trial_that_leaves_settings_out_has_their_defaults() -> None:
    plain = small_trial().to_plain()
    again = parse_specification(json.dumps({**plain, "data": {}}), Digits())
    assert again.data == DigitsSettings()
    assert again.network == small_trial().network
