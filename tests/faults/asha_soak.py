"""TPE with ASHA under ``kill -9`` at random moments; run by ``make soak``.

One trial at a time, what is left must be what an undisturbed run leaves: every proposal, decision,
stop and row. Two at a time, whose order is chance, nothing may be lost, doubled or proposed twice,
and every decision must be the one that Ray's own rule makes of those before it. Prints what was
killed and what was left, and ends with exit code 0 when all of it holds.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import yaml
from fault_search import assert_equal_records

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import FINISHED, STOPPED, read_rows
from fusion_search.search.commands.command_line import main as search_main
from fusion_search.search.declaration.specification import Resources
from fusion_search.search.dispatch.dispatcher import listen_here_alone

SAMPLES: Final = 16  # TPE's first ten are drawn by chance, the others depend on what ended before
EPOCHS, GRACE, REDUCTION = 9, 1, 2
RUNGS: Final = (1, 2, 4, 8)
KILLS: Final = 10
SAVE_SECONDS: Final = (0, 30)  # after every epoch; never, since trials are shorter
LIMIT_SECONDS: Final = 1800


@dataclass
class Search:
    """One search in a folder of its own."""

    folder: Path
    seed: int
    at_once: int
    ray: Mapping[str, str]

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.log = self.folder / "output.txt"
        config = {
            "name": "test",
            "task": "odd_tasks:Sensors",
            "storage": str(self.folder),
            "network": {"width": [2, 4, 8]},
            "training": {
                "epochs": EPOCHS,
                "learning_rate": {"low": 0.001, "high": 0.05, "log": True},
                "device": "cpu",
            },
            "placement": {"couplings": ["none", "gates"]},
            "searcher": {"name": "tpe", "samples": SAMPLES, "seed": self.seed},
            "scheduler": {"name": "asha", "grace_epochs": GRACE, "reduction": REDUCTION},
            "mlflow": {"enabled": False},
            "resources": {
                "concurrent_trials": self.at_once,
                "cpus_per_trial": 1 / self.at_once,
                "save_seconds": SAVE_SECONDS[self.seed % 2],
            },
        }
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))

    @property
    def storage(self) -> Storage:
        return open_storage(self.folder / "test")

    def plain(self, name: str) -> Any:
        try:
            return json.loads((self.folder / "test" / name).read_text())
        except FileNotFoundError:
            return []

    def start(self) -> int:
        """The number of a process that launches the search, or resumes it."""
        begun = (self.folder / "test" / "specification.yaml").exists()
        resume = ["resume", "test", "--storage", str(self.folder)]
        words = resume if begun else ["launch", str(self.folder / "config.yaml")]
        return forked(lambda: self._drive(words), self.log)

    def _drive(self, words: list[str]) -> int:
        import ray
        from ray._raylet import AuthenticationTokenLoader

        os.environ["RAY_AUTH_TOKEN"] = self.ray["token"]
        AuthenticationTokenLoader.instance().reset_cache()
        ray.init(self.ray["address"], log_to_driver=False, logging_level=logging.ERROR)
        return search_main(words)

    def run(self) -> None:
        """Undisturbed."""
        assert ended(self.start()) == 0

    def run_killed(self, chance: random.Random) -> int:
        """Launch and resume until the search has ended; how many drivers were killed."""
        for number in range(KILLS):
            process = self.start()
            if not self._moment(process, chance, KILLS - number):
                return number
            os.kill(process, signal.SIGKILL)
            assert ended(process) == -signal.SIGKILL
            self.say(f"kill {number + 1} at {len(self.plain('asha.json'))} decisions")
        self.run()
        return KILLS

    def say(self, text: str) -> None:
        print(f"{self.folder.name}: {text}", flush=True)

    def _moment(self, process: int, chance: random.Random, kills: int) -> bool:
        """Wait for a moment between this start and the end; whether the driver then lives."""
        left = SAMPLES - len(list((self.folder / "test" / "trials").glob("*.parquet")))
        # Decisions come all along: of a sample one or more, while a record comes at its end alone.
        more = chance.randint(0, max(1, 2 * left // kills))
        enough, began = len(self.plain("asha.json")) + more, time.monotonic()
        while time.monotonic() < began + LIMIT_SECONDS:
            code = ended(process, wait=False)
            if code is not None:
                assert code == 0, code
                return False
            if len(self.plain("asha.json")) >= enough and (more or time.monotonic() > began + 20):
                time.sleep(chance.uniform(0, 0.3))
                return True
            time.sleep(0.005)
        raise AssertionError("the search does not end")


def forked(run: Callable[[], int], log: Path) -> int:
    """A process that runs this and says what it says into a file; it shares what is imported."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        code = run()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def ended(process: int, wait: bool = True) -> int | None:
    """The exit code of a process of :func:`forked`; None while it lives."""
    found, status = os.waitpid(process, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


@contextlib.contextmanager
def outliving_ray(folder: Path) -> Iterator[Mapping[str, str]]:
    """Address and token of a Ray that drivers come to and are killed on: a start takes seconds."""
    found = folder / "ray.json"

    def stay() -> int:
        import ray

        from fusion_search.search.dispatch.connection import connect

        with connect("local", Resources()):
            token, address = os.environ["RAY_AUTH_TOKEN"], ray.get_runtime_context().gcs_address
            found.with_suffix(".new").write_text(json.dumps({"address": address, "token": token}))
            found.with_suffix(".new").rename(found)
            while os.getppid() == parent:
                time.sleep(1)
        return 0

    parent = os.getpid()
    process = forked(stay, folder / "ray.txt")
    try:
        while not found.exists():
            assert ended(process, wait=False) is None, (folder / "ray.txt").read_text()
            time.sleep(0.1)
        yield json.loads(found.read_text())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGINT)
            ended(process)


def check(search: Search) -> collections.Counter[str]:
    """What was left; raises AssertionError where it is lost, doubled or decided otherwise."""
    from ray.tune.schedulers import ASHAScheduler

    plan, decisions = search.plain("planned.json"), search.plain("asha.json")
    rows = {row["trial_id"]: row for row in read_rows(search.storage, "trials")}
    ids = [one["trial_id"] for one in plan["trials"]]
    samples = [json.dumps(one["sample"], sort_keys=True) for one in plan["trials"]]
    assert len(ids) == len(set(ids)) == len(set(samples)) == SAMPLES
    assert sorted(f"{one}.parquet" for one in ids) == search.storage.names("trials")
    assert search.storage.names("running") == []
    curves: dict[str, list[float]] = {}
    for row in read_rows(search.storage, "epochs"):
        curves.setdefault(row["trial_id"], []).append(-row["validation_mean_absolute_error"])
        assert row["epoch"] == len(curves[row["trial_id"]])
    made = collections.defaultdict(list)
    rule = ASHAScheduler(
        "epochs", "score", "max", max_t=EPOCHS, grace_period=GRACE, reduction_factor=REDUCTION
    )
    for one in decisions:
        trial: Any = SimpleNamespace(trial_id=one["sample_id"])
        if not made[trial.trial_id]:
            rule.on_trial_add(None, trial)  # type: ignore[arg-type]
        made[trial.trial_id].append(one["epochs"])
        curve = curves[trial.trial_id][: one["epochs"]]
        assert one["score"] == max(curve)
        told = {"epochs": one["epochs"], "score": one["score"]}
        assert (rule.on_trial_result(None, trial, told) == "CONTINUE") == one["kept"]  # type: ignore[arg-type]
    for trial_id, row in rows.items():
        rungs = [rung for rung in RUNGS if rung <= row["epochs_run"]]
        assert made[trial_id] == rungs, (made[trial_id], row["epochs_run"])
        stopped = [
            one["epochs"] for one in decisions if one["sample_id"] == trial_id and not one["kept"]
        ]
        assert stopped == ([row["epochs_run"]] if row["status"] == STOPPED else [])
        assert row["status"] == STOPPED or row["epochs_run"] == EPOCHS
        assert len(curves[trial_id]) == row["epochs_run"]
    counts = collections.Counter(row["status"] for row in rows.values())
    assert counts.keys() <= {FINISHED, STOPPED}
    counts["decisions"] = len(decisions)
    return counts


def equal_parts(one: Search, other: Search) -> dict[str, str]:
    """How many of what two searches left are equal, in words."""
    words = {}
    for name, parts in (
        ("proposals", [each.plain("planned.json")["trials"] for each in (one, other)]),
        ("decisions", [each.plain("asha.json") for each in (one, other)]),
    ):
        pairs = list(itertools.zip_longest(*parts))
        words[name] = f"{sum(first == second for first, second in pairs)} of {len(pairs)}"
    return words


def look(disturbed: Search, whole: Search | None) -> int:
    """Print what is there and compare it; 0 when all is as it should be."""
    if whole is not None:
        print(f"  equal to the undisturbed run: {equal_parts(disturbed, whole)}", flush=True)
    left = check(disturbed)
    if whole is not None:
        assert disturbed.plain("planned.json") == whole.plain("planned.json")
        assert disturbed.plain("asha.json") == whole.plain("asha.json")
        assert_equal_records(disturbed.storage, whole.storage)
        print(f"  and all {SAMPLES} rows with their curves, grids and weights")
    print(f"  left: {dict(left)}")
    return 0


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--searches", type=int, default=3, help="one trial at a time")
    words.add_argument("--doubles", type=int, default=1, help="two trials at a time")
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    os.environ["RAY_AUTH_MODE"] = "token"  # which Ray reads when it is imported
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (as the drivers that wait for them)
    listen_here_alone()
    from fusion_search.search.dispatch import tuner  # noqa: F401 (once, and not by every driver)

    folder = Path(tempfile.mkdtemp(prefix="asha-soak-"))
    print(f"{KILLS} kills a search, in {folder}", flush=True)
    with outliving_ray(folder) as ray:
        searches = [
            Search(folder / f"killed-{number}", asked.seed + number, at_once, ray)
            for number, at_once in enumerate([1] * asked.searches + [2] * asked.doubles)
        ]
        return run_all(searches, random.Random(asked.seed))


def run_all(searches: Sequence[Search], chance: random.Random) -> int:
    """Run, kill and compare; 0 when all is as it should be."""
    began, killed, wrong = time.monotonic(), 0, 0
    for one in searches:
        kills = one.run_killed(chance)
        killed += kills
        gone_on = one.log.read_text().count("goes on after epoch")
        print(f"{one.at_once} at a time: {kills} kills, {gone_on} trials went on from a state")
        whole = None
        if one.at_once == 1:
            whole = Search(one.folder.with_name(f"{one.folder.name}-not"), one.seed, 1, one.ray)
            whole.run()
        # By a process of its own: what starts threads cannot be shared with drivers afterwards.
        found = one.folder / "found.txt"
        wrong += bool(ended(forked(lambda one=one, other=whole: look(one, other), found)))
        print(found.read_text(), flush=True)
    print(f"{killed} drivers killed, {wrong} searches wrong, {time.monotonic() - began:.0f} s")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
