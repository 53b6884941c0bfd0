"""Searches whose processes are killed, stopped or hang: what they say and what they leave."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_search import FAULTY, assert_equal_records, undisturbed
from search_processes import run, search_process, write_config

from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import read_rows
from fusion_search.search.records.driver_file import read_driver

LONG = {"epochs": 60, "epoch_examples": 64}
OFTEN = {"concurrent_trials": 1, "save_seconds": 0}


@pytest.mark.slow
def test_a_trial_that_hangs_in_c_is_killed_at_its_deadline_and_the_search_goes_on(
    tmp_path: Path,
) -> None:
    config = write_config(
        tmp_path,
        seeds=[0, 1],
        # On a busy machine, too, the other trial ends in less, and this one's first epoch.
        resources={**OFTEN, "trial_deadline_seconds": 30},
    )
    with search_process("launch", str(config), **FAULTY, FAULTS='{"hang": [0]}') as process:
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 3, output
    assert "1 of 2 trials finished, 1 failed, 0 not run" in output
    rows = {
        row["seed"]: row for row in read_rows(open_storage(tmp_path / "results/test"), "trials")
    }
    assert rows[1]["status"] == "finished"
    assert rows[0]["reason"] == (
        "it ran for longer than resources.trial_deadline_seconds (30) and was killed after 1 epoch "
        f"on {os.uname().nodename}; give it more, or find out why it hangs"
    )
    assert rows[0]["seconds"] < 120


def wait_for_epoch(folder: Path, epoch: int) -> None:
    """Until a running trial has ended this epoch."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        driver = read_driver(open_storage(folder / "results" / "test")) or {"running": {}}
        if any(one["epoch"] >= epoch for one in driver["running"].values()):
            return
        time.sleep(0.05)
    raise AssertionError(f"epoch {epoch} never ended")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "send", "code"),
    [
        ([signal.SIGKILL], os.kill, -9),
        ([signal.SIGTERM], os.kill, 130),
        ([signal.SIGHUP], os.kill, 130),
        ([signal.SIGINT, signal.SIGINT], os.kill, 130),
        ([signal.SIGTERM, signal.SIGTERM], os.killpg, 130),
        ([signal.SIGHUP], os.killpg, 130),
        ([signal.SIGINT], os.killpg, 130),
    ],
)
def test_a_driver_that_is_stopped_leaves_what_its_resume_needs(
    tmp_path: Path, signals: list[signal.Signals], send: Callable[[int, int], None], code: int
) -> None:
    config = write_config(tmp_path, **LONG, seeds=[0, 1], resources=OFTEN)
    storage = open_storage(tmp_path / "results" / "test")
    with search_process("launch", str(config), group=0) as process:
        wait_for_epoch(tmp_path, 5)
        for one in signals:
            send(process.pid, one)
            time.sleep(0.3)  # two keys are pressed one after the other
        output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert "Traceback" not in output
    if code == 130:
        assert re.search("interrupted by (SIG|.* \\(SIG)", output)
        assert "; go on with: fusion-search resume test" in output
        assert not storage.exists("driver.json")
    assert len(storage.names("running")) == 1

    code, output = run("resume", "test", "--storage", str(tmp_path / "results"))
    assert code == 0, output
    assert "goes on after epoch" in output
    assert "2 of 2 trials finished" in output
    assert_equal_records(storage, undisturbed(tmp_path / "undisturbed", storage))
    assert storage.names("running") == []


@pytest.mark.slow
def test_a_worker_that_the_memory_monitor_kills_is_recorded_with_that_reason(
    tmp_path: Path,
) -> None:
    config = write_config(
        tmp_path,
        epochs=10**6,
        epoch_examples=64,
        seeds=[0],
        resources={**OFTEN, "retries": 1},
    )
    # Any use of memory is too much.
    tight = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "500"}
    with search_process("launch", str(config), **tight) as process:
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 1, output
    (row,) = read_rows(open_storage(tmp_path / "results" / "test"), "trials")
    assert row["status"] == "failed"
    assert "memory" in row["reason"]
