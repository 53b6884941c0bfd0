"""A search of the RGB-D task is run, probed and drawn as a user would."""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from descriptions import ACCURACY

from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.selection import AnalysisError, Search
from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.commands.command_line import main
from fusion_search.search.commands.figures import rgbd as drawing
from fusion_search.search.commands.figures.rgbd import probing

SUPPORT = Path(__file__).parents[2] / "support"
CONFIG = {
    "name": "tiny",
    "task": "rgbd",
    "data": {"size": 16, "classes": 2, "instances": 3, "views": 2, "folds": 3},
    "network": {"widths": [4, 6], "fusion_size": 5, "dense_sizes": [6]},
    "folds": [0, 1],
    "sweep": [
        {
            "data": {"fold_by": ["random", "instance"]},
            "placement": {"ends": ["concatenate", "gate_by_depth"]},
        },
        {"placement": {"streams": [["rgb"], ["depth"]]}},
    ],
    "training": {"epochs": 2, "batch_size": 4, "schedule": "exponential"},
    "mlflow": {"enabled": False},
}


@pytest.mark.slow
def test_a_search_is_drawn_beside_the_paper_with_what_its_gate_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, results, drawn = (tmp_path / name for name in ("tiny.yaml", "results", "drawn"))
    config.write_text(yaml.safe_dump(CONFIG))
    # Without Ray; the verbs are the same.
    here = [sys.executable, str(SUPPORT / "drive_here.py"), "launch", str(config)]
    subprocess.run(
        [*here, "--storage", str(results)], check=True, env=dict(os.environ), capture_output=True
    )
    storage = ["--storage", str(results)]
    draw = ["draw", "rgbd", "tiny", *storage, "--output", str(drawn)]
    assert main(draw) == 0
    told = capsys.readouterr()
    assert "no gate was probed; to see what one does, run `fusion-search probe tiny" in told.err
    table = pd.read_csv(drawn / "tiny-rgbd.csv")
    assert set(table["variant"]) == {"plain fusion", "gate by depth", "rgb alone", "depth alone"}
    assert set(table["group"].str.contains("folds by instance")) == {True, False}
    assert set(pd.read_csv(drawn / "tiny-rgbd-imbalance.csv")["verdict"]) == {"undecided"}
    assert "## Random folds against folds by instance" in told.out
    trials = pd.read_parquet(results / "tiny/trials")
    gated = str(trials[trials["end"] == "gate_by_depth"]["trial_id"].iloc[0])
    conditions = ["--condition", "original", "original", "--condition", "original", "4"]
    probe = ["probe", "tiny", "--trial", gated, "--per-class", "2", *conditions, *storage]
    assert main(probe) == 0
    assert main(draw) == 0
    gates = pd.read_csv(drawn / f"tiny-gate-{gated}.csv")
    assert set(gates["class"]) == {"all", "striped_ball", "chequered_ball"}
    assert gates["mean"].between(0, 1).all()
    assert (drawn / f"tiny-gate-{gated}.png").stat().st_size > 10_000
    assert "Examples with the least and the most depth" in capsys.readouterr().out


def test_a_probed_gate_of_a_search_is_drawn_without_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was searched is measured in validation, and may have couplings before its gate."""
    description = TaskDescription(
        task="rgbd", streams=("rgb", "depth"), classes=2, labels=(), axes=(), metrics=(ACCURACY,)
    )
    trials = pd.DataFrame(
        {
            **{"trial_id": ["one", "two"], "status": "finished", "split": "validation"},
            **{"streams": "", "end": ["gate_by_rgb", ""]},
            "placement": '{"level1": {"coupling": "sum"}}',
        }
    )
    storage = open_storage(tmp_path / "tiny")
    search = Search("tiny", storage, description, trials, trials)
    drawn = []
    monkeypatch.setattr(drawing, "open_all", lambda options: search)
    monkeypatch.setattr(drawing, "_gate", lambda *given: drawn.append(given[-1]["trial_id"]))
    with pytest.raises(AnalysisError, match="measured on the validation split"):
        drawing.rgbd(argparse.Namespace())
    storage.write(b"", "activations", "one.parquet")
    storage.write(b"", "activations", "two.parquet")
    assert drawing.rgbd(argparse.Namespace()) == 0
    assert drawn == ["one"]
    note = capsys.readouterr().err
    assert note.startswith("note: probed gates alone, without tables: search tiny is measured on")
    assert f"`fusion-search confirm tiny --storage {tmp_path}`" in note


def test_a_probe_is_advised_of_a_trial_whose_weights_are_there(tmp_path: Path) -> None:
    axes = [SimpleNamespace(test=(math.inf, 4.0)), SimpleNamespace(test=(math.inf, 4.0))]
    search: Any = SimpleNamespace(
        name="tiny",
        storage=open_storage(tmp_path / "tiny"),
        description=SimpleNamespace(task="rgbd", axes=axes),
        trials=pd.DataFrame({"trial_id": ["one", "two"], "changes": [None, "[]"]}),
    )
    said = probing(search, ["one", "two"])
    assert said.startswith("of trial one, its weights are not there")
    assert f"again with `fusion-search resume tiny --storage {tmp_path}`; then run `fus" in said
    # What took over other trials' weights is not trained again alone.
    assert "resume" not in probing(search, ["two"])
    assert "it cannot be trained again alone" in probing(search, ["two"])
    search.storage.write(b"", "checkpoints", "two.pt")
    assert probing(search, ["one", "two"]).startswith(
        "to see what one does, run `fusion-search probe tiny --trial two "
    )
    assert "--condition 4 original --condition 4 4" in probing(search, ["two"])
    # Features of a frozen backbone meet no noise, and a probe with some would be refused.
    axes[0].test = (math.inf,)
    assert probing(search, ["two"]).count("--condition") == 2
    assert "--condition original original --condition original 4 --st" in probing(search, ["two"])
