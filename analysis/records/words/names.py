"""Names of trials beside each other, of columns, tasks, and what marks a search's folder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

SPECIFICATION_FILE: Final = "specification.yaml"
CONFIRMATION_SUFFIX: Final = "-confirmation"  # of the search that confirms another
CANDIDATES_FILE: Final = "candidates.json"  # what a confirmation compares

UNNAMED: Final = "__main__"  # for a module, of a task that a notebook or script defined

_MOST: Final = 3  # names
_LONG: Final = 100  # characters of several names


def is_unnamed(task: str) -> bool:
    """Whether a notebook or script defined a task, so that no command finds it by its name."""
    return task.startswith(f"{UNNAMED}:")


def column_words(name: str) -> str:
    """A column for people: ``test_speech_snr`` is "test speech SNR"."""
    return " ".join("SNR" if one == "snr" else one for one in name.split("_"))


def shared_parts(names: Collection[str]) -> set[str]:
    """Parts of names that all have; none of a single one."""
    found = [set(one.split(", ")) for one in names]
    return set.intersection(*found) - {""} if len(found) > 1 else set()


def without_common(name: str, common: Collection[str]) -> str:
    """A trial's name without the parts that all trials have; whole where nothing else is left."""
    return ", ".join(one for one in name.split(", ") if one not in common) or name


def few_of(names: Sequence[str]) -> str:
    """The first of some names, as many as can be read, and how many more there are."""
    told = list(names[:_MOST])
    while len(told) > 1 and len("; ".join(told)) > _LONG:
        told.pop()
    left = len(names) - len(told)
    return "; ".join(told) + (f"; and {left} more" if left else "")
