"""Hundreds of short trials while workers and drivers are killed; run by ``make soak``.

Ends with exit code 0 when exactly the expected records are there: those of an undisturbed run of
the same trials, and a failure with its reason for every trial that was planned to fail. Prints
what was injected and what was left.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from fault_search import FAULTY, assert_equal_records
from search_processes import ROOT, child_runs, workers_of
from small_recorder import small_recorder
from small_trials import small_configuration

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_rows, read_table
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.running.recorded_trial import execute
from fusion_search.search.tasks.digits.task import Digits
from fusion_search.search.tasks.opened import OpenedTask

TRIAL: Final = {
    "frames": 12,
    "units": 1,
    "dense_units": 4,
    "examples": 16,
    "epoch_examples": 16,
    "epochs": 3,
    "batch_size": 8,
    "validation_examples": 8,
    "test_examples": 2,
}
GIVEN_UP = "given up untried by Ray"
WORKER, KILL, TERM, INTERRUPT = "worker killed", "driver killed", "SIGTERM", "SIGINT"
OFTEN: Final = {WORKER: 7, KILL: 1, TERM: 1, INTERRUPT: 1}
SIGNALS: Final = {KILL: signal.SIGKILL, TERM: signal.SIGTERM, INTERRUPT: signal.SIGINT}
HANGS_EVERY, DIVERGES_EVERY = 60, 10
DEADLINE_SECONDS = 60
LIMIT_SECONDS = 3600
ENDED = 3  # exit code: those that diverge have failed


@dataclass
class Soak:
    """A search under faults."""

    folder: Path
    trials: int
    chance: random.Random
    injected: collections.Counter[str] = field(default_factory=collections.Counter)

    def __post_init__(self) -> None:
        self.hanging = [seed for seed in range(self.trials) if seed % HANGS_EVERY == 7]
        diverging = range(self.trials // DIVERGES_EVERY)
        config = small_configuration(
            **TRIAL,
            name="test",
            storage=str(self.folder / "results"),
            sweep=[
                {"seeds": [*range(self.trials)]},
                # Noise this loud overflows float32, so the loss is not a number.
                {"train": [[1e-60, 1.0]], "seeds": [*diverging]},
            ],
            resources={
                "concurrent_trials": 2,
                "cpus_per_trial": 0.5,
                "retries": 3,
                "save_seconds": 0,
                "trial_deadline_seconds": DEADLINE_SECONDS,
            },
        )
        self.config = self.folder / "soak.yaml"
        self.config.write_text(yaml.safe_dump(config))
        self.planned = build_search(config).planned_trials()
        self.log = self.folder / "output.txt"

    @property
    def storage(self) -> Storage:
        return open_storage(self.folder / "results" / "test")

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        faults = f'{{"hang": {self.hanging}}}'
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *FAULTY["program"], *words],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(FAULTY["PYTHONPATH"]), "FAULTS": faults},
            )

    def run(self) -> None:
        """Launch, disturb and resume until the search has ended."""
        process = self.start("launch", str(self.config))
        try:
            while self.goes_on(process) or process.returncode == 130:
                if process.returncode == 130:  # Ray gave a trial up untried
                    self.injected[GIVEN_UP] += 1
                    process = self.resume()
                    continue
                fault = self.chance.choices(list(OFTEN), list(OFTEN.values()))[0]
                if fault == WORKER:
                    workers = sorted(workers_of(process.pid))
                    if workers:
                        kill(self.chance.choice(workers))
                        self.injected[fault] += 1
                    continue
                process.send_signal(SIGNALS[fault])
                code = process.wait(timeout=120)
                if code == ENDED:
                    return  # it had ended just before
                assert code == (-signal.SIGKILL if fault == KILL else 130), (fault, code)
                self.injected[fault] += 1
                process = self.resume()
            assert process.returncode == ENDED, process.returncode
        finally:
            process.kill()

    def resume(self) -> subprocess.Popen[bytes]:
        return self.start("resume", "test", "--storage", str(self.folder / "results"))

    def goes_on(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until a few more trials have ended (True), or the process has (False)."""
        enough = len(self.storage.names("trials")) + self.chance.randint(4, 16)
        deadline = time.monotonic() + LIMIT_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if len(self.storage.names("trials")) >= enough:
                return True
            time.sleep(0.05)
        assert process.returncode is not None, "the search does not end"
        return False

    def check(self) -> collections.Counter[str]:
        """What was left; raises AssertionError when it is not what was expected."""
        rows = read_rows(self.storage, "trials")
        assert sorted(row["trial_id"] for row in rows) == sorted(
            one.trial_id for one in self.planned
        )
        for row in rows:
            assert expected(row, self.hanging), (row["status"], row["reason"], row["seed"])
        finished = [row["trial_id"] for row in rows if row["status"] == "finished"]
        assert self.storage.names("checkpoints") == sorted(f"{one}.pt" for one in finished)
        assert self.storage.names("running") == []
        assert len(read_table(self.storage, "grid")) == 100 * len(finished)
        assert_equal_records(self.storage, self.undisturbed(finished), finished)
        runs = [one.data.tags["fusion_search.trial_id"] for one in child_runs(self.folder)]
        assert sorted(runs) == sorted(row["trial_id"] for row in rows)
        return collections.Counter(row["status"] for row in rows)

    def undisturbed(self, trial_ids: list[str]) -> Storage:
        """These trials, run one after another without Ray."""
        torch.set_num_threads(1)  # as a trial with one CPU has; more would round otherwise
        storage = open_storage(self.folder / "undisturbed" / "test")
        opened = OpenedTask(Digits(), self.planned[0].data)
        for trial in self.planned:
            if trial.trial_id in trial_ids:
                execute(trial, opened, small_recorder(storage, opened))
        return storage


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def expected(row: dict[str, Any], hanging: list[int]) -> bool:
    """Whether a trial ended as planned."""
    reason = row["reason"] or ""
    if row["train_audio_snr"] < 1e-9:
        return row["status"] == "failed" and "the loss became nan" in reason
    if row["seed"] in hanging:
        return row["status"] == "failed" and "trial_deadline_seconds" in reason
    return bool(row["status"] == "finished")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--trials", type=int, default=300)
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    began = time.monotonic()
    soak = Soak(folder, asked.trials, random.Random(asked.seed))
    print(f"{len(soak.planned)} trials with faults, in {folder}", flush=True)
    soak.run()
    left = soak.check()
    output = soak.log.read_text()
    for name in (*OFTEN, GIVEN_UP):
        print(f"{name:28} {soak.injected[name]:5}")
    print(f"{'hanging trial':28} {len(soak.hanging):5}")
    print(f"{'diverging trial':28} {asked.trials // DIVERGES_EVERY:5}")
    for name, text in (("trials tried again", "tried again ("), ("gone on", "goes on after epoch")):
        print(f"{name:28} {output.count(text):5}")
    print(f"left: {dict(left)} of {len(soak.planned)}, as expected, equal to an undisturbed run;")
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
