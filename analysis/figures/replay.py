"""Searchers replayed against recorded trials: how soon each finds the best."""

from __future__ import annotations

from typing import Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from fusion_search.analysis.figures.drawing import (
    add_caption,
    add_title,
    drawn,
    new_figure,
    value_axis,
)
from fusion_search.analysis.records.samples import Objective, rows_of
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.statistics import holm, interval, undecided

RANDOM: Final = "random"
"""The searcher that all others are compared with."""

_ROUNDING: Final = 1e-12  # 0.5 - 0.005 must count as within 0.005 of 0.5


def compute_replay(
    table: pd.DataFrame, optimum: float, within: float = 0.005, *, objective: Objective
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """How the best value grows, and how many trials each searcher needs.

    Args:
        table: one row per replayed trial: ``searcher``, ``seed``, ``trial`` (ascending), ``best``
            (so far). A run that ends early keeps its best.
        optimum: the best recorded value.
        within: a run has arrived when its best is no further than this from the optimum.
        objective: whose values these are.

    Returns:
        Curves: one row per ``searcher`` and ``trial`` (from 1) with ``n`` seeds, ``mean`` best so
        far and its 95 % t interval ``low``, ``high`` over seeds. Runs: one row per ``searcher``
        and ``seed`` with ``needed``, the trials until arrival; NaN when it never arrived. Summary:
        one row per ``searcher`` with ``seeds``, ``reached`` (share of them), ``median``,
        ``lower_quartile`` and ``upper_quartile`` of ``needed`` (infinite when that share did not
        arrive), ``paired_seeds`` and ``p`` of the two-sided Wilcoxon signed-rank test of
        ``needed`` against random search over common seeds (a run that never arrived counts as one
        trial more than the longest replay), ``p_holm`` over the searchers, and ``undecided``: where
        the seeds are too few for that, how many would do, else empty.
    """
    ordered = table.sort_values(["searcher", "seed", "trial"], kind="stable")
    ordered = ordered.assign(step=ordered.groupby(["searcher", "seed"]).cumcount() + 1)
    longest = int(ordered["step"].max()) if len(ordered) else 0
    sign = objective.sign
    curves, runs = [], []
    for searcher in sorted(ordered["searcher"].unique(), key=lambda one: (one != RANDOM, one)):
        own = ordered[ordered["searcher"] == searcher]
        best = own.pivot(index="seed", columns="step", values="best")
        best = best.reindex(columns=range(1, longest + 1)).ffill(axis=1)
        for step in best.columns:
            values = best[step].dropna().to_numpy(dtype=float)
            mean, low, high = interval(values, share=objective.is_share, minimize=sign < 0)
            curves.append((searcher, step, len(values), mean, low, high))
        arrived = sign * (optimum - best) <= within + _ROUNDING
        needed = arrived.idxmax(axis=1).astype(float).where(arrived.any(axis=1))
        runs.append(pd.DataFrame({"searcher": searcher, "needed": needed}).reset_index())
    columns = ["searcher", "trial", "n", "mean", "low", "high"]
    run_table = pd.concat(runs, ignore_index=True) if runs else pd.DataFrame()
    run_table = run_table.reindex(columns=["searcher", "seed", "needed"])
    return pd.DataFrame(curves, columns=columns), run_table, _summarise(run_table, longest)


def _summarise(runs: pd.DataFrame, longest: int) -> pd.DataFrame:
    random = runs[runs["searcher"] == RANDOM].set_index("seed")["needed"].fillna(longest + 1)
    rows = []
    for searcher, own in runs.groupby("searcher", sort=False):
        needed = own.set_index("seed")["needed"]
        # Not interpolated: between a number and "never" there is nothing.
        lower, median, upper = np.quantile(
            needed.fillna(np.inf), [0.25, 0.5, 0.75], method="inverted_cdf"
        )
        difference = (needed.fillna(longest + 1) - random).dropna().to_numpy(dtype=float)
        compared = searcher != RANDOM and len(difference) > 1
        rows.append(
            {
                "searcher": searcher,
                "seeds": len(needed),
                "reached": needed.notna().mean(),
                "median": median,
                "lower_quartile": lower,
                "upper_quartile": upper,
                "paired_seeds": len(difference) if searcher != RANDOM else 0,
                "p": _signed_rank_p(difference) if compared else np.nan,
            }
        )
    names = ["searcher", "seeds", "reached", "median", "lower_quartile", "upper_quartile"]
    summary = pd.DataFrame(rows, columns=[*names, "paired_seeds", "p"])
    tested = summary["p"].notna()
    # The smallest p of signed ranks is that of signs.
    words = [undecided(seeds, int(tested.sum())) for seeds in summary["paired_seeds"]]
    return summary.assign(
        p_holm=holm(summary["p"].to_numpy(dtype=float)),
        undecided=pd.Series(words, summary.index, dtype=object).where(tested, ""),
    )


def _signed_rank_p(difference: npt.NDArray[np.float64]) -> float:
    """Two-sided p of Wilcoxon's test; 1 when no pair differs."""
    if not difference.any():
        return 1.0
    return float(stats.wilcoxon(difference).pvalue)


@drawn
def draw_replay(
    curves: pd.DataFrame,
    runs: pd.DataFrame,
    summary: pd.DataFrame,
    optimum: float,
    within: float = 0.005,
    *,
    objective: Objective,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw the best so far over trials, and the trials every run needed.

    Args:
        curves, runs, summary: as :func:`compute_replay` returns them.
        optimum, within: as given to it.
        objective: whose values these are.
        title: above the panels.
        caption: small text below; what bands and boxes mean is added to it.
    """
    figure = new_figure(9.8, 4.3)
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    for number, searcher in enumerate(summary["searcher"]):
        own = curves[curves["searcher"] == searcher]
        colour = _colour(number)
        left.plot(
            own["trial"],
            own["mean"],
            color=colour,
            linewidth=1.6,
            linestyle="--" if searcher == RANDOM else "-",
            label=_label(searcher),
        )
        left.fill_between(own["trial"], own["low"], own["high"], color=colour, alpha=0.18, lw=0)
    left.axhline(optimum, color="0.3", linestyle=":", linewidth=1, label="best recorded")
    left.set_xlabel("trials", fontsize=9)
    left.set_ylabel(f"best {objective.words} so far ({objective.better_words})", fontsize=9)
    value_axis(left.yaxis, objective)
    left.tick_params(labelsize=8)
    left.grid(alpha=0.25)
    left.legend(fontsize=8, loc="lower right" if objective.sign > 0 else "upper right")
    _draw_needed(right, runs, summary)
    reach = f"{100 * within:g} points" if objective.is_share else f"{within:g}"
    right.set_xlabel(f"trials to within {reach} of the best recorded", fontsize=9)
    add_title(figure, title)
    seeds = int(summary["seeds"].max()) if len(summary) else 0
    note = (
        f"Lines and bands: mean over {count_label(seeds, 'seed')} and its 95 % t interval. Boxes: "
        "quartiles of the trials needed, runs that never arrived included as never; dots: runs "
        "that arrived. p: Wilcoxon signed-rank test against random, Holm-adjusted."
    )
    add_caption(figure, f"{caption} {note}".strip())
    return figure


def _draw_needed(axes: Axes, runs: pd.DataFrame, summary: pd.DataFrame) -> None:
    generator = np.random.default_rng(0)
    names = []
    # "Never" is drawn at the right edge.
    edge = float(runs["needed"].max()) * 1.12 if runs["needed"].notna().any() else 1.0
    for number, row in enumerate(rows_of(summary)):
        colour = _colour(number)
        quartiles = [row["lower_quartile"], row["median"], row["upper_quartile"]]
        low, median, high = np.minimum(quartiles, edge)
        axes.barh(
            number, high - low, left=low, height=0.5, color=colour, alpha=0.25, edgecolor=colour
        )
        axes.plot([median, median], [number - 0.25, number + 0.25], color=colour, linewidth=2)
        if not np.isfinite(row["median"]):
            axes.text(edge, number, "never ", ha="right", va="center", fontsize=7.5, color=colour)
        needed = runs.loc[runs["searcher"] == row["searcher"], "needed"].dropna()
        shifts = generator.uniform(-0.16, 0.16, len(needed))
        axes.plot(needed, number + shifts, "o", color=colour, markersize=3, alpha=0.6)
        middle = f"{row['median']:.0f}" if np.isfinite(row["median"]) else "never"
        lines = [_label(row["searcher"]), f"median {middle}, {row['reached']:.0%} arrived"]
        if np.isfinite(row["p_holm"]):
            lines.append(row["undecided"].replace("; ", ";\n") or f"p = {row['p_holm']:.2g}")
        names.append("\n".join(lines))
    axes.set_yticks(range(len(names)), names, fontsize=7.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, edge)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.25)


def _label(searcher: str) -> str:
    return "random (baseline)" if searcher == RANDOM else searcher


def _colour(number: int) -> tuple[float, ...]:
    """The baseline, which is first, is grey."""
    colours = mpl.colormaps["tab10"]
    return (0.4, 0.4, 0.4, 1.0) if number == 0 else colours(number - 1)
