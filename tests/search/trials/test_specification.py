from __future__ import annotations

import math

import pytest

from fusion_search.datasets.noise import TEST_SNRS
from fusion_search.search.trials.specification import TRAIN_PAIRS, TrialSpecification


def specification(**fields: object) -> TrialSpecification:
    return TrialSpecification(**{"train_audio_snr": 0.5, "train_visual_snr": 0.25, **fields})


def test_the_papers_conditions() -> None:
    assert len(TRAIN_PAIRS) == 16
    assert (0.5, 0.25) in TRAIN_PAIRS
    assert (2.0, 0.125) in TRAIN_PAIRS
    conditions = specification().test_conditions
    assert len(set(conditions)) == 100
    assert {snr for pair in conditions for snr in pair} == set(TEST_SNRS)
    assert sorted(TEST_SNRS)[:2] == [1 / 16, 1 / 8]
    assert max(TEST_SNRS) == math.inf


def test_unimodal_trials_have_ten_conditions() -> None:
    visual = specification(modality="visual", train_audio_snr=math.inf)
    assert len(visual.test_conditions) == 10
    assert {audio for audio, _ in visual.test_conditions} == {math.inf}


def test_json_round_trip_keeps_the_identity() -> None:
    original = specification(modality="audio", train_visual_snr=math.inf, seed=7)
    again = TrialSpecification.from_json(original.to_json())
    assert again == original
    assert again.trial_id == original.trial_id
    assert specification(seed=1).trial_id != specification(seed=2).trial_id


def test_the_papers_training_is_the_default() -> None:
    default = specification()
    assert (default.examples, default.learning_rate, default.units) == (87_516, 1e-3, 64)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"examples": 0}, "examples is 0; allowed: 1 or more"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"precision": "half"}, "precision is 'half'; allowed: float32, bfloat16"),
        ({"device": "tpu"}, "device is 'tpu'; allowed: auto, cpu, cuda"),
        ({"train_visual_snr": 0.0}, "train_visual_snr is 0.0"),
        ({"train_visual_snr": math.nan}, "train_visual_snr is nan"),
        ({"modality": "visual"}, "train_audio_snr is 0.5 in a trial of modality visual"),
        ({"fusion_depth": 3}, "fusion_depth is 3"),
        ({"snr_ratio": "decibel"}, "snr_ratio"),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        specification(**fields)
