"""What a gate gains over plain fusion, by the imbalance of the two SNRs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fusion_search.analysis.figures.drawing import (
    add_caption,
    add_title,
    drawn,
    new_figure,
    wrapped,
)
from fusion_search.analysis.paired import within
from fusion_search.analysis.records.description import MetricDescription
from fusion_search.analysis.statistics import interval

_COLOURS: Final = ("tab:blue", "tab:orange")


@drawn
def draw_imbalance(
    gains: Mapping[str, pd.DataFrame],
    lines: pd.DataFrame,
    metric: MetricDescription,
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw a panel per group: mean gain and interval over folds at each imbalance, and the line.

    Args:
        gains: of each group, as :func:`analysis.rgbd.imbalance.compute_gains` gives them.
        lines: as :func:`analysis.rgbd.imbalance.compute_imbalance` gives them, of all groups.
        metric: that gains are of.
        title: above the panels.
        caption: small text below; what is drawn is added to it.
    """
    figure = new_figure(2.2 + 2.7 * len(gains), 3.8)
    panels = figure.subplots(1, len(gains), squeeze=False, sharey=True)[0]
    handles: dict[str, Any] = {}
    for axes, (group, table) in zip(panels, gains.items(), strict=True):
        axes.axhline(0, color="black", linewidth=0.8)
        for place, (variant, own) in enumerate(table.groupby("variant", sort=False)):
            colour = _COLOURS[place % len(_COLOURS)]
            folds = own.groupby(["imbalance", "fold"])["gain"].mean().unstack("fold")
            x = folds.index.to_numpy(dtype=float)
            ends = np.array(
                [interval(row[np.isfinite(row)]) for row in folds.to_numpy(dtype=float)]
            )
            ends[:, 1:] = [within((low, high), metric) for low, high in ends[:, 1:]]
            errors = np.nan_to_num([ends[:, 0] - ends[:, 1], ends[:, 2] - ends[:, 0]])
            shift = 0.06 * (place - 0.5)
            bars = axes.errorbar(x + shift, ends[:, 0], errors, fmt="D", color=colour)
            handles[str(variant)] = bars
            line = lines[(lines["group"] == group) & (lines["variant"] == variant)]
            slope, start = float(line["slope"].iloc[0]), float(line["balanced"].iloc[0])
            axes.plot(x, start + slope * x, color=colour)
        axes.set_title(wrapped(group, 2.5, 8), fontsize=8)
        axes.set_xlabel("|log2(SNR of RGB / SNR of depth)|", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if metric.share:
            axes.yaxis.set_major_formatter(lambda gain, _: f"{100 * gain:+g}" if gain else "0")
    unit = " (points)" if metric.share else ""
    panels[0].set_ylabel(f"{metric.words}, minus plain fusion{unit}", fontsize=9)
    # Beside the panels, for the bars of few folds are long.
    figure.legend(handles.values(), handles, loc="outside right center", fontsize=8)
    add_title(figure, title)
    note = (
        "Diamond: mean over folds of the gain at all pairs of finite SNRs of one imbalance; bar: "
        "95 % t interval over folds; line: mean of the folds' least-squares lines, which the "
        "corrected test judges, since folds share train examples."
    )
    add_caption(figure, f"{caption} {note}".strip())
    return figure
