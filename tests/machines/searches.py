"""Searches launched from a machine that is no node, and what is left of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from cluster import LIMIT_SECONDS, Cluster
from fault_search import assert_equal_records
from rack import HOME, Log, Machine, wait_until
from small_recorder import small_recorder
from small_trials import small_configuration

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_rows
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.running.recorded_trial import execute
from fusion_search.search.tasks.digits.task import Digits
from fusion_search.search.tasks.opened import OpenedTask

TRIALS: Final = {
    "seeds": [*range(6)],
    # Seconds for each, so that there is something to cut.
    "epochs": 60,
    "epoch_examples": 64,
    "test_examples": 4,
}
_LOOK: Final = str(Path(__file__).with_name("look.py"))


def undisturbed_trials(folder: Path) -> Storage:
    """Records of those trials, run one after another without Ray."""
    torch.set_num_threads(1)  # as a trial with one core has; more would round otherwise
    storage = open_storage(folder / "test")
    trials = build_search(small_configuration(**TRIALS)).planned_trials()
    opened = OpenedTask(Digits(), trials[0].data)
    for one in trials:
        execute(one, opened, small_recorder(storage, opened))
    return storage


class Console:
    """A command on a machine; what it prints comes line by line, and into the log."""

    def __init__(self, machine: Machine, name: str, *words: str, log: Log | None) -> None:
        self._name, self._log = name, log
        self._file = (machine.folder / f"{name}.txt").open("w+")
        self.process = machine.start(*words, output=self._file)
        self._at = 0
        self.lines: list[str] = []

    def look(self) -> None:
        """Take in the whole lines that have been printed since."""
        with open(self._file.name, errors="replace") as file:  # noqa: PTH123
            file.seek(self._at)
            while (line := file.readline()).endswith("\n"):
                self._at = file.tell()
                self.lines.append(line[:-1])
                if self._log:
                    self._log.say(self._name, line[:-1])


class Search:
    """Six trials, launched on the laptop.

    Args:
        cluster: to run on.
        name: of the search.

    Attributes:
        console: of the command that launched it.
        state: as ``look.py`` saw it last.
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.name = cluster, name
        self._laptop, self._log = cluster.rack["laptop"], cluster.rack.log
        self.state: dict[str, Any] = {"ended": 0, "running": {}}
        self.configuration = small_configuration(
            **TRIALS,
            name=name,
            storage=cluster.storage(),
            mlflow={"tracking_uri": cluster.tracking},
            resources={"save_seconds": 0},
        )

    def start(self, verb: str, address: str) -> None:
        """``launch`` or ``submit`` it to an address."""
        file = f"{self.name}.yaml"
        (self._laptop.home / file).write_text(yaml.safe_dump(self.configuration))
        words = (verb, file, "--address", address)
        self._log.say("laptop", f"fusion-search {' '.join(words)}")
        python = ("python", "-u", "-m", "fusion_search")
        self.console = Console(self._laptop, self.name, *python, *words, log=self._log)
        folder = self.cluster.storage(self.name)
        look = ("python", _LOOK, "watch", folder)
        self._seen = Console(self._laptop, f"{self.name}-seen", *look, log=None)

    def wait_until(self, true: Callable[[], bool], what: str) -> None:
        """Raise AssertionError if the search ends before, or it takes too long."""

        def now() -> bool:
            self._look()
            if true():
                return True
            code = self.console.process.poll()
            assert code is None, f"{what}: not before the search ended with {code}"
            return False

        wait_until(now, what, LIMIT_SECONDS)
        self._log.say(self.name, f"seen: {what}; {self._state()}")

    def wait(self) -> int:
        """The exit code of its console."""

        def over() -> bool:
            self._look()
            return self.console.process.poll() is not None

        wait_until(over, f"the end of {self.name}", LIMIT_SECONDS)
        self._look()
        self._log.say(self.name, f"exit code {self.console.process.returncode}")
        return int(self.console.process.returncode)

    def _look(self) -> None:
        self.console.look()
        self._seen.look()
        for line in self._seen.lines:
            if not line.startswith("{"):
                self._log.say(f"{self.name}, seen", line)
                continue
            before, self.state = self.state, json.loads(line)
            if before["ended"] != self.state["ended"]:
                self._log.say(self.name, f"seen: {self._state()}")
        self._seen.lines.clear()

    def told(self, text: str) -> bool:
        """Whether its console has said so."""
        return any(text in line for line in self.console.lines)

    def _state(self) -> str:
        epochs = sorted(self.state["running"].values())
        return f"{self.state['ended']} trials ended, running in epoch {epochs}"

    def check(self, undisturbed: Storage) -> list[dict[str, Any]]:
        """Its rows, when they and MLflow's runs are the plan's, and its numbers undisturbed."""
        trials = build_search(self.configuration).planned_trials()
        planned = sorted(one.trial_id for one in trials)
        target = f"{HOME}/{self.name}"
        fetch = ("fetch", self.cluster.storage(self.name), self.cluster.tracking, target)
        self._laptop.run("python", _LOOK, *fetch, seconds=LIMIT_SECONDS)
        folder = self._laptop.home / self.name
        left = open_storage(folder)
        rows = read_rows(left, "trials")
        runs = json.loads((folder / "runs.json").read_text())
        by_role = Counter(one["tags"]["fusion_search.role"] for one in runs)
        children = [one for one in runs if one["tags"]["fusion_search.role"] == "trial"]
        hosts = dict(Counter(row["host"] for row in rows))
        self._log.say(
            self.name,
            f"{len(planned)} trials planned, {len(rows)} rows (on {hosts}), "
            f"MLflow runs: {by_role['search']} search, {by_role['trial']} trials",
        )
        assert sorted(row["trial_id"] for row in rows) == planned
        assert {row["status"] for row in rows} == {"finished"}
        assert sorted(one["tags"]["fusion_search.trial_id"] for one in children) == planned
        assert by_role["search"] == 1
        assert {one["status"] for one in runs} == {"FINISHED"}
        assert left.names("running") == []
        assert not left.exists("driver.json")
        assert_equal_records(left, undisturbed)
        return rows
