"""Which trials of XFlow's records are which variant, on which data, of which of its networks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.conditions import at_train, train_conditions, train_label
from fusion_search.analysis.folds.runs import check_tested, distinct, settings_besides
from fusion_search.analysis.records.description import ORIGINAL
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import VARIED_SETTINGS, AnalysisError, Search
from fusion_search.analysis.records.words.networks import varied_words
from fusion_search.analysis.xflow.paper import (
    BASELINE,
    BOTH,
    CROSS,
    FORMS,
    PRINTED,
    RESIDUAL,
    WIDENED,
    Printed,
)
from fusion_search.datasets.clips import avletters

TASK: Final = "xflow"
STAND_IN: Final = "the talking stand-in"
INCOMPLETE: Final = f"clips in {avletters.NAME}' form, which are not the complete {avletters.NAME}"
BY_NAME: Final = "known by its folder's name alone"

_NAMED: Final = {"cuave": "CUAVE", "digits": "Digits"}
"""Data sets that no fingerprint is known of, by their folder's name; of ten classes."""

_SOURCES: Final = {"builtin": STAND_IN, "avletters": INCOMPLETE}

_KINDS: Final = {"cross": CROSS, "residual": RESIDUAL, "both": BOTH}
_SITES: Final = ("level1", "level2")
_DIRECTIONS: Final = ("image>audio", "audio>image")
_TOLD: Final = ("widened", "form", "source", "folder", "protocol")  # in words of their own


@dataclass(frozen=True)
class Group:
    """Trials that differ in variant, fold and seed alone.

    Attributes:
        data: the data set, as the paper calls it where it has it.
        network: as the paper calls it.
        words: both, and whatever else tells this group of a search from others.
        printed: what the paper has of it; None where nothing.
        trials: finished, with a column ``variant``.
    """

    data: str
    network: str
    words: str
    printed: Printed | None
    trials: pd.DataFrame


def variant(row: Mapping[str, Any]) -> str | None:
    """The variant that a trial is of; None of any other placement."""
    placement = json.loads(row["placement"])
    if json.loads(row["placement_options"]):
        return None
    placed = {placement.get(site, {}).get(one) for site in _SITES for one in _DIRECTIONS}
    if not any(placement.values()):
        return WIDENED if row["widened"] else BASELINE
    (kind, *others) = placed
    whole = {site: len(found) for site, found in placement.items()} == dict.fromkeys(_SITES, 2)
    return None if others or not whole or row["widened"] else _KINDS.get(str(kind))


def groups(search: Search, trials: pd.DataFrame) -> list[Group]:
    """The finished trials of the paper's variants, by what else they differ in.

    Args:
        search: it is of XFlow.
        trials: its finished ones.

    Raises:
        AnalysisError: it is of another task, was measured on validation persons, has no variant, or
            does not say what its trials are of.
    """
    description = search.description
    if description.task != TASK:
        raise AnalysisError(
            f"search {search.name} is of {description.task}; the paper's tables are of {TASK}; "
            "`draw folds` is for any task"
        )
    check_tested(search, trials, "xflow")
    trials = trials[trials["streams"] == ""]
    unknown = [name for name in _TOLD if name not in trials or trials[name].isna().any()]
    if unknown:
        raise AnalysisError(
            f"records of search {search.name} do not say {', '.join(unknown)} of every trial, so "
            "that it cannot be told which variant and data these are of; `draw folds` "
            "does without"
        )
    trials = trials.assign(
        variant=pd.Series(list(map(variant, rows_of(trials))), trials.index, dtype=object)
    )
    trials = trials[trials["variant"].notna()]
    if trials.empty:
        raise AnalysisError(
            f"search {search.name} has no finished trial of a variant of the paper: no "
            "connections, or at both levels and in both directions cross, residual or both"
        )
    trials = trials.assign(
        rest=[settings_besides(text, _TOLD) for text in trials[VARIED_SETTINGS]],
        data_set=[data_set(row, description.classes) for row in rows_of(trials)],
    )
    keys = ["form", "source", "folder", "protocol", "rest", "data_set"]
    found = []
    for condition in train_conditions(trials, description):
        at = at_train(trials, condition, description)
        own: list[tuple[Any, pd.DataFrame]] = list(at.groupby(keys, sort=False))
        for (form, _, _, protocol, rest, data), part in own:
            clean = all(one == ORIGINAL for one in condition)
            told = "" if clean else f"trained at {train_label(condition, description)}"
            found.append(
                Group(
                    data,
                    FORMS.get(form, form),
                    _words(data, form, protocol, rest, told),
                    PRINTED.get((data, form, protocol)) if clean else None,
                    part,
                )
            )
    words = distinct([one.words for one in found])
    return [replace(one, words=own) for one, own in zip(found, words, strict=True)]


def data_set(row: Mapping[str, Any], classes: int | None) -> str:
    """What a trial's clips are, as the paper calls it where that is known.

    AVletters are known by the fingerprint of all of them, by whatever reader they came.
    """
    if row.get("data_fingerprint") == avletters.FINGERPRINT:
        return avletters.NAME
    if row["source"] in _SOURCES:
        return _SOURCES[row["source"]]
    named = _NAMED.get(row["folder"].lower()) if classes == 10 else None
    return named or f"clips in {row['folder']}/"


def _words(data: str, form: str, protocol: str, rest: str, at: str) -> str:
    hold_out = "" if protocol == "folds" else f"hold-out by {protocol}"
    by_name = f" ({BY_NAME})" if data in _NAMED.values() else ""
    what = f"{FORMS.get(form, form)} on {data}{by_name}"
    return ", ".join(filter(None, (what, hold_out, varied_words(rest), at)))
