"""Made-up digit trials of a search over a space, as rows of the ``trials`` table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from descriptions import digit_description, write_description

from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.samples import mean_objective
from fusion_search.analysis.records.selection import (
    VARIED_SEEDS,
    VARIED_SETTINGS,
    Search,
)
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import FAILED, FINISHED, SPECIFICATION_FILE, STOPPED

DIGITS = digit_description()
MEAN = mean_objective(DIGITS)
NOTE = "built-in digits (scikit-learn handwriting, synthesised voice), NOT MNIST"
KINDS = ("none", "mmtm", "squeeze_excitation", "convolutional", "sum")
CONNECTIONS = ("none", "cross", "residual", "both")
ASKED = {"coupling": KINDS, "image>audio": CONNECTIONS, "audio>image": CONNECTIONS}
CHOICES = {
    "coupling": "coupling",
    "image>audio": "to_audio_from_image",
    "audio>image": "to_image_from_audio",
}
BEGIN = pd.Timestamp("2026-01-01", tz="UTC")


def row(number: int, value: float | None, status: str = FINISHED, **fields: Any) -> dict[str, Any]:
    """One trial; trial ``number`` ends ``number`` minutes after the search's begin."""
    ended = status == FINISHED
    return {
        "schema_version": 2,
        "search": "made-up",
        "trial_id": f"t{number:03}",
        "trial_name": f"trial {number}",
        "status": status,
        "reason": "the loss became nan" if status == FAILED else None,
        "task": "digits",
        "streams": "",
        "levels": 2,
        "fusion_depth": 0,
        "placement": "{}",
        "end": "",
        "train_audio_snr": 0.5,
        "train_visual_snr": 0.25,
        "train": '{"audio_snr": 0.5, "visual_snr": 0.25}',
        "fold": 0,
        "seed": 0,
        "split": "validation",
        "sample": json.dumps({"number": number * 37 % 101}),
        "mean_accuracy": value if ended else None,
        "objective_values": [value] if ended else None,
        "multiply_accumulates": 1_000_000 if ended else None,
        "seconds": 60.0,
        "started_at": BEGIN,
        "ended_at": BEGIN + pd.Timedelta(minutes=number),
        "data_note": NOTE,
        "device": "cpu",
        "git_commit": "c0ffee",
        "versions": json.dumps({"torch": "2.11.0"}),
        **fields,
    }


def placement(**sites: dict[str, str]) -> str:
    """What sits where, as records hold it."""
    return json.dumps(sites)


def frame(rows: list[dict[str, Any]], description: TaskDescription = DIGITS) -> pd.DataFrame:
    """The ``trials`` table of these rows, with all its columns, as a :class:`Search` has it."""
    table = pd.DataFrame(rows, columns=description.schema("trials").names)
    return table.assign(**{VARIED_SETTINGS: "{}", VARIED_SEEDS: "{}"})


def random_search(count: int = 60, stopped: int = 40, levels: int = 3) -> pd.DataFrame:
    """A search in which MMTM after level 1 helps; of ``count`` trials 2 fail."""
    generator = np.random.default_rng(0)

    def pick(options: tuple[str, ...]) -> str:
        return str(generator.choice(options))

    rows = []
    for number in range(count):
        deepest = int(generator.integers(2, levels + 1))
        depth = int(generator.integers(0, deepest + 1))
        placed = {
            f"level{level}": {name: pick(options) for name, options in ASKED.items()}
            for level in range(1, depth + 1)
        }
        sample: dict[str, Any] = {"levels": deepest, f"fusion_depth_of_{deepest}": depth}
        for site, found in placed.items():
            sample |= {f"{CHOICES[name]}_{site}": kind for name, kind in found.items()}
        there = {
            site: {name: kind for name, kind in found.items() if kind != "none"}
            for site, found in placed.items()
        }
        fields: dict[str, Any] = {"placement": json.dumps(there)}
        if depth:
            sample["end"] = pick(("concatenation", "gate_audio"))
            fields["end"] = "" if sample["end"] == "concatenation" else sample["end"]
        sample["learning_rate"] = float(10 ** generator.uniform(-3, -1))
        value = (
            0.6
            + 0.05 * (placed.get("level1", {}).get("coupling") == "mmtm")
            + generator.normal(0, 0.02)
        )
        status = FAILED if number in (3, 9) else STOPPED if number >= count - stopped else FINISHED
        fields |= {"levels": deepest, "fusion_depth": depth, "sample": json.dumps(sample)}
        if status == FINISHED:
            fields["multiply_accumulates"] = int(generator.integers(1, 9)) * 100_000
        rows.append(row(number, value, status, **fields))
    return frame(rows)


def open_made_up(
    folder: Path,
    trials: pd.DataFrame,
    name: str = "made-up",
    description: TaskDescription = DIGITS,
) -> Search:
    """A search with these trials and a specification in a folder of its own."""
    storage = open_storage(folder).below(name)
    specification = {
        "name": name,
        "network": {"levels": [2, 3]},
        "placement": {"couplings": list(KINDS), "ends": ["concatenation"]},
        "objectives": [{"name": MEAN.name, "direction": "maximize"}],
        "searcher": {"name": "tpe", "seed": 7, "samples": 60},
        "scheduler": {"name": "asha"},
    }
    storage.write(yaml.safe_dump(specification).encode(), SPECIFICATION_FILE)
    write_description(storage, description)
    return Search(name, storage, description, trials, trials[["trial_id", "trial_name"]])
