"""What would decide that which a search has too few seeds or folds for, where a command can."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from numbers import Real
from typing import Any

from fusion_search.analysis.folds.comparison import NOTHING
from fusion_search.analysis.records.advice import command, go_on_command, read_options
from fusion_search.analysis.records.selection import (
    AnalysisError,
    Search,
    confirmed_by,
    read_specification,
)
from fusion_search.analysis.records.tables import SPECIFICATION_FILE
from fusion_search.analysis.records.words.names import is_unnamed
from fusion_search.analysis.statistics import CANNOT, seeds_needed

_OTHERWISE = ("searcher", "listed")  # declared: what says its own seeds and folds, or chooses


def more_folds(search: Search, decisions: Iterable[Any]) -> list[str]:
    """A sentence with the command that trains all folds, where fewer were declared.

    Nothing of a confirmation, whose folds are those of its search, and where the data are known to
    be cut into too few.

    Args:
        search: that is drawn.
        decisions: of its tables; what says none is left out.
    """
    if not any(isinstance(one, str) and CANNOT in one for one in decisions):
        return []
    declared, needed = _declared(search, "folds"), seeds_needed()
    made = search.finished["folds"].max() if "folds" in search.finished else None
    few = isinstance(made, Real) and made < needed
    if not declared or few or declared.get("folds") == "all":
        return []
    if search.planned["fold"].nunique() >= needed:  # those that have not ended are noted
        return []
    again = _launch(search, f"{search.name}-all-folds", "folds=all")
    return [f"{needed} folds could decide; as many as the data have are trained by `{again}`."]


def other_sizes(search: Search, decisions: Collection[Any]) -> list[str]:
    """A sentence with the command that compares networks whatever they differ in.

    Where a table of those that are else alike lacks what the others are compared with.

    Args:
        search: that is drawn; of a confirmation the report of its search compares them.
        decisions: of its tables.
    """
    if NOTHING not in decisions:
        return []
    confirmed, storage = confirmed_by(search), search.storage.parent.location
    words = ("draw", "folds", search.name) if confirmed is None else ("report", confirmed)
    return [
        f"Where there is {NOTHING}, plain fusion was not trained with these settings, such as "
        f"sizes; networks of any settings are compared by `{command(*words, storage=storage)}`."
    ]


def more_seeds(search: Search, paired_seeds: int) -> list[str]:
    """A sentence with the command that trains as many seeds as max-T needs.

    Args:
        search: that is drawn; of a confirmation its search is confirmed with more.
        paired_seeds: that two of its networks have in common.
    """
    needed = seeds_needed()
    if not 0 < paired_seeds < needed or search.planned["seed"].nunique() >= needed:
        return []
    confirmed, task = confirmed_by(search), search.description.task
    if confirmed is not None:
        if is_unnamed(task):
            return []
        location, options = search.storage.parent.location, read_options(search.storage)
        more = ("--seeds", str(needed))
        again = go_on_command("confirm", confirmed, task, location, options, *more)
    else:
        declared = _declared(search, "seeds")
        seeds = declared.get("seeds", [0])
        if not declared or not isinstance(seeds, list):
            return []
        free = (one for one in range(needed + len(seeds)) if one not in seeds)
        seeds = [*seeds, *(next(free) for _ in range(needed - len(seeds)))]
        again = _launch(search, f"{search.name}-{needed}-seeds", f"seeds={seeds}")
    return [f"{needed} seeds could decide by max-T: `{again}`."]


def _declared(search: Search, part: str) -> Mapping[str, Any]:
    """The specification of a sweep that declares a part once; nothing of others.

    Nor of what no command can launch: a configuration on storage that is no folder, and a task that
    a notebook defined.
    """
    if is_unnamed(search.description.task) or "://" in search.storage.location:
        return {}
    try:
        found = read_specification(search)
    except AnalysisError:
        return {}  # which other commands say
    blocks = found.get("sweep", [])
    own = any(part in one for one in blocks if isinstance(one, dict))
    return {} if own or any(one in found for one in _OTHERWISE) else found


def _launch(search: Search, name: str, changed: str) -> str:
    """Launches what a search declared, under another name, with one part changed."""
    return command(
        *("launch", search.storage.named(SPECIFICATION_FILE)),
        *("--set", f"name={name}", "--set", changed),
        *read_options(search.storage).words,
        storage=search.storage.parent.location,
    )
