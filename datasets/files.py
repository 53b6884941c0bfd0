"""Where data files lie, and where they come from."""

from __future__ import annotations

import os
import shlex
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fusion_search.datasets.errors import DataError, count_label

_GZIP: Final = b"\x1f\x8b"
_BLOCK: Final = 1 << 14


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file that a source is read from.

    Attributes:
        name: the name it is stored under.
        folder: the subfolder it is stored in, below the data folder.
        other_folders: further subfolders where it is accepted ("" for the data folder itself).
        other_names: further names under which it is accepted.
        substitutes: patterns, below the data folder, of what is taken where it is missing.
        url: where it comes from.
        size: bytes of the public download, for progress; packings differ, so never checked.
        describe: reads all of it and gives its name, and how many bytes behind its packed content
            are left out; raises a DataError when it cannot be read.
        expected: the name of what ``url`` gives.
    """

    name: str
    folder: str
    other_folders: tuple[str, ...]
    other_names: tuple[str, ...] = ()
    substitutes: tuple[str, ...] = ()
    url: str
    size: int
    describe: Callable[[Path], tuple[str, int]]
    expected: str

    def home(self, folder: Path) -> Path:
        """Path where a download is stored below the data folder."""
        return folder / self.folder / self.name

    def find(self, folder: Path) -> Path | None:
        """Path of this file, or else of its substitute, below the data folder; None without.

        Raises:
            DataError: several could be its substitute, or something else is in its place.
        """
        for subfolder in (self.folder, *self.other_folders):
            for name in (self.name, *self.other_names):
                path = folder / subfolder / name
                if path.is_file():
                    return path
        found = {path for one in self.substitutes for path in folder.glob(one)}
        paths = sorted(path for path in found if not path.name.startswith("."))
        if len(paths) > 1:
            raise DataError(
                f"any of {', '.join(map(str, paths))} could be meant: leave one of them in {folder}"
            )
        if not paths:
            self._check_place(folder)
        return paths[0] if paths else None

    def require(self, folder: Path) -> Path:
        """Path of this file, or else of its substitute, below the data folder.

        Raises:
            DataError: it is missing, or as of :meth:`find`.
        """
        path = self.find(folder)
        if path is None:
            raise DataError(
                f"{self.folder}/{self.name} is missing from {folder}: run `fusion-search data "
                f"fetch digits --folder {shlex.quote(str(folder))}`, or name a folder that has "
                "it by --data or FUSION_SEARCH_DATA"
            )
        return path

    def _check_place(self, folder: Path) -> None:
        """Raise a ``DataError`` where it could not be stored below the data folder."""
        home = self.home(folder)
        hindrance = in_the_way(home.parent)
        if home.is_dir():
            hindrance = f"{home} is a folder, where a file is expected: move it away"
        if hindrance:
            raise DataError(f"{hindrance}, or name another folder by --data or FUSION_SEARCH_DATA")


def in_the_way(folder: Path) -> str:
    """On a file in the place of a folder, or of one that it is to be in; empty without."""
    there = next((one for one in (folder, *folder.parents) if one.exists()), None)
    if there is None or there.is_dir():
        return ""
    expected = "a folder" if there == folder else f"the folder {folder}"
    return f"{there} is a file, where {expected} is expected: move it away"


def lacking(folder: Path) -> str:
    """Why a folder is not there; other remedies follow."""
    hindrance = in_the_way(folder)
    return f"{hindrance} and " if hindrance else f"{folder} is missing: "


def damaged(path: Path, reason: str) -> DataError:
    """Build the error for a file that is not whole."""
    return DataError(
        f"{path} is damaged ({reason}): put a whole copy in its place, or move it away and run "
        "'fusion-search data fetch digits' (with --folder, where the data lie in a folder of yours)"
    )


def unusable(path: Path, reason: str) -> DataError:
    """Build the error for a file that may be whole, but is not of the form that is read."""
    return DataError(
        f"{path} cannot be used ({reason}): convert it, or move it away and run 'fusion-search "
        "data fetch digits' (with --folder, where the data lie in a folder of yours)"
    )


def read_packed(path: Path, most: int) -> tuple[bytes, int]:
    """The content of a file, unpacked where it is packed by gzip, perhaps in several parts.

    As gzip itself does, what follows the last part and is none is left out: what is before it has
    passed gzip's checksum.

    Args:
        path: the file.
        most: bytes; a longer content is not looked at.

    Returns:
        The content, and how many bytes were left out.

    Raises:
        DataError: it cannot be read, a part is not whole, or the content is longer.
    """
    content = bytearray()
    try:
        with path.open("rb") as file:
            rest = file.read(_BLOCK)
            if not rest.startswith(_GZIP):
                content += rest + file.read(max(0, most + 1 - len(rest)))
                rest = b""
            while rest.startswith(_GZIP):
                part = zlib.decompressobj(wbits=31)
                while not part.eof and len(content) <= most:
                    if not rest and not (rest := file.read(_BLOCK)):
                        raise damaged(path, "not a whole gzip file: it ends too early")
                    content += part.decompress(rest, most + 1 - len(content))
                    rest = part.unused_data
                if len(content) > most:
                    break
                if len(rest) < len(_GZIP):
                    rest += file.read(_BLOCK)
            left = len(rest) + path.stat().st_size - file.tell()
    except zlib.error as error:
        raise damaged(path, f"not a whole gzip file: {error}") from error
    except OSError as error:
        raise unusable(path, str(error)) from error
    if len(content) > most:
        raise unusable(path, f"its content is larger than {most:,} bytes")
    return bytes(content), left


def data_folder(option: str | Path | None, environ: Mapping[str, str]) -> Path:
    """Folder of the data files: the option, else FUSION_SEARCH_DATA, else the cache folder.

    The cache folder is below XDG_CACHE_HOME, else below ~/.cache.

    Raises:
        DataError: it is below a home folder that is not known, as that of "~nobody" is not, and
            without HOME that of a user whom the system does not list.
    """
    chosen = option or environ.get("FUSION_SEARCH_DATA")
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(chosen) if chosen else Path(cache) / "fusion-search"
    try:
        return folder.expanduser()
    except RuntimeError as error:
        raise DataError(
            f"the home folder in {str(folder)!r}, where the data files would be, is not known: "
            "name their folder with --data (--folder of fetch and check) or FUSION_SEARCH_DATA"
        ) from error


def files_below(folder: Path) -> list[Path]:
    """All files below a folder but hidden ones, such as those that a system adds, by name."""
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [one for one in folders if not one.startswith(".")]
        found += [Path(where, one) for one in names if not one.startswith(".")]
    return sorted(found)


def unread_words(folder: Path, there: Iterable[Path], read: Collection[Path], form: str) -> str:
    """Which files of a folder are not read, and which are; empty where all are.

    Args:
        folder: of a source.
        there: files below it.
        read: those that its reader takes, or leaves out and says so.
        form: of their names.
    """
    known = set(read)
    left = [one.relative_to(folder).as_posix() for one in there if one not in known]
    if not left:
        return ""
    are = "is" if len(left) == 1 else "are"
    return (
        f"{count_label(len(left), 'file')} of {folder.name}/ {are} not read, such as "
        f"{' and '.join(left[:2])}; what is read is {form}"
    )
