"""What the console and the status file say while a search runs."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, Final

from tqdm import tqdm

from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.failures import failure_paths
from fusion_search.analysis.records.filesystems.errors import StorageError
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.records.selection.best import BestSample, over_grid
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import FAILED, FINISHED, STOPPED
from fusion_search.analysis.records.words.durations import duration
from fusion_search.analysis.records.words.names import without_common
from fusion_search.analysis.records.words.networks import PLAIN, setting_words
from fusion_search.search.declaration.specification import SearchSpecification
from fusion_search.search.records.claim import release_all
from fusion_search.search.records.lease import Lease, LeaseLostError
from fusion_search.search.running.interrupts import interrupt
from fusion_search.search.spaces.fold_rungs import Decision
from fusion_search.search.spaces.parameters import is_searched
from fusion_search.search.spaces.space import Space

_REST_SECONDS: Final = 1.0  # between two epochs that are told in the file
_AWAY_REST_SECONDS: Final = 15.0  # between two attempts while the storage does not answer

# A terminal that was closed, or a program that reads no longer: no reason to end otherwise.
_UNHEARD: Final = contextlib.suppress(OSError)


def ended_before(ended: int, planned: int) -> str:
    """How many of a search's trials have a record as it goes on."""
    have = "has" if planned == 1 else "have"
    return f"{ended} of {count_label(planned, 'trial')} {have} ended before"


@cache
def warn_of_damage(trial_id: str, damage: str) -> None:
    """Say that a record cannot be read, once, however often it is looked at."""
    print(f"warning: {printable(damage)}", file=sys.stderr)


def stopped_words(row: Mapping[str, Any], description: TaskDescription) -> str:
    """Why a trial was stopped early, and how well it did by then, from its row of ``trials``."""
    metric = description.metric
    value = row[f"validation_{metric.name}"]
    reached = metric.text(math.nan if value is None else value)
    return f"{row['reason']}, {metric.words} {reached} in validation"


def common_parts(search: SearchSpecification) -> frozenset[str]:
    """Parts of names that all trials of a search have: what it does not vary."""
    spaces = (search.space,) if search.space is not None else search.sweep
    found = [set(one.name_parts) for one in search.listed] or [_common_to(one) for one in spaces]
    return frozenset(set.intersection(*found)) if found else frozenset()


def _common_to(space: Space) -> set[str]:
    trials = [space.trial_at(condition) for condition in space.train]
    found = set.intersection(*(set(one.name_parts) for one in trials))
    first = trials[0]
    searched = {name for (_, name), one in space.settings.items() if is_searched(one)}
    # Of streams that are left out the condition is not told.
    kept = {*first.condition_parts} if len(space.streams) == 1 else set()
    if space.placements() == sum(1 for _ in space.by_layout.networks()):
        kept.add(PLAIN)
    for name, one in first.layout_settings().items():
        if name not in searched:
            kept.add(setting_words(name, one))
    kept |= {f"seed {first.seed}"} if len(space.seeds) == 1 else set()
    kept |= {f"fold {first.fold}"} if len(space.folds) == 1 else set()
    return found & kept


class TrialLines:
    """A line for each trial that ended, as the console shows it.

    Args:
        description: of the task.
        best: knows the trials that ended before; None where it is not told.
        common: parts of names that all trials have, which are left out.
    """

    def __init__(
        self,
        description: TaskDescription,
        best: BestSample | None = None,
        common: Collection[str] = (),
    ) -> None:
        self._description = description
        self._best = best
        self._common = common
        self._told: dict[str, str] = {}
        self.best_words = ""  # as of the last finished trial

    def ended(self, row: Mapping[str, Any], number: str) -> str:
        """The line of a trial that has its record.

        Args:
            row: of TRIALS.
            number: which it is, and of how many.
        """
        self._told[row["trial_id"]] = number
        label = f"{number} {self.short(row['trial_name'])}:"
        if self._best is not None:
            self._best.add(row)
        if row["status"] == FINISHED:
            best = self.best_words = self._best_so_far(row)
            text = over_grid(row, self._description)
            return f"{label} {text}, {duration(row['seconds'])}{best and f'; {best}'}"
        if row["status"] == STOPPED:
            return f"{label} {stopped_words(row, self._description)}"
        return f"{label} FAILED: {row['reason']}"

    def dropped(self, row: Mapping[str, Any], decision: Decision) -> str:
        """The line of a sample that fold rungs dropped after its last trial."""
        value = f"{decision.value:.4g}"
        if self._best is not None:
            value = f"{self._best.objective.words} {self._best.objective.text(decision.value)}"
        verb = "is" if decision.better == 1 else "are"
        return (
            f"{self.short(row['trial_name'])}: its sample is dropped after "
            f"{count_label(decision.folds, 'fold')} with {value}, for {decision.better} of "
            f"{count_label(decision.of - 1, 'sample')} before it {verb} better"
        )

    def short(self, name: str) -> str:
        """A trial's name without what all have."""
        return without_common(name, self._common)

    def _best_so_far(self, row: Mapping[str, Any]) -> str:
        """Of what was trained on data like these, by the number of its line, where it has one."""
        if self._best is None:
            return ""
        best, kinds = self._best.like(row), self._best.kinds()
        if not best.trial_ids:
            return ""
        own = best.trial_ids[0]
        told = self._told.get(own, "")
        which = "this one" if own == row["trial_id"] else told or self.short(best.name)
        of = "".join(f", {kind}" for kind, one in kinds.items() if kind and one is best)
        return f"best so far{of}: {best.words} ({which})"


class Progress:
    """Counts trials and epochs, remembers the best, and tells the console and ``driver.json``.

    The file says how far the running trials are. While the storage does not answer, it grows old:
    the driver waits for nobody to look at it.

    Args:
        storage: the search's folder.
        planned: how many trials the search has.
        ended: how many have ended before.
        epochs: of each trial.
        description: of the task.
        best: knows the trials that ended before; None where it is not told.
        common: parts of names that all trials have, which the console leaves out.
        lease: of this process on the search; None where no file is to tell of it.

    Attributes:
        page: says where MLflow shows the runs, once that is known.
        told: ids of the trials whose end was told.
    """

    def __init__(
        self,
        storage: Storage,
        planned: int,
        ended: int,
        epochs: int,
        description: TaskDescription,
        best: BestSample | None = None,
        common: Collection[str] = (),
        lease: Lease | None = None,
    ) -> None:
        self._lease = lease
        self.page: Callable[[], str | None] = lambda: None
        self.started_at = "" if lease is None else lease.started_text
        self._storage = storage.patient(0)
        self._planned = planned
        self._epochs = epochs
        self._ended = ended
        self.told: set[str] = set()
        self._running: dict[str, dict[str, Any]] = {}
        self._metric = description.metric
        self._lines = TrialLines(description, best, common)
        self._written = -math.inf
        self._away = False
        self._unread = False
        # The bar counts epochs, so that it moves also while the first trials run.
        self._bar = tqdm(
            total=(planned - ended) * epochs,
            unit="epoch",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )
        self._write()

    def started(self, row: Mapping[str, Any]) -> None:
        """A trial runs on a worker."""
        self._running[row["trial_id"]] = {
            "trial_name": row["trial_name"],
            "epoch": 0,
            "epochs": row["epochs"],
        }
        self._tell()

    def epoch(self, trial_id: str, row: Mapping[str, Any]) -> None:
        """A trial ended an epoch."""
        running = self._running.setdefault(trial_id, {"trial_name": trial_id})
        running["epoch"] = row["epoch"]
        running["validation"] = row[f"validation_{self._metric.name}"]
        self._advance(1)
        self._tell(rest=_REST_SECONDS)

    def ended(self, row: Mapping[str, Any]) -> None:
        """A trial has its record."""
        self.told.add(row["trial_id"])
        running = self._running.pop(row["trial_id"], {})
        self._ended += 1
        self._advance(self._epochs - running.get("epoch", 0))
        # As it stands there: fold rungs change how many are planned. Who follows the search sees
        # the record, and needs no note.
        self._print(self._lines.ended(row, f"[{self._ended}/{self._planned}]"))
        if row["status"] == FINISHED:
            with _UNHEARD:
                self._bar.set_postfix_str(printable(self._lines.best_words))
        elif row["status"] == FAILED:
            self._say_details(row["trial_id"])
        self._tell()

    def dropped(self, row: Mapping[str, Any], decision: Decision, left_out: int) -> None:
        """A sample is not trained further: fold rungs dropped it.

        Args:
            row: of its last trial.
            decision: by which it was dropped.
            left_out: how many of its trials are not run.
        """
        self._planned -= left_out
        with _UNHEARD:
            self._bar.total = (self._bar.total or 0) - left_out * self._epochs
        self.say(self._lines.dropped(row, decision))

    def _say_details(self, trial_id: str) -> None:
        with contextlib.suppress(StorageError):  # the failure is told all the same
            path = failure_paths(self._storage).get(trial_id)
            if path:
                self.say(f"  details: {path}")

    def does(self, doing: str) -> None:
        """What is done while no trial runs, such as "starting Ray"."""
        if self._lease is not None:
            self._lease.does(doing)

    def say(self, text: str) -> None:
        """Print a line without breaking the bar, and tell it to those who follow the search."""
        self._print(text)
        if self._lease is not None:
            self._lease.note(printable(text))

    def _print(self, text: str) -> None:
        """Print a line.

        Where nobody reads on (``| head``), the search ends as after Ctrl-C: Ray, which calls this,
        would make another error of a broken pipe.
        """
        if self._unread:
            return
        try:
            tqdm.write(printable(text), file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            self._unread = True
            interrupt("its output, which nobody reads on")
        except OSError:  # as of _UNHEARD
            return

    def close(self) -> None:
        """No trial runs any longer."""
        with _UNHEARD:
            self._bar.close()

    def give_up(self) -> None:
        """This process ends now, without another word: nobody drives the search."""
        self.close()
        release_all()

    def _advance(self, epochs: int) -> None:
        with _UNHEARD:
            self._bar.update(epochs)

    def _tell(self, rest: float = 0.0) -> None:
        if time.monotonic() - self._written < (_AWAY_REST_SECONDS if self._away else rest):
            return
        try:
            self._write()
        except LeaseLostError:
            return  # the search is interrupted by then, and says why as it ends
        except StorageError as error:
            if not self._away:
                self.say(f"warning: {error}")
            self._away = True
        else:
            if self._away:
                self.say(f"storage {self._storage.location} answers again")
            self._away = False
        self._written = time.monotonic()

    def _write(self) -> None:
        if self._lease is not None:
            self._lease.tell(self._running, self.page() or "")
