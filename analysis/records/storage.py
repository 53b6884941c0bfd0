"""Files in a local folder or at any URI that pyarrow's filesystems open, written whole."""

from __future__ import annotations

import contextlib
import errno
import io
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import pyarrow as pa
from pyarrow import fs

from fusion_search.analysis.records.secrets import STORAGE_REMEDY, refuse_password

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 10.0

_OBJECT_STORES: Final = ("s3", "gcs", "abfs")
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
# What storage that works says of one file: trying again would not change it.
_ANSWERS: Final = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)

_Value = TypeVar("_Value")


class StorageError(OSError):
    """The storage does not answer or is full; the message is one sentence."""


@dataclass(frozen=True)
class Storage:
    """One folder, local or remote.

    Every method raises :class:`StorageError` when the storage is full, or does not answer within
    ``patience_seconds``, and the builtin errors for a file that is missing or forbidden.

    Attributes:
        location: what the user wrote.
        filesystem, root: pyarrow's, and the folder's path in it.
        patience_seconds: how long to try again; 0 tries once.
    """

    location: str
    filesystem: fs.FileSystem
    root: str
    patience_seconds: float = 0.0

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
        return replace(self, location=above + mark + options, root=root)

    def patient(self, seconds: float) -> Storage:
        """The same folder, trying again for so long while it does not answer."""
        return replace(self, patience_seconds=seconds)

    def exists(self, *parts: str) -> bool:
        """Whether a file or folder is there."""
        info = self._patiently(lambda: self.filesystem.get_file_info(self.path(*parts)))
        return bool(info.type != fs.FileType.NotFound)

    def names(self, *parts: str) -> list[str]:
        """Names of the files and folders directly below, sorted; none when the folder is missing.

        A half-written file (its name starts with a dot) does not count.
        """
        selector = fs.FileSelector(self.path(*parts), allow_not_found=True)
        entries = self._patiently(lambda: self.filesystem.get_file_info(selector))
        return sorted(entry.base_name for entry in entries if not entry.base_name.startswith("."))

    def read(self, *parts: str) -> bytes:
        """The content of a file. Raises ``FileNotFoundError``."""
        return self._patiently(lambda: self._read(self.path(*parts)))

    def open(self, *parts: str) -> pa.NativeFile | io.BytesIO:
        """A file to read parts of, without holding a local one in memory whole."""
        if isinstance(self.filesystem, fs.LocalFileSystem):
            return self.filesystem.open_input_file(self.path(*parts))
        # One request for all of it, and patience, which a file read in parts would not have.
        return io.BytesIO(self.read(*parts))

    def write(self, content: bytes, *parts: str) -> None:
        """Write a file whole: a reader sees the old content or the new, never a part."""
        if self._holds_objects:
            # An object appears when its upload ends, and needs no folder.
            self._patiently(lambda: self._put(content, self.path(*parts)))
        else:
            self._patiently(lambda: self._replace(content, self.path(*parts)))

    def remove(self, *parts: str) -> None:
        """Delete a file if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._patiently(lambda: self.filesystem.delete_file(self.path(*parts)))

    @property
    def _holds_objects(self) -> bool:
        return self.filesystem.type_name in _OBJECT_STORES

    def _read(self, path: str) -> bytes:
        while True:
            # A file, since a stream would ask for an object in pieces, each as it then is.
            with self.filesystem.open_input_file(path) as file:
                content = bytes(file.read())
            # pyarrow asks for an object's size and then for so many bytes: of one that was replaced
            # by a longer one in between, it gets a part.
            if not self._holds_objects or self.filesystem.get_file_info(path).size == len(content):
                return content

    def _put(self, content: bytes, target: str) -> None:
        with self.filesystem.open_output_stream(target) as stream:
            stream.write(content)

    def _replace(self, content: bytes, target: str) -> None:
        folder, _, name = target.rpartition("/")
        self.filesystem.create_dir(folder, recursive=True)
        temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}"
        try:
            self._put(content, temporary)
            self.filesystem.move(temporary, target)
        except BaseException:
            # An interrupt too must leave no half-written file behind.
            with contextlib.suppress(OSError):
                self.filesystem.delete_file(temporary)
            raise

    def _patiently(self, action: Callable[[], _Value]) -> _Value:
        began = time.monotonic()
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return action()
            except _ANSWERS:
                raise
            except OSError as error:
                if error.errno in _FULL:
                    raise StorageError(self._full()) from error
                left = began + self.patience_seconds - time.monotonic()
                if left <= 0:
                    waited = (
                        f" for {time.monotonic() - began:.0f} s" if self.patience_seconds else ""
                    )
                    detail = " ".join(str(error).split())[:300]
                    raise StorageError(
                        f"storage {self.location} did not answer{waited} ({detail})"
                    ) from error
                time.sleep(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _full(self) -> str:
        if not isinstance(self.filesystem, fs.LocalFileSystem):
            return f"storage {self.location} is full"
        folder = Path(self.root)
        disk = next(one for one in (folder, *folder.parents) if one.is_mount())
        size = shutil.disk_usage(disk)
        return (
            f"the disk at {disk} is full ({size.free / 2**20:.1f} of {size.total / 2**20:,.1f} MiB "
            f"free, or a quota is used up): nothing more can be written to {self.location}"
        )


def open_storage(location: str | Path) -> Storage:
    """Open a folder: a local path, or a URI such as ``s3://bucket/results``.

    Raises:
        ValueError: pyarrow has no filesystem for the URI, or it holds a password.
    """
    text = str(location)
    if "://" not in text:
        try:
            folder = Path(text).expanduser().absolute()
        except RuntimeError as error:  # "~nobody"
            raise ValueError(f"storage {text!r} cannot be opened: {error}") from error
        return Storage(text, fs.LocalFileSystem(), folder.as_posix())
    refuse_password(text, "storage", STORAGE_REMEDY)  # it goes into records and messages
    try:
        filesystem, root = fs.FileSystem.from_uri(_with_options(text))
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"storage {text!r} cannot be opened by pyarrow: {error}") from error
    return Storage(text, filesystem, root)


def _with_options(uri: str) -> str:
    """On S3, one request for a small file instead of three."""
    if not uri.startswith("s3://") or "allow_delayed_open" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true"
