"""Files in a local folder or at any URI that pyarrow's filesystems open, written whole."""

from __future__ import annotations

import contextlib
import copy
import errno
import io
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

import pyarrow as pa
from pyarrow import fs

from fusion_search.analysis.records.processes import is_leftover, locked_within, temporary_name
from fusion_search.analysis.records.secrets import (
    STORAGE_REMEDY,
    printable,
    refuse_password,
    sentence,
)

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 10.0
LARGEST_TEXT: Final = 16 << 20  # bytes of a file that people could read
LOCK_SECONDS: Final = 20.0  # that a folder's lock is waited for; it is held for milliseconds

_OBJECT_STORES: Final = ("s3", "gcs", "abfs")
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
# What storage that works says of one file: trying again would not change it.
_OF_A_FILE: Final = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
# What it says of itself; all other numbers (a host that is down, a stale handle) pass.
_REFUSALS: Final = (
    errno.EROFS,
    errno.EINVAL,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOTEMPTY,
    errno.ENOTSUP,
    errno.EXDEV,
    errno.EFBIG,
)
# The same in words, where pyarrow gives no number: of Amazon's errors those that do not pass, a
# request that is wrong or a quota (408, 425, 429: too slow, too early, too many), Google's.
_REFUSAL: Final = re.compile(
    r"AWS Error (?!UNKNOWN|NETWORK_CONNECTION|INTERNAL_FAILURE|SERVICE_UNAVAILABLE|SLOW_DOWN"
    r"|THROTTLING|REQUEST_TIMEOUT|REQUEST_EXPIRED|NO_SUCH_UPLOAD)[A-Z_]+"
    r"|HTTP status (?:3\d\d|4(?!08|25|29)\d\d|507)"
    r"|PERMISSION_DENIED|UNAUTHENTICATED"
)
# What to do about a refusal, by the first of these that its words show.
_REMEDIES: Final = (
    (r"NO_SUCH_BUCKET", "make that bucket, or correct its name"),
    (
        r"ACCESS_DENIED|PERMISSION_DENIED|HTTP status 403",
        "let these credentials list, read, write and delete there, or use others",
    ),
    (
        r"INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID"
        r"|UNRECOGNIZED_CLIENT|INCOMPLETE_SIGNATURE|MISSING_AUTHENTICATION_TOKEN|UNAUTHENTICATED",
        "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws, where it was refused",
    ),
    (
        r"AuthorizationHeaderMalformed|PermanentRedirect|HTTP status 30[17]",
        "the bucket lies in another region: name it in the storage's URI, as in ?region=eu-west-1",
    ),
    (
        r"ExpiredToken|token.* expired|EXPIRED_TOKEN|HTTP status 400",
        "where credentials have expired renew them, in a cluster on every node, whose Ray takes "
        "them over when it is started; else see to the region in the storage's URI",
    ),
    (r"Read-only file system", "mount it so that it can be written to, or name another storage"),
)
_REMEDY: Final = "see to its name, its permissions and your credentials, or name another storage"
# Of a disk without hard links.
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)

_Value = TypeVar("_Value")
_awaited: set[str] = set()  # locations that somebody here waits for, and has said so
_given_up: dict[str, float] = {}  # those waited for in vain, and the clock when that wait began
_say: ContextVar[Callable[[str], None]] = ContextVar("_say")  # where people hear it


@contextlib.contextmanager
def waiting_told(say: Callable[[str], None]) -> Iterator[None]:
    """Have it told by ``say``, and not on stderr, when this thread waits for storage."""
    before = _say.set(say)
    try:
        yield
    finally:
        _say.reset(before)


class StorageError(OSError):
    """The storage does not answer, refuses or is full; the message is one sentence."""


class RefusedError(StorageError):
    """The storage answers that it will not."""


class UnfitError(ValueError):
    """What has a file's name is not read; the message says why, in a few words."""


@dataclass(frozen=True)
class Storage:
    """One folder, local or remote.

    Every method raises :class:`StorageError` when the storage is full or refuses, or does not
    answer within ``patience_seconds``, and the builtin errors for a file to read that is missing or
    forbidden. Who waits says so once, on stderr or as :func:`waiting_told` has it, and once when it
    answers again. Where somebody here has waited in vain, whoever asks next tries once and does not
    wait anew. What reads raises :class:`UnfitError` for a folder, a pipe or a device, which
    might never end, and for more than ``most`` bytes.

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
        info = self._patiently(lambda: self.filesystem.get_file_info(self.path(*parts)))
        return bool(info.type != fs.FileType.NotFound)

    def is_there(self, *parts: str) -> bool:
        """The same; also what may not be looked at is there."""
        try:
            return self.exists(*parts)
        except (PermissionError, RefusedError):
            return True

    def names(self, *parts: str) -> list[str]:
        """Names of the files and folders directly below, sorted; none when the folder is missing.

        Hidden ones, such as a half-written file, do not count.
        """
        selector = fs.FileSelector(self.path(*parts), allow_not_found=True)
        entries = self._patiently(lambda: self.filesystem.get_file_info(selector))
        return sorted(entry.base_name for entry in entries if not entry.base_name.startswith("."))

    def read(self, *parts: str, most: int = LARGEST_TEXT) -> bytes:
        """The content of a file. Raises ``FileNotFoundError``."""
        return self._patiently(lambda: self._read(self.path(*parts), most))

    def open(self, *parts: str, most: int) -> pa.NativeFile | io.BytesIO:
        """A file to read parts of, without holding a local one in memory whole."""
        if isinstance(self.filesystem, fs.LocalFileSystem):
            return self._opened(self.path(*parts), most)
        # One request for all of it, and patience, which a file read in parts would not have.
        return io.BytesIO(self.read(*parts, most=most))

    def write(self, content: bytes, *parts: str) -> None:
        """Write a file whole: a reader sees the old content or the new, never a part."""
        self.assure()
        # An object appears when its upload ends, and needs no folder.
        write = self._put if self._holds_objects else self._replace
        try:
            self._patiently(lambda: write(content, self.path(*parts)))
        except _OF_A_FILE as error:
            raise self._refused(error) from error

    def create(self, content: bytes, *parts: str) -> bool:
        """Write a file whole unless there is one; whether there was none. Of many, one succeeds.

        Raises ``NotImplementedError`` where that cannot be done: but for local disks, pyarrow knows
        no condition on a writing, and some disks have no hard links.
        """
        if not isinstance(self.filesystem, fs.LocalFileSystem):
            raise NotImplementedError
        self.assure()
        try:
            return self._patiently(lambda: self._link(content, self.path(*parts)))
        except _OF_A_FILE as error:
            raise self._refused(error) from error

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
        except _OF_A_FILE as error:
            raise self._refused(error) from error
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
        except _OF_A_FILE as error:
            raise self._refused(error) from error

    def remove_leftovers(self, *folders: str) -> None:
        """Delete what processes left half-written that have died, if that can be done now.

        Args:
            folders: below this one, where earlier versions left such files.
        """
        if self._holds_objects:
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

    @property
    def _holds_objects(self) -> bool:
        return self.filesystem.type_name in _OBJECT_STORES

    def _read(self, path: str, most: int) -> bytes:
        while True:
            # A file, since a stream would ask for an object in pieces, each as it then is.
            with self._opened(path, most) as file:
                content = bytes(file.read())
            # pyarrow asks for an object's size and then for so many bytes: of one that was replaced
            # by a longer one in between, it gets a part.
            if not self._holds_objects or self.filesystem.get_file_info(path).size == len(content):
                return content

    def _opened(self, path: str, most: int) -> pa.NativeFile:
        if isinstance(self.filesystem, fs.LocalFileSystem):
            # Before it is opened: a pipe would wait for who writes to it.
            kind = self.filesystem.get_file_info(path).type
            if kind not in (fs.FileType.File, fs.FileType.NotFound):
                raise UnfitError("it is not a regular file")
        file = self.filesystem.open_input_file(path)
        if file.size() > most:
            file.close()
            raise UnfitError(f"it is larger than {most >> 20:,} MiB")
        return file

    def _put(self, content: bytes, target: str) -> None:
        with self.filesystem.open_output_stream(target) as stream:
            stream.write(content)

    def _replace(self, content: bytes, target: str) -> None:
        folder, _, name = target.rpartition("/")
        self.filesystem.create_dir(folder, recursive=True)
        # Beside the tables: Polars reads all that lies in a table's folder.
        temporary = self.path(temporary_name(name))
        try:
            self._put(content, temporary)
            self.filesystem.move(temporary, target)
        except BaseException:
            # An interrupt too must leave no half-written file behind.
            with contextlib.suppress(OSError):
                self.filesystem.delete_file(temporary)
            raise

    def _link(self, content: bytes, target: str) -> bool:
        folder, _, name = target.rpartition("/")
        self.filesystem.create_dir(folder, recursive=True)
        temporary = self.path(temporary_name(name))
        try:
            self._put(content, temporary)
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno in _NO_LINKS:
                    raise NotImplementedError from error
                raise
            return True
        finally:
            with contextlib.suppress(OSError):
                self.filesystem.delete_file(temporary)

    def _patiently(self, action: Callable[[], _Value]) -> _Value:
        began = time.monotonic()
        pause, told = FIRST_PAUSE_SECONDS, False
        while True:
            try:
                value = action()
                if told and self.location in _awaited:
                    _tell(f"storage {printable(self.location)} answers again")
                _awaited.discard(self.location)
                _given_up.pop(self.location, None)
                return value
            except _OF_A_FILE:
                raise
            except OSError as error:
                if error.errno in _FULL:
                    raise StorageError(self._full()) from error
                if error.errno in _REFUSALS or _REFUSAL.search(str(error)):
                    raise self._refused(error) from error
                since = _given_up.get(self.location, began) if self.patience_seconds else began
                left = since + self.patience_seconds - time.monotonic()
                if left <= 0:
                    waited = ""
                    if self.patience_seconds:
                        _given_up[self.location] = since
                        waited = f" for {time.monotonic() - since:.0f} s"
                    raise StorageError(
                        f"storage {self.location} did not answer{waited} ({_reason(error)})"
                    ) from error
                if not told:
                    self._say_waiting(error)
                told = True
                time.sleep(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _say_waiting(self, error: OSError) -> None:
        """Once for all that wait for the same storage side by side."""
        if self.location not in _awaited:
            _awaited.add(self.location)
            _tell(
                f"waiting up to {self.patience_seconds:g} s for storage "
                f"{printable(self.location)}: {_reason(error)}"
            )

    def _refused(self, error: OSError) -> RefusedError:
        found = (words for pattern, words in _REMEDIES if re.search(pattern, str(error)))
        return RefusedError(
            f"storage {self.location} refuses ({_reason(error)}); {next(found, _REMEDY)}"
        )

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


def _tell(text: str) -> None:
    say = _say.get(None)
    if say is None:
        print(text, file=sys.stderr, flush=True)
    else:
        say(text)


def _reason(error: OSError) -> str:
    return re.sub(r"\[[Ee]rrno \d+\] ", "", sentence(error))[:300]


def open_storage(location: str | Path) -> Storage:
    """Open a folder: a local path, or a URI such as ``s3://bucket/results``.

    Raises:
        ValueError: pyarrow has no filesystem for the URI, or it holds a password.
    """
    text = str(location)
    if "://" not in text:
        return Storage(text, fs.LocalFileSystem(), local_folder(text))
    refuse_password(text, "storage", STORAGE_REMEDY)  # it goes into records and messages
    try:
        filesystem, root = fs.FileSystem.from_uri(_with_options(text))
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"storage {text!r} cannot be opened by pyarrow: {error}") from error
    if filesystem.type_name == "s3":
        # What a URI opens tries a request thirty times, each for 3 s (9 s to write) where nobody
        # answers; its copy, which is what workers get, three times.
        filesystem = copy.copy(filesystem)
    return Storage(text, filesystem, root)


def local_folder(text: str) -> str:
    """The whole path of a local folder, whose "~" is a home folder.

    Raises:
        ValueError: that home folder is not known.
    """
    try:
        return Path(text).expanduser().absolute().as_posix()
    except RuntimeError as error:  # "~nobody", or no HOME and a user the system does not list
        raise ValueError(
            f"storage {text!r} cannot be opened: its home folder is not known; give the whole path"
        ) from error


def _with_options(uri: str) -> str:
    """On S3, one request for a small file instead of three."""
    if not uri.startswith("s3://") or "allow_delayed_open" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true"
