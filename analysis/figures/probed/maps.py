"""Maps of a probe as pictures: channels of one example, and where there is time some steps."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fusion_search.analysis.figures.arrays import Array, connection_of, spread_evenly
from fusion_search.analysis.figures.drawing import add_caption, add_title, drawn, new_figure
from fusion_search.analysis.figures.timeline import INPUT
from fusion_search.analysis.records.selection import AnalysisError

_CHANNELS: Final = 6  # rows of maps over time
_STEPS: Final = 10
_ACROSS: Final = 8  # maps without time


def is_map(name: str, values: Array) -> bool:
    """Whether an array is maps that a connection gives."""
    return values.ndim in (3, 4) and connection_of(name) is not None


def compute_maps(name: str, maps: Array) -> pd.DataFrame:
    """A row per channel and step: the least value, the mean and the greatest.

    Args:
        name: of the array.
        maps: [C, H, W], or [T, C, H, W] over time.

    Raises:
        AnalysisError: the array is no maps.
    """
    if maps.ndim not in (3, 4):
        raise AnalysisError(
            f"{name} has shape {list(maps.shape)}; maps are [C, H, W], [T, C, H, W]"
        )
    over_time = maps if maps.ndim == 4 else maps[None]
    steps, channels = np.indices(over_time.shape[:2]).reshape(2, -1)
    flat = over_time.reshape(len(steps), -1)
    numbers = {"minimum": flat.min(1), "mean": flat.mean(1), "maximum": flat.max(1)}
    return pd.DataFrame({"array": name, "step": steps, "channel": channels, **numbers})


@drawn
def draw_maps(
    maps: Array,
    frames: Array | None = None,
    *,
    transposed: bool = False,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw channels below each other and steps beside each other, or channels alone.

    Args:
        maps: [C, H, W], or [T, C, H, W] over time.
        frames: [T, H', W'] of the input, drawn above, where there are as many steps.
        transposed: the first axis of a picture runs from left to right.
        title: above everything.
        caption: small text below.
    """
    rows = _over_time(maps, frames) if maps.ndim == 4 else _alone(maps)
    if transposed:
        rows = [(word, pictures.swapaxes(1, 2), titles) for word, pictures, titles in rows]
    across = max(len(pictures) for _, pictures, _ in rows)
    shapes = [pictures.shape[1] / pictures.shape[2] for _, pictures, _ in rows]
    figure = new_figure(1.2 * across + 0.8, 1.2 * sum(shapes) + 0.25 * len(rows) + 0.9)
    panels = figure.subplots(len(rows), 1, squeeze=False, height_ratios=shapes)[:, 0]
    for axes, (word, pictures, titles) in zip(panels, rows, strict=True):
        width = pictures.shape[2] + 1
        axes.imshow(_apart(pictures, across), cmap="gray" if word == INPUT else "viridis")
        axes.set_ylabel(word.removesuffix("."), fontsize=7)
        axes.set_xticks([(width - 2) / 2 + width * at for at in range(len(titles))], titles)
        axes.set_yticks([])
        axes.tick_params(labelsize=6, length=0, labeltop=True, labelbottom=False)
        axes.set_frame_on(False)
    add_title(figure, title)
    add_caption(figure, f"{caption} Colours of a row: from its least to its greatest value.")
    return figure


def _apart(pictures: Array, across: int) -> Array:
    """[N, H, W] side by side with gaps, as wide as ``across`` of them."""
    count, height, width = pictures.shape
    row = np.full((height, across, width + 1), np.nan)
    row[:, :count, :width] = pictures.swapaxes(0, 1)
    return row.reshape(height, -1)[:, :-1]


def _over_time(maps: Array, frames: Array | None) -> list[tuple[str, Array, list[str]]]:
    """(word, pictures, their titles) of each row; first those channels that are not constant."""
    steps = spread_evenly(len(maps), _STEPS)
    varies = np.ptp(maps, axis=(0, 2, 3)) > 0
    channels = np.argsort(~varies, kind="stable")[:_CHANNELS]
    above = [f"step {step}" for step in steps]
    rows: list[tuple[str, Array, list[str]]] = [
        (f"channel {one}", maps[steps, one], []) for one in channels
    ]
    if frames is not None and len(frames) == len(maps):
        return [(INPUT, frames[steps], above), *rows]
    return [(rows[0][0], rows[0][1], above), *rows[1:]]


def _alone(maps: Array) -> list[tuple[str, Array, list[str]]]:
    cuts = range(0, len(maps), _ACROSS)
    return [
        (
            "",
            maps[at : at + _ACROSS],
            [f"channel {one}" for one in range(at, min(at + _ACROSS, len(maps)))],
        )
        for at in cuts
    ]


def frames_of(rows: pd.DataFrame) -> Array | None:
    """The first input of an example that is pictures over time, [T, H, W]."""
    name: str
    values: Array
    for name, values in zip(rows["name"], rows["values"], strict=True):
        if name.startswith(INPUT) and values.ndim == 3 and len(values) > 3:
            return values
    return None
