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

from fusion_search.analysis.records.advice import command, confirmed_search, read_options
from fusion_search.analysis.records.description import read_description
from fusion_search.analysis.records.samples import rows_of
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
    hear_driver,
    is_here,
    seconds_silent,
    standing,
)
from fusion_search.search.records.lease import ask_to_stop
from fusion_search.search.records.planned import Plan, read_plan
from fusion_search.search.records.search_folder import (
    begin_command,
    beginning_driver,
    beginning_words,
    dropped_trials,
    load_outline,
    planned_count,
    planned_ids,
    read_records,
    search_state,
    skipped_trials,
)
from fusion_search.search.running.interrupts import interrupted_by
from fusion_search.search.running.progress import TrialLines, ended_before, warn_of_damage
from fusion_search.search.running.summary import (
    INCOMPLETE,
    INTERRUPTED_CODE,
    SOME_FAILED,
    best_so_far,
    go_on_command,
    left_words,
    summary,
)

POLL_SECONDS: Final = 1.0  # between two looks at the folder
NOT_STOPPED: Final = 1  # exit code: it may run still


def stop(arguments: argparse.Namespace) -> int:
    """``stop NAME``: end a search in order, wherever it is driven, or its confirmation."""
    name, location = arguments.name, storage_of(arguments)
    run, driver = _driven(name, location)
    if driver is None:
        load_outline(name, location)  # or there is no such search
        print(_and(f"no process runs search {name}", _left(name, location)))
        return 0
    if standing(driver) == DEAD:
        dead = f"search {run} is not being run: {driver_words(driver)} is dead"
        print(_and(dead, _left(run, location)))
        return 0
    storage = open_storage(location).below(run)
    ask_to_stop(storage, driver["lease"], f"{getpass.getuser()}@{platform.node()}")
    if standing(driver) == SILENT:
        print(silent_words(driver, run, location), file=sys.stderr)
        print("if it is heard again, it stops", file=sys.stderr)
        return NOT_STOPPED
    print(f"search {run}: {driver_words(driver)} was asked to stop", flush=True)
    return _wait_for_end(driver, run, name, location, arguments.wait)


def _wait_for_end(
    driver: Mapping[str, Any], run: str, name: str, location: str, wait_seconds: float
) -> int:
    """Wait for the end of what is run: the search that was named, or its confirmation."""
    until = time.monotonic() + wait_seconds
    own = _driver(name, location)
    leases = {one["lease"] for one in (own, driver) if one is not None}
    while time.monotonic() < until:
        _, now = _driven(name, location)
        if now is None or now["lease"] not in leases:
            left = _left(run, location)
            print(_and(f"search {run} has {'stopped' if left else 'ended'}", left))
            return 0
        if standing(now) == DEAD:
            died = f"search {run}: {driver_words(now)} died before it had stopped in order"
            print(_and(died, _left(run, location)))
            return 0
        time.sleep(POLL_SECONDS)
    print(
        f"search {run} has not stopped within {wait_seconds:g} s, but will when it can; wait on "
        f"with `{command('attach', name, storage=location)}`, or kill process {driver['pid']} on "
        f"{printable(driver['host'])}: what has ended is recorded",
        file=sys.stderr,
    )
    return NOT_STOPPED


def _and(words: str, more: str) -> str:
    return f"{words}; {more}" if more else words


def silent_words(driver: Mapping[str, Any], name: str, location: str) -> str:
    """On a driver that was not heard for long."""
    why = "it is halted or hangs" if is_here(driver) else "its machine is probably gone"
    return (
        f"last heard {ago(seconds_silent(driver))} from {printable(driver['host'])}: {why}; "
        f"`{_resume(name, location)}` takes it over"
    )


def _resume(name: str, location: str) -> str:
    """The command that goes on with a search, where it last ran."""
    storage = open_storage(location).below(name)
    if not storage.exists(SPECIFICATION_FILE):
        return begin_command(name, location)  # its driver has not written it yet
    try:
        search = load_outline(name, location)
    except ValueError:  # the command says why not
        return command("resume", name, storage=location)
    return go_on_command("resume", search, read_options(storage))


def _left(name: str, location: str) -> str:
    """What goes on with a search that nobody drives, or with its confirmation; empty if nothing."""
    storage = open_storage(location).below(name)
    damaged: dict[str, str] = {}
    try:
        search = load_outline(name, location)
        plan = read_plan(storage)
        trials, _ = read_records(storage, planned_ids(storage, plan), damaged.__setitem__)
        planned = planned_count(storage, plan) - len(skipped_trials(plan, trials, damaged))
        best = best_so_far(search, storage, plan, rows_of(trials))
    except ValueError:  # such as one that is not written yet; the command says what is wrong
        return f"go on with: {_resume(name, location)}"
    state = search_state(None, planned, len(trials) + len(damaged))
    return left_words(search, storage, state, best)


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
        print(f"\ninterrupted by {interrupted_by()}, detached; the search goes on", *how, sep="\n")
        return INTERRUPTED_CODE


_GO_ON: Final = (("follow", "attach"), ("stop", "stop"))


def _follow(name: str, location: str) -> int:
    run, driver = _driven(name, location)
    if driver is None:
        load_outline(name, location)  # or there is no such search
    print(f"search {run}: {driver_words(driver) if driver else 'no process runs it'}", flush=True)
    console = _Console()
    while (beginning := beginning_driver(name, location)) is not None:
        if standing(beginning) != RUNNING:
            print(printable(beginning_words(name, location)))
            return INCOMPLETE
        console.tell(beginning)
        time.sleep(POLL_SECONDS)
    followed = {name: _Followed(name, location)}
    while True:
        run, driver = _driven(name, location)
        if driver is None or standing(driver) != RUNNING:
            break
        if run not in followed and open_storage(location).below(run).exists(SPECIFICATION_FILE):
            print(f"search {run}:", flush=True)
            followed[run] = _Followed(run, location)
        for one in followed.values():
            one.tell()
        console.tell(driver)
        if run in followed:
            followed[run].page = driver["page"]
        time.sleep(POLL_SECONDS)
    if driver is not None:
        dead = f"{driver_words(driver)} is dead"
        print(dead if standing(driver) == DEAD else silent_words(driver, run, location))
    codes = [one.end() for one in followed.values()]
    code = codes[-1] or codes[0]
    # As it would be told by who ran it: a confirmation that was stopped is the search stopped.
    left = _left(name, location) if len(codes) == 1 and code != INTERRUPTED_CODE else ""
    if left:
        print(left)
    return INTERRUPTED_CODE if left else code


def _driver(name: str, location: str) -> dict[str, Any] | None:
    return hear_driver(open_storage(location).below(name)) if is_name(name) else None


def _driven(name: str, location: str) -> tuple[str, dict[str, Any] | None]:
    """What is being run, a search or its confirmation, and by whom.

    Where nobody runs either: the search, and the dead process that left it behind, if any.
    """
    driver, confirmation = _driver(name, location), name + CONFIRMATION_SUFFIX
    own = _driver(confirmation, location)
    if own is None or standing(own) == DEAD:
        return name, driver
    # By the process that drives the search, or by one of its own.
    alone = driver is None or standing(driver) == DEAD
    same = driver is not None and all(own[one] == driver[one] for one in ("host", "pid"))
    return (confirmation, own) if alone or same else (name, driver)


class _Console:
    """Prints what drivers say, each note once, and what they do while no trial runs."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}  # lease -> number of the last note that was printed
        self._doing = ""

    def tell(self, driver: Mapping[str, Any]) -> None:
        """Print what is new."""
        last = self._last.get(driver["lease"], 0)
        for number, text in driver["said"]:
            if number > last:
                tqdm.write(printable(text), file=sys.stdout)
                self._last[driver["lease"]] = number
        if driver["doing"] != self._doing:
            self._doing = driver["doing"]
            if self._doing:
                tqdm.write(f"{printable(self._doing)} ...", file=sys.stdout)
        sys.stdout.flush()


class _Followed:
    """A search whose records are looked at again and again.

    Attributes:
        page: where MLflow shows its runs, as its driver says.
    """

    def __init__(self, name: str, location: str) -> None:
        self.page = ""
        self._search: SearchOutline = load_outline(name, location)
        self._storage: Storage = open_storage(location).below(name)
        plan = read_plan(self._storage)
        self._told = set(recorded_trials(self._storage) & planned_ids(self._storage, plan))
        description = read_description(self._storage)
        before = read_rows(self._storage, "trials", sorted(self._told), warn_of_damage)
        best = best_so_far(self._search, self._storage, plan, before)
        common = shared_parts([row["trial_name"] for row in plan.rows])
        self._lines = TrialLines(description, best, common)
        planned = self._planned(plan)
        print(ended_before(len(self._told), planned), flush=True)
        self._bar = tqdm(
            total=planned,
            initial=len(self._told),
            unit="trial",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    def _planned(self, plan: Plan) -> int:
        left_out = dropped_trials(plan).keys() - self._told
        return planned_count(self._storage, plan) - len(left_out)

    def tell(self) -> None:
        """Print a line for every trial that has ended since."""
        recorded = recorded_trials(self._storage) - self._told
        plan = read_plan(self._storage)  # after the records: it has their trials
        new = sorted(recorded & planned_ids(self._storage, plan))
        rows = read_rows(self._storage, "trials", new, warn_of_damage)
        self._told.update(new)
        for line in self._ended(rows, self._planned(plan)):
            tqdm.write(printable(line), file=sys.stdout)
        sys.stdout.flush()

    def _ended(self, rows: list[dict[str, Any]], planned: int) -> Iterator[str]:
        first = len(self._told) - len(rows)
        for number, row in enumerate(sorted(rows, key=lambda one: one["ended_at"]), start=1):
            yield self._lines.ended(row, f"[{first + number}/{planned}]")
            self._bar.update()

    def end(self) -> int:
        """What is printed when a search has ended, and its exit code."""
        self.tell()
        self._bar.close()
        options = read_options(self._storage)
        planned = planned_count(self._storage, read_plan(self._storage))
        code = summary(self._search, self._storage, planned, self.page or None, options)
        confirmed = confirmed_search(self._search.name, self._search.storage)
        if confirmed is not None and code in (0, SOME_FAILED):
            # Imports what runs trials, which takes seconds.
            from fusion_search.search.commands.launching import say_confirmed

            say_confirmed(self._storage.parent, confirmed)
        return code
