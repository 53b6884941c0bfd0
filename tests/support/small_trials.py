"""A trial small enough for a test: built-in data, three units, 64 examples."""

from __future__ import annotations

from fusion_search.search.trials.specification import TrialSpecification

SMALL: dict[str, object] = {
    "data_source": "builtin",
    "frames": 24,
    "units": 3,
    "dense_units": 8,
    "fusion_depth": 2,
    "examples": 64,
    "epoch_examples": 32,
    "epochs": 2,
    "batch_size": 16,
    "learning_rate": 0.005,
    "validation_examples": 20,
    "test_examples": 12,
    "device": "cpu",
    "train_audio_snr": 0.5,
    "train_visual_snr": 0.25,
}


def small_trial(**fields: object) -> TrialSpecification:
    return TrialSpecification(**{**SMALL, **fields})  # type: ignore[arg-type]
