"""``driver.json``: which process drives a search, and how far its running trials are.

It is removed when the driver ends in order: one left behind by a dead process means an interrupted
search.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from typing import Any, Final

from fusion_search.analysis.records.plain_data import parse_json
from fusion_search.analysis.records.storage import Storage

DRIVER_FILE: Final = "driver.json"


def write_driver_file(storage: Storage, started_at: str, running: Mapping[str, Any]) -> None:
    """Say that this process drives the search.

    Args:
        storage: the search's folder.
        started_at: when it began to, which tells two drivers apart.
        running: trial id -> name, last epoch, and its validation accuracy.
    """
    state = {
        "host": platform.node(),
        "pid": os.getpid(),
        "started_at": started_at,
        "running": running,
    }
    storage.write(json.dumps(state, indent=1).encode(), DRIVER_FILE)


def remove_driver_file(storage: Storage) -> None:
    """This process drives the search no longer."""
    storage.remove(DRIVER_FILE)


def read_driver_file(storage: Storage) -> dict[str, Any] | None:
    """What the driver last said of itself, be it alive or dead; None when nothing is there."""
    where = storage.named(DRIVER_FILE)
    try:
        state: dict[str, Any] = parse_json(storage.read(DRIVER_FILE), where)
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
    if state is None:
        return None
    if state["host"] != platform.node():
        return state
    try:
        os.kill(state["pid"], 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return state
    return state


def _is_state(state: Any) -> bool:
    """Whether this is what :func:`write_driver_file` writes."""
    if not isinstance(state, dict) or not isinstance(state.get("host"), str):
        return False
    pid, running = state.get("pid"), state.get("running")
    if type(pid) is not int or not 0 < pid < 2**31 or not isinstance(running, dict):
        return False
    return all(isinstance(one, dict) and "epoch" in one for one in running.values())
