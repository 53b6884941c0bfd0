"""Sheets and difference maps by what stands where: order, colours, labels, blank places."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from descriptions import sensors_description
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from synthetic_records import DIGITS, SNRS, Trial, write_planned, write_trial

from fusion_search.analysis.conditions import TrainCondition
from fusion_search.analysis.figures.arrays import picture_ends
from fusion_search.analysis.figures.curves import compute_curves, draw_curves
from fusion_search.analysis.figures.drawing import difference_scale, image
from fusion_search.analysis.figures.fusion import compute_fusion, draw_fusion
from fusion_search.analysis.figures.grids import compute_sheet, draw_sheet
from fusion_search.analysis.figures.noise import compute_noise, draw_noise
from fusion_search.analysis.figures.timeline import draw_timeline
from fusion_search.analysis.records.description import AxisDescription, TaskDescription
from fusion_search.analysis.records.selection import open_search
from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.commands.command_line import main
from fusion_search.search.commands.figures import draw

# Barnum et al.'s sheet, read from the top left.
PAPER = [*itertools.product((0.25, 0.5, 1.0, 2.0), (1.0, 0.5, 0.25, 0.125))]
FEW = (math.inf, 2.0, 0.5)


def sheet_of(
    folder: Path, trials: Sequence[Trial], pairs: Sequence[TrainCondition]
) -> pd.DataFrame:
    search = open_storage(folder).below("made-up")
    for trial in trials:
        write_trial(search, trial)
    return compute_sheet(open_search(open_storage(folder), "made-up"), pairs)


def panels(figure: Figure) -> list[Axes]:
    """All but the colour bars, laid out, from the top left to the bottom right."""
    figure.draw_without_rendering()
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def shown(axes: Axes) -> str:
    """What stands in a panel's place: a map, "missing" or nothing."""
    if not axes.get_visible():
        return "blank"
    return "map" if axes.collections else axes.texts[0].get_text()


def labels(axes: Axes) -> tuple[list[str], list[str]]:
    """Those to be read along the bottom and along the left."""
    bottom = [
        one.label1.get_text() for one in axes.xaxis.get_major_ticks() if one.label1.get_visible()
    ]
    left = [
        one.label1.get_text() for one in axes.yaxis.get_major_ticks() if one.label1.get_visible()
    ]
    return bottom, left


def test_the_sheet_has_the_papers_order_and_colours_from_0_to_1(tmp_path: Path) -> None:
    trials = [Trial(pair, correct=lambda a, v, k=k: 5 * k) for k, pair in enumerate(PAPER)]
    pairs = sorted(PAPER, reverse=True)
    figure = draw_sheet(sheet_of(tmp_path, trials, pairs), pairs, DIGITS, DIGITS.metric)
    maps = panels(figure)
    assert len(maps) == 16
    boxes = [(box.get_x() + 0.5, box.get_y() + 0.5) for axes in maps for box in axes.patches]
    assert boxes == [(SNRS.index(visual), SNRS.index(audio)) for audio, visual in PAPER]
    places = [axes.get_position() for axes in maps]
    for number, (axes, (audio, visual)) in enumerate(zip(maps, PAPER, strict=True)):
        assert axes.get_title().startswith(f"train audio {audio:g}, visual {visual:g} (")
        (mesh,) = axes.collections
        assert np.asarray(mesh.get_array()).ravel() == pytest.approx(np.full(100, number * 0.05))
        assert (mesh.norm.vmin, mesh.norm.vmax) == (0, 1)
        if number % 4:
            assert places[number].x0 > places[number - 1].x1
        if number >= 4:
            assert places[number].y1 < places[number - 4].y0


def test_axes_are_called_as_in_the_records() -> None:
    names = ("touch_snr", "smell_snr")
    axes_of = tuple(AxisDescription(name, "a", (1.0, 2.0), decibel=True) for name in names)
    of = TaskDescription(task="t", streams=("a", "b"), axes=axes_of, metrics=DIGITS.metrics)
    pairs = [(1.0, 1.0), (2.0, 1.0)]
    rows = [
        {"train_touch_snr": t, "train_smell_snr": s, "test_touch_snr": 1.0, "test_smell_snr": 1.0}
        for t, s in pairs
    ]
    sheet = pd.DataFrame(rows).assign(seeds=1, folds=1, trials=1, n=2, accuracy_sum=1.0)
    sheet["accuracy"] = 0.5
    figure = draw_sheet(sheet, pairs, of, of.metric)
    assert figure.get_supylabel() == "test touch SNR, dB"
    assert figure.get_supxlabel() == "test smell SNR, dB"
    axes = draw_sheet(sheet[:1], pairs[:1], of, of.metric).axes[0]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("test touch SNR, dB", "test smell SNR, dB")


@pytest.mark.parametrize(
    "pairs",
    [PAPER[:4], PAPER[::4], PAPER[:2], [(2.0, 1.0), (1.0, 0.5)], [*PAPER[:3], (0.5, 0.25)]],
    ids=["a row", "a column", "two", "a diagonal", "a row and one"],
)
def test_every_map_of_a_partial_sheet_can_be_read_off(
    tmp_path: Path, pairs: list[TrainCondition]
) -> None:
    sheet = sheet_of(tmp_path, [Trial(one, snrs=FEW) for one in pairs], pairs)
    figure = draw_sheet(sheet, pairs, DIGITS, DIGITS.metric)
    words = ["Orig.", "2", "0.5"]
    maps = {axes.get_subplotspec(): axes for axes in panels(figure) if shown(axes) == "map"}
    assert len(maps) == len(pairs)
    places = {(at.rowspan.start, at.colspan.start): axes for at, axes in maps.items() if at}
    for (row, column), axes in places.items():
        bottom, left = labels(axes)
        assert bottom == ([] if (row + 1, column) in places else words)
        assert left == ([] if (row, column - 1) in places else words)


@pytest.mark.parametrize(
    ("pairs", "places"),
    [
        # Declared in another order than they are drawn in.
        ([(2.0, 0.25), (0.25, 2.0)], {(0.25, 2.0): (0, 0), (2.0, 0.25): (0, 1)}),
        (
            [(2.0, 2.0), (1.0, 1.0), (0.5, 0.5)],
            {(0.5, 0.5): (0, 0), (1.0, 1.0): (0, 1), (2.0, 2.0): (1, 0)},
        ),
        # More than half of the places: as the paper's sheet.
        ([(1.0, 1.0), (0.5, 0.5), (0.5, 1.0)], {(0.5, 1.0): (0, 0), (0.5, 0.5): (0, 1)}),
    ],
)
def test_a_sheet_that_would_be_mostly_blank_has_a_map_after_the_other(
    tmp_path: Path, pairs: list[TrainCondition], places: dict[TrainCondition, tuple[int, int]]
) -> None:
    sheet = sheet_of(tmp_path, [Trial(one, snrs=FEW) for one in pairs], pairs)
    figure = draw_sheet(sheet, pairs, DIGITS, DIGITS.metric)
    titles = {}
    for axes in panels(figure):
        at = axes.get_subplotspec()
        assert at is not None
        titles[at.rowspan.start, at.colspan.start] = axes.get_title() if axes.get_visible() else ""
    for (audio, visual), place in places.items():
        assert titles[place].startswith(f"train audio {audio:g}, visual {visual:g} (")


def test_the_words_of_what_is_drawn_stay_above_their_map() -> None:
    drawn = "original|" + "|".join(map(str, range(32, 1, -5)))
    pairs = [(math.inf, math.inf), (drawn, drawn)]
    columns = dict.fromkeys(DIGITS.test_columns, 1.0) | {"accuracy": 0.5, "accuracy_sum": 1.0}
    rows = [
        {**columns, **dict(zip(DIGITS.train_columns, pair, strict=True)), "n": 2} for pair in pairs
    ]
    sheet = pd.DataFrame(rows).assign(seeds=1, folds=10, trials=10)
    figure = draw_sheet(sheet, pairs, DIGITS, DIGITS.metric)
    whole = figure.bbox
    titles = [axes.title.get_window_extent() for axes in panels(figure) if axes.get_title()]
    assert len(titles) == 2
    assert all(whole.x0 <= one.x0 and one.x1 <= whole.x1 for one in titles)


def test_images_that_are_standardised_are_drawn_from_their_least_to_their_greatest() -> None:
    depth = np.linspace(-2, 3, 16).reshape(1, 4, 4)
    assert picture_ends([depth, 5 * depth]) == (-2, 3)
    assert picture_ends([depth.clip(0, 1), depth]) == (0, 1)
    figure = draw_noise({"depth": [(math.inf, depth), (2.0, 3 * depth)]})
    clean, noisy = (axes.images[0].get_array() for axes in figure.axes)
    assert np.allclose(clean, np.linspace(0, 1, 16).reshape(4, 4))
    assert np.allclose(noisy, ((3 * depth[0] + 2) / 5).clip(0, 1))


def test_what_was_not_declared_is_blank_and_what_has_no_record_missing(tmp_path: Path) -> None:
    pairs = [(0.5, 1.0), (0.5, 0.25), (1.0, 1.0), (2.0, 0.25)]
    sheet = sheet_of(tmp_path, [Trial(pair, snrs=FEW) for pair in pairs if pair[0] != 1], pairs)
    figure = draw_sheet(sheet, pairs, DIGITS, DIGITS.metric)
    assert [shown(axes) for axes in panels(figure)] == [
        "map",
        "map",
        "missing",
        "blank",
        "blank",
        "map",
    ]
    # A map above an empty or a blank panel has nobody else's labels to be read off.
    assert all(labels(axes)[0] for axes in panels(figure) if shown(axes) == "map")
    pixels = imread(io.BytesIO(image(figure, "png", 72)))
    for axes in panels(figure):
        place = axes.get_position()
        x, y = place.x0 + 0.2 * place.width, place.y0 + 0.2 * place.height
        colour = pixels[int((1 - y) * pixels.shape[0]), int(x * pixels.shape[1])]
        assert np.allclose(colour, 1) == (shown(axes) == "blank")


def test_every_network_has_the_sheet_that_was_declared_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = {}

    def spy(sheet: pd.DataFrame, conditions: Sequence[TrainCondition], *of: Any, **words: Any):  # type: ignore[no-untyped-def]
        drawn[words["title"]] = list(conditions)
        return draw_sheet(sheet, conditions, *of, **words)

    monkeypatch.setattr(draw, "draw_sheet", spy)
    early = [Trial(pair, snrs=FEW) for pair in PAPER[:2]]
    late = [Trial(PAPER[0], depth=2, snrs=FEW), Trial(PAPER[4], depth=2, snrs=FEW)]
    only = Trial(PAPER[0], depth=1, snrs=FEW)
    coupled = Trial(PAPER[0], depth=1, snrs=FEW, placement={"level1": {"coupling": "mmtm"}})
    sheet_of(tmp_path, [*early, late[0], only], PAPER)
    folder = open_storage(tmp_path).below("made-up")
    write_planned(folder, [*early, *late, only])
    words = ["draw", "grids", "made-up", "--storage", str(tmp_path), "--output", str(tmp_path)]
    assert main(words) == 0
    assert drawn == {
        "made-up: initial-layer fusion": PAPER[:2],
        "made-up: second-layer fusion": [PAPER[0]],
        "made-up: fully-connected fusion": [PAPER[4], PAPER[0]],
    }
    drawn.clear()
    assert main([*words, "--train", "0.25", "0.5", "--train", "9", "9"]) == 0
    assert drawn == {"made-up: initial-layer fusion": [PAPER[1]]}
    error = capsys.readouterr().err
    assert "fully-connected fusion was not declared at these train conditions: no figure" in error
    assert "not part of search made-up: train condition audio 9, visual 9" in error
    # Two networks of one depth are not drawn as one.
    write_trial(folder, coupled)
    write_planned(folder, [only, coupled])
    drawn.clear()
    assert main(words) == 0
    assert list(drawn) == [
        "made-up: second-layer fusion",
        "made-up: second-layer fusion: MMTM at level1",
    ]


def fusion_figure(folder: Path, late: dict[float, int]) -> Figure:
    """Initial fusion: 50 of 100. Fully-connected fusion: by test audio SNR."""
    pair = (2.0, 0.5)
    trials = [
        Trial(pair, snrs=FEW),
        Trial(pair, depth=2, snrs=FEW, correct=lambda audio, visual: late[audio]),
    ]
    sheet_of(folder, trials, [pair])
    table, _ = compute_fusion(open_search(open_storage(folder), "made-up"), pair)
    return draw_fusion(table, pair, {0: "initial", 2: "late"}, DIGITS)


@pytest.mark.parametrize(
    ("late", "extend"),
    [
        ({math.inf: 90, 2.0: 50, 0.5: 10}, "neither"),
        ({math.inf: 91, 2.0: 50, 0.5: 10}, "max"),
        ({math.inf: 90, 2.0: 50, 0.5: 9}, "min"),
        ({math.inf: 100, 2.0: 50, 0.5: 0}, "both"),
    ],
)
def test_differences_have_colours_to_0_4_and_the_bar_points_beyond(
    tmp_path: Path, late: dict[float, int], extend: str
) -> None:
    figure = fusion_figure(tmp_path, late)
    first, second, _, difference = panels(figure)
    for axes, ends in ((first, (0, 1)), (second, (0, 1)), (difference, (-0.4, 0.4))):
        norm = axes.collections[0].norm
        assert (norm.vmin, norm.vmax) == ends
    (*_, bar) = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert bar._colorbar.extend == extend  # type: ignore[attr-defined]
    said = any("beyond 0.4" in text.get_text().replace("\n", " ") for text in figure.texts)
    assert said == (extend != "neither")
    # What lies beyond has the colours of the ends.
    colours = difference.collections[0].to_rgba([-0.5, -0.4, 0.4, 0.5])
    assert np.array_equal(colours[0], colours[1])
    assert np.array_equal(colours[2], colours[3])
    assert difference_scale(DIGITS.metric, [])(0.0) == 0.5


def test_a_stream_alone_has_its_panel_and_chance_its_line(tmp_path: Path) -> None:
    trials = [Trial((math.inf, 0.5), streams=("image",), snrs=FEW)]
    sheet_of(tmp_path, [*trials, Trial((0.5, math.inf), streams=("audio",), snrs=FEW)], PAPER)
    table = compute_curves(open_search(open_storage(tmp_path), "made-up").parts())
    figure = draw_curves(table, DIGITS)
    audio, image_alone = panels(figure)
    assert [axes.get_title() for axes in (audio, image_alone)] == [
        "initial-layer fusion: audio alone",
        "initial-layer fusion: image alone",
    ]
    assert image_alone.get_xlabel() == "test visual SNR"
    for axes in (audio, image_alone):
        assert [one.get_text() for one in axes.get_xticklabels()] == ["Orig.", "2", "0.5"]
        dotted = [line for line in axes.get_lines() if line.get_linestyle() == ":"]
        assert [set(line.get_ydata()) for line in dotted] == [{1 / 10}]


def test_noise_is_drawn_at_the_snrs_that_are_given_and_measured() -> None:
    image = np.full((1, 4, 4), 0.5)
    wrong = np.where(np.arange(16).reshape(1, 4, 4) % 2, 0.25, -0.25)
    impaired = {
        "visual_snr": [(math.inf, image), (2.0, image + wrong), (0.5, image + 4 * wrong)],
        "audio_snr": [(math.inf, np.ones((5, 6))), (1.0, np.full((5, 6), 2.0))],
    }
    table = compute_noise(impaired)
    assert table["measured"].tolist() == [math.inf, 2.0, 0.5, math.inf, 1.0]
    assert table["maximum"].tolist() == [0.5, 0.75, 1.5, 1.0, 2.0]
    figure = draw_noise(impaired, title="made up")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["Orig.", "2", "0.5", "Orig.", "1", ""]


def activations(axes: Sequence[str], conditions: Sequence[tuple[float, ...]]) -> pd.DataFrame:
    """Of one example at some conditions: an image, a sequence that begins late, values of both."""
    sound = np.vstack([np.zeros((2, 6)), np.ones((3, 6))])
    values = np.arange(5)[:, None] * np.arange(12)[None] * 1.0
    arrays = {"input.image": np.zeros((1, 4, 4)), "input.audio": sound, "logits": values}
    return pd.DataFrame(
        [
            {**dict(zip(axes, snrs, strict=True)), "label": 11, "target": math.nan}
            | {"name": name, "values": array}
            for snrs in conditions
            for name, array in arrays.items()
        ]
    )


def test_every_class_over_time_has_its_own_colour_under_every_pair_that_is_given() -> None:
    pairs, classes = [(1.0, 0.5), (0.5, 1.0), (0.5, 0.25)], 12
    figure = draw_timeline(activations(DIGITS.test_columns, pairs), DIGITS)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["audio 1, visual 0.5", "audio 0.5, visual 1", "audio 0.5, visual 0.25"]
    for axes in figure.axes[-3:]:
        *lines, onset = axes.get_lines()
        assert [line.get_ydata()[-1] for line in lines] == [4.0 * k for k in range(classes)]
        assert len({line.get_color() for line in lines}) == classes
        assert list(onset.get_xdata()) == [1.5, 1.5]


def test_an_example_of_a_task_without_axes_is_one_column() -> None:
    of = sensors_description()
    rows = [
        {"label": -1, "target": 3.5, "name": "input.ecg", "values": np.zeros((2, 40))},
        {"label": -1, "target": 3.5, "name": "output", "values": np.ones(1)},
    ]
    figure = draw_timeline(pd.DataFrame(rows), of)
    assert len(figure.axes) == 2
    assert not figure.legends
    given, output = figure.axes
    assert not [one for one in given.get_lines() if one.get_color() == "red"]
    (target,) = output.get_lines()
    assert set(target.get_ydata()) == {3.5}
    low, high = output.get_ylim()
    assert low <= 0 < 3.5 < high
    assert "Dotted red: the target, 3.5." in figure.texts[-1].get_text()
    assert "class" not in " ".join(text.get_text() for text in figure.texts)
