"""Downloads that show progress, go on where they were cut, and are checked before they count."""

from __future__ import annotations

import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Final

from tqdm import tqdm

from fusion_search.datasets.errors import DataError
from fusion_search.datasets.files import DataFile

BLOCK: Final = 1 << 16
TIMEOUT_SECONDS: Final = 60
# Waits between tries; a server that is busy or a line that is cut gets so many more chances.
WAITS_SECONDS: Final = (1.0, 4.0, 16.0)
_MOST_TIMES: Final = 4  # the public download's size: packings differ, but not by that much
_BUSY: Final = (408, 425, 429, 500, 502, 503, 504)


def fetch(file: DataFile, folder: Path, waits: Sequence[float] = WAITS_SECONDS) -> bool:
    """Bring one file below ``folder``, unless it or a substitute is there and can be read already.

    A part that an earlier try left (``<name>.part``) is continued. The file takes its name only
    after its content was verified.

    Returns:
        Whether anything was downloaded.

    Raises:
        DataError: the server does not give the file, or its content is not the expected one.
    """
    present = file.find(folder)
    if present is not None:
        file.describe(present)
        return False
    target = file.home(folder)
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    for wait in (*waits, None):
        try:
            _continue(file, part)
            break
        except (OSError, HTTPException) as error:
            final = isinstance(error, urllib.error.HTTPError) and error.code not in _BUSY
            if final or wait is None:
                raise DataError(
                    f"{file.url} cannot be downloaded ({error}): try again later, or put the file "
                    f"at {target}"
                ) from error
            time.sleep(wait)
    try:
        found, _ = file.describe(part)
    except DataError as error:
        found = str(error)
    if found != file.expected:
        part.unlink()
        raise DataError(
            f"the download of {file.url} is not the expected file: run the command again, or put "
            f"the file at {target}"
        )
    part.replace(target)
    return True


def _continue(file: DataFile, part: Path) -> None:
    """Append what is missing of ``part``. Raises ``OSError`` when it is cut again."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "fusion-search"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(file.url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing, or the part is of another file
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return
            part.unlink()
            raise ConnectionError("the part on disk does not fit the file") from error
        raise
    with response:
        if response.status != 206:  # a server that always sends the whole file
            have = 0
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if re.fullmatch("[0-9]{1,18}", length) else file.size
        with (
            part.open("ab" if have else "wb") as sink,
            tqdm(
                total=total,
                initial=have,
                unit="B",
                unit_scale=True,
                desc=file.name,
                disable=not sys.stderr.isatty(),
            ) as bar,
        ):
            while block := response.read(BLOCK):
                sink.write(block)
                have += len(block)
                bar.update(len(block))
                if have > _MOST_TIMES * max(file.size, BLOCK):
                    return  # this is not the file: its verification will say so
    if length and have < total:
        raise ConnectionError(f"cut after {have:,} of {total:,} bytes")
