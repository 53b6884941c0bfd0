"""A digit trial small enough for a test: built-in data, three units, 64 examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fusion_search.datasets.digits.data import DigitsSettings
from fusion_search.models.early_fusion_layout import placement_of
from fusion_search.models.layout import Placement
from fusion_search.models.placement import EarlyFusionPlacement
from fusion_search.search.tasks.digits.task import Digits, DigitsNetwork
from fusion_search.search.trials.plain import plain_number
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings
from fusion_search.search.trials.specification import TrialSpecification, make_train

SMALL: dict[str, Any] = {
    "source": "builtin",
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
"""Settings by name, whatever they are settings of, and the train condition."""

GROUPS = {
    "network": DigitsNetwork,
    "data": DigitsSettings,
    "training": TrainingSettings,
    "evaluation": EvaluationSettings,
}
_RENAMED = {"data_source": "source", "evaluation_split": "split", "engine": "gates"}
_PLACED = ("couplings", "to_audio", "to_image", "fusion")
_SNRS = ("audio_snr", "visual_snr")


def small_trial(**more: Any) -> TrialSpecification:
    """``SMALL`` with other values for some settings.

    Args:
        more: settings by name; train_audio_snr, train_visual_snr; fold, seed; modality (both,
            visual, audio) and couplings, to_audio, to_image (one per level), fusion in the words of
            ``EarlyFusionPlacement``, or a whole ``placement``.
    """
    values = _new_names({**SMALL, **more})
    groups = {name: kind(**_taken(values, kind)) for name, kind in GROUPS.items()}
    placement = _placement(values)
    snrs = {name: values.pop(f"train_{name}") for name in _SNRS}
    trial = TrialSpecification(
        task="digits",
        **groups,
        placement=placement,
        train=make_train(Digits(), snrs, placement.streams),
        **{name: values.pop(name) for name in ("fold", "seed") if name in values},
    )
    assert not values, f"no settings: {', '.join(values)}"
    return trial


def changed(trial: TrialSpecification, **values: Any) -> TrialSpecification:
    """A trial with other values for some settings, by their names in ``small_trial``."""
    return trial.with_settings(_new_names(values))


def small_configuration(**more: Any) -> dict[str, Any]:
    """A search of one such trial as YAML has it.

    Args:
        more: settings by name, each a value, a list (a choice) or a range, go where they belong;
            None takes one out. Everything else (name, sweep, placement, train, seeds, searcher) is
            a field of the configuration.
    """
    values = _new_names({**SMALL, **more})
    pair = [plain_number(values.pop(f"train_{name}")) for name in _SNRS]
    groups = {name: _taken(values, kind) for name, kind in GROUPS.items()}
    there = {
        name: {key: one for key, one in group.items() if one is not None}
        for name, group in groups.items()
    }
    return {"name": "small", "task": "digits", **there, "train": [pair], **values}


def _new_names(values: Mapping[str, Any]) -> dict[str, Any]:
    return {_RENAMED.get(name, name): value for name, value in values.items()}


def _taken(values: dict[str, Any], kind: type) -> dict[str, Any]:
    """Takes a dataclass's fields out of the values."""
    return {one.name: values.pop(one.name) for one in fields(kind) if one.name in values}


def _placement(values: dict[str, Any]) -> Placement:
    early = EarlyFusionPlacement(**{name: values.pop(name) for name in _PLACED if name in values})
    modality = values.pop("modality", "both")
    return values.pop("placement", None) or placement_of(early, modality)
