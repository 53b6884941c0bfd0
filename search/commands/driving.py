"""``stop`` and ``attach``: what is done to a search that another process drives, perhaps elsewhere.

Both know nothing but the search's folder, so they work from any machine that sees the storage.
"""

from __future__ import annotations

import argparse
import getpass
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tqdm import tqdm

from fusion_search.analysis.records.advice import command, read_options
from fusion_search.analysis.records.description import read_description
from fusion_search.analysis.records.samples import BestSample
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import (
    CONFIRMATION_SUFFIX,
    SPECIFICATION_FILE,
    read_rows,
    recorded_trials,
)
from fusion_search.analysis.records.words.names import shared_parts
from fusion_search.search.commands.options import storage_of
from fusion_search.search.declaration.configuration import is_name
from fusion_search.search.declaration.specification import SearchOutline
from fusion_search.search.records.driver_file import (
    DEAD,
    RUNNING,
    SILENT,
    ago,
    driver_words,
    is_here,
    read_driver_file,
    seconds_silent,
    standing,
)
from fusion_search.search.records.lease import ask_to_stop
from fusion_search.search.records.planned import read_plan
from fusion_search.search.records.search_folder import (
    dropped_trials,
    load_outline,
    planned_count,
    planned_ids,
)
from fusion_search.search.running.progress import TrialLines, warn_of_damage
from fusion_search.search.running.summary import INCOMPLETE, chosen_by, go_on_command, summary

POLL_SECONDS: Final = 1.0  # between two looks at the folder
NOT_STOPPED: Final = 1  # exit code: it may run still


def stop(arguments: argparse.Namespace) -> int:
    """``stop NAME``: end a search in order, wherever it is driven."""
    name, location = arguments.name, storage_of(arguments)
    driver = _driver(name, location)
    if driver is None:
        load_outline(name, location)  # or there is no such search
        print(f"no process runs search {name}")
        return 0
    if standing(driver) == DEAD:
        resume = _resume(name, location)
        print(f"search {name} is not being run: {driver_words(driver)} is dead; go on: {resume}")
        return 0
    storage = open_storage(location).below(name)
    ask_to_stop(storage, driver["lease"], f"{getpass.getuser()}@{platform.node()}")
    if standing(driver) == SILENT:
        print(silent_words(driver, name, location), file=sys.stderr)
        print("if it is heard again, it stops", file=sys.stderr)
        return NOT_STOPPED
    print(f"search {name}: {driver_words(driver)} was asked to stop", flush=True)
    return _wait_for_end(driver, name, location, arguments.wait)


def _wait_for_end(driver: Mapping[str, Any], name: str, location: str, wait_seconds: float) -> int:
    until = time.monotonic() + wait_seconds
    while time.monotonic() < until:
        now = _driver(name, location)
        if now is None or now["lease"] != driver["lease"]:
            print(f"search {name} has stopped; go on: {_resume(name, location)}")
            return 0
        if standing(now) == DEAD:
            print(f"search {name}: {driver_words(now)} died before it had stopped in order")
            return 0
        time.sleep(POLL_SECONDS)
    print(
        f"search {name} has not stopped within {wait_seconds:g} s, but will when it can; wait on "
        f"with `{command('attach', name, storage=location)}`, or kill process {driver['pid']} on "
        f"{printable(driver['host'])}: what has ended is recorded",
        file=sys.stderr,
    )
    return NOT_STOPPED


def silent_words(driver: Mapping[str, Any], name: str, location: str) -> str:
    """On a driver that was not heard for long."""
    why = "it is halted or hangs" if is_here(driver) else "its machine is probably gone"
    return (
        f"last heard {ago(seconds_silent(driver))} from {printable(driver['host'])}: {why}; "
        f"`{_resume(name, location)}` takes it over"
    )


def _resume(name: str, location: str) -> str:
    """The command that goes on with a search, where it last ran."""
    if not open_storage(location).below(name).exists(SPECIFICATION_FILE):
        return command("launch", "CONFIG", storage=location)  # which its driver has not written yet
    try:
        search = load_outline(name, location)
    except ValueError:  # the command says why not
        return command("resume", name, storage=location)
    return go_on_command("resume", search, read_options(open_storage(location).below(name)))


def follow(name: str, location: str) -> int:
    """Print what a driver elsewhere makes of a search, as ``launch`` does, until it has ended.

    Returns:
        The exit code of the search so far, as ``launch`` would give it; 130 after Ctrl-C, which
        leaves the search alone.
    """
    try:
        return _follow(name, location)
    except KeyboardInterrupt:
        how = (f"{verb} it with: {command(to, name, storage=location)}" for verb, to in _GO_ON)
        print("\ndetached; the search goes on", *how, sep="\n")
        return 130


_GO_ON: Final = (("follow", "attach"), ("stop", "stop"))


def _follow(name: str, location: str) -> int:
    driver = _driver(name, location)
    storage = open_storage(location).below(name)
    while driver is not None and not storage.exists(SPECIFICATION_FILE):  # it loads its data
        if standing(driver) != RUNNING:
            why = "is dead" if standing(driver) == DEAD else "is not heard any more"
            print(
                f"search {name}: {driver_words(driver)} {why}, and has not written what it runs; "
                f"launch it again: {_resume(name, location)}"
            )
            return INCOMPLETE
        time.sleep(POLL_SECONDS)
        driver = _driver(name, location)
    print(f"search {name}: {driver_words(driver) if driver else 'no process runs it'}", flush=True)
    followed = [_Followed(name, location)]
    while driver is not None and standing(driver) == RUNNING:
        for one in followed:
            one.tell()
        confirmation = name + CONFIRMATION_SUFFIX
        if len(followed) == 1 and _drives(driver, confirmation, location):
            print(f"search {confirmation}:", flush=True)
            followed.append(_Followed(confirmation, location))
        time.sleep(POLL_SECONDS)
        driver = _driver(name, location)
    if driver is not None:
        dead = f"{driver_words(driver)} is dead"
        print(dead if standing(driver) == DEAD else silent_words(driver, name, location))
    codes = [one.end() for one in followed]
    return codes[-1] or codes[0]


def _driver(name: str, location: str) -> dict[str, Any] | None:
    return read_driver_file(open_storage(location).below(name)) if is_name(name) else None


def _drives(driver: Mapping[str, Any], name: str, location: str) -> bool:
    """Whether the process that drives a search drives another, too, whose trials it runs."""
    other = _driver(name, location)
    alike = other is not None and all(other[one] == driver[one] for one in ("host", "pid"))
    return alike and open_storage(location).below(name).exists(SPECIFICATION_FILE)


class _Followed:
    """A search whose records are looked at again and again."""

    def __init__(self, name: str, location: str) -> None:
        self._search: SearchOutline = load_outline(name, location)
        self._storage: Storage = open_storage(location).below(name)
        self._told = set(recorded_trials(self._storage) & planned_ids(self._storage))
        description = read_description(self._storage)
        before = read_rows(self._storage, "trials", sorted(self._told), warn_of_damage)
        best = BestSample(chosen_by(self._search, description), before)
        common = shared_parts([row["trial_name"] for row in read_plan(self._storage)])
        self._lines = TrialLines(description, best, common)
        print(f"{len(self._told)} of {self._planned} trials have ended before", flush=True)
        self._bar = tqdm(
            total=self._planned,
            initial=len(self._told),
            unit="trial",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    @property
    def _planned(self) -> int:
        left_out = dropped_trials(self._storage).keys() - self._told
        return planned_count(self._storage) - len(left_out)

    def tell(self) -> None:
        """Print a line for every trial that has ended since."""
        new = sorted(recorded_trials(self._storage) & planned_ids(self._storage) - self._told)
        rows = read_rows(self._storage, "trials", new, warn_of_damage)
        self._told.update(new)
        for line in self._ended(rows):
            tqdm.write(printable(line), file=sys.stdout)
        sys.stdout.flush()

    def _ended(self, rows: list[dict[str, Any]]) -> Iterator[str]:
        first, planned = len(self._told) - len(rows), self._planned
        for number, row in enumerate(sorted(rows, key=lambda one: one["ended_at"]), start=1):
            yield self._lines.ended(row, f"[{first + number}/{planned}]")
            self._bar.update()

    def end(self) -> int:
        """What is printed when a search has ended, and its exit code."""
        self.tell()
        self._bar.close()
        options = read_options(self._storage)
        return summary(self._search, self._storage, planned_count(self._storage), None, options)
