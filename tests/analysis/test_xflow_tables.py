"""XFlow's records beside its paper: which trial is which variant, who chooses, what is claimed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from xflow_records import TESTED, TRAINED, opened, placement, write_variant, xflow_description

from fusion_search.analysis.records.selection import AnalysisError, Search
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.statistics import MeanTest
from fusion_search.analysis.verdicts import HELD, REFUTED, whole
from fusion_search.analysis.xflow.claims import UNDECIDED, compute_claims, verdict
from fusion_search.analysis.xflow.noise import compute_noise, with_regions
from fusion_search.analysis.xflow.paper import (
    BASELINE,
    BOTH,
    CROSS,
    FORMS,
    PRINTED,
    RESIDUAL,
    VARIANTS,
    WIDENED,
    XFLOW,
)
from fusion_search.analysis.xflow.tables import BEST, CHOSEN, compute_xflow
from fusion_search.analysis.xflow.text import NO_OPTIMISTIC, claim_sentences, xflow_text
from fusion_search.analysis.xflow.variants import variant
from fusion_search.datasets.clips import avletters
from fusion_search.search.commands.command_line import main

FOLDS = 6
TESTS = {
    BASELINE: [0.50, 0.52, 0.48, 0.51, 0.49, 0.50],
    WIDENED: [0.51, 0.50, 0.50, 0.49, 0.52, 0.50],
    CROSS: [0.55, 0.54, 0.56, 0.55, 0.54, 0.56],
    RESIDUAL: [0.70, 0.72, 0.71, 0.69, 0.70, 0.71],
    BOTH: [0.68, 0.71, 0.70, 0.68, 0.69, 0.69],
}
# Validation persons prefer residuals in all folds but the third, where they are wrong.
SEEN = {BASELINE: 0.9, WIDENED: 0.9, CROSS: 0.4, RESIDUAL: 0.6, BOTH: 0.5}


def write(
    place: Path, variants: Sequence[str] = VARIANTS, folds: int = FOLDS, **extra: object
) -> Search:
    storage = open_storage(place)
    for name in variants:
        for fold, value in enumerate(TESTS[name][:folds]):
            seen = 0.8 if (name, fold) == (CROSS, 2) else SEEN[name]
            write_variant(
                storage.below("made-up"),
                name,
                fold,
                value,
                validation=seen,
                **extra,  # type: ignore[arg-type]
            )
    return opened(storage)


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    return write(tmp_path_factory.mktemp("xflow"))


@pytest.fixture
def optimistic(search: Search) -> Search:
    """With the scores as the paper has them: crosses alone are lucky."""
    lucky = search.trials["placement"] == placement(CROSS)
    scores = search.trials["train_condition_accuracy"] + 0.05 + 0.2 * lucky
    return replace(search, trials=search.trials.assign(optimistic_accuracy=scores))


def test_the_paper_gives_the_best_of_its_variants() -> None:
    for printed in PRINTED.values():
        assert printed.xflow > printed.baseline
        if printed.variants:
            assert printed.xflow == max(printed.variants.values())
            assert printed.p is not None
    assert {form for _, form, _ in PRINTED} == set(FORMS)
    assert PRINTED["AVletters", "averaged", "folds"].variants[CROSS] == 70.6
    assert PRINTED["Digits", "sequence", "folds"].variants[RESIDUAL] == 96.8


def test_a_placement_is_a_variant_or_none() -> None:
    row = {"placement_options": "{}", "widened": False}
    for name in (CROSS, RESIDUAL, BOTH):
        assert variant({**row, "placement": placement(name)}) == name
    assert variant({**row, "placement": "{}"}) == BASELINE
    assert variant({**row, "placement": '{"level1": {}}', "widened": True}) == WIDENED
    whole = json.loads(placement(CROSS))
    half = {"level1": whole["level1"]}
    one_way = {site: {"image>audio": "cross"} for site in whole}
    mixed = {**whole, "level2": dict.fromkeys(whole["level2"], "residual")}
    coupled = {**whole, "level1": {**whole["level1"], "coupling": "mmtm"}}
    for other in (half, one_way, mixed, coupled):
        assert variant({**row, "placement": json.dumps(other)}) is None
    assert (
        variant({**row, "placement": placement(CROSS), "placement_options": '{"cross": {"a": 1}}'})
        is None
    )


def test_validation_persons_choose_the_variant_of_each_fold(search: Search) -> None:
    table, (group,) = compute_xflow(search)
    rows = table.set_index("variant")
    assert list(rows.index) == [BASELINE, WIDENED, BOTH, RESIDUAL, CROSS, CHOSEN]
    own = [*TESTS[RESIDUAL][:2], TESTS[CROSS][2], *TESTS[RESIDUAL][3:]]
    assert rows.loc[CHOSEN, "mean"] == pytest.approx(np.mean(own))
    assert rows.loc[CHOSEN, "chosen"] == "residuals only in 5, crosses only in 1"
    expected = stats.ttest_rel(own, TESTS[BASELINE]).pvalue
    assert rows.loc[CHOSEN, "p_paired_t"] == pytest.approx(expected)
    assert group.words == "CNN x MLP on AVletters"
    assert rows["paper"].to_dict() == pytest.approx(
        {
            BASELINE: 0.731,
            WIDENED: math.nan,
            BOTH: 0.74,
            RESIDUAL: 0.738,
            CROSS: 0.706,
            CHOSEN: 0.74,
        },
        nan_ok=True,
    )
    assert rows.loc[CHOSEN, "paper_p"] == 0.65
    assert rows.loc[BASELINE, "paper_parameters"] == 2_740_512


def test_the_optimistic_row_is_the_best_variant_on_the_test_persons(optimistic: Search) -> None:
    table, _ = compute_xflow(optimistic)
    rows = table[table["optimistic"]].set_index("variant")
    assert CHOSEN not in rows.index
    assert rows.loc[BEST, "chosen"] == CROSS
    assert rows.loc[BEST, "mean"] == pytest.approx(np.mean(TESTS[CROSS]) + 0.25)
    honest = table[~table["optimistic"]].set_index("variant")
    assert BEST not in honest.index
    assert honest.loc[CROSS, "mean"] == pytest.approx(np.mean(TESTS[CROSS]))


@pytest.mark.parametrize(
    ("low", "high", "bound", "folds", "expected"),
    [
        (0.001, 0.1, 0.0, 6, HELD),
        (0.001, 0.01, 0.0, 6, HELD),
        (-0.001, 0.1, 0.0, 6, UNDECIDED),
        (-0.001, 0.019, 0.0, 6, REFUTED),
        (-0.001, 0.021, 0.0, 6, UNDECIDED),
        (-0.1, -0.01, 0.0, 6, REFUTED),
        (-0.019, 0.1, -0.02, 6, HELD),
        (-0.021, 0.001, -0.02, 6, UNDECIDED),
        (-0.1, -0.001, -0.02, 6, REFUTED),
        (0.001, 0.1, 0.0, 5, UNDECIDED),
        (math.nan, math.nan, 0.0, 6, UNDECIDED),
    ],
)
def test_a_verdict_follows_the_rule(
    low: float, high: float, bound: float, folds: int, expected: str
) -> None:
    assert verdict(MeanTest((low + high) / 2, low, high, 0.0, 0.5), folds, bound) == expected


def test_a_claim_holds_when_all_its_parts_do() -> None:
    assert whole([HELD, HELD]) == HELD
    assert whole([HELD, UNDECIDED]) == UNDECIDED
    assert whole([UNDECIDED, REFUTED]) == REFUTED


def test_claims_are_judged_by_the_corrected_interval(search: Search) -> None:
    _, (group,) = compute_xflow(search)
    claims = compute_claims(group, search.description.metric)
    assert list(claims["verdict"]) == [HELD, HELD, HELD, HELD]
    row = claims.iloc[1]
    differences = np.subtract(TESTS[RESIDUAL], TESTS[BOTH])
    error = differences.std(ddof=1) * math.sqrt(1 / FOLDS + TESTED / TRAINED)
    assert row["low"] == pytest.approx(differences.mean() - stats.t.ppf(0.975, 5) * error)
    assert row["sentence"].startswith(
        "(b) residual connections alone are as good as both kinds, CNN x MLP on AVletters: held"
    )
    assert "6 folds" in row["sentence"]


def test_a_claim_without_its_trials_is_undecided(tmp_path: Path) -> None:
    _, (group,) = compute_xflow(write(tmp_path, [BASELINE, RESIDUAL]))
    claims = compute_claims(group, xflow_description().metric).set_index("claim")
    said = claims.loc["(b) residual connections alone are as good as both kinds"]
    assert said["verdict"] == UNDECIDED
    assert "not there yet: both" in said["sentence"]


def test_networks_and_data_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, [BASELINE, *XFLOW], 1)
    write(tmp_path, [BASELINE, *XFLOW], 1, form="sequence")
    write(tmp_path, [BASELINE], 1, source="builtin", data_fingerprint="0")
    table, groups = compute_xflow(opened(open_storage(tmp_path)))
    assert {one.words: one.printed and one.printed.baseline for one in groups} == {
        "CNN x MLP on AVletters": 73.1,
        "{CNN x MLP}-LSTM on AVletters": 78.1,
        "CNN x MLP on the talking stand-in": None,
    }
    assert table.groupby("group")["variant"].count().tolist() == [5, 1, 5]


PART = "clips in AVletters' form, which are not the complete AVletters"


@pytest.mark.parametrize(
    ("source", "folder", "whole", "classes", "words", "baseline"),
    [
        ("avletters", "clips", True, 26, "AVletters", 73.1),
        ("avletters", "clips", False, 26, PART, None),
        ("clips", "AVletters", False, 26, "clips in AVletters/", None),
        ("clips", "mine", True, 26, "AVletters", 73.1),
        ("clips", "CUAVE", False, 10, "CUAVE (known by its folder's name alone)", 90.3),
        ("clips", "cuave", False, 26, "clips in cuave/", None),
        ("clips", "mine", False, 10, "clips in mine/", None),
    ],
)
def test_the_papers_numbers_stand_beside_its_data_alone(
    source: str,
    folder: str,
    whole: bool,
    classes: int,
    words: str,
    baseline: float | None,
    tmp_path: Path,
) -> None:
    write_variant(
        *(open_storage(tmp_path).below("made-up"), BASELINE, 0, 0.5),
        description=replace(xflow_description(), classes=classes),
        source=source,
        folder=folder,
        data_fingerprint=avletters.FINGERPRINT if whole else "0",
    )
    table, (group,) = compute_xflow(opened(open_storage(tmp_path)))
    assert group.words == f"CNN x MLP on {words}"
    assert (group.printed and group.printed.baseline) == baseline
    assert table["paper"].notna().any() == (baseline is not None)
    if baseline is None:
        (said,) = claim_sentences(group, pd.DataFrame())
        assert said == (
            f"The paper's claims are not judged: it prints nothing on CNN x MLP on {words}."
        )


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    write_variant(storage.below("made-up"), BASELINE, 0, 0.5, description=xflow_description("mine"))
    with pytest.raises(AnalysisError, match="search made-up is of mine"):
        compute_xflow(opened(storage))
    write_variant(storage.below("made-up"), BASELINE, 0, 0.5, split="validation")
    said = "measured on the validation split.*: `fusion-search confirm made-up "
    with pytest.raises(AnalysisError, match=said):
        compute_xflow(opened(storage))


def test_the_text_has_all_four_tables_and_says_what_is_optimistic(optimistic: Search) -> None:
    table, groups = compute_xflow(optimistic)
    metric = optimistic.description.metric
    claims = compute_claims(groups[0], metric)
    grid = optimistic.read_grid()
    groups = [with_regions(one, grid, optimistic.description) for one in groups]
    noise = compute_noise(groups[0], metric)
    text = xflow_text("made-up", table, groups, claims, noise, metric, ["Made up."])
    headings = ("Parameters", "Accuracy over folds", "p-values", "Ablation", "Claims")
    for heading in (*headings, "Under noise"):
        assert f"### {heading}" in text
    (line,) = [one for one in text.splitlines() if one.startswith("| XFlow")]
    cells = [one.strip() for one in line.strip("|").split("|")]
    assert cells[1] == "6"
    assert (cells[2][:6], cells[3][:6], cells[4]) == ("68.0 %", "80.0 %", "74.0 %")
    assert "| deep transfer network (the paper's)" in text
    assert "Best on the test persons: crosses only." in text
    assert NO_OPTIMISTIC not in text


def test_the_command_writes_tables_figure_and_claims(
    search: Search, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = [*("--storage", search.storage.parent.location), *("--output", str(tmp_path))]
    assert main(["draw", "xflow", "made-up", *place]) == 0
    assert main(["draw", "folds", "made-up", "--baseline", "2", *place]) == 0
    assert main(["draw", "learning", "made-up", "--fold", "0", *place]) == 0
    written = {f"made-up-xflow-{one}.csv" for one in ("claims", "noise")}
    written |= {
        f"made-up-{name}.{suffix}"
        for name in ("xflow", "folds", "learning-fold0")
        for suffix in ("png", "svg", "csv", "md")
    }
    assert {one.name for one in tmp_path.iterdir()} == written - {"made-up-learning-fold0.md"}
    printed = capsys.readouterr().out
    assert "(a) XFlow beats its baseline, CNN x MLP on AVletters: held" in printed
    assert "still best under noise, CNN x MLP on AVletters: held (all 9" in printed
    assert NO_OPTIMISTIC in printed
    assert main(["draw", "folds", "made-up", "--baseline", "9", *place]) == 2
    assert "--baseline 9 names 0 networks" in capsys.readouterr().err
