"""Parts of samples: what one worker runs of a sample, one trial after another.

A scheduler that follows a sample through its trials wants it whole. Where there is none each fold
is a part, and all parts of a sample may run beside each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fusion_search.analysis.records.tables import FINISHED
from fusion_search.search.declaration.specification import SchedulerSettings
from fusion_search.search.spaces.parameters import Sample
from fusion_search.search.trials.specification import TrialSpecification


def folds_apart(scheduler: SchedulerSettings) -> bool:
    """Whether the folds of a sample may run beside each other: no scheduler wants it whole."""
    return scheduler.name == "none"


def parts_of(
    trials: Sequence[TrialSpecification], *, apart: bool
) -> list[tuple[TrialSpecification, ...]]:
    """The trials of a sample, fold by fold, cut into its parts."""
    folds = itertools.groupby(trials, lambda one: one.fold if apart else 0)
    return [tuple(own) for _, own in folds]


@dataclass(frozen=True)
class Proposal:
    """A sample under way, or a part of one: its trials run one after another."""

    number: int
    sample: Sample
    trials: tuple[TrialSpecification, ...]


@dataclass
class _UnderWay:
    whole: Proposal
    parts: int  # that run or wait
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # by trial id
    spoilt: bool = False


class Parts:
    """Hands out the parts of samples in order, and puts together what became of them.

    Args:
        apart: whether each fold is a part; else a sample is one.
    """

    def __init__(self, *, apart: bool) -> None:
        self._apart = apart
        self._waiting: list[Proposal] = []
        self._under_way: dict[int, _UnderWay] = {}

    def begin(self, proposal: Proposal) -> None:
        """Have the parts of a sample wait behind those that do."""
        parts = [
            replace(proposal, trials=one) for one in parts_of(proposal.trials, apart=self._apart)
        ]
        self._waiting += parts
        self._under_way[proposal.number] = _UnderWay(proposal, len(parts))

    def next(self) -> Proposal | None:
        """The part that has waited longest; None when none does."""
        return self._waiting.pop(0) if self._waiting else None

    def wanted(self, number: int) -> bool:
        """Whether a sample's trials are run on: none that has ended was spoilt."""
        return number not in self._under_way or not self._under_way[number].spoilt

    def ended(
        self, number: int, rows: Sequence[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]] | None:
        """A part is over, of whose trials these rows are there.

        When one failed or was stopped, or none is there, what of the sample waits is left out.

        Returns:
            The rows of all parts in the order of the trials; None while others run or wait.
        """
        own = self._under_way[number]
        own.parts -= 1
        own.rows |= {row["trial_id"]: row for row in rows}
        if not rows or any(row["status"] != FINISHED for row in rows):
            own.spoilt = True
            left = [one for one in self._waiting if one.number != number]
            own.parts -= len(self._waiting) - len(left)
            self._waiting = left
        if own.parts:
            return None
        del self._under_way[number]
        return [own.rows[one.trial_id] for one in own.whole.trials if one.trial_id in own.rows]
