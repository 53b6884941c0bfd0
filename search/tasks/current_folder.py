"""Importing a user's modules from the folder of the command, in its process and its workers.

A task's file is the module of its stem where that name leads to it. Else, as ``datasets.py`` beside
an installed ``datasets``, it is a module of a name that no other file has.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final

COPY: Final = "fusion_search_folder"
"""What the folder of the command is called where a copy of it was sent to: a package's name."""

FOLDER_VARIABLE: Final = "FUSION_SEARCH_FOLDER"
"""On a head node: the folder in which the command was given elsewhere. Here lies a copy of it."""

_OWN_FOLDERS: Final = ("search", "models", "datasets", "analysis", "tests")
_MARK: Final = "search/tasks/current_folder.py"  # of any checkout of this project


def own_folders(folder: Path) -> tuple[str, ...]:
    """Those of this project, which are no user's, where it itself lies there; else none."""
    return _OWN_FOLDERS if (folder / _MARK).is_file() else ()


class _FolderFinder(MetaPathFinder):
    """Finds what nothing else does. A folder in ``sys.path`` would hide editable installs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Of a checkout only what a user put there: ``datasets`` is Hugging Face's.
        self.hidden = own_folders(folder)

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


class _FileFinder(MetaPathFinder):
    """Finds files by names of their own."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """The file that was named so."""
        file = self.files.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)


_files: Final = _FileFinder()
_copies: Final[dict[Path, Path]] = {}  # a folder elsewhere -> its copy


def _has_code(folder: Path) -> bool:
    """In it or one folder below, no deeper: data may be millions of files."""
    return any(next(folder.glob(one), None) is not None for one in ("*.py", "*/*.py"))


def _folder_finders() -> list[_FolderFinder]:
    return [one for one in sys.meta_path if isinstance(one, _FolderFinder)]


def make_importable(folder: Path, *, first: bool = False) -> None:
    """Let modules be imported from a folder, after all that is installed; once is enough.

    Args:
        folder: where they lie.
        first: before other such folders.
    """
    folder = folder.resolve()
    finders = _folder_finders()
    if any(one.folder == folder for one in finders):
        return
    place = sys.meta_path.index(finders[0]) if first and finders else len(sys.meta_path)
    sys.meta_path.insert(place, _FolderFinder(folder))


def module_of(file: Path) -> str:
    """The name by which a file is imported, here and where an :class:`Importable` arrives.

    What lies beside the file can be imported from then on.
    """
    file = file.parent.resolve() / file.name
    make_importable(file.parent, first=True)
    if file.stem.isidentifier() and _leads_to(file.stem, file):
        return file.stem
    digest = hashlib.sha256(os.fsencode(file)).hexdigest()[:8]
    name = f"{file.stem.replace('.', '_')}-{digest}"
    _name_file(name, file)
    return name


def _name_file(name: str, file: Path) -> None:
    _files.files[name] = file
    if _files not in sys.meta_path:
        sys.meta_path.append(_files)


def _leads_to(name: str, file: Path) -> bool:
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):  # ValueError: of a module that has no spec, as __main__
        return False
    found = spec.origin if spec is not None and spec.has_location else None
    return found is not None and Path(found).resolve() == file.resolve()


def copied_folder() -> Path | None:
    """Where the folder of the command lies, if a copy of it was sent to this process."""
    spec = find_spec(COPY)
    return None if spec is None else Path(next(iter(spec.submodule_search_locations or ())))


def in_copy(file: Path) -> Path:
    """Where a file lies that is named as where the command was given; itself, if it was here."""
    copies = dict(_copies)
    if given_in := os.environ.get(FOLDER_VARIABLE):
        copies.setdefault(Path(given_in), Path.cwd())
    for folder, copy in copies.items():
        if file.is_relative_to(folder):
            return copy / file.relative_to(folder)
    return file


class Importable:
    """Makes importable where it is unpickled what is importable where it is pickled.

    The folder of the command is also the current one there: by its path, if it has that, for
    relative names of data.

    Args:
        folder: of the command.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def __reduce__(self) -> tuple[Any, ...]:
        folders = [self._within(one.folder) for one in _folder_finders()]
        files = {name: self._within(file) for name, file in _files.files.items()}
        return _arrive, (self.folder, folders, files, os.environ.get(FOLDER_VARIABLE))

    def _within(self, path: Path) -> Path:
        return path.relative_to(self.folder) if path.is_relative_to(self.folder) else path


def _arrive(
    folder: Path, folders: Sequence[Path], files: Mapping[str, Path], given_in: str | None
) -> Importable:
    copy = copied_folder()
    root = copy or folder
    if copy is not None:  # here may be another folder of that path
        _copies.update({Path(one): copy for one in (folder, given_in) if one})
    for one in (*folders, Path()):
        make_importable(root / one)
    for name, file in files.items():
        _name_file(name, root / file)
    for one in (folder, root):
        with contextlib.suppress(OSError):  # another machine may not have it
            os.chdir(one)
            break
    return Importable(root)


class Carried:
    """A value that another process gets as it is, with the modules of a folder to make it of.

    The folder comes first: classes of a value are imported while it is unpickled.
    """

    def __init__(self, value: Any, folder: Path) -> None:
        self.value, self.folder = value, folder

    def __reduce__(self) -> tuple[Any, ...]:
        return _second, (Importable(self.folder), self.value)


def _second(first: Any, value: Any) -> Any:
    return value
