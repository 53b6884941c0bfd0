"""One array of an example, drawn by what it is: an image, a sequence, values over time, values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from fusion_search.analysis.records.words.networks import connection_words, kind_words

_MOST_TICKS: Final = 12
_BESIDE: Final = 8  # pictures in a row
Array = npt.NDArray[np.float64]

_CONNECTION: Final = re.compile(
    r"(?P<site>.+)\.(?P<source>[^.>]+)>(?P<target>[^.>]+)\.(?P<kind>[^.>]+)"
)


@dataclass(frozen=True)
class Connection:
    """Where an array comes from that a connection gave.

    Attributes:
        site: where it sits.
        source, target: streams.
        kind: cross, residual or transfer.
    """

    site: str
    source: str
    target: str
    kind: str

    @property
    def way(self) -> str:
        """Equal for those of one kind and direction, whatever their site."""
        return f"{kind_words(self.kind)} {connection_words(f'{self.source}>{self.target}')}".strip()


def connection_of(name: str) -> Connection | None:
    """Of ``SITE.FROM>TO.KIND``; None of other arrays."""
    found = _CONNECTION.fullmatch(name)
    return Connection(**found.groupdict()) if found else None


def picture_ends(arrays: Iterable[Array]) -> tuple[float, float]:
    """Ends of the colours of an image at several conditions.

    0 and 1, which standardised images go beyond: then those of the one with the least noise.
    """
    first = min(arrays, key=lambda one: float(np.ptp(one)))
    lowest, highest = float(first.min()), float(first.max())
    return (0.0, 1.0) if lowest >= 0 and highest <= 1 else (lowest, highest)


def draw_input(
    axes: Axes, values: Array, highest: float, ends: tuple[float, float] = (0.0, 1.0)
) -> None:
    """Draw what a stream takes.

    Args:
        axes: where.
        values: an image [1 or 3, H, W], a sequence of vectors [T, F] (time to the right), or
            waves [C, T] and [T]; of a clip [T, H, W] some frames side by side; of more dimensions
            the first are left out.
        highest: end of the colours of a sequence of vectors.
        ends: of the colours of an image.
    """
    values = np.atleast_1d(values)[(0,) * max(0, values.ndim - 3)]
    if values.ndim == 3 and len(values) in (1, 3):
        low, high = ends
        shown = ((values - low) / ((high - low) or 1)).clip(0, 1)
        picture = shown[0] if len(values) == 1 else np.moveaxis(shown, 0, 2)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axes.set_axis_off()
    elif values.ndim == 3:
        axes.imshow(side_by_side(values), cmap="gray")
        axes.set_axis_off()
    elif is_sequence(values):
        # Step t is centred on t, so that a line plotted over steps stands exactly above it.
        steps, features = values.shape
        axes.imshow(
            values.T,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=min(0.0, float(values.min())),
            vmax=highest,
            interpolation="nearest",
            extent=(-0.5, steps - 0.5, 0, features),
        )
        axes.tick_params(labelsize=7)
    else:
        axes.plot(np.atleast_2d(values).reshape(-1, values.shape[-1]).T, linewidth=0.7)
        axes.tick_params(labelsize=7)


def side_by_side(values: Array) -> Array:
    """Pictures [N, H, W] as one [H, ...], of many a few that are spread evenly."""
    return np.hstack(list(values[spread_evenly(len(values), _BESIDE)]))


def spread_evenly(count: int, most: int) -> npt.NDArray[np.int64]:
    """Places 0 to ``count`` - 1, or so many of them, the first and the last among them."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def is_sequence(values: Array) -> bool:
    """Whether an array is vectors over time [T, F], and no wave of a few channels [C, T]."""
    return values.ndim == 2 and len(values) > 4


def onset_of(values: Array) -> int:
    """How many steps of a sequence [T, F] come before anything that is not zero."""
    there = np.flatnonzero((values != 0).any(axis=1))
    return int(there[0]) if len(there) else len(values)


def draw_output(axes: Axes, values: Array, label: int, names: list[str]) -> list[Any]:
    """Draw what a network gives: lines over time [T, C], bars [C], or maps [..., C, H, W].

    Args:
        axes: where.
        values: the array.
        label: of the value that is true, drawn thick; -1 where there is none.
        names: of the values.

    Returns:
        The lines, for a legend; none of bars.
    """
    if values.ndim > 2:
        axes.imshow(side_by_side(values[(-1,) * (values.ndim - 3)]))
        axes.set_axis_off()
        return []
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    if values.ndim != 2:
        flat = values.reshape(-1)
        colours = ["C3" if place == label else "C0" for place in range(len(flat))]
        axes.bar(range(len(flat)), flat, color=colours)
        if len(flat) == 1:  # which has no place among others
            axes.set_xlim(-1.5, 1.5)
            axes.set_xticks([])
        elif len(flat) <= _MOST_TICKS:
            places = range(len(flat))
            told = [names[one] if one < len(names) else str(one) for one in places]
            axes.set_xticks(places, told, rotation=90 if max(map(len, told)) > 2 else 0)
        return []
    colours_of = mpl.colormaps["tab10"]
    if values.shape[1] > colours_of.N:
        colours_of = mpl.colormaps["turbo"].resampled(values.shape[1])
    return [
        axes.plot(
            values[:, place],
            color=colours_of(place),
            linewidth=2.6 if place == label else 1.0,
            alpha=1.0 if place == label else 0.85,
            zorder=3 if place == label else 2,
            label=names[place] if place < len(names) else str(place),
        )[0]
        for place in range(values.shape[1])
    ]
