"""Files in a local folder or at any URI that pyarrow's filesystems open, written whole."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

import pyarrow as pa
from pyarrow import fs

from fusion_search.analysis.records.filesystems import whole_files
from fusion_search.analysis.records.filesystems.errors import (
    OF_A_FILE,
    RefusedError,
    StorageError,
    full,
    refused,
)
from fusion_search.analysis.records.filesystems.opening import local_folder, open_filesystem
from fusion_search.analysis.records.filesystems.waiting import patiently
from fusion_search.analysis.records.processes import is_leftover, locked_within

LARGEST_TEXT: Final = 16 << 20  # bytes of a file that people could read
LOCK_SECONDS: Final = 20.0  # that a folder's lock is waited for; it is held for milliseconds

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Storage:
    """One folder, local or remote.

    Every method raises :class:`StorageError` when the storage is full or refuses, or does not
    answer within ``patience_seconds``, and ``FileNotFoundError`` or ``PermissionError`` for a file
    to read that is missing or forbidden. Who waits says so once, on stderr or as
    :func:`waiting_told` has it, and once when it answers again. Where somebody here has waited in
    vain, whoever asks next tries once and does not wait anew. What reads raises
    :class:`UnfitError` for a folder, a pipe or a device, which might never end, and for more than
    ``most`` bytes.

    Attributes:
        location: what the user wrote.
        filesystem, root: pyarrow's, and the folder's path in it.
        patience_seconds: how long to try again; 0 tries once.
        guard: asked before anything here is changed, with the patience; raises when it must not
            be. It stays in its process: what is pickled has none.
    """

    location: str
    filesystem: fs.FileSystem
    root: str
    patience_seconds: float = 0.0
    guard: Callable[[float], None] | None = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "guard": None}

    def path(self, *parts: str) -> str:
        """The filesystem's own path of a file below this folder."""
        return "/".join([self.root.rstrip("/"), *parts])

    def named(self, *parts: str) -> str:
        """The location of a file below this folder, for people."""
        address, mark, options = self.location.partition("?" if "://" in self.location else "\0")
        return "/".join([address.rstrip("/"), *parts]) + mark + options

    def below(self, *parts: str) -> Storage:
        """The folder at ``parts`` below this one."""
        return replace(self, location=self.named(*parts), root=self.path(*parts))

    @property
    def parent(self) -> Storage:
        """The folder that this one is in: the storage of a search's folder."""
        address, mark, options = self.location.partition("?" if "://" in self.location else "\0")
        above = address.rstrip("/").rpartition("/")[0]
        root = self.root.rstrip("/").rpartition("/")[0]
        return replace(self, location=above + mark + options, root=root, guard=None)

    def guarded(self, guard: Callable[[float], None]) -> Storage:
        """The same folder, changed only while ``guard`` does not raise."""
        return replace(self, guard=guard)

    def assure(self) -> None:
        """Raise what the guard raises, if there is one."""
        if self.guard is not None:
            self.guard(self.patience_seconds)

    def patient(self, seconds: float) -> Storage:
        """The same folder, trying again for so long while it does not answer."""
        return replace(self, patience_seconds=seconds)

    def exists(self, *parts: str) -> bool:
        """Whether a file or folder is there."""
        try:
            info = self._patiently(lambda: self.filesystem.get_file_info(self.path(*parts)))
        except OF_A_FILE as error:
            raise refused(self.location, error) from error
        return bool(info.type != fs.FileType.NotFound)

    def is_there(self, *parts: str) -> bool:
        """The same; also what may not be looked at is there."""
        try:
            return self.exists(*parts)
        except RefusedError:
            return True

    def names(self, *parts: str) -> list[str]:
        """Names of the files and folders directly below, sorted; none when the folder is missing.

        Hidden ones, such as a half-written file, do not count.
        """
        selector = fs.FileSelector(self.path(*parts), allow_not_found=True)
        try:
            entries = self._patiently(lambda: self.filesystem.get_file_info(selector))
        except OF_A_FILE as error:
            raise refused(self.named(*parts), error) from error
        return sorted(entry.base_name for entry in entries if not entry.base_name.startswith("."))

    def read(self, *parts: str, most: int = LARGEST_TEXT) -> bytes:
        """The content of a file. Raises ``FileNotFoundError``."""
        try:
            return self._patiently(
                lambda: whole_files.read(self.filesystem, self.path(*parts), most)
            )
        except NotADirectoryError as error:  # as where it is missed: below a file is none
            raise FileNotFoundError(*error.args) from error

    def open(self, *parts: str, most: int) -> pa.NativeFile | io.BytesIO:
        """A file to read parts of, without holding a local one in memory whole."""
        if isinstance(self.filesystem, fs.LocalFileSystem):
            return whole_files.opened(self.filesystem, self.path(*parts), most)
        # One request for all of it, and patience, which a file read in parts would not have.
        return io.BytesIO(self.read(*parts, most=most))

    def write(self, content: bytes, *parts: str) -> None:
        """Write a file whole: a reader sees the old content or the new, never a part."""
        self.assure()
        try:
            self._patiently(
                lambda: whole_files.write(
                    self.filesystem, content, self.path(*parts), beside=self.path()
                )
            )
        except OF_A_FILE as error:
            raise refused(self.location, error) from error

    def create(self, content: bytes, *parts: str) -> bool:
        """Write a file whole unless there is one; whether there was none. Of many, one succeeds.

        Raises ``NotImplementedError`` where that cannot be done: but for local disks, pyarrow knows
        no condition on a writing, and some disks have no hard links.
        """
        if not isinstance(self.filesystem, fs.LocalFileSystem):
            raise NotImplementedError
        self.assure()
        try:
            return self._patiently(
                lambda: whole_files.create(
                    self.filesystem, content, self.path(*parts), beside=self.path()
                )
            )
        except OF_A_FILE as error:
            raise refused(self.location, error) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes of this machine that would lock this folder waiting.

        The folder is made if need be. Where folders cannot be locked (objects, some network file
        systems), nobody waits.
        """
        if not isinstance(self.filesystem, fs.LocalFileSystem):
            yield
            return
        try:
            self._patiently(lambda: self.filesystem.create_dir(self.root, recursive=True))
            folder = self._patiently(lambda: os.open(self.root, os.O_RDONLY))
        except OF_A_FILE as error:
            raise refused(self.location, error) from error
        try:
            self._lock(folder)  # ends with the process at the latest
            yield
        finally:
            os.close(folder)

    def _lock(self, folder: int) -> None:
        try:
            locked = locked_within(folder, LOCK_SECONDS)
        except OSError:
            return
        if not locked:
            raise StorageError(
                f"{self.location} has been locked by another process for {LOCK_SECONDS:g} "
                "s; look for one that is stopped or hangs, and end it"
            )

    def remove_empty(self) -> None:
        """Remove this folder if it is a local one with nothing in it."""
        if isinstance(self.filesystem, fs.LocalFileSystem):
            with contextlib.suppress(OSError):
                Path(self.root).rmdir()

    def remove(self, *parts: str) -> None:
        """Delete a file if it is there."""
        self.assure()
        try:
            self._patiently(lambda: self.filesystem.delete_file(self.path(*parts)))
        except FileNotFoundError:
            pass
        except OF_A_FILE as error:
            raise refused(self.location, error) from error

    def remove_leftovers(self, *folders: str) -> None:
        """Delete what processes left half-written that have died, if that can be done now.

        Args:
            folders: below this one, where earlier versions left such files.
        """
        if whole_files.holds_objects(self.filesystem):
            return
        for parts in ((), *((one,) for one in folders)):
            selector = fs.FileSelector(self.path(*parts), allow_not_found=True)
            entries: list[fs.FileInfo] = []
            with contextlib.suppress(OSError):
                entries = self.filesystem.get_file_info(selector)
            for entry in entries:
                if is_leftover(entry.base_name, entry.mtime):
                    with contextlib.suppress(OSError):
                        self.filesystem.delete_file(entry.path)

    def _patiently(self, action: Callable[[], _Value]) -> _Value:
        return patiently(action, self.location, self.patience_seconds, self._full)

    def _full(self) -> StorageError:
        local = isinstance(self.filesystem, fs.LocalFileSystem)
        return full(self.location, Path(self.root) if local else None)


def open_storage(location: str | Path) -> Storage:
    """Open a folder: a local path, or a URI such as ``s3://bucket/results``.

    Raises:
        ValueError: pyarrow has no filesystem for the URI, or it holds a password.
        RefusedError: what is there is no folder, or may not be entered.
    """
    text = str(location)
    if "://" not in text:
        return Storage(text, fs.LocalFileSystem(), local_folder(text))
    return Storage(text, *open_filesystem(text))
