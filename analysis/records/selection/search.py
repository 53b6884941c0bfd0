"""The trials of one search: which are finished, which failed and why, which are missing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pandas as pd

from fusion_search.analysis.records.advice import command, go_on_command, read_options
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.selection.grids import whole_grids
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import (
    FAILED,
    FINISHED,
    OnDamage,
    read_table,
)
from fusion_search.analysis.records.words.counts import count_label
from fusion_search.analysis.records.words.names import few_of, shared_parts, without_common
from fusion_search.analysis.records.words.networks import DEPTH

VARIED_SETTINGS: Final = "varied_settings"
"""Column: JSON of the other settings in which a search's trials differ; networks differ in them."""

VARIED_SEEDS: Final = "varied_seeds"
"""Likewise of those that are called like seeds, such as split_seed: repetitions differ in them."""

DROPPED_AFTER: Final = "dropped_after"
"""Column: in how many folds a sample's trials ran when fold rungs dropped it; missing elsewhere."""


class AnalysisError(ValueError):
    """What was asked for cannot be drawn; the message is one sentence for the user."""


@dataclass(frozen=True)
class Search:
    """The trials of one search.

    Attributes:
        name: the search.
        storage: its folder.
        description: what it is of.
        trials: the ``trials`` table, one row per trial that ended, only trials of the plan. Its
            ``streams`` are one text, "ecg+heat", empty for all; its ``train_<axis>`` are SNRs, or
            in words what every example's is drawn from; ``VARIED_SETTINGS`` and ``VARIED_SEEDS``
            say what else its trials differ in.
        planned: one row per planned trial (its name and what identifies it); the recorded trials
            when the search has no list of planned trials.
        notes: sentences about what was left out or assumed while reading.
        damaged: trial id -> a sentence on its record, which cannot be read.
        on_damage: told of each record that cannot be read, while the others are.
        dropped: planned trial -> in how many folds its sample ran when fold rungs dropped it; in
            ``trials`` the column ``DROPPED_AFTER``.
    """

    name: str
    storage: Storage
    description: TaskDescription
    trials: pd.DataFrame
    planned: pd.DataFrame
    notes: tuple[str, ...] = ()
    damaged: Mapping[str, str] = field(default_factory=dict)
    on_damage: OnDamage | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def finished(self) -> pd.DataFrame:
        """The rows of ``trials`` that have results."""
        return self.trials[self.trials["status"] == FINISHED]

    def whole(self, depths: Sequence[int] | None = None) -> Search:
        """The same search with only the networks of all streams, and of these fusion depths.

        Raises:
            AnalysisError: depths are wanted, and its networks have none.
        """
        if depths is not None and DEPTH not in self.description.layout_fields:
            raise AnalysisError(f"networks of {self.description.task} have no fusion depth")

        def chosen(table: pd.DataFrame) -> pd.Series:
            wanted = table["streams"] == ""
            return wanted if depths is None else wanted & table[DEPTH].isin(list(depths))

        return self._keep(chosen)

    def parts(self) -> Search:
        """The same search with only the networks of some of the streams."""
        return self._keep(lambda table: table["streams"] != "")

    def only(self, trial_ids: Collection[str]) -> Search:
        """The same search with only these trials."""
        return self._keep(lambda table: table["trial_id"].isin(list(trial_ids)))

    def _keep(self, chosen: Callable[[pd.DataFrame], pd.Series]) -> Search:
        return Search(
            self.name,
            self.storage,
            self.description,
            self.trials[chosen(self.trials)],
            self.planned[chosen(self.planned)],
            notes=self.notes,
            damaged=self.damaged,
            on_damage=self.on_damage,
            dropped=self.dropped,
        )

    def read_grids(
        self, trial_ids: list[str] | None = None, on_damage: OnDamage | None = None
    ) -> pd.DataFrame:
        """The ``grid`` table; without trials that lack conditions, as :func:`whole_grids` says.

        Args:
            trial_ids: the trials wanted; all that have a grid by default.
            on_damage: told of each grid that is left out; by default whoever is told of the others.

        Raises:
            RecordError: a grid is damaged, lacks conditions or was asked for and is missing, and
                nobody is told.
        """
        told = on_damage or self.on_damage
        grid = read_table(self.storage, "grid", trial_ids, told, self.description)
        return whole_grids(grid, self.trials, self.storage, self.description, told)

    def read_grid(self) -> pd.DataFrame:
        """The ``grid`` table of the finished trials, each row with its trial's identity.

        Raises:
            AnalysisError: a grid file is missing or damaged.
        """
        identity = self.finished[identity_columns(self.description)]
        try:
            grid = self.read_grids(list(identity["trial_id"]))
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
        """The rows of ``planned`` that have no record, but those of dropped samples."""
        ended = {*self.trials["trial_id"], *self.damaged, *self.dropped}
        return self.planned[~self.planned["trial_id"].isin(list(ended))]

    def to_finish(self) -> str:
        """What has its trials finish, for a sentence that misses them."""
        storage, failed = self.storage.parent.location, (self.trials["status"] == FAILED).any()
        verb = "resume" if len(self.waiting) else "retry" if failed else ""
        look = f"`{command('status', self.name, storage=storage)}` says what became of its trials"
        if not verb:
            return look
        options = read_options(self.storage)
        again = go_on_command(verb, self.name, self.description.task, storage, options)
        return f"{look}; where no process runs them, `{again}` does"

    def gaps(self) -> list[str]:
        """One sentence each for the planned trials without a record and with one that is damaged.

        And one per failed trial.
        """
        lines = []
        common = shared_parts(list(self.planned["trial_name"]))
        for what, trials in (("not run yet", self.waiting), ("unreadable", self.unreadable)):
            if len(trials):
                names = few_of([without_common(one, common) for one in trials["trial_name"]])
                count = f"{len(trials)} of {count_label(len(self.planned), 'planned trial')}"
                lines.append(f"missing, {what}: {count}: {names}")
        failed = self.trials[self.trials["status"] == FAILED]
        for name, reason in zip(failed["trial_name"], failed["reason"], strict=True):
            lines.append(f"failed: {name}: {reason or 'no reason was recorded'}")
        return lines


def identity_columns(description: TaskDescription) -> list[str]:
    """What a planned trial is told by: its names, its network, train condition, fold and seed."""
    return [
        *("trial_id", "trial_name", *network_columns(description)),
        *(*description.train_columns, "fold", VARIED_SEEDS, "seed"),
    ]


def network_columns(description: TaskDescription) -> list[str]:
    """What the networks of a sweep differ in."""
    layout = description.layout_fields
    return ["streams", *layout, "placement", "placement_options", "end", VARIED_SETTINGS]
