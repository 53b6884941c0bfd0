"""Where a search lies, and what its task is, as they are given in Python."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from fusion_search.analysis.records.selection import Search, open_search
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.words.names import UNNAMED
from fusion_search.search.tasks.base import Task, TaskError
from fusion_search.search.tasks.current_folder import make_importable
from fusion_search.search.tasks.named import find_task

GivenTask = Task | type[Task] | str | None
"""An object, a class, a name, or None to find the task by the name that its search has."""


def folder_of(search: str | Path) -> tuple[Storage, str]:
    """The folder of all searches, and the name of one, from ``results/NAME`` or a URI."""
    text = str(search).rstrip("/")
    folder = open_storage(text if "/" in text else Path(text).absolute())
    return folder.parent, folder.root.rstrip("/").rpartition("/")[2]


def open_found(search: str | Path) -> Search:
    """What is known of a search; records that cannot be read are in its ``damaged``.

    Raises:
        ValueError: there is no such search, or its files are damaged or of an earlier version.
    """
    parent, name = folder_of(search)
    return open_search(parent, name, lambda trial_id, damage: None)


def task_of(given: GivenTask, name: str, data: str | Path | None) -> Task:
    """A task as it was given, else by its name, which the current folder's modules have.

    Raises:
        ValueError: there is none, or it is no task.
    """
    folder = None if data is None else Path(data)
    if given is None or isinstance(given, str):
        make_importable(Path.cwd())
        return find_task(given or name, folder)
    task = given() if inspect.isclass(given) else given
    if not isinstance(task, Task):
        raise TaskError(
            f"task is {given!r}; allowed: a Task, its class, or its name as module:Class"
        )
    task.data_folder = folder
    return task


def name_of(given: Task | type[Task]) -> str:
    """What a search calls a task that was given: ``module:Class`` where anybody finds it there.

    A class of a notebook, script or function, or an object that its class alone does not make, is
    known only where it was defined: ``__main__:Class``.
    """
    kind = given if inspect.isclass(given) else type(given)
    own = set() if inspect.isclass(given) else set(vars(given))
    found = getattr(sys.modules.get(kind.__module__), kind.__qualname__, None)
    alone = found is kind and own <= {"data_folder"}
    return f"{kind.__module__ if alone else UNNAMED}:{kind.__name__}"
