"""What a search's networks reached in every fold, run by run."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fusion_search.analysis.conditions import (
    REPETITION,
    distinct_folds,
    network_title,
    networks,
    of_network,
)
from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.description import MetricDescription, TaskDescription
from fusion_search.analysis.records.selection import AnalysisError, Search
from fusion_search.analysis.records.tables import read_table
from fusion_search.analysis.records.words.names import CONFIRMATION_SUFFIX, SPECIFICATION_FILE


@dataclass(frozen=True)
class FoldMeasure:
    """What a trial is judged by, as one of its columns holds it.

    Attributes:
        column: of ``trials``.
        words: for people.
        optimistic: chosen on the test examples; of a fold's runs the best counts, as in the paper
            that reports such values, where of others it is the mean.
    """

    column: str
    words: str
    optimistic: bool = False


def fold_measures(trials: pd.DataFrame, description: TaskDescription) -> list[FoldMeasure]:
    """Those that some of the trials have: at the train condition, over the grid, optimistic."""
    name, words = description.metric.name, description.metric.words
    found = [FoldMeasure(f"mean_{name}", words)]
    if description.axes:
        found = [
            FoldMeasure(f"train_condition_{name}", f"{words} at the train condition"),
            FoldMeasure(f"mean_{name}", f"{words}, mean over the grid"),
        ]
    optimistic = f"{words}, optimistic: best test epoch of any run"
    found.append(FoldMeasure(f"optimistic_{name}", optimistic, optimistic=True))
    return [one for one in found if one.column in trials and trials[one.column].notna().any()]


def check_tested(search: Search, trials: pd.DataFrame, figure: str) -> None:
    """Raise ``AnalysisError`` for trials that were measured on validation examples.

    Args:
        search: of the trials.
        trials: its finished ones.
        figure: that is asked for, as ``draw`` has it; its confirmation's, or how to make that, is
            named.
    """
    if set(trials["split"]) <= {"test"}:
        return
    folder, name = search.storage.parent, search.name + CONFIRMATION_SUFFIX
    told = command("confirm", search.name, storage=folder.location)
    if folder.is_there(name, SPECIFICATION_FILE):
        told = command("draw", figure, name, storage=folder.location)
    raise AnalysisError(
        f"search {search.name} is measured on the validation split; the paper's tables are of test "
        f"examples, such as its confirmation's: `{told}`"
    )


def runs(trials: pd.DataFrame, labels: Sequence[str], column: str) -> pd.DataFrame:
    """Values of trials, [label, run]; NaN where a network lacks a run.

    Args:
        trials: of one train condition, finished.
        labels: of each trial its network's name.
        column: of ``trials``, such as "mean_accuracy".

    Returns:
        An index of labels in the order they are met; columns of ``REPETITION``, sorted, with folds
        as :func:`analysis.conditions.distinct_folds` tells them apart.
    """
    named = trials.assign(label=labels, fold=distinct_folds(trials)).groupby(
        ["label", *REPETITION], sort=False
    )
    table = named[column].mean().unstack(list(REPETITION))
    return table.loc[list(dict.fromkeys(labels))].sort_index(axis=1)


def runs_in_order(trials: pd.DataFrame, column: str, variants: Iterable[str]) -> pd.DataFrame:
    """:func:`runs` of trials that have a ``variant`` each, in the order of these."""
    values = runs(trials, list(trials["variant"]), column)
    return values.loc[[one for one in variants if one in values.index]]


def settings_besides(text: str, told: Container[str]) -> str:
    """Varied settings as records have them, in JSON, without those that are told otherwise."""
    return json.dumps({name: one for name, one in json.loads(text).items() if name not in told})


def by_fold(
    values: pd.DataFrame, metric: MetricDescription, *, optimistic: bool = False
) -> pd.DataFrame:
    """Values [label, run] of every fold, [label, fold]: the mean over its runs, or the best."""
    folds = values.T.groupby(level="fold")
    if not optimistic:
        return folds.mean().T
    return (folds.max() if metric.sign > 0 else folds.min()).T


def labelled(trials: pd.DataFrame, description: TaskDescription) -> dict[str, pd.DataFrame]:
    """The trials of every network by its name for people, the plainest network first."""
    found = networks(trials, description)
    titles = distinct([network_title(one) for one in found])
    return {title: of_network(trials, one) for title, one in zip(titles, found, strict=True)}


def distinct(names: Sequence[str], form: str = " ({})") -> list[str]:
    """The same names, numbered where they are alike, as settings that differ little may read."""
    taken: dict[str, None] = {}
    for name in names:
        own, number = name, 1
        while own in taken:
            number += 1
            own = name + form.format(number)
        taken[own] = None
    return list(taken)


def chosen_name(names: Sequence[str], wanted: str, option: str) -> str:
    """The network that was asked for, by its number (from 1) or the beginning of its name.

    Args:
        names: of the networks, in the order in which they are numbered.
        wanted: what was given.
        option: where it was given, such as "--baseline".

    Raises:
        AnalysisError: none is meant, or several are.
    """
    if wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        return names[int(wanted) - 1]
    found = [one for one in names if one == wanted] or [
        one for one in names if one.startswith(wanted)
    ]
    if len(found) == 1:
        return found[0]
    listed = "; ".join(f"{number}. {one}" for number, one in enumerate(names, 1))
    raise AnalysisError(f"{option} {wanted} names {len(found)} networks; there are {listed}")


def with_sizes(search: Search) -> pd.DataFrame:
    """The finished trials with ``n_test`` and ``n_train``, how many examples each was of.

    The first is that of a test condition, the second what was shown in the first epoch where that
    was one pass; NaN where it was not, or where the records of epochs or grid are not there.
    """
    trials = search.finished
    grid = read_table(search.storage, "grid", None, search.on_damage, search.description)
    epochs = read_table(search.storage, "epochs", None, search.on_damage, search.description)
    n_test = grid.groupby("trial_id")["n"].max()
    first = epochs[epochs["epoch"] == 1].set_index("trial_id")["examples_seen"]
    n_train = trials["trial_id"].map(first)
    # What an earlier version described may lack the setting.
    examples = trials.get("epoch_examples", pd.Series(math.nan, trials.index))
    whole = examples == 0
    return trials.assign(
        n_test=trials["trial_id"].map(n_test).astype(float),
        n_train=n_train.where(whole).astype(float),
    )


def test_share(trials: pd.DataFrame) -> float:
    """n_test / n_train, the mean over trials of :func:`with_sizes`; NaN where one is not known."""
    shares = trials["n_test"] / trials["n_train"]
    return float(shares.mean(skipna=False)) if len(shares) else math.nan


def counted(values: pd.Series) -> Mapping[str, Any]:
    """How many folds and runs the values [run] of a network are of."""
    there = values.dropna()
    folds = there.index.get_level_values("fold").nunique()
    return {"folds": int(folds), "runs": len(there)}
