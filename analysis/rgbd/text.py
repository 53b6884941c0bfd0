"""RGB-D records beside the paper's tables, to be read: as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.conditions import train_label
from fusion_search.analysis.folds.text import (
    DASH,
    INTERVALS,
    NO_SHARE,
    count_text,
    difference_words,
    markdown_table,
    p_text,
    tests_words,
    value_text,
    whole_text,
)
from fusion_search.analysis.records.description import MetricDescription, TaskDescription
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.rgbd.imbalance import RULE
from fusion_search.analysis.rgbd.variants import RANDOM, Group
from fusion_search.analysis.statistics import SIGNIFICANCE, holm

NAMES: Final = "Plain fusion is what the paper calls naive fusion."
FRAMES: Final = (
    "Random folds are drawn from single frames, as the paper draws its own, so that views of one "
    "object train and test."
)
PRINTED: Final = "The paper's numbers stand beside such folds alone."
BY_INSTANCE: Final = "Folds by instance hold all views of the objects that they test."
_SHOWN: Final = ("p_corrected_t", "p_max_t")
"""The p-values of a table."""

NO_PAIRS: Final = (
    "Whether the gate's gain grows with the imbalance of the SNRs is not told: that takes plain "
    "fusion and a gate, both tested at several pairs of finite SNRs."
)
NO_FLATTERY: Final = (
    "How much random folds flatter is not told: that takes trials with both fold_by random and "
    "instance."
)


def rgbd_text(
    name: str,
    table: pd.DataFrame,
    groups: Sequence[Group],
    imbalance: pd.DataFrame,
    flattery: pd.DataFrame,
    metric: MetricDescription,
    notes: Sequence[str],
) -> str:
    """All tables, the hypothesis, and what random folds flatter by.

    Args:
        name: of the search.
        table, groups: as :func:`analysis.rgbd.tables.compute_rgbd` gives them.
        imbalance: of all groups, as :func:`analysis.rgbd.imbalance.compute_imbalance` gives them.
        flattery: as :func:`analysis.rgbd.tables.compute_flattery` gives it.
        metric: that the values are of.
        notes: sentences for the end.
    """
    parts = [f"# {name} beside the modality gate's paper"]
    for group in groups:
        own = table[table["group"] == group.words]
        parts.append(f"## {group.words}")
        for measure, part in own.groupby("measure", sort=False):
            where = (
                "over the grid" if str(measure).startswith("mean_") else "at its train condition"
            )
            parts += [f"### {metric.words.capitalize()} {where}", _table(part, metric)]
        told = imbalance[imbalance["group"] == group.words] if len(imbalance) else imbalance
        parts += ["### Under unequal noise", *(list(told["sentence"]) if len(told) else [NO_PAIRS])]
    parts += ["## Random folds against folds by instance", _flattery(flattery, metric)]
    ends = [
        "## Notes",
        NAMES,
        " ".join(_folds_words(groups, printed=bool(table["paper"].notna().any()))),
    ]
    ends += [" ".join([RULE, *_by_holm(imbalance)])] if len(imbalance) else []
    ends += [INTERVALS, tests_words(_SHOWN)]
    ends += [NO_SHARE] if table["test_share"].isna().any() else []
    return "\n\n".join([*parts, *ends, *notes]) + "\n"


def _folds_words(groups: Sequence[Group], *, printed: bool) -> list[str]:
    """What the kinds of folds are that are there, and beside which the paper's numbers stand."""
    random = [one.fold_by == RANDOM for one in groups]
    found = [FRAMES] if any(random) else []
    found += [PRINTED] if printed else []
    return found if all(random) else [*found, BY_INSTANCE]


def _by_holm(imbalance: pd.DataFrame) -> list[str]:
    """How many of the slopes are told from none, all of them considered."""
    p = imbalance["p"].dropna().to_numpy(dtype=float)
    if len(p) < 2:
        return []
    left = int((holm(p) <= SIGNIFICANCE).sum())
    told = f"{left}" if left else "none"
    return [
        f"Each is judged by itself: of the {len(p)} slopes here Holm's correction leaves {told}."
    ]


def _table(rows: pd.DataFrame, metric: MetricDescription) -> str:
    printed = bool(rows["paper"].notna().any())
    cells = []
    for row in rows_of(rows):
        decision = row["decision"] if isinstance(row["decision"], str) else DASH
        told = [row["variant"], whole_text(row["parameters"]), count_text(row)]
        told += [value_text(row, metric), difference_words(row, metric)]
        told += [*(p_text(row[one]) for one in _SHOWN), decision]
        cells.append([*told, *([_paper(row, metric)] if printed else [])])
    header = ["network", "parameters", "folds", metric.words, "difference to plain fusion"]
    header += ["p corrected", "p sign flips", "decision", *(["paper"] if printed else [])]
    return markdown_table(header, cells)


def _paper(row: dict[str, Any], metric: MetricDescription) -> str:
    return DASH if pd.isna(row["paper"]) else metric.text(row["paper"])


def _flattery(table: pd.DataFrame, metric: MetricDescription) -> str:
    if table.empty:
        return NO_FLATTERY
    cells = [
        [
            *(row["variant"], str(row["folds"])),
            *(metric.text(row["mean_random"]), metric.text(row["mean_instance"])),
            *(difference_words(row, metric), row["of"]),
        ]
        for row in rows_of(table)
    ]
    header = ["network", "folds", f"{RANDOM} folds", "folds by instance", "difference", "of"]
    return markdown_table(header, cells)


def gates_text(
    gates: pd.DataFrame, examples: pd.DataFrame, what: str, description: TaskDescription
) -> str:
    """The weight of depth in a gate, by condition, and the examples at either end.

    Args:
        gates: as :func:`analysis.rgbd.gates.compute_gates` gives it.
        examples: as :func:`analysis.rgbd.gates.extreme_examples` gives them.
        what: the trial, for people.
        description: of the search.
    """
    tests = list(description.test_columns)
    conditions = gates[gates["label"] < 0]
    cells = [
        [
            train_label(tuple(row[one] for one in tests), description),
            *(str(row["examples"]), f"{row['mean']:.3f}"),
            *(f"{row[one]:.3f}" for one in ("low", "median", "high")),
        ]
        for row in rows_of(conditions)
    ]
    header = ["tested at", "examples", "mean", "10 %", "median", "90 %"]
    listed = [
        [
            row["which"],
            f"{row['split']} {row['number']}",
            description.labels[int(row["label"])],
            *(str(row["group"]), f"{row['depth']:.3f}"),
        ]
        for row in rows_of(examples)
    ]
    return (
        "\n\n".join(
            [
                f"# Weight of depth: {what}",
                "How much of depth the gate lets pass, of all features of all examples: 1 is depth "
                "alone, 0 colours alone.",
                markdown_table(header, cells),
                "## Examples with the least and the most depth",
                markdown_table(["", "example", "class", "object", "weight of depth"], listed),
            ]
        )
        + "\n"
    )
