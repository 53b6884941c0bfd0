"""Where data files lie, and where they come from."""

from __future__ import annotations

import gzip
import shlex
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fusion_search.datasets.errors import DataError


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file that a source is read from.

    Attributes:
        name: the name it is stored under.
        folder: the subfolder it is stored in, below the data folder.
        other_folders: further subfolders where it is accepted ("" for the data folder itself).
        other_names: further names under which it is accepted.
        url: where it comes from.
        size: bytes of the public download, for progress; packings differ, so never checked.
        verify: reads the whole file and raises a DataError unless its *content* is the expected
            one.
    """

    name: str
    folder: str
    other_folders: tuple[str, ...]
    other_names: tuple[str, ...] = ()
    url: str
    size: int
    verify: Callable[[Path], None]

    def home(self, folder: Path) -> Path:
        """Path where a download is stored below the data folder."""
        return folder / self.folder / self.name

    def find(self, folder: Path) -> Path | None:
        """Path of this file below the data folder, or None where it is missing."""
        for subfolder in (self.folder, *self.other_folders):
            for name in (self.name, *self.other_names):
                path = folder / subfolder / name
                if path.is_file():
                    return path
        return None

    def require(self, folder: Path) -> Path:
        """Path of this file below the data folder.

        Raises:
            DataError: it is missing.
        """
        path = self.find(folder)
        if path is None:
            raise DataError(
                f"{self.folder}/{self.name} is missing from {folder}: run `fusion-search data "
                f"fetch digits --folder {shlex.quote(str(folder))}`, or set FUSION_SEARCH_DATA to "
                "a folder that has it"
            )
        return path


def damaged(path: Path, reason: str) -> DataError:
    """Build the error for a file whose content is not the expected one."""
    return DataError(
        f"{path} is damaged ({reason}): delete it and run 'fusion-search data fetch digits'"
    )


def decompressed(path: Path, most: int) -> bytes:
    """The content of a gzip file, which may have several parts.

    Args:
        path: the file.
        most: bytes; a longer content is not looked at.

    Raises:
        DataError: it is not a whole gzip file, or its content is longer.
    """
    try:
        with path.open("rb") as packed, gzip.GzipFile(fileobj=packed) as file:
            content = file.read(most + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise damaged(path, f"not a whole gzip file: {error}") from error
    if len(content) > most:
        raise damaged(path, f"its content is larger than {most:,} bytes")
    return content


def default_folder(environ: Mapping[str, str]) -> Path:
    """Cache folder of downloads: below XDG_CACHE_HOME, else below ~/.cache."""
    cache = environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "fusion-search"


def data_folder(option: str | Path | None, environ: Mapping[str, str]) -> Path:
    """Folder of the data files: the option, else FUSION_SEARCH_DATA, else the cache folder.

    Raises:
        DataError: it begins with the home folder of nobody.
    """
    chosen = option or environ.get("FUSION_SEARCH_DATA")
    try:
        return Path(chosen).expanduser() if chosen else default_folder(environ)
    except RuntimeError as error:  # "~nobody"
        raise DataError(f"the data folder {str(chosen)!r} has no home folder: {error}") from error
