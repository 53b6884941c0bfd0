"""Settings and train conditions as YAML and JSON hold them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from fusion_search.datasets.conditions import Range, TrainCondition

_WORDS: Final = {math.inf: "original", -math.inf: "absent"}
_NUMBERS: Final = {word: number for number, word in _WORDS.items()}
_COLUMN_TYPES: Final[Mapping[Any, str]] = {
    int: "int64",
    float: "float64",
    bool: "bool",
    tuple[str, ...]: "list<string>",
}


def plain_number(value: float) -> float | str:
    """Infinity as "original", minus infinity as "absent"."""
    return _WORDS.get(value, value)


def plain_value(value: Any) -> Any:
    """Of a setting: tuples as lists, dataclasses as mappings, infinity in words."""
    if isinstance(value, float):
        return plain_number(value)
    if isinstance(value, list | tuple):
        return [plain_value(one) for one in value]
    if isinstance(value, Mapping):
        return {name: plain_value(one) for name, one in value.items()}
    return plain_settings(value) if is_dataclass(value) else value


def plain_settings(settings: Any, *, told: bool = True) -> dict[str, Any]:
    """The fields of a dataclass; without ``told`` those alone that are not at their default."""
    return {
        one.name: plain_value(getattr(settings, one.name))
        for one in fields(settings)
        if told or getattr(settings, one.name) != default_of(one)
    }


def parse_value(plain: Any, kind: Any) -> Any:
    """Infinity for its word, of a setting of this type as :func:`plain_value` wrote it."""
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if isinstance(plain, str):
        return _NUMBERS.get(plain, plain) if float in options and str not in options else plain
    for one in options:
        parts = get_args(one)
        if isinstance(plain, list) and get_origin(one) is tuple:
            kinds = parts[:1] * len(plain) if parts[1:] == (...,) else parts
            return [parse_value(*pair) for pair in zip(plain, kinds, strict=False)]
        if isinstance(plain, Mapping) and is_dataclass(one):
            hints = get_type_hints(one)
            return {name: parse_value(value, hints.get(name)) for name, value in plain.items()}
        if isinstance(plain, Mapping) and get_origin(one) in (dict, Mapping) and parts:
            return {name: parse_value(value, parts[1]) for name, value in plain.items()}
    return plain


def column_type(kind: Any) -> str:
    """Of a setting's column, by the setting's type; what has no column of its own is a text."""
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    found = {
        type(one) if get_origin(option) is Literal else one
        for option in options
        if option is not NoneType
        for one in (get_args(option) if get_origin(option) is Literal else (option,))
    }
    return _COLUMN_TYPES.get(found.pop(), "string") if len(found) == 1 else "string"


def column_value(value: Any, kind: Any) -> Any:
    """Of a setting of this type in a table; JSON where its column is a text, and it is none."""
    if value is None or isinstance(value, str):
        return value
    if column_type(kind) == "string":
        return json.dumps(plain_value(value), sort_keys=True)
    return list(value) if isinstance(value, list | tuple) else value


def default_of(field: Field[Any]) -> Any:
    """Of a dataclass's field; MISSING where there is none."""
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def plain_train(condition: TrainCondition) -> Any:
    """Of one axis: a number, "original", "absent", {low, high}, or {any: [...]}."""
    if isinstance(condition, Range):
        return {"low": condition.low, "high": condition.high}
    if isinstance(condition, tuple):
        return {"any": [plain_train(one) for one in condition]}
    return plain_number(condition)


def parse_train(plain: Any) -> TrainCondition:
    """The inverse of :func:`plain_train`.

    Raises:
        ValueError: it is none; says what is allowed.
    """
    if isinstance(plain, Mapping) and set(plain) == {"low", "high"}:
        low, high = (parse_train(plain[name]) for name in ("low", "high"))
        if isinstance(low, float) and isinstance(high, float):
            return Range(low, high)
    elif isinstance(plain, Mapping) and set(plain) == {"any"} and isinstance(plain["any"], list):
        parts = tuple(parse_train(one) for one in plain["any"])
        found = tuple(one for one in parts if not isinstance(one, tuple))
        if found and len(found) == len(parts):
            return found
    elif isinstance(plain, str) and plain in _NUMBERS:
        return _NUMBERS[plain]
    elif isinstance(plain, int | float) and not isinstance(plain, bool) and math.isfinite(plain):
        return float(plain)
    raise ValueError(
        f"{plain!r} is no train condition; allowed: a number, original, absent, "
        "{low: ..., high: ...} for a range, {any: [...]} for a choice per example"
    )


def train_text(condition: TrainCondition) -> str:
    """Of one axis, for people: ``0.5``, ``original``, ``0..20``, ``absent|10``."""
    if isinstance(condition, Range):
        return f"{condition.low:g}..{condition.high:g}"
    if isinstance(condition, tuple):
        return "|".join(train_text(one) for one in condition)
    return _WORDS.get(condition) or f"{condition:g}"
