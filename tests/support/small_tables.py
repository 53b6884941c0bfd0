"""Tables of examples with files of every kind, made once and copied."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusion_search.datasets.tables.settings import Input, TableData

GESTURES = TableData(
    table="gestures.csv",
    target="label",
    group="person",
    folds=4,
    inputs={
        "video": Input(kind="clip", column="video", length=4, size=(12, 12), colour=False),
        "photo": Input(kind="image", column="photo", size=(16, 16)),
        "sound": Input(kind="sound", column="sound", seconds=0.4, rate=4000, mels=8),
        "motion": Input(kind="series", column="motion", length=25),
        "spectrum": Input(kind="vector", column="spectrum"),
        "numbers": Input(kind="numbers", columns=("distance", "brightness")),
    },
)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def copied(sample: Path, folder: Path) -> Path:
    """A copy of the sample that may be broken; the path of its table."""
    shutil.copytree(sample.parent, folder, dirs_exist_ok=True)
    return folder / sample.name
