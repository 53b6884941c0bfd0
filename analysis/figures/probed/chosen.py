"""Which arrays of a probe a figure takes, what they are called, and when a claim on them holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from fusion_search.analysis.conditions import of_network
from fusion_search.analysis.figures.arrays import Array, connection_of
from fusion_search.analysis.figures.timeline import INPUT, condition_words
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.selection import (
    VARIED_SEEDS,
    AnalysisError,
    Search,
    network_columns,
)
from fusion_search.analysis.statistics import SIGNIFICANCE, undecided
from fusion_search.analysis.verdicts import HELD, REFUTED, UNDECIDED

HALF: Final = 0.5
"""Of what is 0 by chance and 1 at best."""

_LARGEST: Final = float(np.finfo(np.float32).max)  # which is what networks compute with

DRAWS: Final = 999
"""Of a null."""


def array_words(name: str) -> str:
    """An array for people."""
    found = connection_of(name)
    return f"{found.way} at {found.site}" if found else name.removeprefix(INPUT)


def other_folds(search: Search, trial: pd.Series) -> pd.DataFrame:
    """The finished trials that differ from one in their fold alone, itself among them, by fold."""
    description = search.description
    same = [*network_columns(description), *description.train_columns, VARIED_SEEDS, "seed"]
    found = of_network(search.finished, {name: trial[name] for name in same})
    return found.sort_values("fold")


def example_words(row: pd.Series) -> str:
    """An example for people: its split, number and whose it is."""
    whose = f" of {row['group']}" if row["group"] else ""
    return f"{row['split']} example {row['number']}{whose}"


def examples_of(table: pd.DataFrame) -> pd.DataFrame:
    """A row per example, with split, number, group and label."""
    found = table.drop_duplicates(["split", "number"])
    return found[["split", "number", "group", "label"]].reset_index(drop=True)


def label_word(label: int, description: TaskDescription) -> str:
    """A class for people; empty where an example has none."""
    if label < 0:
        return ""
    return description.labels[label] if label < len(description.labels) else str(label)


def at_first_condition(
    table: pd.DataFrame, description: TaskDescription
) -> tuple[pd.DataFrame, str]:
    """The rows of the condition that was probed first, and which that is, in words."""
    if not description.axes:
        return table, ""
    columns = list(description.test_columns)
    first = table[columns].iloc[0]
    there = (table[columns] == first).all(axis=1)
    words = condition_words([float(one) for one in first], description)
    return table[there], f"Tested at {words.removesuffix('.')}."


def chosen_arrays(
    table: pd.DataFrame, wanted: Sequence[str] | None, fits: Callable[[str, Array], bool], kind: str
) -> list[str]:
    """Names of arrays: those that begin as is wanted, else all that fit.

    Args:
        table: of a probe.
        wanted: beginnings of names.
        fits: given an array's name and one example's values.
        kind: what fits, for the error.

    Raises:
        AnalysisError: there is none.
    """
    first = table.drop_duplicates("name").set_index("name")["values"]
    there = ", ".join(f"{name} {list(values.shape)}" for name, values in first.items())
    for one in wanted or ():
        if not any(str(name).startswith(one) for name in first.index):
            raise AnalysisError(f"no probed array begins with {one!r}; there are {there}")
    found = [
        str(name)
        for name, values in first.items()
        if (any(str(name).startswith(one) for one in wanted) if wanted else fits(str(name), values))
    ]
    if not found:
        raise AnalysisError(
            f"no probed array is {kind}; there are {there}; name others by --array, probe others, "
            "or choose a network that has them by --trial"
        )
    return found


def of_every_example(table: pd.DataFrame, name: str) -> list[Array]:
    """An array of every example, in the order of :func:`examples_of`.

    Raises:
        AnalysisError: an example lacks it, or it is empty there, or has values that are not finite.
    """
    found = list(table.loc[table["name"] == name, "values"])
    examples = len(examples_of(table))
    if len(found) != examples:
        raise AnalysisError(
            f"{name} was kept of {len(found)} of {examples} examples, and a figure takes it of "
            "all; name other arrays by --array"
        )
    for one in found:
        if not one.size:
            raise AnalysisError(
                f"{name} has shape {list(one.shape)}, which is nothing to draw; name other arrays "
                "by --array"
            )
    if not all((np.abs(one) <= _LARGEST).all() for one in found):
        raise AnalysisError(
            f"{name} has values that are not finite; name other arrays by --array, or probe "
            "another trial"
        )
    return found


def by_unit(values: Array, groups: Sequence[str]) -> tuple[Array, str]:
    """Means of what is evidence by itself: groups where there are several, else examples.

    Args:
        values: [N, ...], of the examples.
        groups: [N], whose they are.

    Returns:
        [units, ...], and what these are.
    """
    names, of = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < 2:
        return values, "examples"
    return np.stack([values[of == one].mean(axis=0) for one in range(len(names))]), "groups"


def verdict_words(words: Mapping[str, str], row: Mapping[str, Any]) -> str:
    """A verdict in ``words``; a small p beside an interval below one half is explained."""
    said = words.get(str(row["verdict"]), UNDECIDED)
    beyond = row["verdict"] == REFUTED and row["p"] <= SIGNIFICANCE
    return f"{said}, though beyond chance" if beyond else said


def verdict(low: float, high: float, p: float, units: int) -> str:
    """Held where an interval lies above one half and chance is ruled out; refuted below it.

    Of so few units that no p could be at most 0.05, nothing is said.
    """
    if undecided(units):
        return UNDECIDED
    if low > HALF and p <= SIGNIFICANCE:
        return HELD
    return REFUTED if high < HALF else UNDECIDED
