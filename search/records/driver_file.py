"""``driver.json``: which process drives a search, and how far its running trials are.

It is there from before the data are loaded (``claim.py``), and removed when the driver ends in
order: one left behind by a dead process means an interrupted search. A process is known by its
number, the boot of its machine and its start: after a boot, and in a container that was started
again, its number is soon another's.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from typing import Any, Final

from fusion_search.analysis.records.plain_data import read_json
from fusion_search.analysis.records.processes import boot, process_lives, process_start
from fusion_search.analysis.records.storage import Storage

DRIVER_FILE: Final = "driver.json"


def write_driver_file(storage: Storage, started_at: str, running: Mapping[str, Any]) -> None:
    """Say that this process drives the search.

    Args:
        storage: the search's folder.
        started_at: when it began to, which tells two drivers apart.
        running: trial id -> name, last epoch, and the first metric in validation.
    """
    storage.write(driver_content(started_at, running), DRIVER_FILE)


def driver_content(started_at: str, running: Mapping[str, Any]) -> bytes:
    """What :func:`write_driver_file` writes."""
    state = {
        "host": platform.node(),
        "pid": os.getpid(),
        "boot": boot(),
        "process_start": process_start(os.getpid()),
        "started_at": started_at,
        "running": running,
    }
    return json.dumps(state, indent=1).encode()


def remove_driver_file(storage: Storage) -> None:
    """This process drives the search no longer."""
    storage.remove(DRIVER_FILE)


def read_driver_file(storage: Storage) -> dict[str, Any] | None:
    """What the driver last said of itself, be it alive or dead; None when nothing is there."""
    where = storage.named(DRIVER_FILE)
    try:
        state: dict[str, Any] = read_json(storage, DRIVER_FILE)
    except FileNotFoundError:
        return None
    if not _is_state(state):
        raise ValueError(f"{where} is damaged; delete it if no process runs the search")
    return state


def read_driver(storage: Storage) -> dict[str, Any] | None:
    """The state of the process that drives a search, or None when none does.

    A process of another machine cannot be asked whether it lives, and counts as alive.
    """
    state = read_driver_file(storage)
    if state is None or (_is_here(state) and not _lives(state)):
        return None
    return state


def is_this_process(driver: Mapping[str, Any]) -> bool:
    """Whether :func:`read_driver` found the process that asks, which need not wait for itself."""
    return _is_here(driver) and driver["pid"] == os.getpid() and _lives(driver)


def _is_here(state: Mapping[str, Any]) -> bool:
    return bool(state["host"] == platform.node())


def _lives(state: Mapping[str, Any]) -> bool:
    """Whether the process of a file that was written on this machine is there, and no other."""
    pid, start, here = state["pid"], state.get("process_start"), boot()
    if start is None and pid == os.getpid():
        return False  # written by an earlier version, so by another process than this one
    if start is not None and here is not None and state.get("boot") != here:
        return False
    return process_lives(pid, start)


def _is_state(state: Any) -> bool:
    """Whether this is what :func:`write_driver_file` writes."""
    if not isinstance(state, dict) or not isinstance(state.get("host"), str):
        return False
    if not isinstance(state.get("boot"), str | None):
        return False
    if not isinstance(state.get("process_start"), int | None):
        return False
    pid, running = state.get("pid"), state.get("running")
    if type(pid) is not int or not 0 < pid < 2**31 or not isinstance(running, dict):
        return False
    return all(isinstance(one, dict) and "epoch" in one for one in running.values())
