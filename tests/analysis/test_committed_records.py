"""Records of long runs lie in the checkout: everyone draws their figures, without the data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from shutil import copy, copytree

import numpy as np
import pandas as pd
import pytest

from fusion_search.analysis.conditions import networks, of_network
from fusion_search.analysis.records.selection import open_search
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.report import page
from fusion_search.search.commands.command_line import main
from fusion_search.search.commands.figures import claims
from fusion_search.search.commands.figures.rgbd import probing

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


def test_the_claims_of_early_fusion_are_drawn_from_every_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_draw_evidence", lambda *_: None)  # slow, and tested below
    words = ["draw", "early-fusion", "early-fusion", "--storage", str(RECORDS)]
    assert main([*words, "--output", str(tmp_path)]) == 0
    trials = pd.read_parquet(RECORDS / "early-fusion" / "trials")
    text = (tmp_path / "early-fusion-claims.md").read_text()
    assert f"Of {(trials['status'] == 'finished').sum()} finished trials of 180 planned." in text
    numbers = pd.read_csv(tmp_path / "early-fusion-claims.csv")
    decided = numbers[numbers["verdict"].isin(["held", "refuted"]) & (numbers["claim"] != 6)]
    assert (decided["seeds"] >= 6).all()
    assert len(numbers) > 20
    # Claim 2, once more: initial less second-layer fusion, but where audio is far below its train
    # SNR and the image relatively clean.
    at = trials[(trials["train_audio_snr"] == 0.5) & (trials["train_visual_snr"] == 0.25)]
    at = at[(at["pooling"] == "full") & at["fusion_depth"].isin([0, 1]) & (at["seed"] > 0)]
    grid = pd.read_parquet(RECORDS / "early-fusion" / "grid").merge(at, on="trial_id")
    audio, visual = grid["test_audio_snr"], grid["test_visual_snr"]
    seen = (audio >= 0) & (visual >= 0) & ~((audio <= 0.125) & (visual >= 0.5))
    by_seed = grid[seen].pivot_table("accuracy", "seed", "fusion_depth").dropna()
    expected = (by_seed[0] - by_seed[1]).mean()
    most = numbers[numbers["what"].str.contains("second-layer fusion at most")].iloc[0]
    assert most["seeds"] == len(by_seed)
    assert most["value"] == pytest.approx(expected)


def test_what_xflows_confirmation_is_compared_by_stands_in_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "build_report", lambda *_, **__: "")  # its figures take long
    words = ["report", "xflow-space", "--storage", str(RECORDS), "--output", str(tmp_path)]
    assert main(words) == 0
    numbers = pd.read_csv(tmp_path / "xflow-space-confirmation-comparisons.csv")
    trials = pd.read_parquet(RECORDS / "xflow-space-confirmation" / "trials")
    candidates = json.loads((RECORDS / "xflow-space-confirmation/candidates.json").read_text())
    for measure in ("mean_accuracy", "train_condition_accuracy", "worst_accuracy"):
        best, plain = (
            trials[trials["trial_id"].isin(one["trial_ids"])].groupby("seed")[measure].mean()
            for one in (candidates[0], candidates[-1])
        )
        told = numbers[(numbers["measure"] == measure) & (numbers["rank"] == 1)]
        assert told["difference"].item() == pytest.approx((best - plain).mean())
        assert told["paired_seeds"].item() == len(best) == 6


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif("FUSION_SEARCH_DATA" not in os.environ, reason="FUSION_SEARCH_DATA is not set")
def test_every_figure_of_early_fusion_is_drawn_by_one_command(tmp_path: Path) -> None:
    """From a copy of the records, and of the one network whose weights are kept a probe."""
    copytree(RECORDS / "early-fusion", tmp_path / "early-fusion")
    at = ["--storage", str(tmp_path)]
    which = ["--trial", "c496610af9c3", "--tested", "100", "--condition", "0.5", "0.25"]
    arrays = ["--array", "output", "--array", "input.audio"]
    assert main(["probe", "early-fusion", *at, *which, *arrays]) == 0
    out = tmp_path / "out"
    assert main(["draw", "early-fusion", "early-fusion", *at, "--output", str(out)]) == 0
    drawn = {one.name for one in out.glob("*.png")}
    assert {"early-fusion-claims.png", "early-fusion-unimodal.png"} < drawn
    assert "early-fusion-grids-depth0-pooling-full.png" in drawn
    assert sum("-fusion-pooling-full-audio" in one for one in drawn) == 5  # train pairs
    assert sum("-timeline-" in one for one in drawn) == 2
    numbers = pd.read_csv(out / "early-fusion-claims.csv")
    confused = numbers.loc[numbers["claim"] == 6, "numbers"]
    assert confused.str.contains("over 100 pairs").any(), confused.tolist()


@pytest.mark.slow
def test_what_a_gate_gains_is_drawn_from_the_records_alone(tmp_path: Path) -> None:
    words = ["draw", "rgbd", "rgbd-standin", "--storage", str(RECORDS)]
    assert main([*words, "--output", str(tmp_path)]) == 0
    folds = pd.read_csv(tmp_path / "rgbd-standin-rgbd-folds.csv").set_index("variant")
    trials = pd.read_parquet(RECORDS / "rgbd-standin" / "trials")
    assert (trials["status"] == "finished").all()
    clean = trials[np.isposinf(trials["train_rgb_snr"]) & np.isposinf(trials["train_depth_snr"])]
    both = clean["streams"].map(len) == 0
    naive = clean[both & ~clean["end"].str.startswith("gate")]
    assert naive["fold"].value_counts().eq(2).all()
    by_kind = naive.groupby("fold_by")["train_condition_accuracy"].mean()
    assert folds.loc["plain fusion", "mean_random"] == pytest.approx(by_kind["random"])
    assert folds.loc["plain fusion", "mean_instance"] == pytest.approx(by_kind["instance"])


def test_networks_that_differ_in_no_single_value_are_found_and_their_gates_have_no_weights(
    tmp_path: Path,
) -> None:
    records, some = RECORDS / "rgbd-standin", tmp_path / "some"
    (some / "trials").mkdir(parents=True)
    for name in ("planned.json", "task.json"):
        copy(records / name, some)
    planned = json.loads((records / "planned.json").read_text())["trials"]
    for one in planned:
        if one["fold"] == 0:
            copy(records / "trials" / f"{one['trial_id']}.parquet", some / "trials")
    search = open_search(open_storage(tmp_path), "some")
    every = networks(search.planned, search.description)
    counts = [len(of_network(search.trials, one)) for one in every]
    assert (len(every), sum(counts), min(counts)) == (10, len(planned) / 10, 1)
    gated = search.finished[search.finished["end"] == "gate_by_depth"]
    assert "its weights are not there" in probing(search, gated["trial_id"])


def test_records_have_no_data_and_checkpoints_of_one_network_alone() -> None:
    weights = [one.relative_to(RECORDS).as_posix() for one in RECORDS.rglob("*.pt")]
    assert weights == ["early-fusion/checkpoints/c496610af9c3.pt"]
    for folder in RECORDS.iterdir():
        there = {one.name for one in folder.iterdir()}
        there -= {"checkpoints", "candidates.json", "asha.json"}
        assert there == {
            *("trials", "epochs", "grid"),
            *("planned.json", "task.json", "specification.yaml"),
        }
        planned = json.loads((folder / "planned.json").read_text())
        ended = {one.stem for one in (folder / "trials").iterdir()}
        assert ended <= {one["trial_id"] for one in planned["trials"]}
