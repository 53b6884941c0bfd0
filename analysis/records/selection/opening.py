"""A search's trials, read from its folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.records.columns import condition_value
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.plain_data import (
    LARGEST_PLAN,
    parse_yaml,
    read_content,
    read_json,
)
from fusion_search.analysis.records.secrets import shown
from fusion_search.analysis.records.selection.search import (
    DROPPED_AFTER,
    VARIED_SEEDS,
    VARIED_SETTINGS,
    AnalysisError,
    Search,
    identity_columns,
)
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import (
    CANDIDATES_FILE,
    CONFIRMATION_SUFFIX,
    DECISIONS,
    PLANNED_FILE,
    PLANNED_REMEDY,
    SPECIFICATION_FILE,
    SPECIFICATION_REMEDY,
    OnDamage,
    described,
    read_table,
    recorded_trials,
)

_SEED: Final = "_seed"
_FOLD: Final = "fold"  # among the names of what a search varies
_GROUPS: Final = ("network", "data", "training", "evaluation")  # of a trial's specification


def search_names(storage: Storage) -> list[str]:
    """Names of the searches in a storage folder."""
    marks = (SPECIFICATION_FILE, PLANNED_FILE, "trials")
    return [name for name in storage.names() if any(storage.is_there(name, mark) for mark in marks)]


def no_such_search(name: str, location: str, there: Sequence[str]) -> str:
    """The sentence for a name that is none of the searches ``there``."""
    known = ", ".join(there) or "none"
    return f"there is no search {shown(name)} in {location}; searches there: {known}"


def open_search(storage: Storage, name: str, on_damage: OnDamage | None = None) -> Search:
    """Read what is known of a search.

    Args:
        storage: the folder of all searches.
        name: the search.
        on_damage: told of each record that cannot be read, while the others are.

    Raises:
        AnalysisError: there is no such search, or its files are damaged.
    """
    names = search_names(storage)
    if name not in names:
        raise AnalysisError(no_such_search(name, storage.location, names))
    folder = storage.below(name)
    try:
        description = described(folder)
    except ValueError as error:
        raise AnalysisError(str(error)) from error
    planned, dropped = None, dict[str, int]()
    if folder.exists(PLANNED_FILE):
        planned, dropped = _read_planned(folder, description)
    recorded = recorded_trials(folder)
    own = recorded if planned is None else recorded & set(planned["trial_id"])
    damaged: dict[str, str] = {}

    def tell(trial_id: str, damage: str) -> None:
        damaged[trial_id] = damage
        if on_damage is not None:
            on_damage(trial_id, damage)

    try:
        told = tell if on_damage else None
        trials = _typed(read_table(folder, "trials", sorted(own), told, description), description)
        trials, planned = _with_varied(trials, planned, description)
        trials = trials.assign(**{DROPPED_AFTER: trials["trial_id"].map(dropped)})
    except ValueError as error:
        raise AnalysisError(str(error)) from error
    notes = []
    if recorded != own:
        left_out = ", ".join(f"{one}.parquet" for one in sorted(recorded - own))
        notes.append(f"left out, recorded but not in {PLANNED_FILE}: {left_out}")
    return Search(
        name, folder, description, trials, planned, tuple(notes), damaged, on_damage, dropped
    )


def confirmed_by(search: Search) -> str | None:
    """The search that this one confirms; None when it is declared by a configuration."""
    confirmed = search.name.removesuffix(CONFIRMATION_SUFFIX)
    confirms = confirmed != search.name and search.storage.exists(CANDIDATES_FILE)
    return confirmed if confirms else None


def read_specification(search: Search) -> dict[str, Any]:
    """A search's ``specification.yaml`` as plain data.

    Raises:
        AnalysisError: it is missing or damaged.
    """
    where = search.storage.named(SPECIFICATION_FILE)
    try:
        raw = parse_yaml(read_content(search.storage, SPECIFICATION_FILE), where)
    except FileNotFoundError as error:
        verb = "confirm" if confirmed_by(search) else "launch"
        raise AnalysisError(f"{where} is missing; {verb} the search to write it") from error
    except ValueError as error:
        raise AnalysisError(f"{error}; {SPECIFICATION_REMEDY}") from error
    if not isinstance(raw, dict):
        raise AnalysisError(f"{where} is damaged (it is not a mapping); {SPECIFICATION_REMEDY}")
    return raw


def _read_planned(
    folder: Storage, description: TaskDescription
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The planned trials, and those of them whose sample was dropped."""
    columns = [
        *("trial_id", "trial_name", "streams", *description.layout_fields),
        *("placement", "placement_options", "end", "settings", "train", "fold", "seed"),
    ]

    def parse(plan: Any) -> tuple[pd.DataFrame, dict[str, int]]:
        listed = plan["trials"]
        # A version that knew no options, or named no settings, says none.
        rows = [{"placement_options": None, "settings": {}, **row} for row in listed]
        if not all(isinstance(row["settings"], dict) for row in rows):
            raise TypeError("settings of a trial are no mapping")
        values = [[row[name] for name in columns] for row in rows]
        planned = pd.DataFrame(values, columns=columns)
        for name in description.layout_fields:
            planned[name] = planned[name].map(_as_in_trials)
        return _typed(planned, description), _dropped(plan)

    try:
        return read_json(folder, PLANNED_FILE, PLANNED_REMEDY, parse, LARGEST_PLAN)
    except ValueError as error:
        raise AnalysisError(str(error)) from error


def _as_in_trials(value: Any) -> Any:
    """A setting as a column of ``trials`` has it: what is no single value is JSON there."""
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value


def _dropped(plan: Mapping[str, Any]) -> dict[str, int]:
    made = plan.get(DECISIONS, ())
    return of_dropped_samples(
        plan["trials"], [(one["sample"], int(one["folds"])) for one in made if not one["kept"]]
    )


def of_dropped_samples(
    planned: Iterable[Mapping[str, Any]], dropped: Iterable[tuple[Mapping[str, Any], int]]
) -> dict[str, int]:
    """Planned trials of dropped samples: id -> in how many folds they ran.

    Args:
        planned: rows of the plan.
        dropped: samples, and in how many folds each ran.
    """
    folds = {json.dumps(sample): number for sample, number in dropped}
    own = {row["trial_id"]: json.dumps(row.get("sample")) for row in planned}
    return {trial_id: folds[sample] for trial_id, sample in own.items() if sample in folds}


def _with_varied(
    trials: pd.DataFrame, planned: pd.DataFrame | None, description: TaskDescription
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables with what else the search's trials differ in; the second as identities alone."""
    if planned is None:
        told = [_varied_of(one, description) for one in trials["specification"]]
        planned = trials.assign(settings=pd.Series(told, trials.index, dtype=object))
    names = dict.fromkeys(name for one in planned["settings"] for name in one)
    values = {
        name: [json.dumps(one.get(name), sort_keys=True) for one in planned["settings"]]
        for name in names
    }
    differ = [name for name, several in values.items() if len(set(several)) > 1]
    ids = planned["trial_id"].to_list()
    for column, is_seed in ((VARIED_SETTINGS, False), (VARIED_SEEDS, True)):
        own = [name for name in differ if name.endswith(_SEED) == is_seed]
        texts = [
            json.dumps({name: one[name] for name in own if name in one})
            for one in planned["settings"]
        ]
        by_trial = dict(zip(ids, texts, strict=True))
        planned = planned.assign(**{column: texts})
        trials = trials.assign(**{column: trials["trial_id"].map(by_trial)})
    return trials, planned[identity_columns(description)]


def _varied_of(specification: Any, description: TaskDescription) -> dict[str, Any]:
    """The settings that a trial's JSON says its search varies, but those of its layout."""
    try:
        plain = json.loads(specification)
        values = {name: one for group in _GROUPS for name, one in plain[group].items()}
        names = [one for one in plain["varied"] if one not in (*description.layout_fields, _FOLD)]
        return {name: values[name] for name in names}
    except (ValueError, TypeError, LookupError, AttributeError):
        return {}  # a record without one, or damaged: its trial is told by its other columns


def _typed(table: pd.DataFrame, description: TaskDescription) -> pd.DataFrame:
    """With streams as one text, and train conditions that can be compared."""
    every = description.streams
    streams = ["+".join(sorted(one, key=every.index)) for one in table["streams"]]
    known = ["" if one == "+".join(every) else one for one in streams]
    train = [json.loads(text) for text in table["train"]]
    conditions = {
        axis.train_column: [condition_value(one.get(axis.name, "original")) for one in train]
        for axis in description.axes
    }
    # None in records of a version that knew no options.
    told = table["placement_options"].fillna("{}")
    columns = {"streams": known, "placement_options": told, **conditions}
    return table.assign(**{name: pd.Series(one, table.index) for name, one in columns.items()})
