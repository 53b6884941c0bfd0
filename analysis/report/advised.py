"""The commands that a search's report advises: those that work on that search, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.selection import Search


def advised(name: str, specification: Mapping[str, Any], storage: str) -> dict[str, str]:
    """Verb -> command. Every verb reads the specification, so without one there are none.

    Args:
        name: of the search.
        specification: as plain data; empty when it cannot be read.
        storage: where the search is found.
    """
    if not specification:
        return {}
    verbs = ["resume", "retry"]
    space = specification.get("space")
    if isinstance(space, Mapping):
        verbs += ["confirm", "importance"]
        if is_countable(space):
            verbs.append("replay")
    return {verb: command(verb, name, storage=storage) for verb in verbs}


def is_countable(space: Mapping[str, Any]) -> bool:
    """Whether no choice of a declared space is a number from a range, unless a whole one."""
    ranges = [value for value in space.values() if isinstance(value, Mapping) and "low" in value]
    return not any(isinstance(value["low"], float) for value in ranges)


def figures_of_sweep(search: Search) -> list[str | None]:
    """What draws a sweep's accuracies, by its trials' senses; None while none has finished."""
    modalities = set(search.finished["modality"])
    figures = {"grids": "both" in modalities, "unimodal": bool(modalities - {"both"})}
    storage = search.storage.parent.location
    return [
        command("draw", figure, search.name, storage=storage)
        for figure, finished in figures.items()
        if finished
    ] or [None]
