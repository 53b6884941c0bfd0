"""A cluster of several nodes on this machine, some of which are lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_search import assert_equal_records, undisturbed
from ray.cluster_utils import Cluster
from search_processes import read_until, run, search_process, workers_of, write_config

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_rows
from fusion_search.search.records.driver_file import read_driver

pytestmark = pytest.mark.slow

TRIALS = {"epochs": 60, "epoch_examples": 64}


@pytest.fixture(autouse=True)
def without_token(monkeypatch: pytest.MonkeyPatch) -> None:
    # A driver with a token refuses the calls of a head without one, which then takes it for dead.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


@contextlib.contextmanager
def cluster(nodes: int) -> Iterator[Cluster]:
    """So many nodes with one core each."""
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        for _ in range(nodes - 1):
            started.add_node(num_cpus=1)
        yield started
    finally:
        started.shutdown()


def processes_of(node: Any) -> list[int]:
    return [one.process.pid for some in node.all_processes.values() for one in some]


def runs_trials(node: Any) -> bool:
    return any(workers_of(pid) for pid in processes_of(node))


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def running(storage: Storage, epoch: int) -> int:
    """How many running trials have ended this epoch."""
    driver = read_driver(storage) or {"running": {}}
    return sum(one["epoch"] >= epoch for one in driver["running"].values())


def test_a_node_is_lost_another_comes_and_the_driver_dies(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        **TRIALS,
        seeds=list(range(8)),
        resources={"save_seconds": 0},
    )
    storage = open_storage(tmp_path / "results" / "test")
    with cluster(4) as nodes:
        at = ("--address", nodes.address)
        with search_process("launch", str(config), *at) as process:
            wait_until(lambda: running(storage, 2) == 4, process)
            lost = next(one for one in nodes.worker_nodes if runs_trials(one))
            nodes.remove_node(lost, allow_graceful=False)
            new = nodes.add_node(num_cpus=1)
            wait_until(lambda: runs_trials(new), process)
            read_until(process, "tried again (1 of 2)")
            read_until(process, "goes on after epoch")
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=60)
        before = storage.names("trials")
        code, resumed = run("resume", "test", "--storage", str(tmp_path / "results"), *at)
    assert code == 0, resumed
    assert f"{len(before)} of 8 trials have ended before" in resumed
    assert "goes on after epoch" in resumed
    rows = read_rows(storage, "trials")
    assert sorted(row["seed"] for row in rows) == list(range(8))
    assert {row["status"] for row in rows} == {"finished"}
    assert_equal_records(storage, undisturbed(tmp_path / "undisturbed", storage))


def test_a_driver_whose_head_dies_ends_at_once_and_resumes_on_the_next_cluster(
    tmp_path: Path,
) -> None:
    config = write_config(tmp_path, **TRIALS, seeds=[0, 1], resources={"save_seconds": 0})
    storage = open_storage(tmp_path / "results" / "test")
    with (
        cluster(2) as nodes,
        search_process("launch", str(config), "--address", nodes.address) as process,
    ):
        head = nodes.address
        wait_until(lambda: running(storage, 3) == 2, process)
        began = time.monotonic()
        for pid in processes_of(nodes.head_node):
            os.kill(pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 20
    assert process.returncode == 1, output
    assert f"error: the Ray cluster at {head} is gone; what has ended is recorded" in output
    assert "fusion-search resume test" in output
    assert "Traceback" not in output
    assert not storage.exists("driver.json")
    with cluster(2) as nodes:
        code, output = run(
            "resume", "test", "--storage", str(tmp_path / "results"), "--address", nodes.address
        )
    assert code == 0, output
    assert "goes on after epoch" in output
    assert_equal_records(storage, undisturbed(tmp_path / "undisturbed", storage))
