"""One example at every test SNR: what noise does to its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fusion_search.analysis.figures.arrays import Array, draw_input, picture_ends
from fusion_search.analysis.figures.drawing import add_caption, add_title, drawn, new_figure
from fusion_search.analysis.records.selection import snr_label
from fusion_search.analysis.records.words.names import column_words

Impaired: TypeAlias = Mapping[str, Sequence[tuple[float, Array]]]
"""Axis -> its input at each of its SNRs, the first of which is no noise."""


def compute_noise(impaired: Impaired) -> pd.DataFrame:
    """One row per axis and SNR: ``axis``, ``snr``, and of the array as the network meets it.

    ``measured`` is the ratio of amplitudes (RMS) of the first array and of what differs from it
    (infinite for no noise); ``mean`` and ``maximum`` are the array's.
    """
    rows = []
    for axis, arrays in impaired.items():
        original = arrays[0][1]
        for snr, values in arrays:
            noise = float(np.sqrt(np.square(values - original).mean()))
            signal = float(np.sqrt(np.square(original).mean()))
            rows.append(
                {
                    "axis": axis,
                    "snr": snr,
                    "measured": signal / noise if noise else np.inf,
                    "mean": float(values.mean()),
                    "maximum": float(values.max()),
                }
            )
    return pd.DataFrame(rows)


@drawn
def draw_noise(impaired: Impaired, *, title: str = "", caption: str = "") -> Figure:
    """Draw one row per axis, one column per SNR."""
    columns = max(len(arrays) for arrays in impaired.values())
    figure = new_figure(1.32 * columns + 0.4, 1.9 * len(impaired) + 0.4)
    panels = figure.subplots(len(impaired), columns, squeeze=False)
    for row, (axis, arrays) in zip(panels, impaired.items(), strict=True):
        highest = max(float(values.max()) for _, values in arrays)
        ends = picture_ends(values for _, values in arrays)
        for axes in row[len(arrays) :]:
            axes.set_axis_off()
        for column, (axes, (snr, values)) in enumerate(zip(row, arrays, strict=False)):
            draw_input(axes, values, highest, ends)
            axes.set_title(snr_label(snr), fontsize=9)
            if column:
                axes.tick_params(labelleft=False)
        row[0].text(
            -0.35,
            0.5,
            column_words(axis),
            rotation=90,
            ha="center",
            va="center",
            transform=row[0].transAxes,
            fontsize=8,
        )
    add_title(figure, title)
    add_caption(figure, caption)
    return figure
