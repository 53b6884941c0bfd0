"""What a searcher tried, one row per sample: choices, placement, objective, cost.

A sample is one trial; where a search averages over train pairs, it is one trial per pair.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.records.selection import depth_name
from fusion_search.analysis.records.tables import FAILED, FINISHED, STOPPED

NONE: Final = "none"
CONCATENATION: Final = "concatenation"
PLACED: Final = ("couplings", "to_audio", "to_image")
RUNNING: Final = "running"  # some of a sample's trials have not ended yet

KIND_WORDS: Final = {
    "mmtm": "MMTM",
    "squeeze_excitation": "SE",
    "convolutional": "conv. MMTM",
    "sum": "sum",
    "concatenation": "concatenation",
    "gate_audio": "gate by audio",
    "gate_image": "gate by image",
}
OPTION_ORDER: Final = (
    *("none", "mmtm", "squeeze_excitation", "convolutional", "sum"),
    *("cross", "residual", "both"),
    *("concatenation", "gate_audio", "gate_image"),
)
"""In which the figures list what can be placed."""

_WORDS: Final = {
    "mean_accuracy": "mean accuracy",
    "worst_accuracy": "worst accuracy",
    "train_pair_accuracy": "accuracy at the train pair",
    "validation_accuracy": "validation accuracy",
    "parameters": "parameters",
    "multiply_accumulates": "multiply-accumulates per example",
    "milliseconds_per_example": "milliseconds per example",
}


@dataclass(frozen=True)
class Objective:
    """What is optimised, as the records hold it.

    Attributes:
        name: a column of ``trials``, or quantile_accuracy.
        direction: maximize or minimize.
        position: in the specification's list, which ``objective_values`` follows; None when it is
            not in that list.
        quantile: of quantile_accuracy.
    """

    name: str
    direction: str = "maximize"
    position: int | None = None
    quantile: float = math.nan

    @property
    def sign(self) -> int:
        """1 when more is better, -1 when less is."""
        return 1 if self.direction == "maximize" else -1

    @property
    def is_accuracy(self) -> bool:
        """Whether values are shares from 0 to 1."""
        return self.name.endswith("accuracy")

    @property
    def words(self) -> str:
        """For axes and sentences."""
        if self.name == "quantile_accuracy":
            return f"{self.quantile:g} quantile of accuracy"
        return _WORDS.get(self.name, self.name)

    def text(self, value: float) -> str:
        """A value, accuracies in per cent; a dash when there is none."""
        if math.isnan(value):
            return "-"
        if self.is_accuracy:
            return f"{100 * value:.1f} %"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"

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
MEAN_ACCURACY: Final = Objective("mean_accuracy")


def objectives_of(specification: Mapping[str, Any]) -> tuple[Objective, ...]:
    """The objectives in a ``specification.yaml``; robust accuracy for a sweep, which has none."""
    declared = specification.get("objectives") or []
    return tuple(
        Objective(one["name"], one["direction"], position, one.get("quantile", math.nan))
        for position, one in enumerate(declared)
    ) or (MEAN_ACCURACY,)


def sample_table(trials: pd.DataFrame, objectives: Sequence[Objective]) -> pd.DataFrame:
    """One row per sample, by the time it ended.

    Args:
        trials: the ``trials`` table; without samples (a sweep) every trial is a row.
        objectives: whose values are wanted.

    Returns:
        The columns of ``trials`` of the sample's first trial, but ``status`` (failed or stopped
        when one trial was, running when trials are missing), ``ended_at`` (the last), ``seconds``
        (of all trials together), and for objective number i ``value_i``: the mean over the
        sample's trials, NaN unless all finished. Lists of a placement are tuples.
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
        row["status"] = _status(set(part["status"]), len(part) == expected)
        row["ended_at"] = part["ended_at"].max()
        row["seconds"] = part["seconds"].sum()
        for number in range(len(objectives)):
            mean = part[f"value_{number}"].mean()
            row[f"value_{number}"] = mean if row["status"] == FINISHED else math.nan
        for name in PLACED:
            row[name] = placed(row.get(name), int(row["fusion_depth"]))
        rows.append(row)
    columns = [*trials.columns, *(name for name in PLACED if name not in trials)]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("ended_at", kind="stable", ignore_index=True)


def _status(states: set[str], complete: bool) -> str:
    for one in (FAILED, STOPPED):
        if one in states:
            return one
    return FINISHED if complete else RUNNING


def placed(values: Any, fusion_depth: int) -> tuple[str, ...]:
    """What sits at insertion points 1 ... d; an empty or missing list means nothing anywhere."""
    if values is None or isinstance(values, float) or len(values) == 0:
        return (NONE,) * fusion_depth
    return tuple(str(one) for one in values)


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


def placement_words(row: Mapping[str, Any]) -> str:
    """Where the streams meet and what couples them before, in words."""
    depth = int(row["fusion_depth"])
    couplings, to_audio, to_image = (placed(row.get(name), depth) for name in PLACED)
    words = []
    for point in range(depth):
        if couplings[point] != NONE:
            words.append(f"{KIND_WORDS.get(couplings[point], couplings[point])} at {point + 1}")
        for kind, stream in ((to_audio[point], "audio"), (to_image[point], "image")):
            if kind != NONE:
                words.append(f"{connection_words(kind)} to {stream} at {point + 1}")
    fusion = row.get("fusion")
    if isinstance(fusion, str) and fusion != CONCATENATION:
        words.append(KIND_WORDS.get(fusion, fusion))
    return f"{depth_name(depth, int(row['levels']))}: {', '.join(words) or 'plain'}"


def connection_words(kind: str) -> str:
    """A connection's kind in words."""
    return "cross + residual" if kind == "both" else kind
