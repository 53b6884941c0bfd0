"""The claim on a search: one process at a time runs it, from before its data are loaded.

The claim is ``driver.json``. Whoever makes the file runs the search; what a dead process of this
machine left of it is taken over. Threads of one process, whose file looks alike, ask each other.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from fusion_search.analysis.records.storage import Storage
from fusion_search.search.records.driver_file import (
    DRIVER_FILE,
    driver_content,
    is_this_process,
    read_driver,
    read_driver_file,
    remove_driver_file,
)

_held: Final[set[str]] = set()
"""The searches that this process runs, by their folders."""
_asking: Final = threading.Lock()

SETTLE_SECONDS: Final = 2.0  # where files cannot be made exclusively


@contextlib.contextmanager
def claimed(storage: Storage, name: str) -> Iterator[None]:
    """Be the only process, and its only thread, that runs a search, until the block ends.

    Args:
        storage: the search's folder, which goes again if it was made for the claim alone.
        name: of the search.

    Raises:
        ValueError: another process runs it, or another thread of this one.
    """
    storage = storage.patient(0)
    folder = storage.path() if "://" in storage.location else os.path.realpath(storage.path())
    with _asking:
        if folder in _held:
            raise ValueError(
                f"search {name!r} is being run by this process already; wait until that has ended"
            )
        _held.add(folder)
    try:
        with _claimed_from_others(storage, name):
            yield
    finally:
        with _asking:
            _held.remove(folder)


@contextlib.contextmanager
def _claimed_from_others(storage: Storage, name: str) -> Iterator[None]:
    new = not storage.exists()
    try:
        _claim(storage, name)
        yield
    finally:
        # What cannot be removed now, the next process takes over.
        with contextlib.suppress(OSError, ValueError), storage.locked():
            driver = read_driver(storage)
            if driver is not None and is_this_process(driver):
                remove_driver_file(storage)
            if new:
                storage.remove_empty()


def _claim(storage: Storage, name: str) -> None:
    content = driver_content(datetime.now(UTC).isoformat(timespec="milliseconds"), {})
    # Of two that take over one dead process's claim, the second would remove the first's new one.
    # Only processes of one machine do, for others cannot tell that it is dead.
    with storage.locked():
        while True:
            driver = read_driver(storage)
            if driver is not None and not is_this_process(driver):
                raise _taken(storage, name, driver)
            if read_driver_file(storage) is not None:
                remove_driver_file(storage)
            try:
                if storage.create(content, DRIVER_FILE):
                    return
            except NotImplementedError:
                storage.write(content, DRIVER_FILE)
                break
    # Of several that wrote, the last one's claim is there. A process that takes longer than this
    # from its look at the file to its writing is not noticed.
    time.sleep(SETTLE_SECONDS)
    driver = read_driver(storage)
    if driver is not None and storage.read(DRIVER_FILE) != content:
        raise _taken(storage, name, driver)


def _taken(storage: Storage, name: str, driver: Mapping[str, Any]) -> ValueError:
    return ValueError(
        f"search {name!r} is being run by process {driver['pid']} on {driver['host']}; wait or "
        f"stop it, or delete {storage.named(DRIVER_FILE)} if that process is not fusion-search "
        "or its machine is gone"
    )
