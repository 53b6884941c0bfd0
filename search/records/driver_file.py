"""``driver.json``: the lease on a search: which process drives it, and when it was last heard.

It is there from before the data are loaded (``claim.py``), renewed while the driver lives
(``lease.py``), and removed when it ends in order: one left behind by a dead process means an
interrupted search. A process is known by its machine's name and boot, the namespace of its number
(a container's), its number and its start: alone, its number is soon another's.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fusion_search.analysis.records.plain_data import read_json
from fusion_search.analysis.records.processes import boot, process_lives, process_start
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.storage import Storage

DRIVER_FILE: Final = "driver.json"

RENEW_SECONDS: Final = 10.0
"""A driver says so often that it lives."""
WATCH_SECONDS: Final = 40.0
"""Whoever takes over from a process that it cannot ask looks for so long whether it is heard."""
LISTEN_SECONDS: Final = 15.0
"""Who only wants to know whether a driver lives that it cannot ask looks for so long."""
STALE_SECONDS: Final = 240.0
"""A driver that was not heard for so long is taken over: longer than storage is waited for
(``resources.storage_wait_seconds``, by default), so that a short fault of it costs no lease."""

RUNNING, SILENT, DEAD = "running", "silent", "dead"


_LOOK_SECONDS: Final = 1.0  # between two looks whether a driver is heard


def now() -> datetime:
    """The time, by this machine's clock."""
    return datetime.now(UTC)


def uptime() -> float:
    """Seconds on a clock that nobody sets, and that a sleeping machine does not stop."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Told(dict[str, Any]):
    """What a driver last said of itself, and what this process saw of it by its own clock.

    Attributes:
        since: when it was first seen to say this.
        moved: whether it was seen to say something else before, so that it lived then.
    """

    since = 0.0
    moved = False


_seen: Final[dict[tuple[str, str], Told]] = {}  # (folder, lease) -> what was last read of it


NOTHING_TOLD: Final[Mapping[str, Any]] = {"running": {}, "doing": "", "said": [], "page": ""}


def driver_content(lease: str, verb: str, started_at: str, told: Mapping[str, Any]) -> bytes:
    """What this process says of itself, heard now.

    Args:
        lease: hexadecimal digits that tell it from all other times that a search was driven.
        verb: what it does: launch, resume, ...
        started_at: when it began to.
        told: of its work, in place of ``NOTHING_TOLD``: ``running`` (trial id -> name, last epoch,
            and the first metric in validation), ``doing`` (what it does while no trial runs, such
            as "starting Ray"), ``said`` (the last notes on its console, each with its number) and
            ``page`` (where MLflow shows its runs).
    """
    state = {
        "lease": lease,
        "verb": verb,
        "host": platform.node(),
        "boot": boot(),
        "namespace": _namespace(),
        "pid": os.getpid(),
        "process_start": process_start(os.getpid()),
        "started_at": started_at,
        "heard_at": now().isoformat(timespec="milliseconds"),
        **NOTHING_TOLD,
        **told,
    }
    return json.dumps(state, indent=1).encode()


def remove_driver_file(storage: Storage) -> None:
    """This process drives the search no longer."""
    storage.remove(DRIVER_FILE)


def read_driver_file(storage: Storage) -> Told | None:
    """What the driver last said of itself, be it alive or dead; None when nothing is there."""
    remedy = "delete it if no process runs the search"
    try:
        told = read_json(storage, DRIVER_FILE, remedy, _told)
    except FileNotFoundError:
        return None
    return _watched(storage.named(DRIVER_FILE), told)


def _told(plain: Any) -> Told:
    if not _is_state(plain):
        raise ValueError("it does not say who runs the search")
    return Told(plain)


def _watched(where: str, told: Told) -> Told:
    before = _seen.get((where, told["lease"]))
    if before is not None and before["heard_at"] == told["heard_at"]:
        told.since, told.moved = before.since, before.moved
    else:  # all times are in UTC and written alike; one that is earlier tells of another copy
        told.since = uptime()
        told.moved = before is not None and before["heard_at"] < told["heard_at"]
    _seen[where, told["lease"]] = told
    return told


def hear_driver(storage: Storage) -> Told | None:
    """The same. One that two clocks call silent is looked at for ``LISTEN_SECONDS`` first.

    Clocks differ by minutes; whether a driver is heard meanwhile is seen by one alone. One of this
    machine is asked instead, and costs no time.
    """
    told, said = read_driver_file(storage), False
    while told is not None and not is_here(told) and standing(told) != RUNNING:
        left = told.since + LISTEN_SECONDS - uptime()
        if left <= 0:
            break
        if not said:
            words = f"looking for {left:.0f} s whether {driver_words(told)} is heard"
            print(words, file=sys.stderr, flush=True)
        said = True
        time.sleep(min(left, _LOOK_SECONDS))
        told = read_driver_file(storage)
    return told


def read_driver(storage: Storage) -> Told | None:
    """The state of the process that drives a search; None when none does, or it is dead.

    One of another machine cannot be asked whether it lives: :func:`standing` tells a silent one.
    It is listened for as by :func:`hear_driver`.
    """
    state = hear_driver(storage)
    return None if state is None or standing(state) == DEAD else state


def standing(state: Mapping[str, Any]) -> str:
    """Of the process that a file tells of: RUNNING, SILENT (not heard for long) or DEAD.

    A process of this machine is asked. Of one elsewhere only the file tells: by when it was seen to
    be heard, else by two machines' clocks, which may differ by minutes, and by which a time that is
    to come says nothing. So who acts upon another answer than RUNNING has watched it meanwhile.
    """
    silence = seconds_silent(state)
    if is_here(state):
        if not _lives(state):
            return DEAD
    elif is_namesake(state):
        if silence >= STALE_SECONDS:
            return DEAD
        if silence >= WATCH_SECONDS:
            return SILENT
    return RUNNING if -STALE_SECONDS < silence < STALE_SECONDS else SILENT


def seconds_silent(state: Mapping[str, Any]) -> float:
    """How long a driver was not heard: since it was seen to be, else by two machines' clocks."""
    if isinstance(state, Told) and state.moved:
        return uptime() - state.since
    heard = datetime.fromisoformat(state["heard_at"])
    return (now() - heard).total_seconds()


def driver_words(state: Mapping[str, Any]) -> str:
    """Who drives a search, for people."""
    verb = f"{state['verb']} " if state["verb"] else ""
    since = datetime.fromisoformat(state["started_at"])
    return printable(
        f"process {state['pid']} on {state['host']} ({verb}since {since:%Y-%m-%d %H:%M:%S} UTC, "
        f"last heard {ago(seconds_silent(state))})"
    )


def doing_words(state: Mapping[str, Any]) -> str:
    """Who drives a search, and what it is doing where no trial runs, for people."""
    doing = printable(state["doing"])
    return f"{driver_words(state)}{doing and f', which is {doing}'}"


def ago(seconds: float) -> str:
    """A time that has passed, for people."""
    if seconds <= -1:
        return "in the future, by this machine's clock"
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def is_here(state: Mapping[str, Any]) -> bool:
    """Whether this process can see the one that a file tells of, if it lives."""
    return (
        bool(state["host"] == platform.node())
        and state["boot"] in (None, boot())
        and state["namespace"] in (None, _namespace())
    )


def is_namesake(state: Mapping[str, Any]) -> bool:
    """Whether it ran on this machine before it was started again, or on one that is called alike.

    So is a container that was started again.
    """
    return bool(state["host"] == platform.node()) and not is_here(state)


def is_this_process(state: Mapping[str, Any]) -> bool:
    """Whether the file tells of the process that asks."""
    return is_here(state) and state["pid"] == os.getpid() and _lives(state)


def _namespace() -> str | None:
    """Within which a process's number is its own; None where the system does not say."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def _lives(state: Mapping[str, Any]) -> bool:
    """Whether the process of a file that was written on this machine is there, and no other."""
    pid, start = state["pid"], state["process_start"]
    if start is None and pid == os.getpid():
        return False  # written by an earlier version, so by another process than this one
    return process_lives(pid, start)


def _is_state(state: Any) -> bool:
    """Whether this is what :func:`driver_content` writes; what earlier ones left out is added."""
    if not isinstance(state, dict):
        return False
    state.setdefault("heard_at", state.get("started_at"))
    for name in ("lease", "verb", "doing", "page"):
        state.setdefault(name, "")
    state.setdefault("said", [])
    for name in ("boot", "namespace", "process_start"):
        state.setdefault(name, None)
    texts = ("host", "lease", "verb", "doing", "page")
    pid, running = state.get("pid"), state.get("running")
    return (
        all(isinstance(state.get(name), str) for name in texts)
        and all(isinstance(state[name], str | None) for name in ("boot", "namespace"))
        and type(state["process_start"]) in (int, type(None))
        and type(pid) is int
        and 0 < pid < 2**31
        and all(_is_time(state.get(name)) for name in ("started_at", "heard_at"))
        and isinstance(state["said"], list)
        and all(map(_is_note, state["said"]))
        and isinstance(running, dict)
        and all(isinstance(one, dict) and "epoch" in one for one in running.values())
    )


def _is_note(note: Any) -> bool:
    """A number and a text."""
    return isinstance(note, list) and list(map(type, note)) == [int, str]


def _is_time(text: Any) -> bool:
    """A time with its zone, of which a difference can be taken."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except (TypeError, ValueError):
        return False
