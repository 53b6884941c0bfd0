"""Made-up records of XFlow's variants over folds, and what such a search is of."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from descriptions import ACCURACY, _column, _settings, write_description
from synthetic_records import BEGIN, train_text, write_rows

from fusion_search.analysis.records.description import AxisDescription, TaskDescription
from fusion_search.analysis.records.selection import Search, open_search
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import FINISHED, SCHEMA_VERSION
from fusion_search.datasets.clips import avletters

KINDS = {"crosses only": "cross", "residuals only": "residual", "both": "both"}
TRAINED, TESTED = 70, 10  # examples

VECTOR, MAPS = "level1.image>audio.cross", "level1.audio>image.residual"
"""Arrays of a probe."""

Row = dict[str, Any]
Change = Callable[[Row], Row | None]

_SNRS = (math.inf, 1.0)


def xflow_description(task: str = "xflow") -> TaskDescription:
    """Two axes, and the settings that tell its networks and data."""
    data = {"source": "avletters", "folder": "clips", "form": "averaged", "protocol": "folds"}
    return TaskDescription(
        task=task,
        streams=("image", "audio"),
        classes=26,
        axes=(
            AxisDescription("audio_snr", "audio.coefficients", _SNRS),
            AxisDescription("visual_snr", "image.frames", _SNRS),
        ),
        metrics=(ACCURACY,),
        settings=_settings(
            {"widened": False}, tuple(_column(name, value) for name, value in data.items())
        ),
    )


def placement(variant: str) -> str:
    """As records hold it."""
    kind = KINDS.get(variant)
    directions = ("image>audio", "audio>image")
    sites = ("level1", "level2") if kind else ()
    return json.dumps({site: dict.fromkeys(directions, kind) for site in sites})


def write_variant(
    search: Storage,
    variant: str,
    fold: int,
    value: float,
    *,
    seed: int = 0,
    validation: float = 0.5,
    description: TaskDescription | None = None,
    curves: Mapping[str, Sequence[float]] | None = None,
    **extra: Any,
) -> None:
    """One finished trial: its accuracy on test persons without noise, and on validation persons.

    ``curves``: columns of ``epochs``, a value per epoch; a single epoch by default.
    """
    description = description or xflow_description()
    write_description(search, description)
    told = {name: one for name, one in extra.items() if name != "specification"}
    words = "-".join(one for one in told.values() if isinstance(one, str))
    # Of itself too long for the name of a file.
    if not words and "specification" in extra:
        words = f"{zlib.crc32(extra['specification'].encode()):x}"
    trial_id = "".join(one for one in f"{variant}{fold}s{seed}{words}" if one.isalnum())
    key = {"schema_version": SCHEMA_VERSION, "search": "made-up", "trial_id": trial_id}
    widened = variant == "widened baseline"
    settings = {"source": "avletters", "folder": "clips", "form": "averaged", "protocol": "folds"}
    settings |= {"widened": widened}
    settings |= {name: extra[name] for name in settings if name in extra}
    groups: dict[str, Any] = {"network": settings, "data": {}, "training": {}, "evaluation": {}}
    row = {
        **key,
        **{"trial_name": trial_id, "status": FINISHED, "task": description.task, "streams": []},
        **{"placement": placement(variant), "placement_options": "{}", "end": ""},
        "train": train_text(audio_snr=math.inf, visual_snr=math.inf),
        **{"train_audio_snr": math.inf, "train_visual_snr": math.inf},
        **{"fold": fold, "seed": seed, "split": "test", "device": "cpu", **settings},
        **{"epoch_examples": 0, "parameters": 1000 + len(variant)},
        **{"started_at": BEGIN, "ended_at": BEGIN + timedelta(minutes=1), "seconds": 60.0},
        **{"data_note": "made up", "data_fingerprint": avletters.FINGERPRINT},
        **{"validation_accuracy": validation, "mean_accuracy": value / 2},
        "train_condition_accuracy": value,
        "specification": json.dumps({**groups, "varied": [*settings]}),
        **extra,
    }
    write_rows(search, "trials", trial_id, [row], description.schema("trials"))
    grid = [
        {
            **key,
            **{"test_audio_snr": audio, "test_visual_snr": visual, "n": TESTED, "loss": 1.0},
            **{"accuracy": value, "accuracy_sum": TESTED * value},
        }
        for audio in _SNRS
        for visual in _SNRS
    ]
    write_rows(search, "grid", trial_id, grid, description.schema("grid"))
    values = {"train_loss": [1.0], "train_accuracy": [0.5]}
    values |= {"validation_loss": [1.0], "validation_accuracy": [validation]}
    values |= {name: list(several) for name, several in (curves or {}).items()}
    longest = max(map(len, values.values()))
    epochs = [
        {
            **key,
            **{"epoch": number + 1, "examples_seen": TRAINED * (number + 1), "seconds": 1.0},
            "ended_at": BEGIN,
            **{name: several[min(number, len(several) - 1)] for name, several in values.items()},
        }
        for number in range(longest)
    ]
    write_rows(search, "epochs", trial_id, epochs, description.schema("epochs"))


def opened(storage: Storage) -> Search:
    """The search of these records."""
    return open_search(storage, "made-up")


def write_probe(
    search: Storage,
    trial_id: str,
    change: Change = lambda row: row,
    *,
    steps: int = 6,
    persons: Mapping[str, str] | None = None,
) -> None:
    """Two clips of each person, one a class; of each row what ``change`` makes of it.

    ``persons``: whose clips, and of which split each is; two of the test split by default.
    """
    chance = np.random.default_rng(0)
    rows: list[Row] = []
    clips = [
        (*one, label)
        for one in (persons or {"p0": "test", "p1": "test"}).items()
        for label in range(2)
    ]
    for number, (person, split, label) in enumerate(clips):
        arrays = {
            "input.audio.coefficients": chance.normal(size=(steps, 3)),
            VECTOR: chance.normal(size=5),
            MAPS: chance.normal(size=(steps, 2, 3, 3)),
        }
        for name, values in arrays.items():
            row: Row = {
                **{"schema_version": SCHEMA_VERSION, "search": "made-up", "trial_id": trial_id},
                **{"test_audio_snr": math.inf, "test_visual_snr": math.inf, "split": split},
                **{"number": number, "group": person, "label": label},
                **{"target": math.nan, "name": name, "shape": list(values.shape)},
                "values": values.ravel().tolist(),
            }
            rows += filter(None, [change(row)])
    write_rows(search, "activations", trial_id, rows, xflow_description().schema("activations"))
