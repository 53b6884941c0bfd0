"""Tasks by name, as a search declares them: ``digits``, ``my_lab.gesture:Gestures`` or a file's."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path
from typing import Final

from fusion_search.analysis.records.words.names import UNNAMED
from fusion_search.search.tasks.base import Task, TaskError
from fusion_search.search.tasks.current_folder import in_copy, make_importable, module_of

BUILT_IN: Final = {
    "digits": "fusion_search.search.tasks.digits.task:Digits",
    "rgbd": "fusion_search.search.tasks.rgbd.task:Rgbd",
    "table": "fusion_search.search.tasks.table.task:Table",
    "xflow": "fusion_search.search.tasks.xflow.task:XFlow",
}


class MissingTaskError(TaskError):
    """The file or module of a task is not there."""


def find_task(name: str, data_folder: Path | None = None) -> Task:
    """A task, which runs the code of whoever wrote it: only commands that run trials ask for it.

    Args:
        name: of a built-in one, ``module:Class`` or ``./file.py:Class``.
        data_folder: where the command line says that real data lie.

    Raises:
        TaskError: there is no such task.
    """
    where, attribute = parts_of(name)
    if where == UNNAMED and not hasattr(sys.modules[UNNAMED], attribute):
        raise TaskError(
            f"task is {name!r}, which a notebook or script defined and which is not known here; "
            "define it there again and go on there: fusion_search.resume takes it as task="
        )
    file = task_file(name)
    shown, module = where, where
    if file is not None:
        make_importable(Path.cwd())
        shown, module = str(file), module_of(file)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what its author prints is no answer of ours
            found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        missing = MissingTaskError if error.name == module.partition(".")[0] else TaskError
        raise missing(f"task is {name!r}, but there is no module {error.name!r}") from error
    except (Exception, SystemExit) as error:  # whatever the code of its author raises
        hint = ""
        if file is not None and "relative import" in str(error):
            hint = "; a file that imports relative to its package is named as package.module:Class"
        raise TaskError(
            f"task is {name!r}, but {shown} cannot be imported: {_said(error)}{hint}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise TaskError(f"task is {name!r}, but {shown} has no task {attribute}{_hidden(where)}")
    try:
        task = found()
    except (Exception, SystemExit) as error:
        raise TaskError(f"task is {name!r}, but {attribute}() raises {_said(error)}") from error
    task.data_folder = data_folder
    return task


def task_file(name: str) -> Path | None:
    """The file that a task is named by; None where it is named by a module.

    Raises:
        TaskError: there is no such file.
    """
    where, _ = parts_of(name)
    return _existing(name, where) if _is_file(where) else None


def parts_of(name: str) -> tuple[str, str]:
    """Module or file, and class."""
    where, colon, attribute = BUILT_IN.get(name, name).rpartition(":")
    named = _is_file(where) or all(one.isidentifier() for one in where.split("."))
    if not (colon and named and attribute.isidentifier()):
        known = ", ".join(BUILT_IN)
        raise TaskError(
            f"task is {name!r}; allowed: {known}, or a class of yours as module:Class or "
            "./file.py:Class"
        )
    return where, attribute


def _is_file(where: str) -> bool:
    return where.endswith(".py")


def _existing(name: str, where: str) -> Path:
    """The file, by its path or from the current folder."""
    try:
        file = Path.cwd() / Path(where).expanduser()
    except RuntimeError as error:
        raise TaskError(f"task is {name!r}, but its home folder is not known") from error
    file = in_copy(file)
    if not file.is_file():
        raise MissingTaskError(
            f"task is {name!r}, but there is no file {file}; give the command in the folder from "
            "which the task is named, or name it by its whole path"
        )
    return file


def _hidden(where: str) -> str:
    """What to add of a module here that an installed one of its name hides."""
    file = Path(f"{where}.py")
    if _is_file(where) or not file.is_file():
        return ""
    return f"; another module {where} comes before the file here, which is ./{file}:Class"


def _said(error: BaseException) -> str:
    """In one line."""
    if isinstance(error, SystemExit):
        return "it ends the program"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
