"""What a searcher tried, one row per sample: choices, placement, objective, cost.

A sample stands for one trial per train condition, fold and seed, and is judged by their mean.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.records.description import (
    Directed,
    MetricDescription,
    TaskDescription,
)
from fusion_search.analysis.records.selection import DROPPED_AFTER, count_label
from fusion_search.analysis.records.tables import FAILED, FINISHED, STOPPED

NONE: Final = "none"
COUPLING: Final = "coupling"
DEFAULT_END: Final = "default"  # how streams end where nothing is said
RUNNING: Final = "running"  # some of a sample's trials have not ended yet
QUANTILE: Final = "quantile_"

OPTION_ORDER: Final = (
    *("none", "mmtm", "squeeze_excitation", "convolutional", "sum"),
    *("cross", "residual", "both"),
    DEFAULT_END,
)
"""In which the figures list what can be placed; what is not here comes after it."""

FEWEST_SAMPLES: Final = 4  # that finished, for the importance of choices
_SAMPLES_PER_CHOICE: Final = 10
_OVER: Final = {
    "mean_": "mean {}",
    "worst_": "worst {}",
    "train_condition_": "{} at the train condition",
    "validation_": "validation {}",
}
_COSTS: Final = {
    "multiply_accumulates": "multiply-accumulates per example",
    "milliseconds_per_example": "milliseconds per example",
}


@dataclass(frozen=True)
class Objective(Directed):
    """What is optimised, as the records hold it.

    Attributes:
        name: a column of ``trials``, or quantile_<metric>.
        direction: maximize or minimize.
        position: in the specification's list, which ``objective_values`` follows; None when it is
            not in that list.
        quantile: of quantile_<metric>.
        metric: that it is of; None for a cost.
    """

    name: str
    direction: str = "maximize"
    position: int | None = None
    quantile: float = math.nan
    metric: MetricDescription | None = None

    @property
    def is_share(self) -> bool:
        """Whether values lie in 0 to 1."""
        return self.metric is not None and self.metric.share

    @property
    def words(self) -> str:
        """For axes and sentences."""
        if self.metric is None:
            return _COSTS.get(self.name, self.name.replace("_", " "))
        prefix = self.name.removesuffix(self.metric.name)
        if prefix == QUANTILE:
            return f"{self.quantile:g} quantile of {self.metric.words}"
        said = _OVER[prefix].format(self.metric.words)
        return said.replace("mean mean", "average mean")

    def text(self, value: float) -> str:
        """A value, shares in per cent; a dash when there is none."""
        if self.metric is not None:
            return self.metric.text(value)
        if math.isnan(value):
            return "-"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"

    def value(self, row: Mapping[str, Any]) -> float:
        """Of one row of ``trials``; NaN where it has none."""
        found = row.get(self.name)
        return self._at_position(row.get("objective_values")) if found is None else float(found)

    def values(self, trials: pd.DataFrame) -> pd.Series:
        """Of every row of ``trials``; NaN where it did not finish."""
        if self.name in trials:
            found = trials[self.name].astype(float)
        else:
            found = trials["objective_values"].map(self._at_position).astype(float)
        return found.where(trials["status"] == FINISHED)

    def _at_position(self, values: Any) -> float:
        known = values is not None and not isinstance(values, float) and self.position is not None
        return float(values[self.position]) if known and len(values) else math.nan


MULTIPLY_ACCUMULATES: Final = Objective("multiply_accumulates", "minimize")


def mean_objective(description: TaskDescription) -> Objective:
    """The mean over the grid of the metric that chooses."""
    metric = description.metric
    return Objective(f"mean_{metric.name}", metric.direction, metric=metric)


def objectives_of(
    specification: Mapping[str, Any], description: TaskDescription
) -> tuple[Objective, ...]:
    """The objectives in a ``specification.yaml``; the mean over the grid where it has none."""
    found = []
    for position, one in enumerate(specification.get("objectives") or []):
        plain = {"name": one} if isinstance(one, str) else one
        metric = _metric_of(plain["name"], description)
        usual = "minimize" if metric is None else metric.direction
        direction = plain.get("direction") or usual
        quantile = float(plain.get("quantile") or math.nan)
        found.append(Objective(plain["name"], direction, position, quantile, metric))
    return tuple(found) or (mean_objective(description),)


def choosing_objective(specification: Mapping[str, Any], description: TaskDescription) -> Objective:
    """What the best is chosen by: a search's first objective; a sweep's metric in validation."""
    if specification.get("objectives"):
        return objectives_of(specification, description)[0]
    metric = description.metric
    return Objective(f"validation_{metric.name}", metric.direction, metric=metric)


def _metric_of(name: str, description: TaskDescription) -> MetricDescription | None:
    for metric in description.metrics:
        prefix = name.removesuffix(metric.name)
        if prefix != name and prefix in (*_OVER, QUANTILE):
            return metric
    return None


def sample_table(trials: pd.DataFrame, objectives: Sequence[Objective]) -> pd.DataFrame:
    """One row per sample, by the time it ended.

    Args:
        trials: the ``trials`` table; without samples (a sweep) every trial is a row.
        objectives: whose values are wanted.

    Returns:
        The columns of ``trials`` of the sample's first trial, but ``status`` (failed or stopped
        when one trial was, stopped when it was dropped between two folds, running when trials are
        missing), ``ended_at`` (the last), ``seconds``
        (of all trials together), ``trials`` (how many), and for objective number i ``value_i``:
        the mean over the sample's trials, NaN unless all finished.
    """
    # pandas would make one group of all trials without a sample.
    own = trials["sample"] if "sample" in trials else pd.Series(None, trials.index, dtype=object)
    key = own.where(own.notna(), trials["trial_id"]).rename("key")
    for number, objective in enumerate(objectives):
        trials = trials.assign(**{f"value_{number}": objective.values(trials)})
    expected = int(key.value_counts().max()) if len(key) else 0
    rows = []
    for _, part in trials.groupby(key, sort=False):
        row = part.sort_values("ended_at", kind="stable").iloc[0].to_dict()
        states = set(part["status"])
        if DROPPED_AFTER in part and part[DROPPED_AFTER].notna().any():
            states.add(STOPPED)
        row["status"] = _status(states, len(part) == expected)
        row["ended_at"] = part["ended_at"].max()
        row["seconds"] = part["seconds"].sum()
        row["trials"] = len(part)
        for number in range(len(objectives)):
            mean = statistics.fmean(part[f"value_{number}"])  # as of BestSample
            row[f"value_{number}"] = mean if row["status"] == FINISHED else math.nan
        rows.append(row)
    table = pd.DataFrame(rows, columns=[*trials.columns, "trials"])
    return table.sort_values("ended_at", kind="stable", ignore_index=True)


def finished_samples(trials: pd.DataFrame) -> int:
    """Of how many samples all trials finished."""
    return int((sample_table(trials, ())["status"] == FINISHED).sum())


def _status(states: set[str], complete: bool) -> str:
    for one in (FAILED, STOPPED):
        if one in states:
            return one
    return FINISHED if complete else RUNNING


def site_of_choice(name: str, description: TaskDescription) -> str | None:
    """The site of a choice such as coupling_s1 or to_speech_from_video_s1; None of others."""
    if name.startswith(f"{COUPLING}_"):
        return name.removeprefix(f"{COUPLING}_")
    for source, target in itertools.permutations(description.streams, 2):
        prefix = f"to_{target}_from_{source}_"
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return None


def option_order(option: Any) -> tuple[float, str]:
    """A sort key: numbers by size, what can be placed in ``OPTION_ORDER``, the rest by name."""
    if isinstance(option, int | float):
        return (float(option), "")
    known = option in OPTION_ORDER
    return (float(OPTION_ORDER.index(option) if known else len(OPTION_ORDER)), str(option))


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain mappings."""
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    return rows


def parse_sample(text: Any) -> dict[str, Any]:
    """The choices in a row's ``sample``; none in a sweep."""
    if not isinstance(text, str):
        return {}
    choices: dict[str, Any] = json.loads(text)
    return choices


def few_samples_words(samples: int, choices: int) -> str:
    """The warning that belongs to importances of so few samples; empty where there are enough."""
    enough = _SAMPLES_PER_CHOICE * choices
    if samples >= enough:
        return ""
    counts = f"{count_label(samples, 'finished sample')} for {count_label(choices, 'choice')}"
    return (
        f"Of {counts}: a hint at most, another seed may say otherwise; {enough} or more would tell."
    )
