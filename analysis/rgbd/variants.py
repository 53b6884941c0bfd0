"""Which trials of RGB-D records are which variant of the paper, on which data and folds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.conditions import at_train, train_conditions, train_label
from fusion_search.analysis.folds.runs import check_tested, distinct, settings_besides
from fusion_search.analysis.records.description import ORIGINAL
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import VARIED_SETTINGS, AnalysisError, Search
from fusion_search.analysis.records.words.counts import count_label
from fusion_search.analysis.records.words.networks import varied_words
from fusion_search.analysis.rgbd.paper import (
    BY_DEPTH,
    BY_RGB,
    CLASSES,
    DEPTH_ALONE,
    FACES,
    GATES,
    PLAIN_FUSION,
    PRINTED,
    PRINTED_DEPTH,
    RGB_ALONE,
    SCRATCH,
    VARIANTS,
    WASHINGTON,
)

TASK: Final = "rgbd"
STAND_IN: Final = "the rendered stand-in"
RANDOM: Final = "random"
_FOLDS_WORDS: Final = {RANDOM: "random folds", "instance": "folds by instance"}
_ENDS: Final = {
    "": PLAIN_FUSION,
    "gate_by_depth": BY_DEPTH,
    "gate_by_rgb": BY_RGB,
}
_ALONE: Final = {"rgb": RGB_ALONE, "depth": DEPTH_ALONE}
_NAMED: Final = {"bu3dfe": FACES, "bu-3dfe": FACES}
"""A data set by the name of its folder alone."""

_IN_ITS_FORM: Final = {
    WASHINGTON: "views in the form of Washington RGB-D",
    FACES: "views called BU-3DFE",
}
"""What views are called that have not as many classes as the data set."""

_TOLD: Final = (
    *("source", "path", "fold_by"),
    *("rgb_network", "rgb_weights", "frozen", "depth_network", "depth_weights"),
)
"""Settings of the data that groups are told by, in words of their own."""


@dataclass(frozen=True)
class Group:
    """Trials that differ in variant, fold and seed alone.

    Attributes:
        data: the data set.
        network: that reads the colours.
        fold_by: random or instance.
        rest: what else tells the group from others, but how folds were drawn.
        words: all of it.
        printed: variant -> the paper's accuracy, a share; empty where it has none.
        trials: finished, with a column ``variant``.
    """

    data: str
    network: str
    fold_by: str
    rest: str
    words: str
    printed: Mapping[str, float]
    trials: pd.DataFrame


def variant(row: Mapping[str, Any]) -> str | None:
    """The variant that a trial is of; None where anything couples its streams before their ends."""
    if any(json.loads(row["placement"]).values()):
        return None
    if row["streams"]:
        return _ALONE.get(row["streams"])
    return _ENDS.get(row["end"] or "")


def gate_of(row: Mapping[str, Any]) -> str | None:
    """The gate that a trial's streams end in, whatever couples them before; None without one."""
    found = None if row["streams"] else _ENDS.get(row["end"] or "")
    return found if found in GATES else None


def groups(search: Search, trials: pd.DataFrame) -> list[Group]:
    """The finished trials of the paper's variants, by what else they differ in.

    Args:
        search: of the RGB-D task.
        trials: its finished ones.

    Raises:
        AnalysisError: it is of another task, was measured on validation examples, or has no
            variant.
    """
    description = search.description
    if description.task != TASK:
        raise AnalysisError(
            f"search {search.name} is of task {description.task}; `draw rgbd` takes those of {TASK}"
        )
    check_tested(search, trials, TASK)
    found = pd.Series(list(map(variant, rows_of(trials))), trials.index, dtype=object)
    trials = trials.assign(variant=found)[found.notna()]
    if trials.empty:
        raise AnalysisError(
            f"search {search.name} has no finished trial of a variant of the paper "
            f"({', '.join(VARIANTS)}, with nothing between their levels)"
        )
    trials = trials.assign(rest=[settings_besides(text, _TOLD) for text in trials[VARIED_SETTINGS]])
    made = []
    for condition in train_conditions(trials, description):
        at = at_train(trials, condition, description)
        clean = all(one == ORIGINAL for one in condition)
        told = "" if clean else f"trained at {train_label(condition, description)}"
        for _, part in at.groupby([*_TOLD, "folds", "rest"], sort=False, dropna=False):
            made.append(_group(part, told, description.classes))
    words = distinct([one.words for one in made])
    return [replace(one, words=own) for one, own in zip(made, words, strict=True)]


def told_apart(made: Sequence[Group]) -> tuple[str, dict[str, str]]:
    """What all groups have in common, in words, and by the words of each what tells it from others.

    Of one group, all of it is in common; of several, each has words of its own.
    """
    parts = [one.words.split(", ") for one in made]
    common = [part for part in parts[0] if all(part in own for own in parts)]
    if len(parts) > 1 and any(set(own) <= set(common) for own in parts):
        common.pop()
    own = [", ".join(part for part in one if part not in common) for one in parts]
    return ", ".join(common), {one.words: its for one, its in zip(made, own, strict=True)}


def _group(trials: pd.DataFrame, told: str, classes: int) -> Group:
    row = rows_of(trials.head(1))[0]
    data, network = _data_set(row), str(row["rgb_network"])
    if CLASSES.get(data, classes) != classes:
        data = f"{_IN_ITS_FORM[data]} ({count_label(classes, 'class', 'classes')})"
    frozen = " frozen" if row["frozen"] else ""
    depth = "" if row["depth_network"] == SCRATCH else f", depth by {row['depth_network']}"
    own = "a small network" if network == SCRATCH else f"{network}{frozen}"
    rest = ", ".join(filter(None, [f"RGB by {own}{depth}", varied_words(row["rest"]), told]))
    made, ran = int(row["folds"]), trials["fold"].nunique()
    folds = f"{ran} of {made}" if ran < made else str(made)
    folds += f" {_FOLDS_WORDS.get(row['fold_by'], row['fold_by'])}"
    printed = {} if told else _printed(data, row)
    return Group(
        data, network, str(row["fold_by"]), rest, f"{data}, {folds}, {rest}", printed, trials
    )


def _data_set(row: Mapping[str, Any]) -> str:
    if row["source"] == "standin":
        return STAND_IN
    if row["source"] == "washington":
        return WASHINGTON
    path = str(row["path"] or "rgbd")
    return _NAMED.get(path.rpartition("/")[2].lower(), f"views in {path}/")


def _printed(data: str, row: Mapping[str, Any]) -> dict[str, float]:
    """What the paper has beside a group: its folds were drawn at random."""
    if row["fold_by"] != RANDOM:
        return {}
    folds = int(row["folds"])
    fused = row["depth_network"] == SCRATCH
    found = dict(PRINTED.get((data, folds, str(row["rgb_network"])), {}) if fused else {})
    depth = PRINTED_DEPTH.get((data, folds, str(row["depth_network"])))
    if depth is not None:
        found[DEPTH_ALONE] = depth
    return {name: accuracy / 100 for name, accuracy in found.items()}
