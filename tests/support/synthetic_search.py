"""Made-up trials of a search over a space, as rows of the ``trials`` table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from fusion_search.analysis.records.samples import Objective
from fusion_search.analysis.records.selection import Search
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import (
    FAILED,
    FINISHED,
    SPECIFICATION_FILE,
    STOPPED,
    TRIALS,
)

MEAN = Objective("mean_accuracy", "maximize", 0)
NOTE = "built-in digits (scikit-learn handwriting, synthesised voice), NOT MNIST"
KINDS = ("none", "mmtm", "squeeze_excitation", "convolutional", "sum")
CONNECTIONS = ("none", "cross", "residual", "both")
BEGIN = pd.Timestamp("2026-01-01", tz="UTC")


def row(number: int, value: float | None, status: str = FINISHED, **fields: Any) -> dict[str, Any]:
    """One trial; trial ``number`` ends ``number`` minutes after the search's begin."""
    ended = status == FINISHED
    return {
        "schema_version": 1,
        "search": "made-up",
        "trial_id": f"t{number:03}",
        "trial_name": f"trial {number}",
        "status": status,
        "reason": "the loss became nan" if status == FAILED else None,
        "modality": "both",
        "levels": 2,
        "fusion_depth": 0,
        "couplings": [],
        "to_audio": [],
        "to_image": [],
        "fusion": "concatenation",
        "train_audio_snr": 0.5,
        "train_visual_snr": 0.25,
        "seed": 0,
        "evaluation_split": "validation",
        "sample": json.dumps({"number": number}),
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


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The ``trials`` table of these rows, with all its columns."""
    return pd.DataFrame(rows, columns=TRIALS.names)


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
            "couplings": [pick(KINDS) for _ in range(depth)],
            "to_audio": [pick(CONNECTIONS) for _ in range(depth)],
            "to_image": [pick(CONNECTIONS) for _ in range(depth)],
        }
        sample: dict[str, Any] = {"levels": deepest, f"fusion_depth_of_{deepest}": depth}
        for name, short in (("couplings", "coupling"), ("to_audio",) * 2, ("to_image",) * 2):
            sample |= {f"{short}_{k}": kind for k, kind in enumerate(placed[name], start=1)}
        fields: dict[str, Any] = {
            name: kinds for name, kinds in placed.items() if any(kind != "none" for kind in kinds)
        }
        if depth:
            sample["fusion"] = fields["fusion"] = pick(("concatenation", "gate_audio"))
        sample["learning_rate"] = float(10 ** generator.uniform(-3, -1))
        value = 0.6 + 0.05 * (placed["couplings"][:1] == ["mmtm"]) + generator.normal(0, 0.02)
        status = FAILED if number in (3, 9) else STOPPED if number >= count - stopped else FINISHED
        fields |= {"levels": deepest, "fusion_depth": depth, "sample": json.dumps(sample)}
        if status == FINISHED:
            fields["multiply_accumulates"] = int(generator.integers(1, 9)) * 100_000
        rows.append(row(number, value, status, **fields))
    return frame(rows)


def open_made_up(folder: Path, trials: pd.DataFrame, name: str = "made-up") -> Search:
    """A search with these trials and a specification in a folder of its own."""
    storage = open_storage(folder).below(name)
    specification = {
        "name": name,
        "space": {"levels": [2, 3], "couplings": list(KINDS), "fusion": ["concatenation"]},
        "objectives": [{"name": "mean_accuracy", "direction": "maximize", "quantile": 0.1}],
        "searcher": {"name": "tpe", "seed": 7, "samples": 60},
        "scheduler": {"name": "asha"},
    }
    storage.write(yaml.safe_dump(specification).encode(), SPECIFICATION_FILE)
    return Search(name, storage, trials, trials[["trial_id", "trial_name"]])
