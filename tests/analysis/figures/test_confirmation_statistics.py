"""The confirmation against scipy, and sentences that claim no more than the numbers."""

from __future__ import annotations

import io
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from descriptions import digit_description, sensors_description
from scipy import stats
from synthetic_records import train_text

from fusion_search.analysis.confirmation import (
    budget_words,
    compute_confirmation,
    confirmation_sentence,
    measure_of,
    measures,
    network_label,
    read_candidates,
)
from fusion_search.analysis.figures.confirmation import draw_confirmation
from fusion_search.analysis.paired import ends_text
from fusion_search.analysis.records.samples import Objective, rows_of
from fusion_search.analysis.records.selection import AnalysisError
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import CANDIDATES_FILE, FAILED, FINISHED
from fusion_search.analysis.statistics import holm

DIGITS = digit_description()
MEAN = "mean_accuracy"
MEASURE = measures(DIGITS)[MEAN]
Trials = tuple[pd.DataFrame, list[dict[str, Any]]]


def confirmed(values: dict[str, list[float | None]], pairs: int = 1) -> Trials:
    """Values per seed of candidates "top ..." and "plain <depth>"; None: the trial failed."""
    rows, candidates = [], []
    for rank, (label, by_seed) in enumerate(values.items(), start=1):
        role = label.split()[0]
        ids = []
        for (seed, value), pair in itertools.product(enumerate(by_seed), range(pairs)):
            ids.append(f"{label} {seed} {pair}")
            rows.append(
                {
                    "trial_id": ids[-1],
                    "status": FAILED if value is None else FINISHED,
                    "seed": 1000 + seed,
                    "fold": 0,
                    "train": train_text(audio_snr=0.5 + pair, visual_snr=0.25),
                    "split": "test",
                    "mean_accuracy": None if value is None else value + 0.02 * pair,
                    "worst_accuracy": 0.2,
                    "train_condition_accuracy": 0.9,
                }
            )
        candidates.append(
            {
                "label": label if role == "top" else f"plain depth {label[-1]}",
                "role": role,
                "rank": rank if role == "top" else None,
                "search_value": 0.7,
                "trial_ids": ids,
            }
        )
    return pd.DataFrame(rows), candidates


SEEDS: dict[str, list[float | None]] = {
    "top a": [0.71, 0.73, 0.70, 0.74, 0.72, 0.73],
    "top b": [0.70, 0.69, 0.72, 0.71, 0.68, 0.70],
    "plain 0": [0.60, 0.63, 0.59, 0.62, 0.63, 0.61],
    "plain 2": [0.70, 0.72, 0.72, 0.70, 0.71, 0.73],
}


def test_intervals_are_scipys_and_tests_those_of_all_signs() -> None:
    table, comparisons = compute_confirmation(*confirmed(SEEDS), MEASURE)
    for row, values in zip(table.to_dict("records"), SEEDS.values(), strict=True):
        low, high = stats.t.interval(0.95, 5, np.mean(values), stats.sem(values))
        assert (row["mean"], row["low"], row["high"]) == pytest.approx((np.mean(values), low, high))
        assert row["deviation"] == pytest.approx(np.std(values, ddof=1))
        assert row["values"] == tuple(values)
        assert row["seeds"] == (1000, 1001, 1002, 1003, 1004, 1005)
    assert len(comparisons) == 4
    expected = []
    for top, plain in itertools.product(("top a", "top b"), ("plain 0", "plain 2")):
        test = stats.ttest_rel(SEEDS[top], SEEDS[plain])
        differences = np.subtract(SEEDS[top], SEEDS[plain])  # type: ignore[arg-type]
        flipped = [np.dot(signs, differences) for signs in itertools.product((1, -1), repeat=6)]
        expected.append(np.mean(np.abs(flipped) >= abs(differences.sum()) - 1e-9))
        row = comparisons[
            (comparisons["label"] == top) & (comparisons["baseline"] == f"plain depth {plain[-1]}")
        ].iloc[0]
        assert row["p_sign_flip"] == pytest.approx(expected[-1])
        interval = test.confidence_interval(0.95)
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    # Holm by its definition: the i-th smallest of m times m - i + 1, never falling.
    order = np.argsort(expected)
    adjusted, highest = {}, 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, expected[index] * (4 - place)))
        adjusted[index] = highest
    assert holm(np.array(expected)).tolist() == pytest.approx([adjusted[k] for k in range(4)])
    # Eight seeds could be told by Holm over four comparisons: of six there is no p to be read.
    assert comparisons["p_holm"].isna().all()


def test_the_sentence_claims_a_difference_only_when_six_seeds_tell() -> None:
    table, comparisons = compute_confirmation(*confirmed(SEEDS), MEASURE)
    sentence = confirmation_sentence(table, comparisons, MEASURE)
    assert sentence.startswith("The best network (top a) reached a mean accuracy of 72.2 % (95 %")
    assert "n = 6 seeds) over the 10 x 10 test grid, not distinguishable from plain depth 2" in (
        sentence
    )
    assert "difference +0.8 points" in sentence
    assert "10.8 points above plain depth 0" in sentence
    assert sentence.count("test by all 64 sign flips over 4 comparisons: max-T p =") == 1
    assert sentence.count("max-T p") == 2
    assert sentence.count("Holm cannot be decided with 6 seeds; 8 would do") == 2
    assert sentence.endswith(").")
    few = {name: values[:5] for name, values in SEEDS.items()}
    sentence = confirmation_sentence(*compute_confirmation(*confirmed(few), MEASURE), MEASURE)
    assert "plain depth 0 it cannot be decided with 5 seeds; 6 would do (difference" in sentence
    assert "above" not in sentence
    assert "p =" not in sentence


def test_an_interval_is_printed_no_wider_than_a_difference_can_be() -> None:
    two: dict[str, list[float | None]] = {"top a": [0.9, 0.1], "plain 0": [0.1, 0.8]}
    table, comparisons = compute_confirmation(*confirmed(two), MEASURE)
    assert comparisons["high"].iloc[0] == pytest.approx(0.05 + 12.7062 * 0.75, abs=1e-3)
    sentence = confirmation_sentence(table, comparisons, MEASURE)
    assert "of 50.0 % (95 % CI 0.0 to 100.0, n = 2 seeds)" in sentence
    assert "difference +5.0 points, 95 % CI -100.0 to +100.0)" in sentence
    metric = MEASURE.metric
    assert ends_text(-1.5, 1.7, metric) == "-100.0 to +100.0"
    assert ends_text(-1.5, 1.7, metric, slope=True) == "-150.0 to +170.0"
    assert ends_text(-1.5, 1.7, replace(metric, share=False)) == "-1.5 to +1.7"


def test_other_epochs_than_the_search_s_are_named() -> None:
    def trained(*epochs: int) -> pd.DataFrame:
        return pd.DataFrame(
            {"specification": [json.dumps({"training": {"epochs": e}}) for e in epochs]}
        )

    assert budget_words(trained(20, 20), trained(3, 5)) == (
        "Its networks are trained for another number of epochs, up to 20; in the search up to 3, 5."
    )
    assert budget_words(trained(5, 5), trained(3, 5)) == ""
    assert budget_words(trained(5), trained()) == ""


def test_one_axis_has_conditions_and_no_grid() -> None:
    one = replace(DIGITS, axes=DIGITS.axes[:1])
    assert measures(one)[MEAN].where == "over the 10 {split} conditions"
    assert measures(DIGITS)[MEAN].where == "over the 10 x 10 {split} grid"


def test_a_significant_loss_is_told_as_one() -> None:
    values: dict[str, list[float | None]] = {
        "top a": [0.50, 0.52, 0.51, 0.53, 0.51, 0.52],
        "plain 2": [0.61, 0.62, 0.63, 0.64, 0.61, 0.63],
    }
    table, comparisons = compute_confirmation(*confirmed(values), MEASURE)
    sentence = confirmation_sentence(table, comparisons, MEASURE)
    assert "10.8 points below plain depth 2 (95 % CI 10.0 to 11.6" in sentence
    assert "over 1 comparison: max-T p = 0.031, Holm p = 0.031)." in sentence


def test_one_seed_has_no_interval_and_no_test() -> None:
    table, comparisons = compute_confirmation(
        *confirmed({"top a": [0.7], "plain 1": [0.6]}), MEASURE
    )
    assert math.isnan(table["low"][0])
    assert math.isnan(comparisons["p_max_t"][0])
    sentence = confirmation_sentence(table, comparisons, MEASURE)
    assert "70.0 % (one seed, so no interval)" in sentence
    assert (
        "against plain depth 1 it cannot be decided with 1 seed; 6 would do (difference +10.0 "
        "points)."
    ) in sentence
    assert "CI" not in sentence


def test_missing_seeds_are_left_out_in_pairs_and_said() -> None:
    values: dict[str, list[float | None]] = {
        "top a": [0.71, None, 0.70, 0.74],
        "plain 2": [None, 0.66, 0.67, 0.69],
        "plain 0": [None, None, None, None],
    }
    table, comparisons = compute_confirmation(*confirmed(values), MEASURE)
    assert table["n"].tolist() == [3, 3, 0]
    row = comparisons.iloc[0]
    assert row["paired_seeds"] == 2
    assert row["difference"] == pytest.approx(((0.70 - 0.67) + (0.74 - 0.69)) / 2)
    sentence = confirmation_sentence(table, comparisons, MEASURE)
    assert "1 of its 4 trials missing" in sentence
    assert "against plain depth 2 it cannot be decided with 2 seeds; 6 would do" in sentence
    assert "not comparable with plain depth 0 (no common seed finished)" in sentence


def test_a_seed_counts_only_with_all_its_train_pairs() -> None:
    trials, candidates = confirmed({"top a": [0.6, 0.7], "plain 2": [0.5, 0.5]}, pairs=2)
    table, _ = compute_confirmation(trials, candidates, MEASURE)
    assert table["values"][0] == pytest.approx((0.61, 0.71))
    trials.loc[trials["trial_id"] == "top a 1 1", "status"] = FAILED
    table, comparisons = compute_confirmation(trials, candidates, MEASURE)
    assert table["seeds"][0] == (1000,)
    assert comparisons["paired_seeds"][0] == 1


def test_a_winner_that_is_plain_is_not_compared_with_itself() -> None:
    trials, candidates = confirmed({"top a": [0.6, 0.7, 0.65], "plain 0": [0.5, 0.52, 0.5]})
    itself = {**candidates[0], "role": "plain", "rank": None, "label": "plain depth 2"}
    table, comparisons = compute_confirmation(trials, [*candidates, itself], MEASURE)
    assert comparisons["baseline"].tolist() == ["plain depth 0"]
    sentence = confirmation_sentence(table, comparisons, MEASURE)
    assert sentence.endswith("). It is itself a plain network, plain depth 2.")
    # One network, one row, by both its labels.
    assert table["label"].tolist() == ["top a", "plain depth 0"]
    assert network_label(rows_of(table)[0]) == "top a (the same network as plain depth 2)"
    labels = [one.get_text() for one in draw_confirmation(table, MEASURE).axes[0].get_yticklabels()]
    assert [one.replace("\n", " ") for one in labels] == [
        "1. top a (the same network as plain depth 2) (n=3)",
        "plain depth 0 (n=3)",
    ]
    alone = confirmation_sentence(
        *compute_confirmation(trials, [candidates[0], itself], MEASURE), MEASURE
    )
    assert alone.endswith(
        " over the 10 x 10 test grid. It is itself a plain network, plain depth 2."
    )


def test_a_network_that_was_sampled_twice_is_compared_once() -> None:
    trials, candidates = confirmed({"top a": [0.6, 0.7, 0.65], "plain 0": [0.5, 0.52, 0.5]})
    table, comparisons = compute_confirmation(
        trials, [candidates[0], {**candidates[0], "rank": 2}, candidates[1]], MEASURE
    )
    assert table[["rank", "also"]].to_numpy().tolist()[0] == [1, ""]
    assert comparisons["rank"].tolist() == [1]


def test_nothing_finished_is_said() -> None:
    table, comparisons = compute_confirmation(
        *confirmed({"top a": [None], "plain 0": [0.5]}), MEASURE
    )
    assert "is not confirmed yet" in confirmation_sentence(table, comparisons, MEASURE)
    assert "Nothing was confirmed" in confirmation_sentence(table.iloc[1:], comparisons, MEASURE)


def test_fewer_common_seeds_than_usual_are_said() -> None:
    first: list[float | None] = [0.70, 0.73, 0.70, 0.74, 0.72, 0.73, None]
    second: list[float | None] = [0.60, 0.63, 0.61, 0.62, 0.63, 0.61, 0.62]
    _, comparisons = given = compute_confirmation(
        *confirmed(
            {"top a": [*first[:6], 0.72], "plain 2": second, "plain 0": [*first[:5], None, None]}
        ),
        MEASURE,
    )
    assert comparisons["paired_seeds"].tolist() == [7, 5]
    assert math.isnan(comparisons["p_max_t"][1])
    sentence = confirmation_sentence(*given, MEASURE)
    # The comparison with five seeds takes no part in the maximum over comparisons.
    assert comparisons["p_max_t"][0] == 2 / 2**7
    assert "against plain depth 0 it cannot be decided with 5 seeds; 6 would do" in sentence
    given = compute_confirmation(
        *confirmed({"top a": [*first[:6], 0.72], "plain 2": [*second[:6], None]}), MEASURE
    )
    assert "n = 6 paired seeds" in confirmation_sentence(*given, MEASURE)


def test_the_same_difference_in_six_seeds_is_told() -> None:
    values: dict[str, list[float | None]] = {
        "top a": [0.75, 0.5, 0.5, 0.5, 0.5, 0.5],
        "plain 0": [0.5, 0.25, 0.25, 0.25, 0.25, 0.25],
    }
    sentence = confirmation_sentence(*compute_confirmation(*confirmed(values), MEASURE), MEASURE)
    assert (
        "25.0 points above plain depth 0 (95 % CI 25.0 to 25.0, test by all 64 sign flips"
        in sentence
    )


def test_metrics_name_where_they_are_measured() -> None:
    trials, candidates = confirmed(SEEDS)
    worst = measures(DIGITS)["worst_accuracy"]
    computed = compute_confirmation(trials, candidates, worst)
    sentence = confirmation_sentence(*computed, worst)
    assert "a worst accuracy of 20.0 %" in sentence
    assert "of the 10 x 10 test conditions" in sentence


def test_an_error_is_no_percentage_and_a_seed_needs_all_its_folds() -> None:
    trials, candidates = confirmed({name: SEEDS[name][:3] for name in ("top a", "plain 0")})
    of = sensors_description()
    (measure,) = measures(of).values()
    trials = trials.rename(columns={"mean_accuracy": measure.column})
    again = trials.assign(fold=1, trial_id=trials["trial_id"] + "again")
    again[measure.column] += 0.1
    both = [
        {**one, "trial_ids": [name + end for name in one["trial_ids"] for end in ("", "again")]}
        for one in candidates
    ]
    computed = compute_confirmation(pd.concat([trials, again]), both, measure)
    assert computed[0]["n"].tolist() == [3, 3]
    assert computed[0]["values"][0] == pytest.approx((0.76, 0.78, 0.75))
    lacking = compute_confirmation(pd.concat([trials, again[1:]]), both, measure)[0]
    assert lacking["seeds"].tolist() == [(1001, 1002), (1000, 1001, 1002)]
    sentence = confirmation_sentence(*computed, measure)
    assert "reached a mean absolute error of 0.7633 (95 % CI" in sentence
    assert "n = 3 seeds, each the mean over 2 folds)" in sentence
    assert "on the test split" in sentence
    assert "(difference +0.107, 95 % CI" in sentence
    assert "points" not in sentence
    figure = draw_confirmation(computed[0], measure)
    assert figure.axes[0].get_xlabel() == "average mean absolute error (lower is better)"
    assert not any("%" in one.get_text() for one in figure.axes[0].get_xticklabels())


def test_the_figure_shows_every_seed_and_the_means() -> None:
    table, _ = compute_confirmation(*confirmed({**SEEDS, "plain 1": [None]}), MEASURE)
    figure = draw_confirmation(table, MEASURE)
    axes = figure.axes[0]
    dots = [list(line.get_xdata()) for line in axes.get_lines() if len(line.get_xdata()) == 6]
    assert dots == [list(values) for values in SEEDS.values()]
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels[0] == "1. top a (n=6)"
    assert [text.get_text() for text in axes.texts] == ["missing"]
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=60)
    assert content.getvalue()[:4] == b"\x89PNG"


def test_candidates_are_read_or_named(tmp_path: Path) -> None:
    _, candidates = confirmed(SEEDS)
    storage = open_storage(tmp_path)
    with pytest.raises(AnalysisError, match=r"candidates\.json is missing"):
        read_candidates(storage)
    storage.write(json.dumps(candidates).encode(), CANDIDATES_FILE)
    assert read_candidates(storage) == candidates
    for damage in (b"[{", b"[1]", b'[{"label": "x"}]', b"3"):
        storage.write(damage, CANDIDATES_FILE)
        with pytest.raises(AnalysisError, match=r"candidates\.json is damaged"):
            read_candidates(storage)


@pytest.mark.parametrize(
    ("objective", "column"),
    [
        (Objective("train_condition_accuracy", metric=DIGITS.metric), "train_condition_accuracy"),
        (Objective("worst_accuracy", metric=DIGITS.metric), "worst_accuracy"),
        (Objective("quantile_accuracy", metric=DIGITS.metric), MEAN),
        (Objective("parameters"), MEAN),
    ],
)
def test_networks_are_compared_by_what_the_search_optimised(
    objective: Objective, column: str
) -> None:
    assert measure_of(objective, DIGITS).column == column
