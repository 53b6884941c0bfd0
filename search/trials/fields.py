"""Checking declared fields, one by one, with errors that name the field and what is allowed.

Numbers, truth values, texts, Literal, unions, tuples and dataclasses, nested or by name, are
checked here; every other type of a dataclass's field (other mappings, annotated ones) by pydantic.
"""

from __future__ import annotations

import difflib
import json
import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from fusion_search.analysis.records.secrets import printable, shown, shown_name

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_LARGEST: Final = 2**31 - 1  # the columns of the records hold no larger whole number
_LONGEST: Final = 1000  # characters of a text
_LONGEST_SHOWN: Final = 100

_PYDANTIC_WORDS: Final = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "none_required": "null",
    "dict_type": "a mapping",
}
_TYPE_WORDS: Final = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


class ConfigurationError(ValueError):
    """The configuration is wrong; the message is one sentence for the user."""


def known(allowed: type | list[str], raw: Any, where: str) -> dict[str, Any]:
    """The mapping's own copy, after checking that it is one and every key is a field."""
    if not isinstance(raw, Mapping):
        raise ConfigurationError(f"{where.rstrip('.') or 'the configuration'} must be a mapping")
    names = allowed if isinstance(allowed, list) else [one.name for one in fields(allowed)]
    for key in raw:
        if key not in names:
            name = shown_name(key)
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(names)}"
            raise ConfigurationError(f"{where}{name} is not a field; {hint}")
    return dict(raw)


def checked(kind: type, raw: Any, where: str) -> dict[str, Any]:
    """The fields of a dataclass that a mapping gives, each of its type."""
    hints = get_type_hints(kind)
    values = known(kind, raw, where)
    return {key: value_of(hints[key], value, where + key) for key, value in values.items()}


def typed(kind: type, raw: Any, where: str) -> Any:
    """A dataclass from a mapping."""
    values = checked(kind, raw, where)
    for one in fields(kind):
        if one.name not in values and one.default is one.default_factory is MISSING:
            raise ConfigurationError(f"{where}{one.name} is missing")
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{where}{error}") from error


def value_of(kind: Any, value: Any, where: str) -> Any:
    """A value of this type; a list stands for a tuple, a whole number for a number."""
    origin = get_origin(kind)
    if origin is Literal:
        return one_of(get_args(kind))(value, where)
    if origin in (Union, UnionType):
        return _either(get_args(kind), value, where)
    if origin is tuple:
        return _tuple(get_args(kind), value, where)
    if origin is dict and is_dataclass(get_args(kind)[1]):
        return _named(get_args(kind)[1], value, where)
    if is_dataclass(kind):
        return typed(cast(type, kind), value, f"{where}.")
    if kind not in _TYPE_WORDS:
        return _by_pydantic(kind, value, where)
    if type(value) is int and kind in (int, float) and abs(value) > _LARGEST:
        raise ConfigurationError(
            f"{where} is {shown(value)}; allowed: {_TYPE_WORDS[kind]} up to {_LARGEST:,}"
        )
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and math.isnan(value)):
        if kind is str and not isinstance(value, list | Mapping):
            raise ConfigurationError(not_text(where, value, str(value)))
        raise ConfigurationError(f"{where} is {shown(value)}; allowed: {_TYPE_WORDS[kind]}")
    if isinstance(value, str) and (len(value) > _LONGEST or not value.isprintable()):
        raise ConfigurationError(
            f"{where} is {shown(value)}; allowed: up to {_LONGEST:,} printable characters"
        )
    return value


def _either(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """A value of the first of these types that it can be."""
    if value is None and NoneType in kinds:
        return None
    allowed: list[str] = []
    for kind in (one for one in kinds if one is not NoneType):
        try:
            return value_of(kind, value, where)
        except ConfigurationError as error:
            start, _, words = str(error).partition("; allowed: ")
            if start != f"{where} is {shown(value)}":  # of a part of it
                raise
            allowed.append(words.partition("; ")[0])
    words = " or ".join([*allowed, *(["null"] if NoneType in kinds else [])])
    raise ConfigurationError(f"{where} is {shown(value)}; allowed: {words}")


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    """A list stands for it."""
    alone = isinstance(value, str) and kinds == (str, ...)
    values = listed(value, where, empty=True, hint=f", as in [{shown(value)}]" if alone else "")
    if kinds[1:] == (...,):
        kinds = kinds[:1] * len(values)
    if len(kinds) != len(values):
        raise ConfigurationError(
            f"{where} is {shown(value)}; allowed: a list of {len(kinds)} values"
        )
    return tuple(
        value_of(kind, one, f"{where}.{index}")
        for index, (kind, one) in enumerate(zip(kinds, values, strict=True))
    )


def _named(kind: Any, value: Any, where: str) -> dict[str, Any]:
    """A mapping of names to dataclasses, each of which errs by its own name."""
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where} must be a mapping of names to settings")
    names = (value_of(str, name, f"a name in {where}") for name in value)
    return {name: typed(kind, value[name], f"{where}.{shown_name(name)}.") for name in names}


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # here, for a trial by itself has to do without

    return TypeAdapter(kind)


def _by_pydantic(kind: Any, value: Any, where: str) -> Any:
    from pydantic import ValidationError

    # As JSON: there a list stands for a tuple, and yet nothing else for something that it is not.
    try:
        return _adapter(kind).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join([where, *map(str, first["loc"])])
        allowed = _PYDANTIC_WORDS.get(first["type"]) or first.get("ctx", {}).get("expected")
        found = shown(first["input"])
        if allowed:
            raise ConfigurationError(f"{at} is {found}; allowed: {allowed}") from error
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{at} is {found}: {message}") from error


def not_text(where: str, value: Any, written: str) -> str:
    """What is said of a text that YAML takes for something else, such as the name 1e5 or no.

    Args:
        where: the field.
        value: what YAML takes it for.
        written: the text.
    """
    if value is None:
        return f"{where} is empty; allowed: text"
    text = json.dumps(printable(written)[:_LONGEST_SHOWN], ensure_ascii=False)
    return (
        f"{where} is {shown(value)}; allowed: text; if that was meant, put it in quotes, as in "
        f"{text} (or {shlex.join(['--set', f'{where}={text}'])})"
    )


def listed(raw: Any, where: str, *, empty: bool = False, hint: str = "") -> list[Any]:
    """The list itself, after checking that it is one."""
    if not isinstance(raw, list) or not (raw or empty):
        least = "" if empty else " with at least one value"
        raise ConfigurationError(f"{where} must be a list{least}{hint}")
    return raw


def one_of(allowed: tuple[Any, ...]) -> Callable[[Any, str], Any]:
    """A check that a value is one of these."""

    def check(value: Any, where: str) -> Any:
        if not any(type(value) is type(one) and value == one for one in allowed):
            words = ", ".join(map(str, allowed))
            raise ConfigurationError(f"{where} is {shown(value)}; allowed: {words}")
        return value

    return check
