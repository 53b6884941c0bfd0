"""Commands that we print for a user to type: they find the search, and a shell takes them whole."""

from __future__ import annotations

import shlex
from typing import Final

from fusion_search.analysis.records.secrets import printable

STORAGE: Final = "results"  # folder of the searches when none is given


def option(name: str, value: str) -> tuple[str, ...]:
    """An option with its value, in one word where the value would be taken for another option."""
    return (f"{name}={value}",) if value.startswith("-") else (name, value)


def command(*words: str, storage: str = STORAGE) -> str:
    """``fusion-search`` with these words, and with --storage where the search needs it.

    Args:
        words: verb, name and options, as the program shall get them.
        storage: folder or URI of the searches, as the user wrote it.
    """
    found = storage.removeprefix("./").rstrip("/") == STORAGE
    options = () if found else option("--storage", storage)
    return printable(shlex.join(["fusion-search", *words, *options]))
