"""Nothing lies on its neighbour or outside the paper, however many and long the names are."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from any_records import write_any
from descriptions import sensors_description
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from synthetic_search import DIGITS, MEAN, frame, placement, row

from fusion_search.analysis.conditions import matrix
from fusion_search.analysis.figures.curves import compute_curves, draw_intervals
from fusion_search.analysis.figures.drawing import add_caption, add_title, new_figure, wrapped
from fusion_search.analysis.figures.grids import draw_grid
from fusion_search.analysis.figures.parallel import compute_parallel, draw_parallel
from fusion_search.analysis.figures.placement import draw_placement
from fusion_search.analysis.figures.timeline import draw_timeline
from fusion_search.analysis.placement_effects import compute_placement
from fusion_search.analysis.records.selection import open_search
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.words.networks import placement_words

LONG_PLACEMENT = json.dumps({f"site{one}": {"a>b": f"kind_{one}"} for one in range(5)})
LONG = "a_setting_with_quite_a_long_name"


def boxes(figure: Figure, texts: Iterable[Text]) -> list[Bbox]:
    """Where texts are drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return [one.get_window_extent(canvas.get_renderer()) for one in texts]


def parallel(count: int, samples: int = 6) -> Figure:
    options = ["my_lab.couplings:BottleneckOfMine", "squeeze_excitation", "none"]
    rows = [
        row(
            number,
            0.5 + 0.01 * number,
            sample=json.dumps({f"{LONG}_{one}": options[number % 3] for one in range(count)}),
        )
        for number in range(samples)
    ]
    return draw_parallel(compute_parallel(frame(rows), MEAN, DIGITS), MEAN)


def test_a_single_dimension_has_lines_in_the_colours_of_their_samples() -> None:
    figure = parallel(1)
    (lines,) = (one for one in figure.axes[0].collections if isinstance(one, LineCollection))
    assert [np.ptp(one[:, 0]) > 0.1 for one in lines.get_segments()] == [True] * 3
    assert len({tuple(one) for one in lines.get_colors()}) == 3
    # No sample lacks it, so nothing is absent.
    assert "absent" not in [one.get_text() for one in figure.axes[0].texts]


def test_many_dimensions_are_drawn_on_several_lines_without_touching() -> None:
    figure = parallel(16, 3)
    panels = [one for one in figure.axes if one.get_label() != "<colorbar>"]
    headings = [one.get_xticklabels() for one in panels]
    assert [len(one) for one in headings] == [14, 2]
    for own in headings:
        places = boxes(figure, own)
        assert all(one.x1 <= other.x0 for one, other in itertools.pairwise(places))
    options = boxes(figure, panels[0].texts)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(options, 2))


def test_titles_and_labels_of_long_placements_stay_on_the_paper(tmp_path: Path) -> None:
    of = sensors_description()
    storage = open_storage(tmp_path)
    placed = {f"s{site}": {"coupling": f"my_lab:{'Bottleneck' * 3}"} for site in range(4)}
    write_any(storage.below("made-up"), of, lambda: 0.5, placement=placed)
    figure = draw_intervals(compute_curves(open_search(storage, "made-up")), of)
    (label,) = boxes(figure, figure.axes[0].get_yticklabels())
    width = figure.get_size_inches()[0] * figure.dpi
    assert 0 <= label.x0 < label.x1 < width / 2
    example = {"label": -1, "target": math.nan, "name": "output", "values": np.ones(1)}
    narrow = draw_timeline(pd.DataFrame([example]), of, title="a long title of words " * 4)
    (title,) = boxes(narrow, [narrow._suptitle])  # type: ignore[attr-defined]
    assert 0 <= title.x0 < title.x1 <= narrow.get_size_inches()[0] * narrow.dpi


def test_the_title_of_a_single_map_stays_on_the_paper() -> None:
    cells = pd.DataFrame({"test_audio_snr": [1.0], "test_visual_snr": [1.0], "accuracy": [0.5]})
    table = matrix(cells.set_index(["test_audio_snr", "test_visual_snr"])["accuracy"])
    title = f"search: {placement_words({'placement': LONG_PLACEMENT})}\ntrain audio 1"
    figure = draw_grid(table, DIGITS, DIGITS.metric, title=title)
    (place,) = boxes(figure, [figure.axes[0].title])
    assert 0 <= place.x0 < place.x1 <= figure.get_size_inches()[0] * figure.dpi
    assert figure.axes[0].get_title().endswith("\ntrain audio 1")


def test_streams_begin_behind_their_names_and_sites_stay_in_their_boxes() -> None:
    site = "encoder.layer.3.output"
    rows = [row(0, 0.5, placement=placement(**{site: {"coupling": "mmtm"}})), row(1, 0.4)]
    of = replace(DIGITS, streams=("numbers", "accelerometer_of_the_wrist"))
    axes = draw_placement(compute_placement(frame(rows), MEAN, DIGITS), MEAN, of).axes[0]
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    names = boxes(figure, [one for one in axes.texts if one.get_text() in of.streams])
    lines = boxes(figure, [one for one in axes.texts if isinstance(one, Annotation)])
    assert len(names) == len(lines) == 2
    assert max(one.x1 for one in names) < min(one.x0 for one in lines)
    sites = boxes(figure, [one for one in axes.texts if one.get_text() == site])
    patches = [one for one in axes.patches if isinstance(one, FancyBboxPatch)][: len(sites)]
    for words, box in zip(sites, (one.get_window_extent() for one in patches), strict=True):
        assert box.x0 < words.x0 < words.x1 < box.x1


def test_few_values_are_told_by_name_and_a_single_one_needs_no_place() -> None:
    of = replace(sensors_description(), classes=3, labels=("rest", "fist", "point"))
    for values, told in ((np.ones(3), ["rest", "fist", "point"]), (np.ones(1), [])):
        example = {"label": -1, "target": math.nan, "name": "output", "values": values}
        (axes,) = draw_timeline(pd.DataFrame([example]), of).axes
        assert [one.get_text() for one in axes.get_xticklabels()] == told


@pytest.mark.parametrize("width", [1.2, 3.2, 6.0, 8.2, 14.0])
@pytest.mark.parametrize("dots", [100, 110, 160])
def test_no_line_of_a_caption_or_title_is_cut(width: float, dots: int) -> None:
    words = "mean over n seeds and its 95 % t interval, each the mean over folds; BLUE: the best. "
    for text in (words, f"weights of vgg19 {'0a9f4e6d' * 8} (SHA-256). {words}", "W" * 300):
        figure = new_figure(width, 3.0)
        add_caption(figure, text)
        add_title(figure, text)
        figure.set_dpi(dots)
        caption, title = boxes(figure, figure.texts)
        assert 0 <= caption.x0 < caption.x1 <= width * dots
        assert 0 <= title.x0 < title.x1 <= width * dots
        told = [one.get_text() for one in figure.texts]
        assert ["".join(one.split()) for one in told] == ["".join(text.split())] * 2


def test_lines_are_parted_between_words_and_at_hyphens() -> None:
    assert wrapped("one two-three  four", 0.65, 8) == "one two-\nthree four"
    assert wrapped("at -inf dB", 0.5, 8) == "at -inf\ndB"
    assert wrapped("", 0.5, 8) == ""
