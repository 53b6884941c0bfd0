"""Networks over folds, by hand: what is paired with what, the best of runs, sizes of splits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from xflow_records import TESTED, TRAINED, opened, write_variant

from fusion_search.analysis.conditions import REPETITION
from fusion_search.analysis.figures.folds.intervals import draw_folds
from fusion_search.analysis.folds.comparison import compare_folds, compute_folds
from fusion_search.analysis.folds.runs import chosen_name
from fusion_search.analysis.folds.text import folds_text, markdown_table
from fusion_search.analysis.records.description import MetricDescription
from fusion_search.analysis.records.selection import AnalysisError, Search
from fusion_search.analysis.records.storage import open_storage

SHARE = MetricDescription("accuracy", share=True)
ERROR = MetricDescription("error", "minimize")
WITH = [0.50, 0.62, 0.71, 0.43, 0.66, 0.58, 0.69]
SHARES = dict.fromkeys(("plain", "cross", "far", "near", "close"), 0.2)
WITHOUT = [0.45, 0.60, 0.66, 0.44, 0.61, 0.50, 0.65]


def values(**networks: list[list[float]]) -> pd.DataFrame:
    """[label, (fold, seed)] of [fold][seed] each."""
    (some, *_) = networks.values()
    index = [(fold, "{}", seed) for fold, one in enumerate(some) for seed in range(len(one))]
    flat = {name: [value for one in folds for value in one] for name, folds in networks.items()}
    return pd.DataFrame(flat, pd.MultiIndex.from_tuples(index, names=REPETITION)).T


def test_one_seed_a_fold_is_scipys_paired_test() -> None:
    table = compare_folds(
        values(plain=[[one] for one in WITHOUT], cross=[[one] for one in WITH]),
        "plain",
        SHARES,
        SHARE,
    )
    row = table.loc["cross"]
    assert (row["folds"], row["paired_folds"], row["paired_runs"]) == (7, 7, 7)
    assert row["mean"] == pytest.approx(np.mean(WITH))
    assert row["difference"] == pytest.approx(np.mean(WITH) - np.mean(WITHOUT))
    assert row["p_paired_t"] == pytest.approx(stats.ttest_rel(WITH, WITHOUT).pvalue)
    spread = np.subtract(WITH, WITHOUT).std(ddof=1)
    t = row["difference"] / (spread * math.sqrt(1 / 7 + 0.2))
    assert row["p_corrected_t"] == row["p_repeated_t"] == pytest.approx(2 * stats.t.sf(t, 6))
    # Six of seven folds are higher, and the other by the least: of all 128 sign vectors 4.
    assert row["p_sign_flip"] == row["p_max_t"] == 4 / 128
    # The interval of the same test holds 0, though the flips would tell it.
    assert row["p_corrected_t"] == row["p_corrected_holm"] > 0.05
    assert row["difference_low"] < 0 < row["difference_high"]
    assert row["decision"] == "not distinguishable"
    assert pd.isna(table.loc["plain", "difference"])


def test_what_is_told_alone_and_not_after_holm_says_so() -> None:
    """What is told by a p just below 0.05 is not, as one of three."""
    close = [one + 0.01 * (-1) ** fold for fold, one in enumerate(WITHOUT)]
    networks = {"plain": WITHOUT, "far": [one + 0.2 for one in WITH]}
    networks |= {"near": [one + 0.002 for one in WITH], "close": close}
    folds = {name: [[value] for value in own] for name, own in networks.items()}
    table = compare_folds(values(**folds), "plain", SHARES, SHARE)
    assert table.loc["far", "decision"] == "higher"
    p = table.loc["near", ["p_corrected_t", "p_corrected_holm"]]
    assert p.iloc[0] <= 0.05 < p.iloc[1]
    assert table.loc["near", "decision"] == "higher, not after Holm"
    assert table.loc["close", "decision"] == "not distinguishable"
    assert pd.isna(table.loc["plain", "decision"])


def test_without_the_baseline_or_sizes_that_is_the_decision() -> None:
    two = values(plain=[[one] for one in WITHOUT], cross=[[one] for one in WITH])
    alone = compare_folds(two.loc[["cross"]], "plain", SHARES, SHARE)
    assert alone.loc["cross", "decision"] == "nothing to compare with"
    unknown = compare_folds(two, "plain", dict.fromkeys(SHARES, math.nan), SHARE)
    assert unknown.loc["cross", "decision"] == "not tested, sizes are not known"


def test_seeds_are_paired_within_their_fold() -> None:
    nan = math.nan
    plain = [[0.5, 0.6], [0.4, nan], [0.7, 0.8]]
    cross = [[0.6, 0.8], [0.5, 0.9], [nan, nan]]
    row = compare_folds(values(plain=plain, cross=cross), "plain", SHARES, SHARE).loc["cross"]
    assert (row["folds"], row["runs"]) == (2, 4)
    assert row["mean"] == pytest.approx(0.7)  # of 0.7 and 0.7
    assert (row["paired_folds"], row["paired_runs"]) == (2, 3)
    assert row["difference"] == pytest.approx((0.15 + 0.1) / 2)
    runs = np.array([0.1, 0.2, 0.1])
    t = runs.mean() / (runs.std(ddof=1) * math.sqrt(1 / 3 + 0.2))
    assert row["p_repeated_t"] == pytest.approx(2 * stats.t.sf(t, 2))
    assert row["decision"] == "cannot be decided with 2 folds; 6 would do"
    assert math.isnan(row["p_max_t"])


@pytest.mark.parametrize(("metric", "mean"), [(SHARE, 0.7), (ERROR, 0.55)])
def test_of_optimistic_values_the_best_run_of_a_fold_counts(
    metric: MetricDescription, mean: float
) -> None:
    two = values(plain=[[0.5, 0.6], [0.4, 0.4]], cross=[[0.6, 0.8], [0.5, 0.6]])
    table = compare_folds(two, "plain", SHARES, metric, optimistic=True)
    assert table.loc["cross", "mean"] == pytest.approx(mean)
    assert table.loc["cross", "paired_runs"] == 2
    best = metric.sign > 0
    expected = [0.2, 0.2] if best else [0.1, 0.1]
    assert table.loc["cross", "difference"] == pytest.approx(np.mean(expected))


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """Two networks in two folds; the second lacks one."""
    storage = open_storage(tmp_path_factory.mktemp("folds"))
    folder = storage.below("made-up")
    for fold in (0, 1):
        write_variant(folder, "baseline", fold, 0.5 + fold / 10)
    write_variant(folder, "both", 1, 0.8)
    return opened(storage)


def test_a_search_is_compared_over_its_folds(search: Search) -> None:
    table, measures = compute_folds(search)
    assert [one.column for one in measures] == ["train_condition_accuracy", "mean_accuracy"]
    own = table[table["measure"] == "train_condition_accuracy"].set_index("number")
    assert list(own["network"].str[:5]) == ["plain", "cross"]
    assert set(own["baseline"]) == {"plain"}
    assert own.loc[1, ["folds", "mean", "parameters"]].tolist() == [2, 0.55, 1008]
    assert own.loc[2, ["folds", "mean", "paired_folds"]].tolist() == [1, 0.8, 1]
    assert own.loc[2, "difference"] == pytest.approx(0.2)
    assert set(own["test_share"]) == {TESTED / TRAINED}
    other, _ = compute_folds(search, "2")
    assert other["difference"].dropna().tolist() == pytest.approx([-0.2, -0.1])


def test_the_figure_says_what_a_diamond_without_a_bar_and_its_line_are(search: Search) -> None:
    table, measures = compute_folds(search)
    figure = draw_folds(table, measures, SHARE, classes=26)
    for axes in figure.axes:
        (line,) = [one for one in axes.lines if one.get_linestyle() == ":"]
        assert list(line.get_xdata()) == [1 / 26, 1 / 26]
    (caption,) = [one.get_text() for one in figure.texts if "Diamond" in one.get_text()]
    words = " ".join(caption.split())
    assert (
        "over the n = 1 to 2 folds that finished, none of a single fold or of folds that agree."
        in words
    )
    assert "Dotted: 1/26, what guessing among 26 classes reaches." in words
    without = draw_folds(table, measures, ERROR, classes=26)
    assert not [one for axes in without.axes for one in axes.lines if one.get_linestyle() == ":"]


def test_the_table_can_be_read(search: Search) -> None:
    table, measures = compute_folds(search)
    text = folds_text(table, measures, search, ["Made up."])
    assert "Compared with: plain." in text
    assert "\n2. cross + residual between audio and image at level1 + level2" in text
    (line,) = [one for one in text.splitlines() if one.startswith("| 2 ") and "80.0" in one]
    assert "+20.0 points" in line
    assert "cannot be decided with 1 fold; 6 would do" in line
    assert text.endswith("Made up.\n")
    assert "The corrected tests are not there" not in text


def test_without_epochs_the_corrected_tests_are_not_there(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    for fold in range(3):
        write_variant(storage.below("made-up"), "baseline", fold, 0.5)
        write_variant(storage.below("made-up"), "both", fold, 0.6 + fold / 50)
    part = opened(storage)
    for name in part.storage.names("epochs"):
        part.storage.remove("epochs", name)
    table, measures = compute_folds(part)
    row = table[table["number"] == 2].iloc[0]
    assert math.isnan(row["p_corrected_t"])
    assert row["p_paired_t"] < 0.05
    assert "The corrected tests are not there" in folds_text(table, measures, part, [])


@pytest.mark.parametrize("wanted", ["plain, w", "4", "0", "gate"])
def test_a_network_that_is_not_meant_is_named(wanted: str) -> None:
    names = ["plain, wide", "plain, wider", "cross"]
    with pytest.raises(
        AnalysisError, match=r"--baseline .* names \d networks; there are 1\. plain"
    ):
        chosen_name(names, wanted, "--baseline")


def test_a_network_is_meant_by_number_or_beginning() -> None:
    names = ["plain", "plain, wider", "cross"]
    assert [chosen_name(names, one, "") for one in ("2", "plain", "c")] == [
        "plain, wider",
        "plain",
        "cross",
    ]


def test_markdown_keeps_its_columns() -> None:
    found = markdown_table(["a", "b|c"], [["long one", "x\ny"]])
    assert found.splitlines() == [
        "| a        | b\\|c |",
        "|----------|------|",
        "| long one | x y  |",
    ]


def test_where_the_baseline_was_not_trained_another_is_named(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    for variant, fold in (
        (one, fold) for one in ("baseline", "both", "crosses only") for fold in (0, 1)
    ):
        write_variant(storage.below("made-up"), variant, fold, 0.5)
    search = opened(storage)
    table, measures = compute_folds(search)
    assert "The baseline has no" not in folds_text(table, measures, search, [])
    text = folds_text(table[table["number"] > 1].reset_index(), measures, search, [])
    again = f"`fusion-search draw folds made-up --baseline 2 --storage {tmp_path}`"
    assert text.count(f"The baseline has no value here; {again} compares these with 2. ") == 2
    # A single one is compared with nothing, by whatever baseline.
    single = folds_text(table[table["number"] == 3].reset_index(), measures, search, [])
    assert "The baseline has no" not in single
    assert set(compute_folds(search, "2")[0]["decision"].dropna()) == {
        "cannot be decided with 2 folds; 6 would do"
    }
