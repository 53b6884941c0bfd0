"""Marginal effects by hand, and what the picture of the network shows."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pandas as pd
import pytest
from descriptions import sensors_description
from matplotlib.patches import Polygon
from scipy import stats
from synthetic_search import DIGITS, MEAN, frame, placement, random_search, row

from fusion_search.analysis.figures.placement import draw_count, draw_placement
from fusion_search.analysis.placement_effects import (
    compute_count,
    compute_placement,
    confounding_sentences,
)
from fusion_search.analysis.records.samples import Objective, mean_objective
from fusion_search.analysis.records.tables import FAILED, STOPPED


def by_hand() -> pd.DataFrame:
    """MMTM after level 1: 0.7, 0.8 with it; 0.5, 0.6, 0.4 without; depth 0 has no such place."""
    one = {"fusion_depth": 1}
    two = {"fusion_depth": 2, "end": "gate_audio"}
    mmtm, both = {"coupling": "mmtm"}, {"coupling": "sum", "audio>image": "cross"}
    made = frame(
        [
            row(1, 0.7, placement=placement(level1=mmtm), **one),
            row(2, 0.8, placement=placement(level1=mmtm, level2=both), **two),
            row(3, 0.5, sample='{"end": "concatenation"}', **one),
            row(4, 0.6, placement=placement(level2=mmtm), **two),
            row(5, 0.4, placement=placement(level1={"coupling": "sum"}), **one),
            row(6, 0.9),
            row(7, None, STOPPED, placement=placement(level1=mmtm), **one),
            row(8, None, FAILED, placement=placement(level1=mmtm), **one),
        ]
    )
    # Nothing else was chosen.
    return made.assign(sample=made["sample"].where(made["trial_id"] == "t003"))


def one_row(table: pd.DataFrame, part: str, site: str, option: str) -> pd.Series:
    (found,) = table.index[
        (table["part"] == part) & (table["site"] == site) & (table["option"] == option)
    ]
    return table.loc[found]


def test_marginal_effects_by_hand() -> None:
    table = compute_placement(by_hand(), MEAN, DIGITS)
    mmtm = one_row(table, "coupling", "level1", "mmtm")
    assert (mmtm["n"], mmtm["n_without"], mmtm["stopped"]) == (2, 3, 1)
    assert mmtm["mean"] == pytest.approx(0.75)
    assert mmtm["mean_without"] == pytest.approx(0.5)
    assert mmtm["effect"] == pytest.approx(0.25)
    error = math.hypot(stats.sem([0.7, 0.8]), stats.sem([0.5, 0.6, 0.4]))
    assert mmtm["effect_error"] == pytest.approx(error)
    # After level 2 only the two samples of fusion depth 2 could have something.
    second = one_row(table, "coupling", "level2", "mmtm")
    assert (second["n"], second["n_without"]) == (1, 1)
    assert second["effect"] == pytest.approx(0.6 - 0.8)
    assert math.isnan(second["effect_error"])
    cross = one_row(table, "audio>image", "level2", "cross")
    assert cross["effect"] == pytest.approx(0.8 - 0.6)
    gate = one_row(table, "end", "", "gate_audio")
    assert gate["effect"] == pytest.approx(0.7 - np.mean([0.7, 0.5, 0.4]))
    # At depth 0 there is one way to end; elsewhere a sample says which it chose, or the default.
    assert one_row(table, "end", "", "concatenation")["n"] == 1
    assert one_row(table, "end", "", "default")["n"] == 2
    depth = one_row(table, "fusion_depth", "", "1")
    assert (depth["n"], depth["stopped"]) == (3, 1)
    assert depth["mean"] == pytest.approx(np.mean([0.7, 0.5, 0.4]))
    assert "none" not in set(table["option"])


def test_an_effect_that_is_another_choices_is_told_as_by_the_rank_of_the_design() -> None:
    generator = np.random.default_rng(0)
    told = set()
    for _ in range(25):
        count = int(generator.integers(3, 6))
        mmtm = generator.integers(0, 2, count)
        width = generator.integers(0, 4, count)
        rows = [
            row(
                number,
                0.5,
                fusion_depth=1,
                placement=placement(level1={"coupling": "mmtm"}) if has else "{}",
                sample=json.dumps(
                    {"coupling_level1": "mmtm" if has else "none", "width": int(own), "n": [number]}
                ),
            )
            for number, (has, own) in enumerate(zip(mmtm, width, strict=True))
        ]
        if len(set(mmtm)) < 2 or len(set(width)) == count:
            continue
        table = compute_placement(frame(rows), MEAN, DIGITS)
        found = one_row(table, "coupling", "level1", "mmtm")["confounded_with"]
        levels = (width[:, None] == np.unique(width)).astype(float)
        both = np.column_stack([levels, mmtm])
        told.add(same := np.linalg.matrix_rank(both) == np.linalg.matrix_rank(levels))
        assert ("width" in found.split(", ")) == same
    assert told == {True, False}


def test_effects_that_few_samples_cannot_tell_apart_are_sentences_not_numbers() -> None:
    of, gates = sensors_description(), placement(s1={"coupling": "gates"})
    error = mean_objective(of)
    made = [
        (gates, "ecg+heat", 0.01, 0.2),
        (gates, "ecg+heat", 0.02, 0.3),
        ("{}", "", 0.03, 0.5),
        ("{}", "", 0.04, 0.4),
        (placement(s1={"heat>ecg": "transfer"}), "", 0.015, 0.6),
    ]
    rows = [
        row(number, None, placement=there, streams=streams, sample=sample)
        | {"status": "finished", error.name: value}
        for number, (there, streams, rate, value) in enumerate(made)
        for sample in [json.dumps({"coupling_s1": "", "learning_rate": rate, "width": 4})]
    ]
    table = compute_placement(frame(rows, of), error, of)
    # Of the numbers of a range some with it lie between those without; of streams none is shared.
    assert one_row(table, "coupling", "s1", "gates")["confounded_with"] == "streams"
    assert one_row(table, "heat>ecg", "s1", "transfer")["confounded_with"] == ""
    assert (
        "The effect of gates at s1 (n=2, without it 3) cannot be told apart from that of streams: "
        "no value of it was tried both with and without. More samples would."
    ) in confounding_sentences(table)
    figure = draw_placement(table, error, of)
    assert "gates  not told apart  n=2" in texts(figure)
    assert any(text.startswith("transfer  +") for text in texts(figure))


def polygons(figure: object) -> list[Polygon]:
    patches = [patch for axes in figure.axes for patch in axes.patches]  # type: ignore[attr-defined]
    return [patch for patch in patches if isinstance(patch, Polygon)]


def texts(figure: object) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]  # type: ignore[attr-defined]


def test_the_picture_prints_effects_and_points_arrows_the_right_way() -> None:
    figure = draw_placement(compute_placement(by_hand(), MEAN, DIGITS), MEAN, DIGITS)
    error = 100 * math.hypot(stats.sem([0.7, 0.8]), stats.sem([0.5, 0.6, 0.4]))
    assert f"MMTM  +25.0 ± {error:.1f}  n=2" in texts(figure)
    assert "cross  +20.0  n=1" in texts(figure)
    assert texts(figure).count("level2") == 2
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
        row(
            number,
            0.5,
            fusion_depth=1,
            placement=placement(level1={"coupling": kind}),
            multiply_accumulates=cost,
        )
        for number, (kind, cost) in enumerate(
            [("mmtm", 10), ("mmtm", 12), ("sum", 30), ("sum", 32)]
        )
    ]
    figure = draw_placement(compute_placement(frame(rows), fewer, DIGITS), fewer, DIGITS)
    colours = [shape.get_facecolor() for shape in polygons(figure)]
    (mmtm, plain_sum) = colours
    assert mmtm[2] > mmtm[0]  # fewer: more blue than red
    assert plain_sum[0] > plain_sum[2]


def test_without_an_effect_that_has_an_error_there_is_no_scale_of_colours() -> None:
    mmtm = placement(level1={"coupling": "mmtm"})
    rows = [row(1, 0.5, fusion_depth=1), row(2, 0.6, fusion_depth=1, placement=mmtm)]
    alone = draw_placement(compute_placement(frame(rows), MEAN, DIGITS), MEAN, DIGITS)
    more = draw_placement(compute_placement(by_hand(), MEAN, DIGITS), MEAN, DIGITS)
    for figure, bars in ((alone, 0), (more, 1)):
        labels = [axes.get_ylabel() for axes in figure.axes]
        assert sum(label.startswith("effect on") for label in labels) == bars
        assert _png(figure)


def test_a_stopped_sample_that_tried_nothing_is_counted_too() -> None:
    mmtm = placement(level1={"coupling": "mmtm"})
    rows = [row(1, 0.5), row(2, 0.6, placement=mmtm), row(3, None, STOPPED)]
    figure = draw_placement(compute_placement(frame(rows), MEAN, DIGITS), MEAN, DIGITS)
    assert "Left out: 1 stopped sample." in figure.texts[-1].get_text().replace("\n", " ")


def test_a_realistic_search_is_drawn_and_its_counts_add_up() -> None:
    trials = random_search()
    table = compute_placement(trials, MEAN, DIGITS)
    depths = table[table["part"] == "fusion_depth"]
    assert depths["n"].sum() == 18
    assert depths["stopped"].sum() == 40
    figure = draw_placement(table, MEAN, DIGITS)
    assert "Left out: 40 stopped samples." in figure.texts[-1].get_text().replace("\n", " ")
    assert _png(figure)


def test_accuracy_over_the_number_of_couplings_by_hand() -> None:
    table = compute_count(by_hand(), MEAN, DIGITS)
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
    table = compute_count(frame([row(1, 0.5)]), MEAN, DIGITS)
    assert table.empty
    assert list(table.columns) == [
        *("counted", "count", "trial_name", "value", "n", "mean", "mean_error")
    ]


def test_three_streams_have_their_lines_and_arrows_only_between_two() -> None:
    of = sensors_description()
    error = mean_objective(of)
    made = [
        ({"coupling": "gates"}, 0.2),
        ({"heat>ecg": "transfer"}, 0.4),
        ({"coupling": "gates"}, 0.3),
        ({}, 0.5),
        ({"motion>heat": "transfer"}, 0.6),
    ]
    rows = [
        row(number, None, placement=placement(s1=there) if there else "{}", sample=sample)
        | {"status": "finished", error.name: value}
        for number, (there, value) in enumerate(made)
        for sample in [f'{{"coupling_s1": {number}}}']
    ]
    table = compute_placement(frame(rows, of), error, of)
    assert table["part"].tolist() == ["coupling", "motion>heat", "heat>ecg"]
    gates = one_row(table, "coupling", "s1", "gates")
    assert gates["effect"] == pytest.approx(0.25 - 0.5)
    figure = draw_placement(table, error, of)
    assert {"ecg", "motion", "heat"} <= set(texts(figure))
    box, down, up = polygons(figure)
    spans = [np.ptp(shape.get_xy()[:, 1]) for shape in (box, down, up)]
    assert spans[0] == pytest.approx(spans[2])
    assert spans[1] < 0.6 * spans[0]
    # Less error is better: blue.
    assert box.get_facecolor()[2] > box.get_facecolor()[0]
    counts = compute_count(frame(rows, of), error, of)
    assert counts[counts["counted"] == "any coupling"]["count"].tolist() == [0, 0, 0, 1, 1]
    assert set(counts["counted"]) == {"any coupling"}  # nobody tried MMTM
    figure = draw_count(counts, error)
    assert [axes.get_xlabel() for axes in figure.axes] == ["number of couplings of any kind"]
    assert _png(figure)
