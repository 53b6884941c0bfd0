"""Files of a pyarrow filesystem, read and written whole."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Final

import pyarrow as pa
from pyarrow import fs

from fusion_search.analysis.records.filesystems.errors import UnfitError
from fusion_search.analysis.records.processes import temporary_name

_OBJECT_STORES: Final = ("s3", "gcs", "abfs")
# Of a disk without hard links.
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def holds_objects(filesystem: fs.FileSystem) -> bool:
    """Whether a file appears there when its upload ends, and needs no folder."""
    return filesystem.type_name in _OBJECT_STORES


def read(filesystem: fs.FileSystem, path: str, most: int) -> bytes:
    """The content of a file of at most so many bytes, as it was or as it is.

    Raises:
        UnfitError: it is larger, or no regular file.
        OSError: whatever pyarrow raises.
    """
    while True:
        # A file, since a stream would ask for an object in pieces, each as it then is.
        with opened(filesystem, path, most) as file:
            content = bytes(file.read())
        # pyarrow asks for an object's size and then for so many bytes: of one that was replaced
        # by a longer one in between, it gets a part.
        if not holds_objects(filesystem) or filesystem.get_file_info(path).size == len(content):
            return content


def opened(filesystem: fs.FileSystem, path: str, most: int) -> pa.NativeFile:
    """A file of at most so many bytes, to read parts of. Raises as :func:`read` does."""
    if isinstance(filesystem, fs.LocalFileSystem):
        # Before it is opened: a pipe would wait for who writes to it.
        kind = filesystem.get_file_info(path).type
        if kind not in (fs.FileType.File, fs.FileType.NotFound):
            raise UnfitError("it is not a regular file")
    file = filesystem.open_input_file(path)
    if file.size() > most:
        file.close()
        raise UnfitError(f"it is larger than {most >> 20:,} MiB")
    return file


def write(filesystem: fs.FileSystem, content: bytes, target: str, beside: str) -> None:
    """Write a file whole: a reader sees the old content or the new, never a part.

    Args:
        filesystem, content, target: where, what, and its path; its folder is made if need be.
        beside: the folder where it is written first; no table's, since Polars reads all that lies
            in one. Object stores need none.
    """
    if holds_objects(filesystem):
        _put(filesystem, content, target)
        return
    folder, _, name = target.rpartition("/")
    filesystem.create_dir(folder, recursive=True)
    temporary = f"{beside}/{temporary_name(name)}"
    try:
        _put(filesystem, content, temporary)
        filesystem.move(temporary, target)
    except BaseException:
        # An interrupt too must leave no half-written file behind.
        with contextlib.suppress(OSError):
            filesystem.delete_file(temporary)
        raise


def create(filesystem: fs.LocalFileSystem, content: bytes, target: str, beside: str) -> bool:
    """As :func:`write`, unless there is such a file; whether there was none.

    Raises:
        NotImplementedError: the disk has no hard links.
    """
    folder, _, name = target.rpartition("/")
    filesystem.create_dir(folder, recursive=True)
    temporary = f"{beside}/{temporary_name(name)}"
    try:
        _put(filesystem, content, temporary)
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
            filesystem.delete_file(temporary)


def _put(filesystem: fs.FileSystem, content: bytes, target: str) -> None:
    with filesystem.open_output_stream(target) as stream:
        stream.write(content)
