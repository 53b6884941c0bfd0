"""A search submitted as a job to a cluster of four nodes, made as a user makes it: `ray start`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_search import assert_equal_records, undisturbed
from ray_heads import BIN, TOKEN, Head, clean_environment, free_ports, ray_head, wait_for
from search_processes import ROOT, workers_of, write_config

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_rows
from fusion_search.search.records.driver_file import read_driver

pytestmark = pytest.mark.slow

SEEDS = list(range(10))
TRIALS = {"epochs": 200, "epoch_examples": 64}


@contextlib.contextmanager
def node(head: Head, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A further node with one core; a process group of its own, to be killed as a whole.

    It has come up: nodes of one machine that start at once wait for each other's files for ever.
    """
    # Below /tmp, for short paths of sockets. In one folder, nodes would remove each other's files.
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    environment = clean_environment(
        HOME=str(head.home),
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=TOKEN,
        # As the head's: else its workers have run all trials before others could start.
        RAY_worker_niceness="0",
    )
    words = ["--block", "--disable-usage-stats", "--num-cpus=1", "--num-gpus=0"]
    # Else the second agent of a machine finds its port taken, and its node ends.
    words.append(f"--dashboard-agent-listen-port={free_ports(1)[0]}")
    words.append(f"--temp-dir={folder}")
    with log.open("wb") as written:
        process = subprocess.Popen(
            [str(BIN / "ray"), "start", f"--address={head.address}", *words],
            cwd=head.home,
            env=environment,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: b"Ray runtime started" in log.read_bytes(), 120)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_epochs(storage: Storage, trials: int, process: subprocess.Popen[str]) -> None:
    """Until so many trials at once have ended two epochs."""
    deadline = time.monotonic() + 300
    while True:
        state = read_driver(storage) or {"running": {}}
        if sum(one["epoch"] >= 2 for one in state["running"].values()) >= trials:
            return
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_submitted_search_outlives_one_of_four_nodes(tmp_path: Path) -> None:
    config = write_config(tmp_path, **TRIALS, seeds=SEEDS, resources={"save_seconds": 0})
    storage = open_storage(tmp_path / "results" / "test")
    with contextlib.ExitStack() as stack:
        head = stack.enter_context(ray_head())
        others = [stack.enter_context(node(head, tmp_path / f"node-{one}.log")) for one in range(3)]
        submit = [sys.executable, "-u", "-m", "fusion_search", "submit", str(config)]
        process = stack.enter_context(
            subprocess.Popen(
                [*submit, "--address", head.dashboard],
                cwd=ROOT,
                env=clean_environment(RAY_AUTH_TOKEN=TOKEN),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        stack.callback(process.kill)
        # Two on the head, one on each of the others.
        wait_for_epochs(storage, 4, process)
        lost = next(one for one in others if workers_of(one.pid))
        os.killpg(lost.pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert "tried again (1 of 2)" in output
    assert "goes on after epoch" in output
    rows = read_rows(storage, "trials")
    assert sorted(row["seed"] for row in rows) == SEEDS
    assert {row["status"] for row in rows} == {"finished"}
    assert_equal_records(storage, undisturbed(tmp_path / "undisturbed", storage))
