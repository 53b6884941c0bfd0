"""Processes of this machine, known by more than their number, which is soon another's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_ENDED: Final = -1  # the start of a process that its parent has not buried yet


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
