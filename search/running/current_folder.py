"""Importing a user's modules from the folder of the command, in its process and its workers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_MARK: Final = "search/running/current_folder.py"  # of any checkout of this project
_OWN_FOLDERS: Final = ("search", "models", "datasets", "analysis", "tests")


class _FolderFinder(MetaPathFinder):
    """Finds what nothing else does. A folder in ``sys.path`` would hide editable installs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Of a checkout only what a user put there: ``datasets`` is Hugging Face's.
        self.hidden = _OWN_FOLDERS if (folder / _MARK).is_file() else ()

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """The module's file in the folder, if it is a top-level one."""
        if path is not None or fullname in self.hidden:
            return None
        spec = PathFinder.find_spec(fullname, [str(self.folder)], target)
        if spec is not None and spec.loader is None and not _has_code(self.folder / fullname):
            return None  # a folder of data that is named as some optional package is
        return spec


def _has_code(folder: Path) -> bool:
    return next(folder.glob("*.py"), None) is not None


def make_importable(folder: Path) -> None:
    """Let modules be imported from a folder, after all that is installed; once is enough."""
    folder = folder.resolve()
    finders = [one for one in sys.meta_path if isinstance(one, _FolderFinder)]
    if all(one.folder != folder for one in finders):
        sys.meta_path.append(_FolderFinder(folder))


class _Importable:
    """Makes a folder's modules importable where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return make_importable, (self.folder,)


class Carried:
    """A value that another process gets as it is, with the modules of a folder to make it of.

    The folder comes first: classes of a value are imported while it is unpickled.
    """

    def __init__(self, value: Any, folder: Path) -> None:
        self.value, self.folder = value, folder

    def __reduce__(self) -> tuple[Any, ...]:
        return _second, (_Importable(self.folder), self.value)


def _second(first: Any, value: Any) -> Any:
    return value
