"""The files whose code a task is: what a search is told by when somebody changes one."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fusion_search.analysis.records.words.names import UNNAMED
from fusion_search.search.tasks.current_folder import copied_folder, make_importable
from fusion_search.search.tasks.named import MissingTaskError, parts_of, task_file

_INSTALLED: Final = ("site-packages", "dist-packages")


def code_files(name: str) -> dict[str, Path]:
    """A task's file, or the Python files of its whole package, and what they import beside them.

    None of a built-in task, which is of this program, of one that a notebook holds, and of what is
    installed. An import is found by reading, so one by a computed name is not.

    Args:
        name: as of :func:`find_task`.

    Returns:
        path from the folder of the file or package -> file.

    Raises:
        TaskError: there is no such file or module.
    """
    file = task_file(name)
    top = parts_of(name)[0].partition(".")[0]
    if file is not None:
        make_importable(Path.cwd())
        make_importable(file.parent, first=True)
        first, base = [file], file.parent
    elif top in ("fusion_search", UNNAMED):
        return {}
    else:
        first, base = _of_module(name, top)
    base = base.resolve()
    around = [one.resolve() for one in (base, Path.cwd(), copied_folder()) if one is not None]
    found = _with_imported(first, around)
    return {Path(os.path.relpath(one, base)).as_posix(): one for one in found}


def _of_module(name: str, top: str) -> tuple[list[Path], Path]:
    """Files of a top-level module, and the folder that it lies in."""
    spec = find_spec(top)
    if spec is None:
        raise MissingTaskError(f"task is {name!r}, but there is no module {top!r}")
    folders = [Path(one) for one in spec.submodule_search_locations or ()]
    if folders:
        return [one for folder in folders for one in folder.rglob("*.py")], folders[0].parent
    files = [Path(one) for one in [spec.origin] if one and spec.has_location]
    return files, files[0].parent if files else Path.cwd()


def _with_imported(files: Sequence[Path], roots: Sequence[Path]) -> list[Path]:
    """Files, and all that they import, directly or not, from below some folders."""
    waiting = [one.parent.resolve() / one.name for one in files]
    found = dict.fromkeys(waiting)
    while waiting:
        file = waiting.pop()
        if not _is_below(file, roots):
            continue  # installed: its own files are all there
        for one in _imported(file, roots):
            if one not in found:
                found[one] = None
                waiting.append(one)
    return list(found)


def _is_below(file: Path, roots: Sequence[Path]) -> bool:
    return any(
        file.is_relative_to(one)
        and not any(
            part.startswith(".") or part in _INSTALLED for part in file.relative_to(one).parts
        )
        for one in roots
    )


def _imported(file: Path, roots: Sequence[Path]) -> Iterator[Path]:
    """What one file imports from below the folders, packages on the way included."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # its import says it better
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _absolute(alias.name.split("."), roots)
        elif isinstance(node, ast.ImportFrom):
            path = (node.module or "").split(".") if node.module else []
            for alias in node.names:
                if node.level:
                    yield from _files(file.parents[node.level - 1], [*path, alias.name])
                else:
                    yield from _absolute([*path, alias.name], roots)


def _absolute(path: list[str], roots: Sequence[Path]) -> Iterator[Path]:
    if path[0] == "fusion_search" or path[0] in sys.stdlib_module_names:
        return
    try:
        spec = find_spec(path[0])
    except (ImportError, ValueError):  # ValueError: of a module without a spec
        return
    if spec is None:
        return
    places = spec.submodule_search_locations or ([spec.origin] if spec.origin else [])
    for where in places:
        found = _files(Path(where).resolve().parent, path)
        yield from (one for one in found if _is_below(one, roots))


def _files(folder: Path, path: Sequence[str]) -> Iterator[Path]:
    """``a/__init__.py``, ``a/b/__init__.py`` and ``a/b/c.py`` of ``a.b.c``, where they are."""
    for part in path:
        for one in (folder / f"{part}.py", folder / part / "__init__.py"):
            if one.is_file():
                yield one
        folder /= part
