"""The claim on a search: one process at a time drives it, from before its data are loaded.

The claim is a lease, ``driver.json`` (``lease.py``). Whoever makes the file drives the search. One
of a dead process of this machine is taken over at once; one that was not heard for
``STALE_SECONDS`` is taken over after it was watched for ``WATCH_SECONDS`` and still said nothing,
since two machines' clocks may differ. One of a machine of this one's name, which may be this one
before it was started again, is watched at once, however long it was silent. Threads of one process
ask each other.

Object stores (and disks without hard links) have no file that one alone can make. There a claim is
written, and read again after ``SETTLE_SECONDS``: of several that found nothing, the last one's
stands, and the others withdraw. One that was slow between its look and its writing may have written
over a claim that was settled by then: it waits until that driver has seen it, and stopped.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.storage import Storage
from fusion_search.search.records.driver_file import (
    DEAD,
    DRIVER_FILE,
    RENEW_SECONDS,
    RUNNING,
    WATCH_SECONDS,
    driver_words,
    is_here,
    is_namesake,
    is_this_process,
    read_driver_file,
    remove_driver_file,
    standing,
    uptime,
)
from fusion_search.search.records.lease import Lease, interrupt_main_thread

_held: Final[dict[str, Lease | None]] = {}
"""The searches that this process drives, by their folders; None while it asks for one."""
_asking: Final = threading.Lock()

SETTLE_SECONDS: Final = 2.0  # where files cannot be made exclusively
SLOW_SECONDS: Final = 2 * RENEW_SECONDS  # the same, for one that was slow


class DrivenError(ValueError):
    """Another process drives the search, or another thread of this one; one sentence."""


@contextlib.contextmanager
def claimed(
    storage: Storage,
    name: str,
    verb: str = "",
    interrupt: Callable[[], None] = interrupt_main_thread,
) -> Iterator[Lease]:
    """Be the only process, and its only thread, that drives a search, until the block ends.

    What it writes goes to the storage of the lease, which refuses when that is lost.

    Args:
        storage: the search's folder, which goes again if it was made for the claim alone.
        name: of the search.
        verb: what is done with it.
        interrupt: ends that in order, when the lease is lost or somebody asks for it; why is told.

    Raises:
        DrivenError: another drives it.
        LeaseLostError: another drives it by the end of the block, whatever ended that.
    """
    storage = storage.patient(0)
    folder = _folder(storage)
    with _asking:
        if folder in _held:
            raise DrivenError(
                f"search {name!r} is being run by this process already; wait until that has ended"
            )
        _held[folder] = None
    try:
        with _claimed_from_others(storage, name, verb, interrupt) as lease:
            _held[folder] = lease
            yield lease
    finally:
        with _asking:
            del _held[folder]


@contextlib.contextmanager
def _claimed_from_others(
    storage: Storage, name: str, verb: str, interrupt: Callable[[], None]
) -> Iterator[Lease]:
    new = not storage.exists()
    lease = Lease(storage, name, verb, interrupt)
    try:
        _claim(storage, name, lease)
        lease.start()
        yield lease
    finally:
        lease.release()
        if new:
            storage.remove_empty()
        if lease.lost:
            lease.assure()  # whatever else ended the block


def held_lease(storage: Storage) -> Lease | None:
    """The lease of this process on a search; None when it drives it not."""
    return _held.get(_folder(storage))


def tell_doing(storage: Storage, doing: str) -> None:
    """Say in a search's folder what this process, if it drives it, does while no trial runs."""
    lease = held_lease(storage)
    if lease is not None:
        lease.does(doing)


def release_all() -> None:
    """Give back what this process holds, which is about to end without another word."""
    for lease in list(_held.values()):
        if lease is not None:
            lease.release()


def check_not_driven(storage: Storage, name: str) -> None:
    """Raise :class:`DrivenError` when another process drives the search now."""
    driver = read_driver_file(storage)  # one that is silent is watched when it is claimed
    if driver is not None and not is_this_process(driver) and standing(driver) == RUNNING:
        raise _taken(storage, name, driver)


def _folder(storage: Storage) -> str:
    return storage.path() if "://" in storage.location else os.path.realpath(storage.path())


def _claim(storage: Storage, name: str, lease: Lease) -> None:
    watched: Mapping[str, Any] = {}  # what a silent driver said last, before it was watched
    while True:
        # Of two that take over one dead process's claim, the second would remove the first's new
        # one.
        with storage.locked():
            began = uptime()
            found = read_driver_file(storage)
            if found is None or found == watched or _is_free(found):
                if found is not None:
                    remove_driver_file(storage)
                try:
                    if storage.create(lease.content, DRIVER_FILE):
                        return
                except NotImplementedError:
                    storage.write(lease.content, DRIVER_FILE)
                    break
                continue
        if watched or (standing(found) == RUNNING and not is_namesake(found)):
            raise _taken(storage, name, found)
        watched = found
        _watch(name, found)
    # Who looked before another's claim was written has written its own by the time that the other
    # looks again; if it was slower, the other drives by now, and sees it when it renews its lease.
    slow = uptime() - began > SETTLE_SECONDS
    time.sleep(SLOW_SECONDS if slow else SETTLE_SECONDS)
    found = read_driver_file(storage)
    if found is not None and found["lease"] != lease.id:
        raise _taken(storage, name, found)


def _is_free(found: Mapping[str, Any]) -> bool:
    """Whether nobody need be watched: a process of this machine is dead, or left this behind."""
    return is_here(found) and (standing(found) == DEAD or is_this_process(found))


def _watch(name: str, found: Mapping[str, Any]) -> None:
    print(
        f"search {name!r} is held by {driver_words(found)}; if it says nothing for "
        f"{WATCH_SECONDS:g} s more, it is taken over",
        file=sys.stderr,
        flush=True,
    )
    time.sleep(WATCH_SECONDS)


def _taken(storage: Storage, name: str, driver: Mapping[str, Any]) -> DrivenError:
    where = storage.parent.location
    return DrivenError(
        f"search {name!r} is being run by {driver_words(driver)}; wait, follow it with "
        f"`{command('attach', name, storage=where)}`, or stop it with "
        f"`{command('stop', name, storage=where)}`"
    )
