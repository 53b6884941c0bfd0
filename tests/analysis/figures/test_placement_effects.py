"""Marginal effects by hand, and what the picture of the network shows."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Polygon
from scipy import stats
from synthetic_search import MEAN, frame, random_search, row

from fusion_search.analysis.figures.placement import draw_count, draw_placement
from fusion_search.analysis.figures.placement_effects import compute_count, compute_placement
from fusion_search.analysis.records.samples import Objective
from fusion_search.analysis.records.tables import FAILED, STOPPED


def by_hand() -> pd.DataFrame:
    """MMTM after level 1: 0.7, 0.8 with it; 0.5, 0.6, 0.4 without; depth 0 has no such place."""
    one = {"fusion_depth": 1}
    two = {"fusion_depth": 2, "fusion": "gate_audio"}
    return frame(
        [
            row(1, 0.7, couplings=["mmtm"], **one),
            row(2, 0.8, couplings=["mmtm", "sum"], to_image=["none", "cross"], **two),
            row(3, 0.5, **one),
            row(4, 0.6, couplings=["none", "mmtm"], **two),
            row(5, 0.4, couplings=["sum"], **one),
            row(6, 0.9),
            row(7, None, STOPPED, couplings=["mmtm"], **one),
            row(8, None, FAILED, couplings=["mmtm"], **one),
        ]
    )


def one_row(table: pd.DataFrame, part: str, point: int, option: str) -> pd.Series:
    (found,) = table.index[
        (table["part"] == part) & (table["point"] == point) & (table["option"] == option)
    ]
    return table.loc[found]


def test_marginal_effects_by_hand() -> None:
    table = compute_placement(by_hand(), MEAN)
    mmtm = one_row(table, "couplings", 1, "mmtm")
    assert (mmtm["n"], mmtm["n_without"], mmtm["stopped"]) == (2, 3, 1)
    assert mmtm["mean"] == pytest.approx(0.75)
    assert mmtm["mean_without"] == pytest.approx(0.5)
    assert mmtm["effect"] == pytest.approx(0.25)
    error = math.hypot(stats.sem([0.7, 0.8]), stats.sem([0.5, 0.6, 0.4]))
    assert mmtm["effect_error"] == pytest.approx(error)
    # After level 2 only the two samples of fusion depth 2 could have something.
    second = one_row(table, "couplings", 2, "mmtm")
    assert (second["n"], second["n_without"]) == (1, 1)
    assert second["effect"] == pytest.approx(0.6 - 0.8)
    assert math.isnan(second["effect_error"])
    cross = one_row(table, "to_image", 2, "cross")
    assert cross["effect"] == pytest.approx(0.8 - 0.6)
    gate = one_row(table, "fusion", 0, "gate_audio")
    assert gate["effect"] == pytest.approx(0.7 - np.mean([0.7, 0.5, 0.4]))
    depth = one_row(table, "fusion_depth", 0, "1")
    assert (depth["n"], depth["stopped"]) == (3, 1)
    assert depth["mean"] == pytest.approx(np.mean([0.7, 0.5, 0.4]))
    assert "none" not in set(table["option"])


def polygons(figure: object) -> list[Polygon]:
    patches = [patch for axes in figure.axes for patch in axes.patches]  # type: ignore[attr-defined]
    return [patch for patch in patches if isinstance(patch, Polygon)]


def texts(figure: object) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]  # type: ignore[attr-defined]


def test_the_picture_prints_effects_and_points_arrows_the_right_way() -> None:
    table = compute_placement(by_hand(), MEAN)
    figure = draw_placement(table, MEAN, levels=2)
    error = 100 * math.hypot(stats.sem([0.7, 0.8]), stats.sem([0.5, 0.6, 0.4]))
    assert f"MMTM  +25.0 ± {error:.1f}  n=2" in texts(figure)
    assert "cross  +20.0  n=1" in texts(figure)
    assert texts(figure).count("level 2") == 2
    shapes = polygons(figure)
    assert len(shapes) == 5  # MMTM and sum at both points, cross at 2
    tips = [shape for shape in shapes if len(shape.get_xy()) > 5]
    (arrow,) = tips
    corners = arrow.get_xy()[:-1]
    top, bottom = corners[:, 1].max(), corners[:, 1].min()
    # To the image, which is above: a single corner at the top, two at the bottom.
    assert (corners[:, 1] == top).sum() == 1
    assert (corners[:, 1] == bottom).sum() == 2
    assert _png(figure)


def _png(figure: object) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=60)  # type: ignore[attr-defined]
    assert content.getvalue()[:4] == b"\x89PNG"
    return content.getvalue()


def test_blue_is_the_better_side_whatever_the_direction() -> None:
    fewer = Objective("multiply_accumulates", "minimize")
    rows = [
        row(number, 0.5, fusion_depth=1, couplings=[kind], multiply_accumulates=cost)
        for number, (kind, cost) in enumerate(
            [("mmtm", 10), ("mmtm", 12), ("sum", 30), ("sum", 32)]
        )
    ]
    figure = draw_placement(compute_placement(frame(rows), fewer), fewer, levels=1)
    colours = [shape.get_facecolor() for shape in polygons(figure)]
    (mmtm, plain_sum) = colours
    assert mmtm[2] > mmtm[0]  # fewer: more blue than red
    assert plain_sum[0] > plain_sum[2]


def test_without_an_effect_that_has_an_error_there_is_no_scale_of_colours() -> None:
    rows = [row(1, 0.5, fusion_depth=1), row(2, 0.6, fusion_depth=1, couplings=["mmtm"])]
    alone = draw_placement(compute_placement(frame(rows), MEAN), MEAN, levels=1)
    more = draw_placement(compute_placement(by_hand(), MEAN), MEAN, levels=2)
    for figure, bars in ((alone, 0), (more, 1)):
        labels = [axes.get_ylabel() for axes in figure.axes]
        assert sum(label.startswith("effect on") for label in labels) == bars
        assert _png(figure)


def test_a_realistic_search_is_drawn_and_its_counts_add_up() -> None:
    trials = random_search()
    table = compute_placement(trials, MEAN)
    depths = table[table["part"] == "fusion_depth"]
    assert depths["n"].sum() == 18
    assert depths["stopped"].sum() == 40
    figure = draw_placement(table, MEAN, levels=3)
    assert "Left out: 40 stopped samples." in figure.texts[-1].get_text().replace("\n", " ")
    assert _png(figure)


def test_accuracy_over_the_number_of_couplings_by_hand() -> None:
    table = compute_count(by_hand(), MEAN)
    mmtm = table[table["counted"] == "MMTM"]
    # Depth 0 and what did not finish are left out: 3 and 5 have none, 1, 2 and 4 have one.
    assert mmtm["count"].tolist() == [0, 0, 1, 1, 1]
    means = mmtm.drop_duplicates("count").set_index("count")
    assert means["mean"].tolist() == pytest.approx([0.45, 0.7])
    assert means["mean_error"].tolist() == pytest.approx(
        [stats.sem([0.5, 0.4]), stats.sem([0.7, 0.8, 0.6])]
    )
    every = table[table["counted"] == "any coupling"].drop_duplicates("count").set_index("count")
    assert every["n"].to_dict() == {0: 1, 1: 3, 2: 1}
    assert every["mean"].tolist() == pytest.approx([0.5, np.mean([0.7, 0.6, 0.4]), 0.8])
    figure = draw_count(table, MEAN)
    _, line, *_ = figure.axes[0].get_lines()
    assert list(line.get_ydata()) == pytest.approx([0.45, 0.7])
    labels = [text.get_text() for text in figure.axes[1].get_xticklabels()]
    assert labels == ["0\nn=1", "1\nn=3", "2\nn=1"]
    assert _png(figure)


def test_a_search_without_separate_levels_has_no_counts() -> None:
    table = compute_count(frame([row(1, 0.5)]), MEAN)
    assert table.empty
    assert list(table.columns) == [
        *("counted", "count", "trial_name", "value", "n", "mean", "mean_error")
    ]
