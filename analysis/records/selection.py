"""The trials of one search: which are finished, which failed and why, which are missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import pandas as pd

from fusion_search.analysis.records.plain_data import (
    LARGEST_PLAN,
    parse_yaml,
    read_content,
    read_json,
    shown,
)
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import (
    CANDIDATES_FILE,
    CONFIRMATION_SUFFIX,
    FAILED,
    FINISHED,
    PLANNED_FILE,
    SPECIFICATION_FILE,
    OnDamage,
    read_table,
    recorded_trials,
)

TrainPair: TypeAlias = tuple[float, float]  # audio SNR, visual SNR

_PLANNED_COLUMNS: Final = [
    "trial_id",
    "trial_name",
    "modality",
    "fusion_depth",
    "train_audio_snr",
    "train_visual_snr",
    "seed",
]


class AnalysisError(ValueError):
    """What was asked for cannot be drawn; the message is one sentence for the user."""


@dataclass(frozen=True)
class Search:
    """The trials of one search.

    Attributes:
        name: the search.
        storage: its folder.
        trials: the ``trials`` table, one row per trial that ended, only trials of the plan.
        planned: one row per planned trial (its name and what identifies it); the recorded trials
            when the search has no list of planned trials.
        notes: sentences about what was left out or assumed while reading.
        damaged: trial id -> a sentence on its record, which cannot be read.
        on_damage: told of each record that cannot be read, while the others are.
    """

    name: str
    storage: Storage
    trials: pd.DataFrame
    planned: pd.DataFrame
    notes: tuple[str, ...] = ()
    damaged: Mapping[str, str] = field(default_factory=dict)
    on_damage: OnDamage | None = None

    @property
    def finished(self) -> pd.DataFrame:
        """The rows of ``trials`` that have results."""
        return self.trials[self.trials["status"] == FINISHED]

    def narrow(self, modalities: Sequence[str], depths: Sequence[int] | None = None) -> Search:
        """The same search with only the trials of these modalities and fusion depths."""

        def chosen(table: pd.DataFrame) -> pd.Series:
            wanted = table["modality"].isin(list(modalities))
            return wanted if depths is None else wanted & table["fusion_depth"].isin(list(depths))

        return self._keep(chosen)

    def only(self, trial_ids: Collection[str]) -> Search:
        """The same search with only these trials."""
        return self._keep(lambda table: table["trial_id"].isin(list(trial_ids)))

    def _keep(self, chosen: Callable[[pd.DataFrame], pd.Series]) -> Search:
        return Search(
            self.name,
            self.storage,
            self.trials[chosen(self.trials)],
            self.planned[chosen(self.planned)],
            notes=self.notes,
            damaged=self.damaged,
            on_damage=self.on_damage,
        )

    def read_grid(self) -> pd.DataFrame:
        """The ``grid`` table of the finished trials, each row with its trial's identity.

        Raises:
            AnalysisError: a grid file is missing or damaged.
        """
        identity = self.finished[_PLANNED_COLUMNS]
        try:
            grid = read_table(self.storage, "grid", list(identity["trial_id"]), self.on_damage)
        except (ValueError, FileNotFoundError) as error:
            raise AnalysisError(str(error)) from error
        if grid.empty and len(identity):
            raise AnalysisError(f"no grid of search {self.name} can be read")
        return grid.merge(identity, on="trial_id")

    @property
    def unreadable(self) -> pd.DataFrame:
        """The rows of ``planned`` whose record cannot be read."""
        return self.planned[self.planned["trial_id"].isin(list(self.damaged))]

    @property
    def waiting(self) -> pd.DataFrame:
        """The rows of ``planned`` that have no record."""
        ended = {*self.trials["trial_id"], *self.damaged}
        return self.planned[~self.planned["trial_id"].isin(list(ended))]

    def gaps(self) -> list[str]:
        """One sentence each for the planned trials without a record and with one that is damaged.

        And one per failed trial.
        """
        lines = []
        for what, trials in (("not run yet", self.waiting), ("unreadable", self.unreadable)):
            if len(trials):
                names = ", ".join(trials["trial_name"])
                count = f"{len(trials)} of {len(self.planned)} planned trials"
                lines.append(f"missing, {what}: {count}: {names}")
        failed = self.trials[self.trials["status"] == FAILED]
        for name, reason in zip(failed["trial_name"], failed["reason"], strict=True):
            lines.append(f"failed: {name}: {reason or 'no reason was recorded'}")
        return lines


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
    planned = _read_planned(folder) if folder.exists(PLANNED_FILE) else None
    recorded = recorded_trials(folder)
    own = recorded if planned is None else recorded & set(planned["trial_id"])
    damaged: dict[str, str] = {}

    def tell(trial_id: str, damage: str) -> None:
        damaged[trial_id] = damage
        if on_damage is not None:
            on_damage(trial_id, damage)

    try:
        trials = read_table(folder, "trials", sorted(own), tell if on_damage else None)
    except ValueError as error:
        raise AnalysisError(str(error)) from error
    notes = []
    if recorded != own:
        left_out = ", ".join(f"{one}.parquet" for one in sorted(recorded - own))
        notes.append(f"left out, recorded but not in {PLANNED_FILE}: {left_out}")
    if planned is None:
        planned = trials[_PLANNED_COLUMNS]
    return Search(name, folder, trials, planned, tuple(notes), damaged, on_damage)


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
        raise AnalysisError(str(error)) from error
    if not isinstance(raw, dict):
        raise AnalysisError(f"{where} is damaged: it is not a mapping")
    return raw


def train_pairs(trials: pd.DataFrame) -> list[TrainPair]:
    """The distinct train pairs (audio SNR, visual SNR), descending."""
    pairs = trials[["train_audio_snr", "train_visual_snr"]].drop_duplicates()
    return sorted(((float(a), float(v)) for a, v in pairs.to_numpy()), reverse=True)


def at_train_pair(table: pd.DataFrame, train_pair: TrainPair) -> pd.DataFrame:
    """The rows of one train pair."""
    audio, visual = train_pair
    return table[(table["train_audio_snr"] == audio) & (table["train_visual_snr"] == visual)]


def condition_columns(table: pd.DataFrame) -> list[str]:
    """The columns that hold the test condition: of a map, the rows' axis and the columns'."""
    return [
        name
        for name in map(str, table.columns)
        if name.startswith("test_") and name.endswith("_snr")
    ]


def depth_name(depth: int, levels: int) -> str:
    """Where the streams meet, in the paper's words where it has some."""
    if depth == 0:
        return "initial-layer fusion"
    if depth == levels:
        return "fully-connected fusion"
    return "second-layer fusion" if depth == 1 else f"fusion depth {depth}"


def snr_label(snr: float) -> str:
    """``Orig.`` for infinity (no noise), else the plain number."""
    return "Orig." if math.isinf(snr) else f"{snr:g}"


def pair_label(train_pair: TrainPair) -> str:
    """A train pair (audio SNR, visual SNR) in words."""
    return f"audio {snr_label(train_pair[0])}, visual {snr_label(train_pair[1])}"


def count_label(count: int, noun: str) -> str:
    """A number with its noun, in the plural where it belongs."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _read_planned(folder: Storage) -> pd.DataFrame:
    where = folder.named(PLANNED_FILE)
    try:
        rows = read_json(folder, PLANNED_FILE, LARGEST_PLAN)
        planned = pd.DataFrame(rows, columns=_PLANNED_COLUMNS)
        for column in ("train_audio_snr", "train_visual_snr"):
            planned[column] = planned[column].replace("original", math.inf).astype(float)
    except (ValueError, TypeError) as error:
        raise AnalysisError(
            f"{where} is damaged ({error}); resume the search to write it again"
        ) from error
    return planned
