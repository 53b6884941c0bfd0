"""What is drawn of tasks that are unlike digits: one axis, none, absent inputs, errors."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from any_records import write_any
from descriptions import clips_description, digit_description, sensors_description
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats
from synthetic_records import ABSENT, Trial, fill

from fusion_search.analysis.conditions import networks, of_network, train_conditions, train_label
from fusion_search.analysis.figures.curves import compute_curves, draw_curves, draw_intervals
from fusion_search.analysis.figures.drawing import value_colours, value_scale
from fusion_search.analysis.figures.fusion import compute_fusion, fusion_conditions
from fusion_search.analysis.figures.grids import compute_sheet, draw_sheet
from fusion_search.analysis.records.description import (
    AxisDescription,
    MetricDescription,
    TaskDescription,
)
from fusion_search.analysis.records.selection import AnalysisError, Search, open_search
from fusion_search.analysis.records.storage import Storage, open_storage


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return open_storage(tmp_path).below("made-up")


def opened(folder: Storage) -> Search:
    return open_search(folder.parent, "made-up")


def png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=60)
    return content.getvalue()


def test_one_axis_is_a_curve_with_intervals_and_what_is_absent_beside_it(folder: Storage) -> None:
    of = clips_description()
    shown = {math.inf: 0.9, 20.0: 0.7, 0.0: 0.5, ABSENT: 0.3}
    for seed in range(3):
        write_any(folder, of, lambda snr, s=seed: shown[snr] + 0.01 * s, train=(20.0,), seed=seed)
    table = compute_curves(opened(folder))
    figure = draw_curves(table, of)
    assert table["test_snr"].tolist() == list(shown)
    assert table["seeds"].tolist() == [3] * 4
    assert table["macro_f1"].tolist() == pytest.approx([one + 0.01 for one in shown.values()])
    low, high = stats.t.interval(0.95, 2, 0.91, stats.sem([0.90, 0.91, 0.92]))
    assert (table["low"][0], table["high"][0]) == pytest.approx((low, high))
    (axes,) = figure.axes
    assert axes.get_ylabel() == "macro f1 (higher is better)"
    assert axes.get_xlabel() == "test emg SNR, dB"
    assert [one.get_text() for one in axes.get_xticklabels()] == ["Orig.", "20", "0", "absent"]
    line, beside = (one.lines[0] for one in axes.containers)
    assert list(line.get_xdata()) == [0, 1, 2]
    assert list(beside.get_xdata()) == [3]
    assert axes.get_ylim() == (0, 1.02)
    # Chance is known of accuracy alone.
    assert not [one for one in axes.get_lines() if one.get_linestyle() == ":"]
    assert png(figure)[:4] == b"\x89PNG"


def test_folds_are_counted_apart_and_train_conditions_are_lines(folder: Storage) -> None:
    of = clips_description()
    for train in (20.0, math.inf):
        for fold in (0, 1):
            write_any(folder, of, lambda snr, f=fold: 0.4 + 0.2 * f, train=(train,), fold=fold)
    table = compute_curves(opened(folder))
    assert set(table["seeds"]) == {1}
    assert set(table["folds"]) == {2}
    assert table["macro_f1"].to_numpy() == pytest.approx(0.5)
    # Folds share examples, so they are no repetitions that an interval may count.
    assert table["deviation"].isna().all()
    assert table["high"].isna().all()
    assert table["highest"].to_numpy() == pytest.approx(0.6)
    figure = draw_curves(table, of)
    (axes,) = figure.axes
    assert "lowest and highest of the trials (1 seed x 2 folds" in figure.texts[-1].get_text()
    assert [one.get_text() for one in axes.get_legend().get_texts()] == [
        "Orig. (1 seed x 2 folds)",
        "20 (1 seed x 2 folds)",
    ]


def test_without_axes_there_are_intervals_per_placement_the_best_on_top(folder: Storage) -> None:
    of = sensors_description()
    for seed in range(3):
        for kind, error in (("none", 0.5), ("gates", 0.3)):
            placed = {"s1": {"coupling": kind}} if kind != "none" else None
            write_any(folder, of, lambda e=error, s=seed: e + 0.1 * s, seed=seed, placement=placed)
    write_any(folder, of, lambda: 0.9, streams=("heat", "ecg"))
    table = compute_curves(opened(folder))
    figure = draw_intervals(table, of)
    (axes,) = figure.axes
    assert [one.get_text() for one in axes.get_yticklabels()] == [
        "gates at s1 (3 seeds)",
        "plain (3 seeds)",
        "ecg + heat alone (1 seed)",
    ]
    assert axes.get_xlabel() == "mean absolute error (lower is better)"
    low, high = stats.t.interval(0.95, 2, 0.4, stats.sem([0.3, 0.4, 0.5]))
    (first,) = table.index[table["placement"] != "{}"]
    assert tuple(table.loc[first, ["low", "high"]]) == pytest.approx((low, high))
    assert png(figure)[:4] == b"\x89PNG"


def maps(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def test_absent_rows_and_columns_are_drawn_beside_the_grid_and_are_in_no_mean(
    folder: Storage,
) -> None:
    def correct(audio: float, visual: float) -> int:
        return 10 if ABSENT in (audio, visual) else 60

    snrs = (math.inf, 2.0, 0.5)
    pairs = [(2.0, 0.5), (0.5, 2.0)]
    fill(
        folder.parent,
        [
            Trial(pair, depth=depth, snrs=snrs, correct=correct, absent=True)
            for pair in pairs
            for depth in (0, 2)
        ],
    )
    search = opened(folder)
    of = search.description
    assert of == digit_description(absent=True)
    sheet = compute_sheet(search, pairs)
    sheet = sheet[sheet["fusion_depth"] == 0]
    figure = draw_sheet(sheet, pairs, of, of.metric)
    for axes in (one for one in maps(figure) if one.get_visible()):
        values = np.ma.getdata(axes.collections[0].get_array()).reshape(4, 4)
        assert (values[:3, :3] == 0.6).all()
        assert (values[3, :3] == 0.1).all()
        assert (values[:3, 3] == 0.1).all()
        assert np.isnan(values[3, 3])
    # With both absent nothing is measured: white, not "missing".
    (white,) = (
        patch for patch in maps(figure)[0].patches if patch.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
    )
    assert white.get_xy() == (2.5, 2.5)  # type: ignore[attr-defined]
    table, _ = compute_fusion(search, pairs[0])
    assert set(table["accuracy"]) == {0.6}
    assert not np.isinf(table["test_audio_snr"]).all()
    assert (table["test_audio_snr"] != ABSENT).all()
    assert len(table) == 2 * 9
    assert png(figure)[:4] == b"\x89PNG"


def test_depths_are_compared_by_seeds_that_have_all_folds(folder: Storage) -> None:
    def trial(depth: int, seed: int, fold: int) -> Trial:
        right = 40 + 10 * depth + 4 * seed + fold
        return Trial((2.0, 0.5), depth, seed, correct=lambda a, v: right, snrs=(2.0,), fold=fold)

    there = [(seed, fold) for seed in (0, 1) for fold in (0, 1)]
    trials = [trial(depth, seed, fold) for depth in (0, 2) for seed, fold in there]
    fill(folder.parent, [*trials, trial(0, 2, 0), trial(0, 2, 1), trial(2, 2, 1)])
    table, _ = compute_fusion(opened(folder), (2.0, 0.5))
    late = table[table["fusion_depth"] == 2].iloc[0]
    # The third seed lacks a fold at depth 2.
    assert (late["seeds"], late["paired_seeds"]) == (2, 2)
    assert late["accuracy"] == pytest.approx((0.605 + 0.645) / 2)
    assert late["difference"] == pytest.approx(0.2)
    sheet = compute_sheet(opened(folder), [(2.0, 0.5)])
    assert sheet[["seeds", "folds"]].to_numpy().tolist() == [[3, 2], [3, 2]]


def noisy() -> TaskDescription:
    """A regression with two axes."""
    axes = (AxisDescription("a_snr", "a", (1.0, 2.0)), AxisDescription("b_snr", "b", (1.0, 2.0)))
    metric = MetricDescription("error", "minimize")
    return TaskDescription(task="noisy", streams=("a", "b"), axes=axes, metrics=(metric,))


def test_what_is_no_share_has_the_range_of_the_search_and_light_is_better(
    folder: Storage,
) -> None:
    of = noisy()
    for name, worse in (("x", 0.0), ("y", 3.0)):
        placed = {name: {"coupling": "sum"}}
        write_any(folder, of, lambda a, b, w=worse: w + a / b, train=(1.0, 2.0), placement=placed)
    search = opened(folder)
    sheet = compute_sheet(search, [(1.0, 2.0)])
    scale = value_scale(of.metric, [sheet["error"]])
    assert (scale.vmin, scale.vmax) == (0.5, 5.0)
    for network in networks(search.planned, of):
        part = of_network(sheet, network)
        figure = draw_sheet(part, [(1.0, 2.0)], of, of.metric, scale=scale)
        (mesh,) = maps(figure)[0].collections
        assert mesh.norm is scale
        assert mesh.get_cmap().name == "viridis_r"
        (bar,) = [one for one in figure.axes if one.get_label() == "<colorbar>"]
        assert bar.get_ylabel() == "error (lower is better)"
    assert value_colours(clips_description().metric) == "viridis"
    scale = value_scale(clips_description().metric, [])
    assert (scale.vmin, scale.vmax) == (0, 1)


def test_ranges_and_choices_are_train_conditions_in_words(folder: Storage) -> None:
    of = clips_description()
    drawn = {"train": '{"emg_snr": {"low": 0, "high": 20.5}}', "train_emg_snr": None}
    choice = {"train": '{"emg_snr": {"any": ["original", "absent", 5]}}', "train_emg_snr": None}
    write_any(folder, of, lambda snr: 0.5, train=(20.0,), seed=0)
    write_any(folder, of, lambda snr: 0.6, train=(20.0,), seed=1, extra=drawn)
    write_any(folder, of, lambda snr: 0.7, train=(20.0,), seed=2, extra=choice)
    search = opened(folder)
    found = train_conditions(search.planned, of)
    assert [train_label(one, of) for one in found] == [
        "emg 20",
        "emg 0 to 20.5",
        "emg Orig. or absent or 5",
    ]
    figure = draw_curves(compute_curves(search), of)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "0 to 20.5 (1 seed)" in labels


def test_what_cannot_be_drawn_is_said(folder: Storage) -> None:
    axes = tuple(AxisDescription(f"{one}_snr", one, (1.0,)) for one in "abc")
    metric = MetricDescription("error", "minimize")
    of = TaskDescription(task="three", streams=("a", "b", "c"), axes=axes, metrics=(metric,))
    write_any(folder, of, lambda *snrs: 0.5, train=(1.0, 1.0, 1.0))
    with pytest.raises(AnalysisError, match="networks of three have no fusion depth"):
        fusion_conditions(opened(folder))
    with pytest.raises(AnalysisError, match="networks of three have no fusion depth"):
        opened(folder).whole([1])
