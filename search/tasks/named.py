"""Tasks by name: as a search declares them, ``digits`` or ``my_lab.gesture:Gestures``."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final

from fusion_search.search.tasks.base import Task, TaskError

BUILT_IN: Final = {
    "digits": "fusion_search.search.tasks.digits.task:Digits",
    "table": "fusion_search.search.tasks.table.task:Table",
}


def find_task(name: str, data_folder: Path | None = None) -> Task:
    """A task, which runs the code of whoever wrote it: only commands that run trials ask for it.

    Args:
        name: of a built-in one, or ``module:Class``.
        data_folder: where the command line says that real data lie.

    Raises:
        TaskError: there is no such task.
    """
    path = BUILT_IN.get(name, name)
    module, colon, attribute = path.partition(":")
    known = f"{', '.join(BUILT_IN)}, or a class of yours as module:Class"
    if not colon or not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise TaskError(f"task is {name!r}; allowed: {known}")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        raise TaskError(f"task is {name!r}, but there is no module {error.name!r}") from error
    except Exception as error:  # whatever the code of its author raises
        raise TaskError(
            f"task is {name!r}, but {module} cannot be imported: {_said(error)}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise TaskError(f"task is {name!r}, but {module} has no task {attribute}")
    try:
        task = found()
    except Exception as error:
        raise TaskError(f"task is {name!r}, but {attribute}() raises {_said(error)}") from error
    task.data_folder = data_folder
    return task


def _said(error: Exception) -> str:
    """In one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
