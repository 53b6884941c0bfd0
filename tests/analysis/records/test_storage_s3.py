"""Searches as a user runs them, on S3: what they ask of it, and what they do while it is away."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from s3_server import CREDENTIALS, SECRET, S3Server
from search_processes import read_until, records, run, search_process, write_config

from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import read_table
from fusion_search.search.commands.command_line import main


def config_of(folder: Path, server: S3Server, trials: int, **resources: object) -> str:
    limits = {"concurrent_trials": 1, **resources}
    seeds = list(range(trials))
    return str(write_config(folder, storage=server.uri, seeds=seeds, resources=limits))


@pytest.mark.slow
def test_a_search_on_s3_asks_little_and_tells_no_secret(
    tmp_path: Path, server: S3Server, capfd: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    code, output = run("launch", config_of(tmp_path, server, 2))
    took = time.monotonic() - began
    assert code == 0, output
    assert "2 of 2 trials finished" in output
    asked = Counter(server.requests)

    storage = open_storage(server.uri).below("test")
    trials = read_table(storage, "trials")
    assert (trials["status"] == "finished").all()
    assert len(read_table(storage, "grid")) == 200
    for trial_id in trials["trial_id"]:
        mine = {one: count for one, count in asked.items() if f"/{trial_id}." in one[1]}
        # Its record is asked for before the trial and read in three requests for the summary; its
        # saved state is asked for before and after.
        written = {
            ("PUT", f"/bucket/results/test/{folder}/{trial_id}.{end}"): 1
            for folder, end in (
                ("checkpoints", "pt"),
                ("epochs", "parquet"),
                ("grid", "parquet"),
                ("trials", "parquet"),
            )
        }
        assert {one: count for one, count in mine.items() if one[0] == "PUT"} == written
        assert sum(mine.values()) <= 10
    # One when a trial starts and one when it ends, at most one a second in between, and one every
    # ten seconds for the lease; and five say what is done while no trial runs: data are loaded, Ray
    # starts, nodes are checked, the first trials start, MLflow gets the rest.
    status = asked[("PUT", "/bucket/results/test/driver.json")]
    assert status <= 1 + 2 * len(trials) + trials["seconds"].sum() + 1 + took / 10 + 5

    everything = server.contents()
    assert any("/ray/run-" in path for path in everything)  # Ray's own state is there too
    for path, content in everything.items():
        assert SECRET.encode() not in content, path
        assert CREDENTIALS["AWS_ACCESS_KEY_ID"].encode() not in content, path
    assert SECRET not in output

    assert main(["status", "--storage", server.uri]) == 0
    assert "2 of 2" in capfd.readouterr().out


@pytest.mark.slow
def test_a_killed_search_on_s3_resumes_and_is_drawn(
    tmp_path: Path, server: S3Server, capfd: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(server.uri).below("test")
    at = ("--storage", server.uri)
    with search_process("launch", config_of(tmp_path, server, 4)) as process:
        read_until(process, "[2/4]")
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    before = records(storage)
    assert 2 <= len(before) < 4
    assert main(["status", *at]) == 0
    assert "interrupted" in capfd.readouterr().out
    code, output = run("resume", "test", *at)
    assert code == 0, output
    after = records(storage)
    assert len(after) == 4
    assert {name: after[name] for name in before} == before
    database = f"sqlite:///{tmp_path}/mlflow.db"
    assert main(["sync-mlflow", "test", *at, "--tracking-uri", database]) == 0
    assert "MLflow shows 4 trials as recorded: 4 runs were written" in capfd.readouterr().out
    assert main(["probe", "test", *at]) == 0
    for figure in ("grids", "timeline"):
        assert main(["draw", figure, "test", *at, "--output", str(tmp_path)]) == 0
        assert list(tmp_path.glob(f"test-{figure}*.png"))


@pytest.mark.slow
def test_a_minute_without_storage_delays_the_search_and_loses_no_result(
    tmp_path: Path, server: S3Server
) -> None:
    with search_process("launch", config_of(tmp_path, server, 3)) as process:
        read_until(process, "[1/3]")
        server.stop()
        back = threading.Timer(65, server.start)
        back.start()
        output, _ = process.communicate(timeout=400)
        back.join()
    assert process.returncode == 0, output
    assert "did not answer" in output
    assert "3 of 3 trials finished, 0 failed" in output
    assert "Traceback" not in output
    # Each was trained once: nobody found its second record better than waiting.
    puts = Counter(path for method, path in server.requests if method == "PUT")
    assert [count for path, count in puts.items() if "/test/trials/" in path] == [1, 1, 1]


@pytest.mark.slow
def test_storage_that_stays_away_stops_the_search_in_order(
    tmp_path: Path, server: S3Server
) -> None:
    with search_process(
        "launch", config_of(tmp_path, server, 3, storage_wait_seconds=1)
    ) as process:
        read_until(process, "[1/3]")
        server.stop()
        output, _ = process.communicate(timeout=300)
    server.start()
    assert process.returncode == 2, output
    assert "did not answer for" in output
    assert "go on with: fusion-search resume test --storage 's3://bucket/results?" in output
    assert "Traceback" not in output
    storage = open_storage(server.uri).below("test")
    before = records(storage)
    assert 1 <= len(before) < 3
    assert (read_table(storage, "trials")["status"] == "finished").all()
    code, output = run("resume", "test", "--storage", server.uri)
    assert code == 0, output
    after = records(storage)
    assert len(after) == 3
    assert {name: after[name] for name in before} == before


@pytest.mark.slow
def test_storage_that_takes_connections_and_never_answers_is_waited_for_once(
    tmp_path: Path, server: S3Server
) -> None:
    limits = {"storage_wait_seconds": 5}
    with search_process("launch", config_of(tmp_path, server, 3, **limits)) as process:
        read_until(process, "[1/3]")
        began = time.monotonic()
        with server.mute():
            output, _ = process.communicate(timeout=600)
        took = time.monotonic() - began
    assert process.returncode == 2, output
    assert "did not answer for" in output
    assert "go on with: fusion-search resume test --storage 's3://bucket/results?" in output
    assert "Traceback" not in output
    assert took < 180, output
    code, output = run("resume", "test", "--storage", server.uri)
    assert code == 0, output


@pytest.mark.slow
def test_a_full_disk_stops_the_search_in_order(tmp_path: Path, small_disk: Path) -> None:
    results = small_disk / "results"
    config = write_config(tmp_path, storage=str(results), mlflow={"enabled": False})
    with search_process("launch", str(config)) as process:
        read_until(process, "[1/5]")
        ballast = small_disk / "ballast"
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(bytes(2**20))
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 2, output
    assert f"error: the disk at {small_disk} is full" in output
    assert f"go on with: fusion-search resume test --storage {results}" in output
    assert "Traceback" not in output
    assert "FAILED" not in output
    assert not list(results.rglob("test/*/.*.parquet.*"))
    ballast.unlink()
    code, output = run("resume", "test", "--storage", str(results))
    assert code == 0, output
    assert "5 of 5 trials finished, 0 failed" in output
