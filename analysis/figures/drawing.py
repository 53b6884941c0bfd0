"""What all figures share: their style, maps of test conditions, captions, and saving.

Everything draws on ``matplotlib.figure.Figure`` objects; pyplot and its global state are not used,
and what a user's matplotlibrc says (LaTeX, fonts, dark paper) does not reach our figures.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final, Literal, ParamSpec, TypeAlias

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from matplotlib.ticker import EngFormatter

from fusion_search.analysis.records.columns import snr_label
from fusion_search.analysis.records.description import ABSENT, AxisDescription, MetricDescription
from fusion_search.analysis.records.samples import Objective
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.statistics import SIGNIFICANCE, undecided

MISSING_COLOUR: Final = "0.88"  # a condition without a record
BOX_COLOUR: Final = "red"
LARGEST_DIFFERENCE: Final = 0.4  # of shares, at the ends of the colours

Extension: TypeAlias = Literal["neither", "both", "min", "max"]

_COUNTS: Final = ("parameters", "multiply_accumulates")
_DOTS_PER_INCH: Final = 160
_MOST_DOTS: Final = 2**16 - 1  # to a side of a PNG, by Matplotlib; more networks have fewer dots
_CAPTION_SIZE: Final = 7
_LABEL_SIZE: Final = 9
_MARGIN: Final = 0.06  # of a caption, inches
_FILLED: Final = 0.94  # of a line: drawn in dots, letters are a little wider than measured
_PIECES: Final = re.compile(r"\s*(?:\S+?[^\W\d]-(?=[^\W\d])|\S+)")  # words, parted at hyphens, too
# Names come from records of anybody, and a dollar sign in one is no formula.
_OWN_STYLE: Final[dict[Any, Any]] = {
    **{name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"},
    "text.parse_math": False,
}

_Arguments = ParamSpec("_Arguments")


@contextmanager
def own_style() -> Iterator[None]:
    """Matplotlib's defaults and what we set, whatever the user's own configuration says."""
    with mpl.rc_context(_OWN_STYLE):
        yield


def drawn(draw: Callable[_Arguments, Figure]) -> Callable[_Arguments, Figure]:
    """Have a function draw in our style: much of it is fixed when a text or axis is made."""

    @wraps(draw)
    def draw_in_own_style(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Figure:
        with own_style():
            return draw(*args, **kwargs)

    return draw_in_own_style


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, laid out so that nothing overlaps."""
    return Figure(figsize=(width, height), layout="constrained")


def root_figure(axes: Axes) -> Figure:
    """The whole figure that ``axes`` are part of."""
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("axes belong to no figure")
    return figure


def value_colours(metric: MetricDescription | Objective) -> str:
    """A colormap whose light end is the better one."""
    return "viridis" if metric.sign > 0 else "viridis_r"


def difference_colours(metric: MetricDescription | Objective) -> str:
    """A colormap whose blue end is the better one."""
    return "RdBu" if metric.sign > 0 else "RdBu_r"


def value_scale(metric: MetricDescription, tables: Iterable[pd.DataFrame | pd.Series]) -> Normalize:
    """Shares from 0 to 1, so that maps can be held side by side; else the range of all values."""
    if metric.share:
        return Normalize(0.0, 1.0)
    values = _finite(tables)
    return Normalize(values.min(), values.max()) if len(values) else Normalize(0.0, 1.0)


def difference_scale(
    metric: MetricDescription, tables: Iterable[pd.DataFrame | pd.Series]
) -> Normalize:
    """Of shares from -0.4 to 0.4 in every figure; else as far either way as any value."""
    if metric.share:
        return Normalize(-LARGEST_DIFFERENCE, LARGEST_DIFFERENCE)
    largest = float(np.abs(_finite(tables)).max(initial=0.0)) or 1.0
    return Normalize(-largest, largest)


def _finite(tables: Iterable[pd.DataFrame | pd.Series]) -> npt.NDArray[np.float64]:
    parts = [table.to_numpy(dtype=float).ravel() for table in tables]
    values: npt.NDArray[np.float64] = np.concatenate([np.empty(0), *parts])
    return np.asarray(values[np.isfinite(values)])


def cell_format(metric: MetricDescription) -> str:
    """Of a value printed in a cell of a map."""
    return ".2f" if metric.share else ".3g"


def value_axis(axis: Axis, metric: MetricDescription | Objective) -> None:
    """Ticks of shares in per cent, of counts in thousands and millions: "36 M"."""
    is_share = metric.share if isinstance(metric, MetricDescription) else metric.is_share
    if is_share:
        axis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    elif isinstance(metric, Objective) and metric.name in _COUNTS:
        axis.set_major_formatter(EngFormatter(sep=" "))


def row_figure(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """A figure with a row for each label, the first on top; a label may have several lines."""
    more = sum(label.count("\n") for label in labels)
    figure = new_figure(8.2, 1.7 + 0.42 * max(len(labels), 2) + 0.14 * more)
    axes = figure.add_subplot()
    label_rows(axes, labels)
    return figure, axes


def label_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Give axes a row for each label, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", alpha=0.25)


def draw_interval(
    axes: Axes, place: int, mean: float, low: float, high: float, colour: str
) -> None:
    """A diamond at a mean and a bar to both ends, NaN for none, in a row of ``label_rows``."""
    ends = [[np.nan_to_num(mean - low)], [np.nan_to_num(high - mean)]]
    axes.errorbar(mean, place, xerr=ends, fmt="D", color=colour, capsize=4, markersize=6)


def axis_label(axis: AxisDescription) -> str:
    """Of a test axis, for people: "test speech SNR"."""
    return f"test {axis.words}" + (", dB" if axis.decibel else "")


def beyond(scale: Normalize, tables: Iterable[pd.DataFrame]) -> Extension:
    """At which ends of the scale some value lies outside, as a colour bar's ``extend``."""
    values = np.concatenate([table.to_numpy(dtype=float).ravel() for table in tables])
    low, high = bool((values < scale.vmin).any()), bool((values > scale.vmax).any())
    return "both" if low and high else "min" if low else "max" if high else "neither"


def draw_map(
    axes: Axes,
    table: pd.DataFrame,
    *,
    scale: Normalize,
    colours: str,
    train: Sequence[float | str] | None = None,
    number_format: str | None = None,
    marks: pd.DataFrame | None = None,
    tick_size: float = 7,
) -> QuadMesh:
    """Draw one cell per test condition; the cell of row r, column c is centred on (c, r).

    Args:
        axes: where to draw.
        table: values; index and columns are test SNRs of two axes, drawn in the given order from
            the top left. Absent inputs (minus infinity) are set apart by a line; where both are,
            nothing is measured and nothing drawn.
        scale: the values at the ends of the colours.
        colours: name of a matplotlib colormap.
        train: (row's SNR, column's SNR) of the cell to box in red; no box when it is not in the
            table.
        number_format: such as ``.2f``, to print each value in its cell.
        marks: booleans, same labels as ``table``; a dot is put in the cells that are true.
        tick_size: points.
    """
    rows, columns = table.shape
    row_snrs = [float(snr) for snr in table.index]
    column_snrs = [float(snr) for snr in table.columns.to_list()]
    colormap = mpl.colormaps[colours].with_extremes(bad=MISSING_COLOUR)
    mesh = axes.pcolormesh(
        np.arange(columns + 1) - 0.5,
        np.arange(rows + 1) - 0.5,
        np.ma.masked_invalid(table.to_numpy(dtype=float)),
        cmap=colormap,
        norm=scale,
        edgecolors="face",  # no hairlines between cells in SVG viewers
        linewidth=0.1,
    )
    axes.set_aspect("equal")
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xticks(range(columns), [snr_label(snr) for snr in column_snrs], rotation=90)
    axes.set_yticks(range(rows), [snr_label(snr) for snr in row_snrs])
    axes.tick_params(labelsize=tick_size, length=2)
    if number_format is not None:
        _print_values(axes, table, scale, colormap, number_format)
    if marks is not None:
        _mark_cells(axes, table, marks, scale, colormap)
    _set_absent_apart(axes, row_snrs, column_snrs)
    if train is not None and train[0] in row_snrs and train[1] in column_snrs:
        place = column_snrs.index(float(train[1])), row_snrs.index(float(train[0]))
        _box(axes, place, fill=False, edgecolor=BOX_COLOUR, linewidth=1.8, zorder=5)
    return mesh


def _set_absent_apart(axes: Axes, row_snrs: list[float], column_snrs: list[float]) -> None:
    if ABSENT in row_snrs:
        axes.axhline(row_snrs.index(ABSENT) - 0.5, color="white", linewidth=3)
    if ABSENT in column_snrs:
        axes.axvline(column_snrs.index(ABSENT) - 0.5, color="white", linewidth=3)
    if ABSENT in row_snrs and ABSENT in column_snrs:
        place = column_snrs.index(ABSENT), row_snrs.index(ABSENT)
        _box(axes, place, facecolor="white", edgecolor="white", zorder=2)


def _box(axes: Axes, place: tuple[int, int], **style: Any) -> None:
    """Around the cell of a column and a row."""
    corner = place[0] - 0.5, place[1] - 0.5
    axes.add_patch(Rectangle(corner, 1, 1, clip_on=False, **style))


def draw_missing(axes: Axes) -> None:
    """An empty panel that says so."""
    axes.set_aspect("equal")
    axes.set_facecolor(MISSING_COLOUR)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, "missing", ha="center", va="center", transform=axes.transAxes, fontsize=9)


def _print_values(
    axes: Axes, table: pd.DataFrame, scale: Normalize, colormap: Colormap, number_format: str
) -> None:
    values = table.to_numpy(dtype=float)
    for row, column in np.argwhere(np.isfinite(values)):
        value = float(values[row, column])
        ink = readable_ink(value, scale, colormap)
        text = format(value, number_format)
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=ink)


def _mark_cells(
    axes: Axes, table: pd.DataFrame, marks: pd.DataFrame, scale: Normalize, colormap: Colormap
) -> None:
    values = table.to_numpy(dtype=float)
    for row, column in np.argwhere(marks.to_numpy(dtype=bool)):
        ink = readable_ink(float(values[row, column]), scale, colormap)
        axes.plot([column], [row], marker="o", markersize=2.2, color=ink, linestyle="none")


def readable_ink(value: float, scale: Normalize, colormap: Colormap) -> str:
    """Black or white, whichever reads better on the cell's colour (relative luminance)."""
    red, green, blue, _ = colormap(float(scale(value)))
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else "white"


def dots_note(table: pd.DataFrame) -> str:
    """What dots on a map of tested conditions mean, or why there are none."""
    tested = table.loc[table["p_max_t"].notna(), "sign_flips"]
    if len(tested):
        return (
            f"Dots: p <= {SIGNIFICANCE} by {tested.iloc[0]} over seeds, max-T over the conditions "
            "(Holm beside it in the CSV)."
        )
    seeds = 0 if table.empty else int(table["paired_seeds"].max())
    return f"No dots: which conditions differ {undecided(seeds)}."


def add_colour_bar(
    figure: Figure,
    axes: Iterable[Axes],
    scale: Normalize,
    colours: str,
    label: str,
    extend: Extension = "neither",
) -> None:
    """One colour bar at the right of ``axes``, all of which use this scale.

    ``extend`` points the bar at the ends beyond which there are values.
    """
    mappable = ScalarMappable(norm=scale, cmap=mpl.colormaps[colours])
    bar = figure.colorbar(mappable, ax=list(axes), shrink=0.8, aspect=30, pad=0.02, extend=extend)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def add_title(figure: Figure, title: str, size: float = 11) -> None:
    """Print a title above everything, on as many lines as the figure's width needs."""
    figure.suptitle(wrapped(title, figure.get_size_inches()[0], size), fontsize=size)


def wrapped(text: str, width: float, size: float) -> str:
    """A text of some points on lines of some inches at most.

    Lines are measured, for texts have digits and capitals of their own widths. What does not fit a
    line, such as a hash, is broken.
    """
    most = width * 72 * _FILLED
    lines = [""]
    for piece in _PIECES.findall(" ".join(text.split())):
        if _points(lines[-1] + piece.rstrip(), size) <= most:
            lines[-1] += piece
            continue
        lines.append("")
        for letter in piece.lstrip():
            if lines[-1] and _points(lines[-1] + letter, size) > most:
                lines.append("")
            lines[-1] += letter
    return "\n".join(filter(None, map(str.strip, lines)))


def _points(text: str, size: float) -> float:
    """How wide a line is."""
    font = FontProperties(size=size)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def add_caption(figure: Figure, caption: str) -> None:
    """Print small text at the bottom, in space of its own below everything laid out so far."""
    width, height = figure.get_size_inches()
    lines = wrapped(caption, width - 2 * _MARGIN, _CAPTION_SIZE)
    share = ((lines.count("\n") + 1) * _CAPTION_SIZE * 1.35 / 72 + 0.06) / height
    bottom = share
    if figure.get_supxlabel():
        # The layout would put the label at the very bottom, on the caption.
        figure.supxlabel(figure.get_supxlabel(), y=share, fontsize=_LABEL_SIZE)
        bottom += _LABEL_SIZE * 1.5 / 72 / height
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, bottom, 1, 1 - bottom))  # type: ignore[call-arg]
    figure.text(
        _MARGIN / width,
        0.04 / height,
        lines,
        ha="left",
        va="bottom",
        fontsize=_CAPTION_SIZE,
        color="0.35",
    )


def save_figure(figure: Figure, table: pd.DataFrame, output: Storage, name: str) -> list[str]:
    """Write ``name.png``, ``name.svg`` and, from the table the figure shows, ``name.csv``.

    Returns the locations written. Each file is written whole.
    """
    written = []
    for suffix in ("png", "svg"):
        content = image(figure, suffix, _DOTS_PER_INCH, salt=name)
        written.append(write_file(content, output, f"{name}.{suffix}"))
    return [*written, save_table(table, output, name)]


def image(figure: Figure, suffix: str, dots_per_inch: int, *, salt: str = "") -> bytes:
    """A figure as the content of a file; with a fixed salt, the same figure gives the same SVG."""
    content = io.BytesIO()
    dots_per_inch = min(dots_per_inch, int(_MOST_DOTS / max(figure.get_size_inches())))
    with own_style(), mpl.rc_context({"svg.hashsalt": salt}):
        metadata = {"Date": None} if suffix == "svg" else None
        figure.savefig(content, format=suffix, dpi=dots_per_inch, metadata=metadata)
    return content.getvalue()


def save_table(table: pd.DataFrame, output: Storage, name: str) -> str:
    """Write a table, without its index, as ``name.csv``; returns the location."""
    return write_file(table.to_csv(index=False).encode(), output, f"{name}.csv")


def write_file(content: bytes, output: Storage, name: str) -> str:
    """Write one file whole into the output folder; returns its location."""
    output.write(content, name)
    return output.below(name).location
