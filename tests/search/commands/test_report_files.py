"""What ``report`` writes beside its page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from any_records import write_any
from descriptions import clips_description

from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.commands.command_line import main

SEEDS = range(6)


def top_accuracy(seed: int) -> float:
    return 0.7 + 0.01 * seed


def clips_with_confirmation(folder: Path, objective: str) -> None:
    """A search and its confirmation: of the top network macro-F1 is 0.5, of the plain one 0.4.

    Accuracy is 0.7 and more of the one, and 0.5 of the other, everywhere.
    """
    storage, clips = open_storage(folder), clips_description()
    search, confirmation = storage.below("made-up"), storage.below("made-up-confirmation")
    write_any(search, clips, lambda _: 0.5, train=(20.0,))
    declared = {"objectives": [{"name": objective}], "searcher": {"name": "tpe"}}
    search.write(json.dumps(declared).encode(), "specification.yaml")
    candidates = []
    for label, width, f1 in (("the best", 8, 0.5), ("plain", 4, 0.4)):
        for seed in SEEDS:
            mean = top_accuracy(seed) if width == 8 else 0.5
            write_any(
                *(confirmation, clips, lambda _, f1=f1: f1),
                train=(20.0,),
                seed=seed,
                settings={"width": width},
                extra={
                    **{f"{what}_accuracy": mean for what in ("mean", "train_condition", "worst")},
                    **{f"{what}_macro_f1": f1 for what in ("mean", "train_condition", "worst")},
                },
            )
        role, rank = ("top", 1) if width == 8 else ("plain", None)
        ids = [f"t_20_0_{seed}_0_width{width}" for seed in SEEDS]
        of = {"label": label, "role": role, "rank": rank, "search_value": 0.7}
        candidates.append({**of, "trial_ids": ids})
    confirmation.write(json.dumps(candidates).encode(), "candidates.json")


@pytest.mark.parametrize(
    ("objective", "metric", "difference"),
    [
        ("mean_accuracy", "accuracy", np.mean([top_accuracy(seed) - 0.5 for seed in SEEDS])),
        ("mean_macro_f1", "macro_f1", 0.1),
    ],
)
def test_the_tests_of_a_confirmation_are_of_the_metric_that_was_optimised(
    tmp_path: Path, objective: str, metric: str, difference: float
) -> None:
    clips_with_confirmation(tmp_path / "results", objective)
    command = ["report", "made-up", "--storage", str(tmp_path / "results")]
    assert main([*command, "--output", str(tmp_path)]) == 0
    written = pd.read_csv(tmp_path / "made-up-confirmation-comparisons.csv")
    names = {f"{what}_{metric}" for what in ("mean", "train_condition", "worst")}
    assert set(written["measure"]) == names
    assert written["difference"].to_numpy() == pytest.approx([difference] * len(written))
