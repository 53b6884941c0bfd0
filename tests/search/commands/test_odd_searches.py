"""What figures say of searches of which nothing ended, everything failed, or little is there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from damage import NAME, declared, sweep_folder, written
from xflow_records import write_probe, write_variant

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.commands.command_line import main
from fusion_search.search.commands.figures import draw, folds, probed
from fusion_search.search.records.planned import write_plan
from fusion_search.search.running.confirmation import Candidate, write_candidates

OF_SEARCHES = ("grids", "fusion", "unimodal", "folds", "learning", "xflow")
OF_TRIALS = ("timeline", "embedding", "changes", "maps")


@pytest.fixture(autouse=True)
def _nothing_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    for verbs in (draw, folds, probed):
        monkeypatch.setattr(verbs, "save", lambda *_: None)
    for name in ("draw_folds", "draw_learning"):
        monkeypatch.setattr(folds, name, lambda *_, **__: None)


def said(place: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit code of ``draw``, and its error without notes: one sentence, or nothing."""
    code = main(["draw", *words, "--storage", str(place), "--output", str(place / "out")])
    lines = [one for one in capsys.readouterr().err.splitlines() if not one.startswith("note: ")]
    assert (code, len(lines)) in ((0, 0), (2, 1)), lines
    return code, "".join(lines)


def planned(place: Path) -> str:
    search = declared(place, network={"fusion_depth": [0, 1]}, train=[[1, 0.5]])
    trials = search.planned_trials()
    write_plan(written(place, search), trials, len(trials))
    return NAME


def ended(place: Path) -> str:
    """Two failed, two were stopped."""
    sweep_folder(place)
    return NAME


def made_up(place: Path) -> Storage:
    return open_storage(place).below("made-up")


@pytest.mark.parametrize("make", [planned, ended])
def test_no_finished_trial_is_said_in_a_sentence(
    make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = make(tmp_path)
    asked = [(one, name) for one in (*OF_SEARCHES, *OF_TRIALS)]
    for words in [*asked, ("timeline", name, "--trial", "x"), ("grids", name, "--trial", "best")]:
        code, error = said(tmp_path, capsys, *words)
        few = words[0] == "unimodal"  # of whose networks there are none, finished or not
        expected = "has no network of some streams alone" if few else "has no finished trial"
        assert (code, expected in error) == (2, True), (words, error)
        if "--trial" not in words and not few:
            again = "resume" if make is planned else "retry"
            assert f"`fusion-search {again} {name} --storage {tmp_path}`" in error
    code, error = said(tmp_path, capsys, "replay", name)
    assert "has no replay yet" in error


def test_a_report_says_what_has_no_finished_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, own = planned(tmp_path), open_storage(tmp_path).below(f"{NAME}-confirmation")
    shutil.copytree(tmp_path / name, own.root)
    trials = declared(tmp_path, network={"fusion_depth": [0, 1]}, train=[[1, 0.5]]).planned_trials()
    write_candidates(own, [Candidate("a", "top", 1, tuple(trials), 0.5)])
    out = tmp_path / "out"
    assert main(["report", name, "--storage", str(tmp_path), "--output", str(out)]) == 0
    notes = capsys.readouterr().err
    assert f"has no finished trial; `fusion-search status {name}" in notes
    assert f"note: {name}-confirmation: no tests yet, for none of its trials finished\n" in notes
    assert [one.name for one in out.iterdir()] == [f"{name}-report.html"]


def test_one_trial_or_one_fold_is_drawn_or_it_is_said_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_one_fold = ("baseline", "both", "residuals only", "crosses only")
    for variants in (("baseline",), of_one_fold):
        for variant in variants:
            write_variant(made_up(tmp_path), variant, 0, 0.5)
        for figure in ("folds", "learning", "xflow"):
            assert said(tmp_path, capsys, figure, "made-up") == (0, "")
        for figure in OF_TRIALS:
            code, error = said(tmp_path, capsys, figure, "made-up")
            assert code == 2
            assert "; then run `fusion-search probe made-up --trial " in error


def test_probes_of_several_folds_are_told_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--over-folds", "--storage", str(tmp_path), "--output", str(tmp_path / "out")]
    for fold in range(3):
        write_variant(made_up(tmp_path), "both", fold, 0.5)
        write_variant(made_up(tmp_path), "both", fold, 0.5, seed=1)
    words = ["draw", "embedding", "made-up", "--trial", "both1s0"]
    assert main([*words, *at]) == 2
    assert "no trial of this network in search made-up was probed" in capsys.readouterr().err
    for fold in range(2):
        splits = {"p0": "train", "p1": "train", "p2": "train", f"p{fold}": "test"}
        write_probe(made_up(tmp_path), f"both{fold}s0", persons=splits)
    assert main([*words, *at]) == 0
    output = capsys.readouterr()
    assert "left out, not probed: fold 2, trial both2s0" in output.err
    assert output.out.startswith("2 folds: both0s0, both1s0\n")
    assert "held out: " in output.out
    table = (tmp_path / "out" / "made-up-embedding-both1s0-folds-clusters.csv").read_text()
    assert table.splitlines()[1].startswith("level1.image>audio.cross,held out,4,2,groups,")
