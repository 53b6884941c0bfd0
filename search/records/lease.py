"""A lease that this process holds on a search: renewed, looked after, given back.

A thread says every ``RENEW_SECONDS`` that the driver lives, also while no trial tells anything, and
looks every ``LOOK_SECONDS`` whether somebody asked it to stop (``stop.json``). Before it renews it
reads. Where the file tells of another driver, this one has been taken over, since it was not heard
for too long (it slept, or its storage was cut): it is interrupted as by Ctrl-C, and whatever it
would still write is refused.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.filesystems.errors import RefusedError, StorageError
from fusion_search.analysis.records.plain_data import read_json
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import SPECIFICATION_FILE
from fusion_search.search.records import driver_file
from fusion_search.search.records.driver_file import (
    DRIVER_FILE,
    NOTHING_TOLD,
    RENEW_SECONDS,
    WATCH_SECONDS,
    driver_content,
    driver_words,
    read_driver_file,
    remove_driver_file,
    uptime,
)

STOP_FILE: Final = "stop.json"  # asks the driver to stop
LOOK_SECONDS: Final = 3.0  # between two looks for it
NOTES: Final = 30  # so many of what the console said last are kept for those who follow
FENCE_SECONDS: Final = 30.0
"""After so long without a renewal the driver looks before it writes. It is less than anybody
watches before taking over, and is measured by a clock that goes on while the machine sleeps."""


class LeaseLostError(StorageError):
    """Another process drives the search now; the message is one sentence."""


def interrupt_main_thread() -> None:
    """What Ctrl-C does."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class Lease:
    """Of this process, on one search. Who takes it and gives it back is ``claimed``.

    Args:
        storage: the search's folder.
        name: of the search.
        verb: what is done with it.
        interrupt: ends the search in order.

    Attributes:
        id: tells this lease from all others.
        started_text: when it was taken, as the file has it.
        lost: why it is no longer held; empty while it is.
    """

    def __init__(
        self,
        storage: Storage,
        name: str,
        verb: str,
        interrupt: Callable[[], None] = interrupt_main_thread,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.started_text = driver_file.now().isoformat(timespec="milliseconds")
        self.lost = ""
        self._storage = storage.patient(0)
        self._name, self._verb = name, verb
        self._interrupt = interrupt
        self._told = dict(NOTHING_TOLD)
        self._numbers = itertools.count(1)  # of notes, also by several threads
        self._renewed = uptime()
        self._stopping = False
        self._begun = False  # its specification was seen to be there
        self._lock = threading.RLock()  # of all that looks at the file and then writes it
        self._over = threading.Event()
        # Of a search that is run by another thread nothing but its own writing can be stopped.
        self._is_main = threading.current_thread() is threading.main_thread()
        self._thread = threading.Thread(target=self._work, name="lease", daemon=True)

    @property
    def content(self) -> bytes:
        """What the file is to hold now."""
        return driver_content(self.id, self._verb, self.started_text, self._told)

    @property
    def storage(self) -> Storage:
        """The search's folder, to be written only while the lease is held."""
        return self._storage.guarded(self.assure)

    def start(self) -> None:
        """The file is there: look after it."""
        self._renewed = uptime()
        self._thread.start()

    def tell(self, running: Mapping[str, Mapping[str, Any]], page: str = "") -> None:
        """Say how far the running trials are, and where MLflow shows the runs.

        Raises:
            StorageError: the storage does not answer, or the lease is lost.
        """
        self._told["running"] = {trial: dict(one) for trial, one in running.items()}
        self._told["page"] = page
        if running:
            self._told["doing"] = ""
        self.renew()
        self.assure()

    def does(self, doing: str) -> None:
        """Say what is done while no trial runs; later, if the storage does not answer now."""
        self._told["doing"] = doing
        with contextlib.suppress(StorageError):
            self.renew()

    def note(self, text: str) -> None:
        """Have those who follow the search told what its console says, with the next renewal."""
        self._told["said"] = [*self._told["said"], [next(self._numbers), text]][-NOTES:]

    def assure(self, patience_seconds: float = 0.0) -> None:
        """Before something is written: whether the search is still this process's to drive.

        Args:
            patience_seconds: how long to wait for the storage, if it must be asked.

        Raises:
            LeaseLostError: it is another's.
        """
        if not self.lost and uptime() - self._renewed > FENCE_SECONDS:
            self.renew(patience_seconds)
        if self.lost:
            raise LeaseLostError(self.lost)

    def renew(self, patience_seconds: float = 0.0) -> None:
        """Say that the driver lives, unless another drives by now (see ``lost``)."""
        storage = self._storage.patient(patience_seconds)
        with self._lock, storage.locked():
            if self.lost:
                return
            try:
                found = read_driver_file(storage)
            except ValueError:  # no other driver's
                found = None
            if found is not None and found["lease"] != self.id:
                self._lose(driver_words(found))
                return
            if found is not None and not self._begun:
                self._begun = storage.exists(SPECIFICATION_FILE)
            if found is None and self._begun and not storage.exists(SPECIFICATION_FILE):
                self._vanished()
                return
            began = uptime()
            self._storage.write(self.content, DRIVER_FILE)  # now: who waits may be overtaken
            if uptime() - began > WATCH_SECONDS:
                # Halted in between, this may have been written over another's lease, who writes
                # it again when it finds none.
                remove_driver_file(storage)
                self._lose("another process, perhaps")
                return
            self._renewed = began

    def release(self) -> None:
        """Give the lease back, as far as the storage lets us; then nobody looks after it."""
        self._over.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(LOOK_SECONDS)
        # What cannot be removed now, the next process takes over.
        with contextlib.suppress(OSError, ValueError), self._storage.locked():
            found = read_driver_file(self._storage)
            if found is not None and found["lease"] == self.id:
                remove_driver_file(self._storage)
            if asked_to_stop(self._storage, self.id) is not None:
                self._storage.remove(STOP_FILE)

    def _lose(self, whom: str) -> None:
        where = command("status", self._name, storage=self._storage.parent.location)
        self.lost = (
            f"search {self._name!r} was taken over by {whom}, for this process had "
            "not been heard for long (a machine that slept, a process that was halted, storage "
            f"that was cut); it writes nothing more; see how it goes on with: {where}"
        )
        self._end()

    def _vanished(self) -> None:
        resume = command("resume", self._name, storage=self._storage.parent.location)
        self.lost = (
            f"{self._storage.location}, the folder of search {self._name!r}, was deleted or moved "
            "while it ran; its records went with it, and this process writes nothing more; if it "
            f"was moved, put it back and type: {resume}; else delete what is left of it and launch "
            "the search again"
        )
        self._end()

    def _work(self) -> None:
        while not self.lost and not self._over.wait(LOOK_SECONDS):
            with contextlib.suppress(OSError):  # tried again at the next look
                self.look()

    def look(self) -> None:
        """What is to be done every ``LOOK_SECONDS``."""
        if uptime() - self._renewed >= RENEW_SECONDS - LOOK_SECONDS / 2:
            self.renew()
        by = None if self.lost or self._stopping else asked_to_stop(self._storage, self.id)
        if by is not None:
            self._stopping = True
            said = f"search {self._name} is stopped, as {printable(by)} asked"
            print(said, flush=True)
            self.note(said)
            self.does("stopping")
            if not self.lost:
                self._end()

    def _end(self) -> None:
        if self._is_main and not self._over.is_set():
            self._interrupt()


def ask_to_stop(storage: Storage, lease: str, by: str) -> None:
    """Have the driver of a search stop it in order.

    Args:
        storage: the search's folder.
        lease: of the driver: another, who drives it later, is not meant.
        by: who asks.

    Raises:
        ValueError: something else lies where the request would, or it may not be written.
    """
    try:
        storage.write(json.dumps({"lease": lease, "by": by}).encode(), STOP_FILE)
    except RefusedError as error:
        raise ValueError(
            f"{storage.named(STOP_FILE)}, by which a driver is asked to stop, cannot be written: "
            "remove what lies there, or let this user write to the search's folder"
        ) from error


def asked_to_stop(storage: Storage, lease: str) -> str | None:
    """Who asked the driver with this lease to stop; None when nobody did."""
    try:
        asked = read_json(storage, STOP_FILE, "delete it", dict[str, Any])
    except (FileNotFoundError, ValueError):
        return None
    return str(asked.get("by")) if asked.get("lease") == lease else None
