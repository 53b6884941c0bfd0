"""Filesystems opened by a URI, and the paths of local folders."""

from __future__ import annotations

import copy
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from fusion_search.analysis.records.secrets import STORAGE_REMEDY, refuse_password


def open_filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The filesystem of a URI such as ``s3://bucket/results``, and the folder's path in it.

    Raises:
        ValueError: pyarrow has no filesystem for the URI, or it holds a password.
    """
    refuse_password(uri, "storage", STORAGE_REMEDY)  # it goes into records and messages
    try:
        filesystem, root = fs.FileSystem.from_uri(_with_options(uri))
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"storage {uri!r} cannot be opened by pyarrow: {error}") from error
    if filesystem.type_name == "s3":
        # What a URI opens tries a request thirty times, each for 3 s (9 s to write) where nobody
        # answers; its copy, which is what workers get, three times.
        filesystem = copy.copy(filesystem)
    return filesystem, root


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
