"""What a setting may be, as declared: a value, a list (a choice), or a range of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from fusion_search.analysis.records.secrets import shown
from fusion_search.datasets.errors import refuse_repeats
from fusion_search.search.spaces.parameters import Parameter, Range, choice_of
from fusion_search.search.trials.fields import ConfigurationError, known, listed, value_of

Check = Callable[[Any, str], Any]


def settings_of(kind: type, raw: Any, where: str) -> dict[str, Parameter]:
    """What a group of settings may be, as declared."""
    hints = get_type_hints(kind)
    values = known(kind, raw, where)
    return {name: parameter_of(hints[name], value, where + name) for name, value in values.items()}


def parameter_of(kind: Any, raw: Any, where: str) -> Parameter:
    """A value of its type is fixed; a list of them is a choice; low and high are a range.

    Args:
        kind: the type.
        raw: as declared.
        where: the field, for errors.
    """
    check: Check = lambda value, at: value_of(kind, value, at)  # noqa: E731
    number = _number_of(kind)
    if isinstance(raw, Mapping) and number is not None and set(raw) & {"low", "high"}:
        return _range(number, raw, where)
    if isinstance(raw, list) and not _is_value(kind, raw, where):
        return choice_of(options_of_field(listed(raw, where), where, check))
    return choice_of([check(raw, where)])


def _number_of(kind: Any) -> type | None:
    """The type of number that it is, perhaps beside null."""
    union = get_origin(kind) in (Union, UnionType)
    parts = [one for one in get_args(kind) if one is not NoneType] if union else [kind]
    return parts[0] if len(parts) == 1 and parts[0] in (int, float) else None


def _is_value(kind: Any, raw: list[Any], where: str) -> bool:
    """Whether a list is one value, such as the sizes of a kernel."""
    try:
        value_of(kind, raw, where)
    except ConfigurationError:
        return False
    return True


def _range(kind: type, raw: Mapping[str, Any], where: str) -> Range:
    ends = known(["low", "high", "log"], raw, f"{where}.")
    if not {"low", "high"} <= set(ends):
        raise ConfigurationError(f"{where} must have low and high, or be a list of values")
    low, high = (value_of(kind, ends[name], f"{where}.{name}") for name in ("low", "high"))
    for end, value in (("low", low), ("high", high)):
        if math.isinf(value):
            raise ConfigurationError(f"{where}.{end} is {value}; allowed: a finite number")
    log = value_of(bool, ends.get("log", False), f"{where}.log")
    if not low < high:
        raise ConfigurationError(f"{where}.low is {low} and high is {high}; allowed: low < high")
    if log and low <= 0:
        raise ConfigurationError(f"{where}.low is {low} with log: true; allowed: above 0")
    return Range(low, high, log, integer=kind is int)


def all_differ(values: Sequence[Any], where: str) -> None:
    """Raise ``ConfigurationError`` where a list, whose values are to differ, holds one twice."""
    try:
        refuse_repeats(values, where)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def options_of_field(raw: Any, where: str, check: Check) -> tuple[Any, ...]:
    """A list is a choice, a single value is the only option."""
    values = raw if isinstance(raw, list) else [raw]
    options = tuple(check(value, where) for value in values)
    twice = [one for index, one in enumerate(options) if one in options[:index]]
    if twice:
        raise ConfigurationError(f"{where} holds {shown(twice[0])} twice; keep one")
    return options
