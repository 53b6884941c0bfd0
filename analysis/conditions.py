"""Networks, train and test conditions of a search's records, and what was measured there.

A train condition has a value for every axis: an SNR (infinity: original, minus infinity: absent),
or in words what every example's is drawn from. Tables have it in their columns ``train_<axis>``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from fusion_search.analysis.records.columns import snr_label
from fusion_search.analysis.records.description import (
    ABSENT,
    MetricDescription,
    TaskDescription,
)
from fusion_search.analysis.records.samples import option_order, rows_of
from fusion_search.analysis.records.selection import (
    VARIED_SEEDS,
    VARIED_SETTINGS,
    count_label,
    network_columns,
)
from fusion_search.analysis.records.words.data import data_settings
from fusion_search.analysis.records.words.names import column_words
from fusion_search.analysis.records.words.networks import (
    DEPTH,
    PLAIN,
    placement_words,
    value_words,
    varied_words,
)

TrainCondition: TypeAlias = tuple[float | str, ...]

REPETITION: Final = ("fold", VARIED_SEEDS, "seed")
"""What the trials of one network at one train condition differ in."""

COUNTS: Final = ("seeds", "folds", "trials")
"""Columns of a table that say of how many a value is."""


def networks(table: pd.DataFrame, description: TaskDescription) -> list[dict[str, Any]]:
    """The distinct networks of a table with ``network_columns``, whole and plain ones first."""
    found = rows_of(table[network_columns(description)].drop_duplicates())

    def place(network: dict[str, Any]) -> list[Any]:
        layout = [option_order(network[name]) for name in description.layout_fields]
        placement, end = network["placement"], network["end"]
        options = network["placement_options"]
        varied = [option_order(one) for one in json.loads(network[VARIED_SETTINGS]).values()]
        placed = [len(placement), placement, len(options), options, end]
        return [network["streams"], *layout, *placed, varied]

    return sorted(found, key=place)


def of_network(table: pd.DataFrame, network: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of one network."""
    chosen = pd.Series(True, index=table.index)
    for column, value in network.items():
        chosen &= table[column].isna() if pd.isna(value) else table[column] == value
    return table[chosen]


def network_title(network: Mapping[str, Any]) -> str:
    """A network for people, such as "second-layer fusion: MMTM at level1, width 8"."""
    words = placement_words(network)
    if DEPTH in network:  # whose name says enough, where nothing couples its streams before
        words = words.removeprefix(f"{PLAIN} ")
    return ", ".join(filter(None, (words, varied_words(network.get(VARIED_SETTINGS)))))


def settings_sentence(what: str, settings: Mapping[str, str]) -> str:
    """A sentence on the settings in which networks differ; empty where in none.

    Args:
        what: they are called.
        settings: of each network, by its name for people, the text in ``VARIED_SETTINGS``.
    """
    if len(set(settings.values())) < 2:
        return ""
    words = {name: varied_words(text) for name, text in settings.items()}
    said = "; ".join(f"{name}: {one}" for name, one in words.items() if one)
    return f"The {what} differ in settings, too: {said}." if said else ""


def train_conditions(table: pd.DataFrame, description: TaskDescription) -> list[TrainCondition]:
    """The distinct train conditions, descending; the one without axes is ()."""
    found = table[list(description.train_columns)].drop_duplicates()
    rows = [tuple(row) for row in found.itertuples(index=False, name=None)] if len(found) else []
    if not description.axes:
        rows = [()] if len(table) else []
    return sorted(rows, key=lambda one: [train_order(value) for value in one])


def train_order(value: float | str) -> tuple[int, float, str]:
    """A sort key: SNRs descend, what is drawn comes after them."""
    return (1, 0.0, value) if isinstance(value, str) else (0, -value, "")


def at_train(
    table: pd.DataFrame, condition: TrainCondition, description: TaskDescription
) -> pd.DataFrame:
    """The rows of one train condition."""
    chosen = pd.Series(True, index=table.index)
    for column, value in zip(description.train_columns, condition, strict=True):
        chosen &= table[column] == value
    return table[chosen]


def train_label(condition: TrainCondition, description: TaskDescription) -> str:
    """A train condition for people, such as "speech 0.5, video 0.25"; empty without axes."""
    return ", ".join(
        f"{axis.short} {snr_label(value)}"
        for axis, value in zip(description.axes, condition, strict=True)
    )


def train_numbers(condition: TrainCondition) -> list[float]:
    """An SNR for every axis; NaN, which no condition equals, where it is drawn."""
    return [np.nan if isinstance(value, str) else float(value) for value in condition]


def tested_present(grid: pd.DataFrame, description: TaskDescription) -> pd.DataFrame:
    """The rows of the grid itself: without those in which an input is absent."""
    columns = list(description.test_columns)
    return grid[(grid[columns] != ABSENT).all(axis=1)]


def pooled(grid: pd.DataFrame, keys: Sequence[str], metric: MetricDescription) -> pd.Series:
    """A metric at every combination of ``keys``, named like the metric.

    Over the rows of one combination a mean is weighted by their examples. Of another metric, which
    is a function of a whole set, it is the mean of the values.
    """
    groups = grid.groupby(list(keys), dropna=False, sort=False)
    if not metric.is_mean:
        return groups[metric.name].mean()
    sums = groups[["n", f"{metric.name}_sum"]].sum()
    return (sums[f"{metric.name}_sum"] / sums["n"]).rename(metric.name)


def matrix(values: pd.Series) -> pd.DataFrame:
    """Values at two test axes as a map, rows of the first; SNRs descend, absent comes last."""
    table = values.unstack(values.index.names[1])
    return table.sort_index(ascending=False).sort_index(axis=1, ascending=False)


def by_seed(grid: pd.DataFrame, keys: Sequence[str], metric: MetricDescription) -> pd.DataFrame:
    """A metric at every combination of ``keys``, a column per seed: what tests are made of.

    A seed's value is the mean over its folds and splits, whose trials share examples and are no
    samples of their own; it is NaN where it lacks one of them, so that two values of one seed are
    paired by fold and split, too.
    """
    every = pooled(grid, [*keys, *REPETITION], metric).unstack(list(REPETITION))
    of = every.columns.to_frame(index=False)
    wanted = of.groupby("seed")[VARIED_SEEDS].nunique() * of["fold"].nunique()
    seeds = every.T.groupby(level="seed")
    return seeds.mean().where(seeds.count().eq(wanted, axis=0)).T


def distinct_folds(trials: pd.DataFrame) -> pd.Series:
    """The fold of every trial as a number that no other fold has: what results are paired by.

    Two trials are in one fold where its number agrees, and the fingerprint of the names of its
    examples; where these have none, all settings of the data (any may decide who is tested: how
    folds are made, how many, by which seed) and the fingerprint of the content.

    Returns:
        Numbers from 0 on, by the order of ``fold``; of one kind of folds in the same order.
    """
    keys = pd.DataFrame({"fold": trials["fold"], "data": _data_texts(trials)})
    named = _of_each(trials, "split_fingerprint")
    # Of the trials of an earlier version, that a search goes on from, it is not known.
    known = keys.assign(named=named)[named != ""].groupby(["fold", "data"])["named"].first()
    told = keys.join(known, on=["fold", "data"])["named"]
    return keys.assign(data=told.fillna(keys["data"])).groupby(["fold", "data"]).ngroup()


def folds_apart(one: pd.DataFrame, other: pd.DataFrame) -> str:
    """Why no fold of some trials is one of others', in words; empty where there may be such.

    Where one of a number is the same fold in both, or would be, had both run it, nothing is said.
    """
    texts = [set(_data_texts(trials)) for trials in (one, other)]
    if texts[0] & texts[1] or not all(texts):
        return ""
    both = pd.concat([one, other], ignore_index=True)
    folds, common = distinct_folds(both), set(one["fold"]) & set(other["fold"])
    named = (_of_each(both, "split_fingerprint") != "").all()
    if set(folds[: len(one)]) & set(folds[len(one) :]) or (named and not common):
        return ""
    settings: list[dict[str, set[str]]] = [{}, {}]
    for found, trials in zip(settings, (one, other), strict=True):
        for plain in map(data_settings, _of_each(trials, "specification").unique()):
            for name, value in plain.items():
                found.setdefault(name, set()).add(value_words(value))
    first, second = settings
    told = [
        f"{column_words(name)} {' or '.join(sorted(first[name]))} against "
        f"{' or '.join(sorted(second[name]))}"
        for name in first
        if name in second and not first[name] & second[name]
    ]
    if told:
        return ", ".join(told)
    # Of one setting each fold may have a fingerprint of its own.
    return "other content of the data" if common else ""


def _data_texts(trials: pd.DataFrame) -> pd.Series:
    """All settings of the data, and their fingerprint, as a text of every trial."""
    texts = _of_each(trials, "specification")
    known = {text: json.dumps(data_settings(text), sort_keys=True) for text in texts.unique()}
    return texts.map(known) + " " + _of_each(trials, "data_fingerprint")


def _of_each(trials: pd.DataFrame, column: str) -> pd.Series:
    """A column of texts, empty where a trial, or a record of an earlier version, has none."""
    found = trials[column] if column in trials else pd.Series("", trials.index)
    return found.astype(object).where(found.notna(), "").astype(str)


def repeated(rows: pd.DataFrame) -> str:
    """How often something was trained at most, for people: "2 seeds" or "2 seeds x 3 folds".

    Where the trials are more than that, they are counted: "2 seeds, 4 trials".

    Args:
        rows: with the columns ``COUNTS``.
    """
    if rows.empty:
        return "no trial"
    seeds, folds, trials = (int(rows[one].max()) for one in COUNTS)
    words = count_label(seeds, "seed") + (f" x {folds} folds" if folds > 1 else "")
    return f"{words}, {trials} trials" if trials > seeds * folds else words


def repetition_words(table: pd.DataFrame) -> str:
    """What the repetitions in a table differ in beside seed and fold; empty where in nothing."""
    found: dict[str, set[Any]] = {}
    for text in table[VARIED_SEEDS].unique():
        for name, value in json.loads(text).items():
            found.setdefault(name, set()).add(value if isinstance(value, int) else str(value))
    told = "; ".join(
        f"{name.replace('_', ' ')} {', '.join(map(str, sorted(values, key=option_order)))}"
        for name, values in found.items()
        if len(values) > 1
    )
    return (
        f"Pooled, too: trials of {told}. A seed's value is the mean over its own." if told else ""
    )
