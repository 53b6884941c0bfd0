"""Replays of searchers by hand and against scipy."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_search import MEAN

from fusion_search.analysis.figures.replay import compute_replay, draw_replay
from fusion_search.analysis.records.samples import Objective

SCORE = Objective("score")  # of any size


def replay(values: dict[str, list[list[float]]]) -> pd.DataFrame:
    """Searcher -> seed -> the values it finds, one after another; more is better."""
    return pd.DataFrame(
        [
            (searcher, seed, trial, value, max(run[:trial]), 60.0)
            for searcher, runs in values.items()
            for seed, run in enumerate(runs)
            for trial, value in enumerate(run, start=1)
        ],
        columns=["searcher", "seed", "trial", "value", "best", "seconds"],
    )


BY_HAND = {
    "tpe": [[0.5, 0.9, 0.1], [0.896, 0.2, 0.3], [0.5, 0.895]],
    "random": [[0.5, 0.6, 0.7], [0.4, 0.5, 0.9], [0.1, 0.2, 0.3]],
}


def test_curves_and_arrivals_by_hand() -> None:
    curves, runs, summary = compute_replay(replay(BY_HAND), optimum=0.9, objective=SCORE)
    assert summary["searcher"].tolist() == ["random", "tpe"]  # the baseline first
    tpe = curves[curves["searcher"] == "tpe"].set_index("trial")
    # The third run ends after two trials and keeps its best.
    best = {1: [0.5, 0.896, 0.5], 2: [0.9, 0.896, 0.895], 3: [0.9, 0.896, 0.895]}
    for trial, values in best.items():
        low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        assert tpe.loc[trial, ["mean", "low", "high"]].tolist() == pytest.approx(
            [np.mean(values), low, high]
        )
    assert runs[runs["searcher"] == "tpe"]["needed"].tolist() == [2, 1, 2]
    needed = runs[runs["searcher"] == "random"]["needed"]
    assert needed.isna().tolist() == [True, False, True]
    random, other = summary.to_dict("records")
    assert (other["reached"], other["median"]) == (1.0, 2)
    assert (other["lower_quartile"], other["upper_quartile"]) == (1, 2)
    assert random["reached"] == pytest.approx(1 / 3)
    assert random["median"] == math.inf
    assert math.isnan(random["p"])
    # Never counts as one trial more than the longest replay, 4: differences -2, -2, -2.
    assert other["p"] == pytest.approx(stats.wilcoxon([2 - 4, 1 - 3, 2 - 4]).pvalue)


def test_wilcoxon_over_seeds_with_holm_over_searchers() -> None:
    generator = np.random.default_rng(0)

    def runs(first: int, last: int) -> list[list[float]]:
        arrivals = generator.integers(first, last, 20)
        return [[0.1] * int(at) + [0.9] for at in arrivals]

    values = {"random": runs(10, 40), "tpe": runs(2, 12), "surrogate": runs(8, 38)}
    _, _, summary = compute_replay(replay(values), optimum=0.9, objective=SCORE)
    found = summary.set_index("searcher")
    p = {}
    for searcher in ("surrogate", "tpe"):
        pairs = zip(values[searcher], values["random"], strict=True)
        p[searcher] = stats.wilcoxon([len(a) - len(b) for a, b in pairs]).pvalue
        assert found.loc[searcher, "p"] == pytest.approx(p[searcher])
    assert p["tpe"] < p["surrogate"]
    assert found.loc["tpe", "p_holm"] == pytest.approx(min(1, 2 * p["tpe"]))
    assert found.loc["surrogate", "p_holm"] == pytest.approx(max(p["surrogate"], 2 * p["tpe"]))
    assert set(found["undecided"]) == {""}
    few = {name: own[:6] for name, own in values.items()}
    _, _, summary = compute_replay(replay(few), optimum=0.9, objective=SCORE)
    # Two searchers against random: Holm asks for 0.025, which six signs cannot reach.
    words = ["", *["cannot be decided with 6 seeds; 7 would do"] * 2]
    assert sorted(summary["undecided"]) == words


def test_a_searcher_that_is_random_search_differs_in_nothing() -> None:
    runs = [[0.1, 0.9], [0.9, 0.1]]
    _, _, summary = compute_replay(
        replay({"random": runs, "tpe": runs}), optimum=0.9, objective=SCORE
    )
    assert summary["p"].tolist()[1] == 1.0


def test_less_can_be_better() -> None:
    table = replay({"random": [[-5.0, -4.0, -2.0]]})
    table = table.assign(value=-table["value"], best=-table["best"])
    _, runs, _ = compute_replay(
        table, optimum=2.0, within=0.5, objective=Objective("cost", "minimize")
    )
    assert runs["needed"].tolist() == [3]


def test_the_band_of_shares_ends_where_they_do() -> None:
    table = replay({"random": [[0.1], [0.9]]})
    ends = {
        objective.is_share: compute_replay(table, 0.9, objective=objective)[0].iloc[0]
        for objective in (SCORE, MEAN)
    }
    assert ends[False][["low", "high"]].tolist() == pytest.approx([-4.5825, 5.5825], abs=1e-4)
    assert ends[True][["low", "high"]].tolist() == [0.0, 1.0]


def test_the_edge_of_within_has_arrived() -> None:
    _, runs, _ = compute_replay(
        replay({"random": [[0.5, 0.695, 0.7]]}), optimum=0.7, objective=SCORE
    )
    assert runs["needed"].tolist() == [2]


def test_the_figure_names_the_baseline_and_carries_the_curves() -> None:
    curves, runs, summary = compute_replay(replay(BY_HAND), optimum=0.9, objective=SCORE)
    figure = draw_replay(curves, runs, summary, 0.9, objective=MEAN)
    left, right = figure.axes
    lines = {line.get_label(): line for line in left.get_lines()}
    assert set(lines) == {"random (baseline)", "tpe", "best recorded"}
    expected = curves[curves["searcher"] == "tpe"]["mean"]
    assert list(lines["tpe"].get_ydata()) == pytest.approx(expected.tolist())
    labels = [text.get_text() for text in right.get_yticklabels()]
    assert labels[0] == "random (baseline)\nmedian never, 33% arrived"
    assert labels[1] == ("tpe\nmedian 2, 100% arrived\ncannot be decided with 3 seeds;\n6 would do")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=60)
    assert content.getvalue()[:4] == b"\x89PNG"


def test_without_any_arrival_the_figure_is_drawn_all_the_same() -> None:
    computed = compute_replay(replay({"random": [[0.1], [0.2]]}), optimum=0.9, objective=SCORE)
    figure = draw_replay(*computed, 0.9, objective=MEAN)
    assert "never " in [text.get_text() for text in figure.axes[1].texts]
