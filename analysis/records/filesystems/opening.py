"""Filesystems opened by a URI, and the paths of local folders."""

from __future__ import annotations

import copy
import errno
import os
import re
from pathlib import Path
from typing import Final

import pyarrow as pa
from pyarrow import fs

from fusion_search.analysis.records.filesystems.errors import (
    NAME_CERTIFICATE,
    RefusedError,
    unopened,
)
from fusion_search.analysis.records.filesystems.whole_files import holds_objects
from fusion_search.analysis.records.secrets import STORAGE_REMEDY, printable, refuse_password

# How a URI begins whose "//" is missing, mistyped or made "/" by a Path.
_BROKEN_URI: Final = re.compile(
    r"(s3|gs|gcs|abfss?|hdfs|viewfs|file|https?|fsspec\+[^:/]+):(?!//)/*", re.IGNORECASE
)
# What every pyarrow hands on: these are not looked at, for some cost a request.
_HANDED_ON: Final = (
    *("region", "scheme", "endpoint_override", "allow_delayed_open"),
    *("allow_bucket_creation", "allow_bucket_deletion"),
)
# What does the same as an option that is not handed on.
_INSTEAD: Final = {
    "tls_verify_certificates": NAME_CERTIFICATE,
    "credential_kind": "let the AZURE_ variables, a managed identity or `az login` of every node "
    "say who asks",
    "client_id": "set AZURE_CLIENT_ID on every node",
}


def open_filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The filesystem of a URI such as ``s3://bucket/results``, and the folder's path in it.

    Raises:
        ValueError: pyarrow has no filesystem for the URI, it names no bucket, or it holds a
            password or an option that no worker would get.
        RefusedError: it is of a local folder, and not usable as in :func:`local_folder`.
    """
    refuse_password(uri, "storage", STORAGE_REMEDY)  # it goes into records and messages
    try:
        filesystem, root = fs.FileSystem.from_uri(_with_options(uri))
    except (pa.ArrowException, ImportError, ValueError, OSError) as error:
        raise unopened(uri, error) from error
    if isinstance(filesystem, fs.LocalFileSystem):
        _refuse_obstacle(uri, Path(root))
    if holds_objects(filesystem):
        if not root:  # pyarrow opens "s3://", and refuses every path of it
            raise ValueError(
                f"storage {uri!r} names no bucket; give one, as in s3://bucket/results"
            )
        # Here as on workers, which get a copy. Of S3, what a URI opens tries a request thirty
        # times, each for 3 s (9 s to write) where nobody answers; its copy three times.
        copied = copy.copy(filesystem)
        _refuse_lost_options(uri, filesystem, copied)
        filesystem = copied
    return filesystem, root


def local_folder(text: str) -> str:
    """The whole path of a local folder, whose "~" is a home folder; it need not be there.

    Raises:
        ValueError: that home folder is not known, or a URI is meant.
        RefusedError: something else is there, or it may not be entered.
    """
    if begins := _BROKEN_URI.match(text):
        slashes = ":///" if begins[1].lower() == "file" else "://"
        uri = begins[1].lower() + slashes + text[begins.end() :]
        raise ValueError(
            f"storage {text!r} is no URI; write {uri}, or ./{text} if a folder of this machine is "
            "called so"
        )
    try:
        folder = Path(text).expanduser().absolute()
        _refuse_obstacle(text, folder)
        return folder.as_posix()
    except RuntimeError as error:  # "~nobody", or no HOME and a user the system does not list
        raise ValueError(
            f"storage {text!r} cannot be opened: its home folder is not known; give the whole path"
        ) from error


def _refuse_obstacle(text: str, folder: Path) -> None:
    """Raise ``RefusedError`` where no folder is, can be made or may be entered.

    pyarrow says of most that nothing is there, and of the others which call failed.
    """
    try:
        # A folder alone has it, and who may not enter does not see it; a Path would drop the dot.
        os.stat(f"{folder}/.")  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
        if there.is_dir():  # where the folder can be made
            return
        if there.exists():
            what, remedy = f"a {_kind(there)}, not a folder", "move it away"
        else:
            what = f"a link to {printable(there.readlink())}, where nothing is"
            remedy = "make that folder, correct the link"
    except PermissionError:
        there = next(one for one in (folder, *folder.parents) if _is_seen(one))
        what, remedy = "a folder that this user may not enter", "have its owner allow it (chmod)"
    except OSError as error:
        if error.errno != errno.ELOOP:  # told where it is asked, and tried again when it may pass
            return
        there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
        what, remedy = "a link that leads back to itself", "correct the link"
    else:
        return
    where = "it" if there == folder else printable(there)
    raise RefusedError(
        f"storage {text} cannot be used: {where} is {what}; {remedy}, or name another folder"
    )


def _kind(path: Path) -> str:
    if path.is_file():
        return "file"
    return "pipe" if path.is_fifo() else "socket" if path.is_socket() else "device"


def _is_seen(path: Path) -> bool:
    try:
        path.lstat()
    except PermissionError:
        return False
    return True


def _with_options(uri: str) -> str:
    """On S3, one request for a small file instead of three."""
    if not uri.startswith("s3://") or "allow_delayed_open" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true"


def _refuse_lost_options(uri: str, filesystem: fs.FileSystem, copied: fs.FileSystem) -> None:
    """Raise ``ValueError`` for an option that changes the filesystem of a URI, and not its copy.

    pyarrow copies and pickles a filesystem by its constructor's arguments, and a URI knows more.
    """
    address, _, query = uri.partition("?")
    options = [one for one in query.split("&") if one]
    for option in options:
        name = option.partition("=")[0]
        if name in _HANDED_ON:
            continue
        others = "&".join(one for one in options if one is not option)
        try:
            without, _ = fs.FileSystem.from_uri(_with_options(f"{address}?{others}"))
        except (pa.ArrowInvalid, OSError):  # needed by others, so it reaches the copy with them
            continue
        if without != filesystem and copy.copy(without) == copied:
            instead = f", and {_INSTEAD[name]}" if name in _INSTEAD else ""
            raise ValueError(
                f"storage {uri!r} cannot be used: pyarrow hands its option {name} to no worker; "
                f"leave it out{instead}"
            )
