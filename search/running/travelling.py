"""What goes with a command to another machine: this program, and the folder it was given in.

Of the folder its code and small settings travel, and neither data nor results: files that end as
``SENT``, but nothing hidden, of a virtual environment, of a search, or named in a ``.gitignore`` or
``.rayignore``.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pathspec import GitIgnoreSpec

from fusion_search.analysis.records.description import TASK_FILE
from fusion_search.analysis.records.tables import PLANNED_FILE, SPECIFICATION_FILE
from fusion_search.search.records.provenance import package_files
from fusion_search.search.tasks.current_folder import COPY, own_folders
from fusion_search.search.tasks.named import task_file
from fusion_search.search.trials.fields import ConfigurationError

SENT: Final = (".py", ".yaml", ".yml", ".json", ".toml", ".cfg", ".ini", ".txt")
LARGEST: Final = 20_000_000  # bytes; this program's code has less than one million
MOST: Final = 100_000  # files and folders that are looked at
_LEFT_OUT: Final = ("__pycache__", "node_modules", "mlruns", "mlartifacts")
_INSTALLED: Final = ("site-packages", "dist-packages")
_IGNORED_IN: Final = (".gitignore", ".rayignore")
_NAMED: Final = 3  # files, in a sentence
_MARKS: Final = (  # any of these groups of files shows a folder that stays here
    ("pyvenv.cfg",),
    ("conda-meta",),
    (SPECIFICATION_FILE, PLANNED_FILE),
    (SPECIFICATION_FILE, TASK_FILE),
)

_Ignored = tuple[Path, GitIgnoreSpec]


@dataclass(frozen=True)
class Sent:
    """What goes with this program's code.

    Attributes:
        folder: of the command, if it is needed elsewhere.
        requirements: what pip installs there.
    """

    folder: Path | None = None
    requirements: tuple[str, ...] = ()


NOTHING: Final = Sent()


def uses_folder(folder: Path) -> bool:
    """Whether this process has imported something that lies in a folder and would travel."""
    folder = folder.resolve()
    modules = [
        (name, getattr(module, "__file__", None)) for name, module in list(sys.modules.items())
    ]
    return any(
        file and name.partition(".")[0] != "fusion_search" and _is_own(Path(file), folder)
        for name, file in modules
    )


def _is_own(file: Path, folder: Path) -> bool:
    file = file.parent.resolve() / file.name
    if file.suffix not in SENT or not file.is_relative_to(folder):
        return False
    parts = file.relative_to(folder).parts
    if parts[0] in own_folders(folder):
        return False
    return not any(one.startswith(".") or one in (*_LEFT_OUT, *_INSTALLED) for one in parts)


def check_inside(task: str, folder: Path) -> None:
    """Raise ``ConfigurationError`` where a task is named by a file that does not travel.

    Args:
        task: its name.
        folder: of the command.
    """
    file = task_file(task)
    if file is not None and not file.parent.resolve().is_relative_to(folder.resolve()):
        raise ConfigurationError(
            f"task {task} lies outside of {folder}, the folder of this command, which alone goes "
            f"to a cluster's nodes; give the command in {file.parent.resolve()} or above"
        )


def folder_files(folder: Path) -> dict[str, Path]:
    """What travels of a folder, by its name in it.

    Raises:
        ConfigurationError: it is too much.
    """
    folder = folder.resolve()
    found = {path.relative_to(folder).as_posix(): path for path in _Walk(folder).files(folder, ())}
    sizes = {name: path.stat().st_size for name, path in found.items()}
    total = sum(sizes.values())
    if total > LARGEST:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:_NAMED]
        told = ", ".join(f"{name} ({sizes[name] / 1e6:.1f} MB)" for name in largest)
        raise ConfigurationError(
            f"the code and settings in {folder}, the folder of this command, are too large to be "
            f"sent to a cluster: {total / 1e6:.1f} MB, allowed: {LARGEST / 1e6:.0f} MB; the "
            f"largest are {told}; name what is not needed there in a file .rayignore (written as a "
            ".gitignore), or give the command in another folder"
        )
    return found


class _Walk:
    """Through a folder, counting."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.own = own_folders(root)
        self.seen = 0

    def files(self, folder: Path, ignored: Sequence[_Ignored]) -> Iterator[Path]:
        """Below a folder, with what the folders above it say is to be ignored."""
        with os.scandir(folder) as entries:
            there = sorted(entries, key=lambda one: one.name)
        self.seen += len(there)
        if self.seen > MOST:
            raise ConfigurationError(
                f"the folder of this command, {self.root}, holds more than {MOST:,} files, too "
                "many to look for code that goes to a cluster; name folders without code in a file "
                ".rayignore (written as a .gitignore), or give the command in another folder"
            )
        names = {one.name for one in there}
        if folder != self.root and any(names.issuperset(mark) for mark in _MARKS):
            return
        ignored = [*ignored, *_ignored_in(folder, names)]
        for one in there:
            path = folder / one.name
            if one.name.startswith(".") or one.name in _LEFT_OUT:
                continue
            is_folder = one.is_dir(follow_symlinks=False)
            if any(_matches(each, path, is_folder) for each in ignored):
                continue
            if is_folder and not (folder == self.root and one.name in self.own):
                yield from self.files(path, ignored)
            elif path.suffix in SENT and one.is_file():
                yield path


def _ignored_in(folder: Path, names: set[str]) -> Iterator[_Ignored]:
    for name in _IGNORED_IN:
        if name in names and (folder / name).is_file():
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
            yield folder, GitIgnoreSpec.from_lines(lines)


def _matches(ignored: _Ignored, path: Path, is_folder: bool) -> bool:
    folder, spec = ignored
    return spec.match_file(path.relative_to(folder).as_posix() + "/" * is_folder)


@contextmanager
def code_to_send(folder: Path | None = None) -> Iterator[list[str]]:
    """Copies of this program, laid out as the package that it is elsewhere, and of a folder.

    Args:
        folder: of the command; its copy is called ``COPY``. None, or one without code, is not sent.

    Raises:
        ConfigurationError: it is too large.
    """
    files = package_files()
    sizes = {path: path.stat().st_size for path in files.values()}
    if sum(sizes.values()) > LARGEST:
        largest = max(sizes, key=lambda path: sizes[path])
        raise ConfigurationError(
            f"the code is too large to be sent to a cluster: {sum(sizes.values()) / 1e6:.0f} MB, "
            f"allowed: {LARGEST / 1e6:.0f} MB; the largest file is {largest}, move it away"
        )
    own = folder_files(folder) if folder is not None else {}
    with tempfile.TemporaryDirectory() as made:
        _copy(files, Path(made))
        _copy({f"{COPY}/{name}": path for name, path in own.items()}, Path(made))
        yield [str(Path(made, one)) for one in ("fusion_search", *([COPY] if own else []))]


def _copy(files: Mapping[str, Path], folder: Path) -> None:
    for name, path in files.items():
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
