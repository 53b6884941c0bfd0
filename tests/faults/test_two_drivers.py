"""Two processes that would drive one search: one does, and nothing is lost, doubled or mute."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import mlflow
import pytest
from s3_server import S3Server
from search_processes import read_until, search_process, write_config

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_table
from fusion_search.search.records.driver_file import read_driver_file

PROGRAM = (str(Path(__file__).parents[1] / "support" / "drive_here.py"),)
ROUNDS = int(os.environ.get("ROUNDS", "20"))


def declared(where: str, folder: Path, server: S3Server, seeds: int) -> tuple[str, str, Path]:
    """Storage, MLflow's database and configuration of a search with so many trials."""
    place = server.uri if where == "S3" else str(folder / "results")
    database = f"sqlite:///{folder}/mlflow.db"
    tracked = {"enabled": True, "tracking_uri": database}
    config = write_config(folder, storage=place, seeds=list(range(seeds)), mlflow=tracked)
    return place, database, config


def runs_of(database: str, name: str) -> Counter[str]:
    """How often each trial has a run, and the search (as "")."""
    client = mlflow.MlflowClient(database)
    found = client.get_experiment_by_name(name)
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    return Counter(one.data.tags.get("fusion_search.trial_id", "") for one in runs)


def check(storage: Storage, database: str, name: str, trials: int) -> None:
    rows = read_table(storage.below(name), "trials")
    assert list(rows["status"]) == ["finished"] * trials
    assert runs_of(database, name) == dict.fromkeys([*rows["trial_id"], ""], 1)
    assert read_driver_file(storage.below(name)) is None


@pytest.mark.slow
@pytest.mark.parametrize("where", ["disk", "S3"])
def test_of_two_launches_at_one_instant_one_runs(
    where: str, tmp_path: Path, server: S3Server
) -> None:
    place, database, config = declared(where, tmp_path, server, seeds=2)
    gate = tmp_path / "gate"
    gate.mkdir()
    outputs = []
    with ExitStack() as stack:
        both = [
            stack.enter_context(
                search_process(
                    *("--together", str(ROUNDS), str(gate), name, "launch", str(config)),
                    program=PROGRAM,
                )
            )
            for name in ("one", "two")
        ]
        outputs = [one.communicate(timeout=3000)[0] for one in both]
    storage = open_storage(place)
    for number in range(ROUNDS):
        ends = [output.partition(f"code {number} ")[2][:1] for output in outputs]
        assert sorted(ends) == ["0", "2"], outputs
        check(storage, database, f"s{number}", 2)
    refused = "".join(outputs).count("error: search 's")
    assert refused == ROUNDS, outputs
    assert "Traceback" not in "".join(outputs)


def halted(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["disk", "S3"])
def test_a_driver_that_was_halted_finds_that_another_took_over(
    where: str, tmp_path: Path, server: S3Server
) -> None:
    place, database, config = declared(where, tmp_path, server, seeds=6)
    short = {"SHORT": "10", "PAUSE": "2"}  # stale after 24 seconds, watched for four more
    with search_process("launch", str(config), program=PROGRAM, **short) as first:
        read_until(first, "[2/6]")
        subprocess.run(["sleep", "1"], check=True)  # it waits for its next trial
        halted(first)
        resume = ("resume", "test", "--storage", place)
        subprocess.run(["sleep", "25"], check=True)
        with search_process(*resume, program=PROGRAM, **short) as second:
            read_until(second, "[3/6]")
            first.send_signal(signal.SIGCONT)
            told, _ = first.communicate(timeout=300)
            assert first.returncode == 2, told
            assert f"error: search 'test' was taken over by process {second.pid} on " in told
            assert "it writes nothing more" in told
            assert "Traceback" not in told
            assert "[3/6]" not in told
            output, _ = second.communicate(timeout=300)
        assert second.returncode == 0, output
    check(open_storage(place), database, "test", 6)


@pytest.mark.slow
def test_stop_and_attach_from_another_process(tmp_path: Path) -> None:
    config = write_config(tmp_path, seeds=list(range(6)), mlflow={"enabled": False})
    at = ("--storage", str(tmp_path / "results"))
    with search_process("launch", str(config), program=PROGRAM, PAUSE="5") as driver:
        read_until(driver, "[1/6]")
        with search_process("attach", "test", *at) as follower:
            read_until(follower, "/6]")
            with search_process("stop", "test", *at) as stopper:
                output, _ = stopper.communicate(timeout=300)
            assert stopper.returncode == 0, output
            told, _ = driver.communicate(timeout=300)
            assert driver.returncode == 130, told
            assert "search test is stopped, as " in told
            assert "interrupted; go on with: fusion-search resume test" in told
            followed, _ = follower.communicate(timeout=300)
            assert follower.returncode == 130, followed
            assert "interrupted; go on with: fusion-search resume test" in followed
    storage = open_storage(tmp_path / "results" / "test")
    assert not storage.exists("driver.json")
    assert not storage.exists("stop.json")
