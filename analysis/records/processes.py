"""Processes of this machine, known by more than their number, which is soon another's.

And the names of the files that they are writing, by which one finds out whether they still do.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import Final

_ENDED: Final = -1  # the start of a process that its parent has not buried yet
_LOCK_PAUSE_SECONDS: Final = 0.02
_LEFT_SECONDS: Final = 3600.0  # by then, a file that another machine was writing is left behind
# What a search keeps: files of a trial, and those beside its tables. Other files are others'.
_KEPT: Final = (
    r"[0-9a-f]{12}\.(?:parquet|pt|txt)|(?:importance|replay)\.parquet|specification\.yaml"
    r"|(?:planned|asha|driver|stop|identity|candidates)\.json|exhausted"
)
_TEMPORARY: Final = re.compile(
    rf"\.(?:{_KEPT})"
    r"(?:~(?P<host>[^~]*)~(?P<pid>\d+)~(?P<start>\d+)~[0-9a-f]{8}"
    r"|\.[0-9a-f]{8})"  # of earlier versions
)


def boot() -> str | None:
    """Which start of this machine it is; None where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def process_start(pid: int) -> int | None:
    """When a process began, in ticks since the boot; None where the system does not say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The name before may hold anything, parentheses and blanks too.
    fields = stat.rpartition(b")")[2].split()
    return _ENDED if fields[0] in (b"Z", b"X") else int(fields[19])


def process_lives(pid: int, start: int | None) -> bool:
    """Whether a process is there and, where its start is known, no other has its number.

    Whoever may not see a process takes it for alive.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    found = process_start(pid)
    return found != _ENDED and (found is None or start is None or found == start)


def temporary_name(name: str) -> str:
    """What a file is called while this process writes it: hidden, and no other's name."""
    pid = os.getpid()
    return f".{name}~{platform.node()}~{pid}~{process_start(pid) or 0}~{uuid.uuid4().hex[:8]}"


def locked_within(descriptor: int, seconds: float) -> bool:
    """Lock an open file or folder for this process; False when others hold it for so long.

    Raises:
        OSError: it cannot be locked.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return True


def is_leftover(name: str, changed: datetime | None) -> bool:
    """Whether a file, by its name, is one of a search's that nobody writes any longer.

    A process of another machine cannot be asked: ``changed``, when the file was, must be long ago.
    """
    found = _TEMPORARY.fullmatch(name)
    if found is None:
        return False
    if found["host"] == platform.node():
        return not process_lives(int(found["pid"]), int(found["start"]) or None)
    return changed is not None and time.time() - changed.timestamp() > _LEFT_SECONDS
