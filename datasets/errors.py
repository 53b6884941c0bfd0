"""The one error a person can cause here: files missing or not readable; and how things are said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


class DataError(ValueError):
    """A data file is missing or cannot be read; the message is one sentence with the remedy."""


def said(error: Exception) -> str:
    """What an error of a library says, in one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def damaged(path: str | Path, reason: str) -> DataError:
    """Build the error for a file that is not whole."""
    return DataError(f"{path} is damaged ({reason}): put a whole copy in its place")


def count_label(count: int, noun: str, nouns: str = "") -> str:
    """A number with its noun, in the plural where it belongs: with an s, or as given."""
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def refuse_repeats(values: Sequence[Any], name: str) -> None:
    """Raise ``ValueError`` where a list, whose values are to differ, holds one twice.

    Args:
        values: of the list.
        name: of its field.
    """
    for place, one in enumerate(values):
        if one in values[:place]:
            raise ValueError(f"{name} holds {one} twice; keep one")
