"""Thrift's compact protocol, in which a Parquet file's headers and footer are written."""

from __future__ import annotations

from typing import Any, Final

I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12  # Thrift's types
_BOOLEANS: Final = (1, 2)
_BYTE: Final = 3
_NUMBERS: Final = (4, I32, I64)
_DOUBLE: Final = 7
_LISTS: Final = (LIST, 10)  # a set is one too
_DEEPEST: Final = 16

Fields = dict[tuple[int, int], Any]
"""Number and type of a field -> its value; None for a text, which nobody here reads."""


class ThriftError(ValueError):
    """The bytes are of no struct."""


def read_struct(content: bytes, at: int, depth: int = _DEEPEST) -> tuple[Fields, int]:
    """The fields of a struct, and where it ends.

    Raises:
        IndexError: it goes on behind these bytes.
        ThriftError: it is damaged.
    """
    fields: Fields = {}
    number = 0
    while head := content[at]:
        kind, step = head & 15, head >> 4
        at += 1
        if step:
            number += step
        else:
            number, at = _number(content, at)
        fields[number, kind] = None
        if kind not in _BOOLEANS:  # of which the type is the value
            fields[number, kind], at = _value(content, at, kind, depth)
    return fields, at + 1


def _value(content: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in _NUMBERS:
        return _number(content, at)
    if kind == BINARY:
        length, at = _varint(content, at)
        return None, _inside(content, at + length)
    if kind == STRUCT and depth:
        return read_struct(content, at, depth - 1)
    if kind in _LISTS and depth:
        return _list(content, at, depth - 1)
    if kind == _BYTE or kind in _BOOLEANS:
        return content[at], at + 1
    if kind == _DOUBLE:
        return None, _inside(content, at + 8)
    raise ThriftError("a header is damaged")


def _list(content: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    kind, length = content[at] & 15, content[at] >> 4
    at += 1
    if length == 15:
        length, at = _varint(content, at)
    if length > len(content) - at:  # every element takes a byte
        raise IndexError
    found = []
    for _ in range(length):
        value, at = _value(content, at, kind, depth)
        found.append(value)
    return found, at


def _inside(content: bytes, at: int) -> int:
    if at > len(content):
        raise IndexError
    return at


def _number(content: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(content, at)
    return value >> 1 ^ -(value & 1), at


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        value |= (content[at] & 127) << shift
        at += 1
        if content[at - 1] < 128:
            return value, at
    raise ThriftError("a header is damaged")
