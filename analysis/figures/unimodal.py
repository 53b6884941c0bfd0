"""Models of one sense alone: accuracy against test SNR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusion_search.analysis.figures.drawing import (
    ACCURACY_COLOURS,
    add_caption,
    axis_label,
    draw_missing,
    drawn,
    new_figure,
)
from fusion_search.analysis.records.selection import Search, count_label, snr_label

_COLUMNS: Final = ["modality", "train_snr", "test_snr", "seeds", "accuracy", "deviation"]


def compute_unimodal(search: Search) -> pd.DataFrame:
    """Accuracy of models of one sense alone at that sense's test SNRs.

    Returns:
        One row per ``modality``, ``train_snr`` and ``test_snr`` (SNRs descending): ``seeds`` (how
        many), ``accuracy`` (mean over seeds, 0..1) and ``deviation`` (sample standard deviation
        over seeds; NaN for one).
    """
    grid = search.read_grid()
    tables = []
    for modality in grid["modality"].unique():
        if f"test_{modality}_snr" not in grid:
            continue  # of several senses
        part = grid[grid["modality"] == modality]
        part = part.assign(
            train_snr=part[f"train_{modality}_snr"],
            test_snr=part[f"test_{modality}_snr"],
        )
        keys = ["modality", "train_snr", "test_snr"]
        sums = part.groupby([*keys, "seed"])[["n", "correct"]].sum()
        groups = (sums["correct"] / sums["n"]).groupby(level=keys)
        tables.append(groups.agg(seeds="count", accuracy="mean", deviation="std"))
    table: pd.DataFrame = pd.concat(tables).reset_index()
    order = ["modality", "train_snr", "test_snr"]
    return table.sort_values(order, ascending=False, ignore_index=True)[_COLUMNS]


@drawn
def draw_unimodal(
    table: pd.DataFrame,
    modalities: Sequence[str],
    classes: int,
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw a panel for each sense, one line per train SNR.

    Bars span one standard deviation over seeds either way; a ring marks the train SNR.

    Args:
        table: as :func:`compute_unimodal` returns it.
        modalities: the panels; one without records is empty and says "missing".
        classes: how many are told apart, for the line at chance.
        title: above the panels.
        caption: small text below; what bars and rings mean is added to it.
    """
    figure = new_figure(4.4 * len(modalities) + 0.4, 4.2)
    panels = figure.subplots(1, len(modalities), sharey=True, squeeze=False)[0]
    for axes, modality in zip(panels, modalities, strict=True):
        part = table[table["modality"] == modality]
        axes.set_title(f"{modality} alone", fontsize=10)
        if part.empty:
            draw_missing(axes)
            continue
        _draw_lines(axes, part)
        axes.axhline(1 / classes, color="0.6", linestyle=":", linewidth=1)
        axes.set_xlabel(axis_label(f"test_{modality}_snr"), fontsize=9)
    panels[0].set_ylabel("accuracy", fontsize=9)
    panels[0].set_ylim(0, 1.02)
    figure.suptitle(title, fontsize=11)
    spread = "Bars: one standard deviation over seeds. " if (table["seeds"] > 1).any() else ""
    note = f"{caption} {spread}Ring: test SNR = train SNR. Dotted: chance."
    add_caption(figure, note.strip())
    return figure


def _draw_lines(axes: Axes, part: pd.DataFrame) -> None:
    test_snrs = sorted(part["test_snr"].unique(), reverse=True)
    train_snrs = sorted(part["train_snr"].unique(), reverse=True)
    # Yellow, the upper end of the colours, is too faint for a line.
    colours = mpl.colormaps[ACCURACY_COLOURS].resampled(256)
    for number, train_snr in enumerate(train_snrs):
        line = part[part["train_snr"] == train_snr]
        places = [test_snrs.index(snr) for snr in line["test_snr"]]
        colour = colours(0.88 * number / max(len(train_snrs) - 1, 1))
        several = int(line["seeds"].max()) > 1
        axes.errorbar(
            places,
            line["accuracy"],
            yerr=line["deviation"].fillna(0.0) if several else None,
            color=colour,
            marker="o",
            markersize=3,
            linewidth=1.4,
            elinewidth=0.8,
            capsize=2,
            label=f"{snr_label(train_snr)} ({count_label(int(line['seeds'].max()), 'seed')})",
        )
        at_train = line[line["test_snr"] == train_snr]
        axes.plot(
            [test_snrs.index(snr) for snr in at_train["test_snr"]],
            at_train["accuracy"],
            marker="o",
            markersize=8,
            markerfacecolor="none",
            markeredgecolor=colour,
            linestyle="none",
        )
    axes.set_xticks(range(len(test_snrs)), [snr_label(snr) for snr in test_snrs])
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.legend(title="train SNR", fontsize=8, title_fontsize=8, loc="upper right")
