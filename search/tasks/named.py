"""Tasks by name, as a search declares them: ``digits``, ``my_lab.gesture:Gestures`` or a file's."""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fusion_search.search.tasks.base import Task, TaskError
from fusion_search.search.tasks.current_folder import make_importable, module_of

BUILT_IN: Final = {"digits": "fusion_search.search.tasks.digits.task:Digits"}

FOLDER_VARIABLE: Final = "FUSION_SEARCH_FOLDER"
"""On a head node: the folder in which the command was given elsewhere. Here lies a copy of it."""


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
    where, attribute = _parts(name)
    file = task_file(name)
    shown, module = where, where
    if file is not None:
        make_importable(Path.cwd())
        shown, module = str(file), module_of(file)
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        missing = MissingTaskError if error.name == module.partition(".")[0] else TaskError
        raise missing(f"task is {name!r}, but there is no module {error.name!r}") from error
    except Exception as error:  # whatever the code of its author raises
        hint = ""
        if file is not None and "relative import" in str(error):
            hint = "; a file that imports relative to its package is named as package.module:Class"
        raise TaskError(
            f"task is {name!r}, but {shown} cannot be imported: {_said(error)}{hint}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise TaskError(f"task is {name!r}, but {shown} has no task {attribute}")
    try:
        task = found()
    except Exception as error:
        raise TaskError(f"task is {name!r}, but {attribute}() raises {_said(error)}") from error
    task.data_folder = data_folder
    return task


def task_file(name: str) -> Path | None:
    """The file that a task is named by; None where it is named by a module.

    Raises:
        TaskError: there is no such file.
    """
    where, _ = _parts(name)
    return _existing(name, where) if _is_file(where) else None


def code_files(name: str) -> dict[str, Path]:
    """The files whose code is a task's: its file, or the Python files of its whole package.

    None of a built-in task, which is of this program, and nothing of what these files import.

    Args:
        name: as of :func:`find_task`.

    Raises:
        TaskError: there is no such file or module.
    """
    if file := task_file(name):
        return {file.name: file}
    where, _ = _parts(name)
    top = where.partition(".")[0]
    if top == "fusion_search":
        return {}
    spec = find_spec(top)
    if spec is None:
        raise MissingTaskError(f"task is {name!r}, but there is no module {top!r}")
    folders = [Path(one) for one in spec.submodule_search_locations or ()]
    if not folders:
        return {Path(one).name: Path(one) for one in [spec.origin] if one and spec.has_location}
    return {
        f"{top}/{path.relative_to(folder).as_posix()}": path
        for folder in folders
        for path in folder.rglob("*.py")
    }


def _parts(name: str) -> tuple[str, str]:
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
    given_in = os.environ.get(FOLDER_VARIABLE)
    if given_in and file.is_relative_to(given_in):
        file = Path.cwd() / file.relative_to(given_in)
    if not file.is_file():
        raise MissingTaskError(
            f"task is {name!r}, but there is no file {file}; give the command in the folder from "
            "which the task is named, or name it by its whole path"
        )
    return file


def _said(error: Exception) -> str:
    """In one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
