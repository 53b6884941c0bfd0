"""Which sample of a search is the best, as its trials end."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import pandas as pd

from fusion_search.analysis.records.advice import confirmed_search
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.samples import Objective, rows_of
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.tables import FINISHED
from fusion_search.analysis.records.words.data import data_kind
from fusion_search.analysis.records.words.names import column_words, shared_parts
from fusion_search.analysis.records.words.networks import value_words

_WITHIN_SAMPLE: Final = ("seed", "fold", "train", "varied")  # of a trial's specification
_OF_ONE_TRIAL: Final = ("trial_id", "trial_name", "seed", "fold", "train")  # of a planned trial


def planned_trials(planned: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Of every trial of a plan, how many trials its sample has; none of a plan that tells no more.

    Args:
        planned: its rows.
    """
    keys = {
        row["trial_id"]: json.dumps(
            row.get("sample") or {name: row[name] for name in row if name not in _OF_ONE_TRIAL},
            sort_keys=True,
        )
        for row in planned
        if "settings" in row
    }
    counts = Counter(keys.values())
    return {trial_id: counts[key] for trial_id, key in keys.items()}


def has_best(name: str, storage: str) -> bool:
    """Whether a search has a best: not a confirmation.

    It compares what was chosen before, on test examples, and says so in a sentence of its own.

    Args:
        name, storage: of the search, and the folder of all.
    """
    return confirmed_search(name, storage) is None


class BestSample:
    """The best sample of trials that end one after another; the one rule for who is best.

    A sample's trials differ in seed, fold and train condition alone, or are those of one proposal.
    It is judged by their mean, and counts once as many have finished, and none otherwise ended, as
    of any sample: a single lucky trial is not the best. Of equal samples the first that ended is.

    Args:
        objective: what is judged.
        rows: of ``trials``, that have ended before.
        planned: as :func:`planned_trials` gives it; a sample of which trials are left is so called.
    """

    def __init__(
        self,
        objective: Objective,
        rows: Iterable[Mapping[str, Any]] = (),
        planned: Mapping[str, int] | None = None,
    ) -> None:
        self.objective = objective
        self._planned = planned or {}
        self._kinds: dict[str, BestSample] = {}
        self._samples: dict[str, dict[str, _Ended]] = {}
        self._most, self._best = 0, ""
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a trial in that has ended, from its row of ``trials``."""
        key = _sample_key(row)
        self._add(key, row)
        if not isinstance(row.get("sample"), str):  # a searcher sets data against each other
            kind = data_kind(row.get("specification"))
            of_kind = self._kinds.setdefault(kind, BestSample(self.objective, (), self._planned))
            of_kind._add(key, row)

    def like(self, row: Mapping[str, Any]) -> BestSample:
        """The best of the samples that were trained on the data of one; of a search of all."""
        return self._kinds.get(data_kind(row.get("specification")), self)

    def kinds(self) -> dict[str, BestSample]:
        """The best of each kind of data in a sweep, which are not alike, by what tells it.

        Such as folds at random and by instance. One, called "", where all data are alike.
        """
        if len(self._kinds) < 2:
            return {"": self}
        every = [json.loads(kind) for kind in self._kinds]
        known = [one for one in every if one]
        names = {name: None for one in known for name in one}
        told = [name for name in names if len({json.dumps(one.get(name)) for one in known}) > 1]
        words = [
            ", ".join(
                f"{column_words(name)} {value_words(one[name])}" for name in told if name in one
            )
            or ("other data" if one else "data not recorded")
            for one in every
        ]
        return dict(zip(words, self._kinds.values(), strict=True))

    def _add(self, key: str, row: Mapping[str, Any]) -> None:
        own = self._samples.setdefault(key, {})
        value = self.objective.value(row) if row["status"] == FINISHED else math.nan
        own[row["trial_id"]] = _Ended(value, row["ended_at"], row["trial_name"])
        if len(own) > self._most or key == self._best:
            self._most = max(self._most, len(own))
            self._best = max(self._samples, key=self._rank)
        elif self._rank(key) > self._rank(self._best):
            self._best = key

    def _rank(self, key: str) -> tuple[float, float]:
        """The greater, the better."""
        trials = self._samples[key].values()
        mean = self._mean(key) * self.objective.sign
        if len(trials) < self._most or math.isnan(mean):
            mean = -math.inf
        return mean, -max(one.at.timestamp() for one in trials)

    def _mean(self, key: str) -> float:
        return statistics.fmean(one.value for one in self._samples[key].values())

    @property
    def trial_ids(self) -> list[str]:
        """Of the best sample, the best first; none where no sample is whole."""
        return self._ids(self._best) if self._samples and self._is_whole(self._best) else []

    def samples(self, count: int) -> list[list[str]]:
        """The trials of that many whole samples, the best first."""
        whole = sorted(filter(self._is_whole, self._samples), key=self._rank, reverse=True)
        return [self._ids(key) for key in whole[:count]]

    @property
    def not_whole(self) -> int:
        """How many samples are not judged, for they are not whole."""
        return len(self._samples) - sum(map(self._is_whole, self._samples))

    def _is_whole(self, key: str) -> bool:
        return self._rank(key)[0] > -math.inf

    def _ids(self, key: str) -> list[str]:
        own, sign = self._samples[key], self.objective.sign
        return sorted(own, key=lambda one: (-sign * own[one].value, one))

    @property
    def value(self) -> float:
        """The mean over the best sample's trials."""
        return self._mean(self._best)

    @property
    def name(self) -> str:
        """What the names of the best sample's trials share: of several no fold, none of seeds."""
        names = [self._samples[self._best][one].name for one in self.trial_ids]
        shared = shared_parts(names) or set(names[0].split(", "))
        return ", ".join(part for part in names[0].split(", ") if part in shared)

    @property
    def words(self) -> str:
        """By what it was chosen."""
        trials = len(self.trial_ids)
        planned = max(self._planned.get(one, 1) for one in self.trial_ids)
        mean = ""
        if trials < planned:
            over = f"the mean over {trials}" if trials > 1 else "of 1"
            mean = f", {over} of its {planned} trials"
        elif trials > 1:
            mean = f", the mean over its {trials} trials"
        return f"{self.objective.words} {self.objective.text(self.value)}{mean}"


class _Ended(NamedTuple):
    value: float
    at: datetime
    name: str


def _sample_key(row: Mapping[str, Any]) -> str:
    if isinstance(row.get("sample"), str):
        return str(row["sample"])
    text = row.get("specification")
    if not isinstance(text, str):
        return str(row["trial_id"])
    return json.dumps({**json.loads(text), **dict.fromkeys(_WITHIN_SAMPLE)}, sort_keys=True)


def best_lines(
    best: BestSample | None, trials: pd.DataFrame, description: TaskDescription | None = None
) -> list[str]:
    """A line on the best sample, of each kind of data where a sweep has several.

    Args:
        best: of a search; None where it has none.
        trials: its table.
        description: of its task, where a single trial's result is to be told.
    """
    lines = []
    for kind, own in best.kinds().items() if best is not None else ():
        of = f", {kind}" if kind else ""
        over = ""
        if len(own.trial_ids) == 1 and description is not None:
            (row,) = rows_of(trials[trials["trial_id"] == own.trial_ids[0]])
            over = f" with {over_grid(row, description)}"
        if own.trial_ids:
            what = "best trial" if len(own.trial_ids) == 1 else "best"
            lines.append(printable(f"{what}{of}: {own.name}{over}; chosen by {own.words}"))
    return lines


def over_grid(row: Mapping[str, Any], description: TaskDescription) -> str:
    """How well a finished trial did, from its row of ``trials``."""
    metric = description.metric
    mean = f"{metric.words} {metric.text(row[f'mean_{metric.name}'])}"
    if not description.axes:
        return mean
    trained = row[f"train_condition_{metric.name}"]
    known = trained is not None and not math.isnan(trained)
    at = f" ({metric.text(trained)} at its train condition)" if known else ""
    return f"{mean} over the grid{at}"
