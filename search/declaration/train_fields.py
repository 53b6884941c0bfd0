"""Train conditions as declared: a list of rows, a product, or a choice of either."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fusion_search.analysis.records.secrets import shown
from fusion_search.datasets.conditions import ORIGINAL, Axis, TrainCondition, check_train
from fusion_search.search.spaces.names import condition_text
from fusion_search.search.tasks.base import Condition
from fusion_search.search.trials.fields import ConfigurationError, known, listed
from fusion_search.search.trials.plain import parse_train

_MOST: Final = 1000


def train_conditions(raw: Any, axes: Sequence[Axis]) -> tuple[tuple[Condition, ...], bool]:
    """The conditions, and whether they are a choice of the space instead of one trial each.

    Raises:
        ConfigurationError: says what is allowed.
    """
    choose = isinstance(raw, Mapping) and set(raw) == {"choose"}
    declared = raw["choose"] if choose else raw
    if declared is None:
        return ({axis.name: ORIGINAL for axis in axes},), choose
    rows = _product(declared, axes) if isinstance(declared, Mapping) else _rows(declared, axes)
    if len(rows) > _MOST:
        raise ConfigurationError(f"train has {len(rows):,} conditions; allowed: up to {_MOST:,}")
    # A sample knows a condition by its text, in which an SNR has six digits.
    texts = [condition_text(one) for one in rows]
    for index, text in enumerate(texts):
        if text in texts[:index]:
            raise ConfigurationError(f"train holds {text} twice; keep one")
    return tuple(rows), choose


def _rows(raw: Any, axes: Sequence[Axis]) -> list[Condition]:
    names = [axis.name for axis in axes]
    form = f"[{', '.join(names)}]" if names else "none, for the task has no axis"
    rows: list[Condition] = []
    for one in listed(raw, "train", hint=f" of {form}"):
        if not isinstance(one, list) or len(one) != len(axes):
            raise ConfigurationError(f"train holds {shown(one)}; allowed: {form}")
        rows.append(
            {axis.name: _condition(axis, value) for axis, value in zip(axes, one, strict=True)}
        )
    return rows


def _product(raw: Mapping[str, Any], axes: Sequence[Axis]) -> list[Condition]:
    values = known([axis.name for axis in axes], raw, "train.")
    options = [
        [
            _condition(axis, one)
            for one in listed(values.get(axis.name, ["original"]), f"train.{axis.name}")
        ]
        for axis in axes
    ]
    names = [axis.name for axis in axes]
    return [dict(zip(names, row, strict=True)) for row in itertools.product(*options)]


def _condition(axis: Axis, raw: Any) -> TrainCondition:
    try:
        condition = parse_train(raw)
        check_train(axis, condition)
    except ValueError as error:
        raise ConfigurationError(f"train: {error}") from error
    return condition
