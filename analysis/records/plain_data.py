"""YAML and JSON as plain data, from files that anybody may have written.

Nothing but mappings, lists, texts, numbers, booleans, dates and null comes out; what costs more
memory or time than its size says (aliases of aliases, endless nesting) is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import yaml

from fusion_search.analysis.records.filesystems.errors import UnfitError
from fusion_search.analysis.records.secrets import sentence, shown_name
from fusion_search.analysis.records.storage import LARGEST_TEXT, Storage

_Parsed = TypeVar("_Parsed")

LARGEST_PLAN: Final = 128 << 20  # 100,000 planned trials with their samples take half of that
_DEEPEST: Final = 40  # collections in collections
_MOST_ALIASED: Final = 10_000  # values that aliases stand for, all together


class _Resolver(yaml.resolver.Resolver):
    """What a text without quotes is, in reading and in writing: YAML 1.1, and 1e-3 is a number."""


_Resolver.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


class _Loader(_Resolver, yaml.SafeLoader):
    """The safe loader without tags, bounded, refusing a key written twice and 010 for 8."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._count = 0
        self._aliased = 0
        self._sizes: dict[str, int] = {}  # of what has an anchor, aliases in it counted in full

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            # Unknown: the alias is undefined, or inside of what it stands for.
            size = self._sizes.get(event.anchor, _MOST_ALIASED)
            self._aliased += size
            if self._aliased >= _MOST_ALIASED:
                raise _refused(f"the alias *{event.anchor} stands for too much", event)
            self._count += size
            return super().compose_node(parent, index)
        if event.tag is not None:
            raise _refused(f"the tag {event.tag} is not allowed, only plain values are", event)
        if self._depth == _DEEPEST:
            raise _refused(f"more than {_DEEPEST} collections in one another", event)
        before = self._count
        self._depth += 1
        self._count += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS:
            _check_base(node)
        if event.anchor is not None:
            self._sizes[event.anchor] = self._count - before
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refused("a key is a list or a mapping", key_node)
            key = self.construct_object(key_node)
            if key in keys:
                raise _refused(
                    f"{shown_name(key)} is written twice in one mapping; keep one", key_node
                )
            keys.add(key)
        return super().construct_mapping(node, deep)


class _TextLoader(_Loader):
    """The same, taking nothing for a number, a date or a truth value."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode:
            return "tag:yaml.org,2002:str"
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


class _Dumper(_Resolver, yaml.SafeDumper):
    """The safe dumper, which puts in quotes what the loader would take for something else."""


_NUMBERS: Final = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_BASES: Final = {
    8: re.compile(r"[-+]?0[0-7_]+"),
    60: re.compile(r"[-+]?[0-9_]+(:[0-9]+)+(\.[0-9_]*)?"),
}


def _check_base(number: yaml.ScalarNode) -> None:
    """Refuse what YAML 1.1 alone reads in another base than the decimal one."""
    for base, form in _BASES.items():
        if form.fullmatch(number.value):
            raise _refused(
                "write a number in base 10, or a text in quotes: YAML reads "
                f"{shown_name(number.value)} in base {base}",
                number,
            )


def _refused(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


def parse_yaml(content: str | bytes, where: str, *, as_written: bool = False) -> Any:
    """Plain data from YAML. Raises ``ValueError``: one sentence that begins with ``where``.

    Args:
        content: of a file, or a value of the command line.
        where: what it is.
        as_written: take nothing for a number, a date or a truth value.
    """
    try:
        if len(content) > LARGEST_TEXT:
            raise ValueError(f"it is larger than {LARGEST_TEXT >> 20} MiB")
        text = content if isinstance(content, str) else content.decode()
        # Subclasses of SafeLoader: they build plain data only.
        if as_written:
            return yaml.load(text, Loader=_TextLoader)
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # such as the 13th month
        many = len(content.splitlines()) > 1
        raise ValueError(f"{where} is not valid YAML: {_problem(error, many)}") from error


def _problem(error: Exception, many: bool) -> str:
    """What is wrong with YAML; and where, when it has many lines."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return sentence(error)
    words = sentence(ValueError(", ".join(filter(None, (error.context, error.problem)))))
    mark = error.problem_mark
    return f"{words} (line {mark.line + 1}, column {mark.column + 1})" if mark and many else words


def to_yaml(value: Any) -> str:
    """Plain data as YAML, which :func:`parse_yaml` reads back."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def to_yaml_line(value: Any) -> str:
    """The same as a part of one line."""
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=True,
        width=math.inf,
    )
    return text.removesuffix("\n").removesuffix("\n...")


def parse_json(content: bytes, where: str) -> Any:
    """Plain data from JSON. Raises ``ValueError``: one sentence that begins with ``where``."""
    try:
        value = json.loads(content, parse_constant=_no_constant)
        _check_depth(value)
        return value
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is damaged ({sentence(error)})") from error


def read_content(folder: Storage, name: str, most: int = LARGEST_TEXT) -> bytes:
    """The content of a file of at most so many bytes in a folder.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is no file, too large, or may not be read; one sentence that names it.
    """
    where = folder.named(name)
    try:
        return folder.read(name, most=most)
    except UnfitError as error:
        raise ValueError(f"{where} is damaged ({error})") from error
    except PermissionError as error:
        raise ValueError(
            f"{where} may not be read by this user; have its owner allow it (chmod u+r, g+r)"
        ) from error


def read_json(
    folder: Storage,
    name: str,
    remedy: str,
    parse: Callable[[Any], _Parsed],
    most: int = LARGEST_TEXT,
) -> _Parsed:
    """What a JSON file of at most so many bytes in a folder says.

    Args:
        folder, name: of the file.
        remedy: what to do when it is damaged, for people.
        parse: makes of plain data what is returned, and raises ``ValueError``, ``TypeError``,
            ``LookupError``, ``AttributeError`` or ``OverflowError`` where they are of another form.
        most: bytes.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is damaged, too large or too deeply nested, or of another form; one sentence
            that names it and the remedy.
    """
    where = folder.named(name)
    try:
        plain = parse_json(read_content(folder, name, most), where)
    except ValueError as error:
        raise ValueError(f"{error}; {remedy}") from error
    try:
        return parse(plain)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise ValueError(f"{where} is damaged ({sentence(error)}); {remedy}") from error


def _check_depth(value: Any) -> None:
    level: list[Any] = [[value]]
    for _ in range(_DEEPEST + 1):
        parts = (one.values() if isinstance(one, dict) else one for one in level)
        level = [one for part in parts for one in part if isinstance(one, dict | list)]
        if not level:
            return
    raise ValueError(f"more than {_DEEPEST} collections in one another")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
