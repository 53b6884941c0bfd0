"""What searches of three tasks are of: digits, a regression without axes, one axis and macro-F1."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from typing import Any

from fusion_search.analysis.records.description import (
    TASK_FILE,
    AxisDescription,
    ColumnDescription,
    MetricDescription,
    TaskDescription,
)
from fusion_search.analysis.records.storage import Storage
from fusion_search.datasets.digits.data import DigitsSettings
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings

SNRS = (math.inf, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625)
ACCURACY = MetricDescription("accuracy", share=True)

_TYPES = {"int": "int64", "float": "float64", "float | None": "float64", "bool": "bool"}


def _column(name: str, default: Any) -> ColumnDescription:
    kind = _TYPES.get(type(default).__name__, "string")
    return ColumnDescription(name, kind, default=str(default))


def _columns(settings: type) -> tuple[ColumnDescription, ...]:
    """Of a dataclass with defaults."""
    found = []
    for one in fields(settings):
        if one.name == "device":  # its column says which was used
            continue
        assert one.default is not MISSING
        kind = _TYPES.get(str(one.type), "string")
        found.append(ColumnDescription(one.name, kind, default=str(one.default)))
    return tuple(found)


def _settings(
    network: dict[str, Any], data: tuple[ColumnDescription, ...]
) -> tuple[ColumnDescription, ...]:
    return (
        *(_column(name, default) for name, default in network.items()),
        *data,
        *_columns(TrainingSettings),
        *_columns(EvaluationSettings),
    )


def digit_description(*, absent: bool = False) -> TaskDescription:
    """Two axes, ten classes; with ``absent``, either input is also tested as absent."""
    network = {
        **{"levels": 2, "fusion_depth": 0, "units": 64, "kernel": 3, "padding": True},
        **{"pooling": "full", "dense_units": 128, "dropout": 0.0, "mmtm_ratio": 4},
        **{"mmtm_relu": True, "mmtm_identity": False, "gates": "auto", "checkpoint_frames": 0},
    }
    return TaskDescription(
        task="digits",
        streams=("image", "audio"),
        classes=10,
        labels=tuple(map(str, range(10))),
        axes=(
            AxisDescription("audio_snr", "audio", SNRS, absent=absent),
            AxisDescription("visual_snr", "image", SNRS, absent=absent),
        ),
        metrics=(ACCURACY,),
        layout_fields=("levels", "fusion_depth"),
        settings=_settings(network, _columns(DigitsSettings)),
    )


def sensors_description() -> TaskDescription:
    """A regression: three streams, no axes, less error is better."""
    data = (_column("subjects", 24), _column("days", 3))
    return TaskDescription(
        task="my_lab.sensors:Sensors",
        streams=("ecg", "motion", "heat"),
        metrics=(MetricDescription("mean_absolute_error", "minimize"),),
        settings=_settings({"width": 4, "dropout": 0.0}, data),
    )


def clips_description() -> TaskDescription:
    """One axis in dB that is also tested as absent; the first metric is no mean."""
    return TaskDescription(
        task="./clips.py:Clips",
        streams=("video", "emg"),
        classes=3,
        labels=("rest", "fist", "point"),
        axes=(AxisDescription("emg_snr", "emg", (math.inf, 20.0, 0.0), decibel=True, absent=True),),
        metrics=(MetricDescription("macro_f1", share=True, is_mean=False), ACCURACY),
        settings=_settings({"width": 4}, (_column("subjects", 24),)),
    )


def write_description(search: Storage, description: TaskDescription | None = None) -> None:
    """Write ``task.json``, of digits by default."""
    search.write((description or digit_description()).to_json().encode(), TASK_FILE)
