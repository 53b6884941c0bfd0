"""Records of long runs lie in the checkout: everyone draws their figures, without the data."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fusion_search.search.commands.command_line import main

RECORDS = Path(__file__).parents[2] / "docs" / "records"


@pytest.mark.parametrize("name", ["xflow-avletters", "xflow-lstm"])
def test_the_tables_of_xflow_are_drawn_from_the_records_alone(name: str, tmp_path: Path) -> None:
    words = ["draw", "xflow", name, "--storage", str(RECORDS), "--output", str(tmp_path)]
    assert main(words) == 0
    table = pd.read_csv(tmp_path / f"{name}-xflow.csv")
    drawn = table[table["variant"] == "baseline"].set_index("measure")["mean"]
    trials = pd.read_parquet(RECORDS / name / "trials")
    assert (trials["status"] == "finished").all()
    baseline = trials[(trials["placement"] == "{}") & ~trials["widened"]]
    assert len(baseline) == baseline["fold"].nunique() >= 1
    measures = ["train_condition_accuracy", "optimistic_accuracy"]
    assert drawn[measures].tolist() == pytest.approx(baseline[measures].mean().tolist())
    noise = pd.read_csv(tmp_path / f"{name}-xflow-noise.csv")
    assert noise["folds"].min() >= 6 or set(noise["verdict"]) == {"undecided"}


def test_records_have_neither_checkpoints_nor_data() -> None:
    for folder in RECORDS.iterdir():
        there = {one.name for one in folder.iterdir()}
        assert there == {
            *("trials", "epochs", "grid"),
            *("planned.json", "task.json", "specification.yaml"),
        }
        planned = json.loads((folder / "planned.json").read_text())
        ended = {one.stem for one in (folder / "trials").iterdir()}
        assert ended <= {one["trial_id"] for one in planned["trials"]}
