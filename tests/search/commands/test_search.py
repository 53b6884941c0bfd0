"""Searches as a user runs them: launched, killed, interrupted, resumed, looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from descriptions import write_description
from in_place import in_place
from interrupted_launch import TRIALS, Interrupted
from search_processes import (
    child_runs,
    on_one_ray,
    read_until,
    records,
    run_here,
    search_process,
    wait_for_worker,
    write_config,
)
from small_trials import small_configuration

from fusion_search.analysis.records.failures import read_failure
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import read_table
from fusion_search.search.commands.command_line import main
from fusion_search.search.declaration.configuration import build_search, to_yaml

ROOT = Path(__file__).parents[3]


@on_one_ray
def test_a_killed_search_resumes_without_repeating_or_losing_a_trial(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(tmp_path / "results" / "test")
    at = ("--storage", str(tmp_path / "results"))
    with search_process("launch", str(write_config(tmp_path))) as process:
        read_until(process, "[2/5]")
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    before = records(storage)
    assert 2 <= len(before) < 5
    assert main(["status", *at]) == 0
    assert "interrupted" in capfd.readouterr().out

    code, output = run_here("resume", "test", *at)
    assert code == 0, output
    assert f"{len(before)} of 5 trials have ended before" in output
    after = records(storage)
    assert len(after) == 5
    assert {name: after[name] for name in before} == before
    trials = read_table(storage, "trials")
    assert (trials["status"] == "finished").all()
    assert sorted(trials["seed"]) == [0, 1, 2, 3, 4]
    assert len(read_table(storage, "grid")) == 500

    ids = [one.data.tags["fusion_search.trial_id"] for one in child_runs(tmp_path)]
    assert sorted(ids) == sorted(trials["trial_id"])

    code, output = run_here("resume", "test", *at)
    assert code == 0
    assert "5 of 5 trials have ended before" in output
    assert records(storage) == after

    assert main(["sync-mlflow", "test", *at]) == 0
    assert "MLflow shows 5 trials as recorded: no run had to be written" in capfd.readouterr().out
    assert main(["sync-mlflow", "test", *at, "--tracking-uri", "nope://x"]) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: MLflow at nope://x cannot be written")
    assert error.count("\n") == 1
    assert len(child_runs(tmp_path)) == 5

    assert main(["status", "test", *at]) == 0
    listed = capfd.readouterr().out
    assert listed.count(" finished ") == 5
    assert trials["trial_id"][0] in listed


@on_one_ray
def test_a_failing_trial_is_recorded_and_the_rest_go_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Noise this loud overflows float32, so the loss is not a number.
    loud = {"train": [[1e-60, 1.0], [1.0, 1.0]], "seeds": [0]}
    code, output = run_here("launch", str(write_config(tmp_path, **loud)))
    assert code == 3, output
    storage = open_storage(tmp_path / "results" / "test")
    trials = read_table(storage, "trials")
    (failed,) = trials.loc[trials["status"] == "failed", "trial_id"]
    details = f"  details: {storage.path('failures', failed)}.txt\n"
    assert "FAILED: the loss became nan" in output
    assert details in output
    assert "1 of 2 trials finished, 1 failed, 0 not run" in output
    # Ray writes its own state again and again: the data, of megabytes, are no part of it.
    kept = [one for one in Path(storage.path("ray")).rglob("*") if one.is_file()]
    assert 0 < sum(one.stat().st_size for one in kept) < 500_000
    at = ("--storage", str(tmp_path / "results"))
    assert f"run what failed again: fusion-search retry test {' '.join(at)}\n" in output
    by_status: dict[str, pd.Series] = {row["status"]: row for _, row in trials.iterrows()}
    assert by_status["finished"]["train_audio_snr"] == 1.0
    assert "lower learning_rate" in by_status["failed"]["reason"]
    assert {one.info.status for one in child_runs(tmp_path)} == {"FINISHED", "FAILED"}
    assert main(["status", "test", *at]) == 0
    told = capfd.readouterr().out
    assert "the loss became nan" in told
    assert details in told
    assert "retry" not in told
    assert main(["resume", "test", *at]) == 3  # nothing is left to run, and it is as it was
    storage.write(b"of an attempt before", "failures", f"{by_status['finished']['trial_id']}.txt")
    with in_place():  # Ray is seen above
        assert run_here("retry", "test", *at)[0] == 3
    assert storage.names("failures") == [f"{failed}.txt"]
    assert main(["report", "test", *at, "--output", str(tmp_path)]) == 0
    assert "training.py" in (tmp_path / "test-report.html").read_text()


@pytest.mark.usefixtures("without_ray")
def test_a_search_none_of_whose_trials_finished_has_failed(tmp_path: Path) -> None:
    config = write_config(tmp_path, train=[[1e-60, 1.0]], seeds=[0])
    at = ("--storage", str(tmp_path / "results"))
    for words in (("launch", str(config)), ("resume", "test", *at)):
        code, output = run_here(*words)
        assert code == 1, output
        assert "0 of 1 trial finished, 1 failed, 0 not run" in output
        client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/results/mlflow.db")
        experiment = client.get_experiment_by_name("test")
        runs = client.search_runs([experiment.experiment_id])
        assert [one.info.status for one in runs] == ["FAILED", "FAILED"]


@pytest.mark.slow  # tests/faults/test_saved_states.py asks it of a trial, without Ray's patience
def test_a_lost_trial_goes_on_elsewhere_and_has_failed_when_it_is_lost_too_often(
    tmp_path: Path,
) -> None:
    storage = open_storage(tmp_path / "results" / "test")
    often = {"retries": 1, "save_seconds": 0}
    config = str(write_config(tmp_path, epochs=10**6, seeds=[0], resources=often))
    with search_process("launch", config) as process:
        first = wait_for_worker(process, storage, set())
        os.kill(first, signal.SIGKILL)
        read_until(process, "tried again (1 of 1)")
        read_until(process, "goes on after epoch")
        second = wait_for_worker(process, storage, {first})
        os.kill(second, signal.SIGKILL)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert "FAILED: the worker failed 2 times" in output
    (row,) = read_table(storage, "trials").to_dict("records")
    assert (row["status"], row["seed"]) == ("failed", 0)
    assert f"the last time on {os.uname().nodename}" in row["reason"]
    assert "its worker process has died" in row["reason"]
    known = read_failure(storage, row["trial_id"]) or ""
    assert known.count("Failure #") == 2
    assert known.count("its worker process has died") >= 2
    assert storage.names("running") == []


@pytest.mark.xdist_group("interrupted")
def test_interrupting_leaves_everything_readable_and_resumable(interrupted: Interrupted) -> None:
    assert interrupted.code == 130, interrupted.output
    assert "interrupted by SIGTERM\n" in interrupted.output
    assert "interrupted; go on with: fusion-search resume test" in interrupted.output
    assert "Traceback" not in interrupted.output
    storage = open_storage(interrupted.folder / "results" / "test")
    trials = read_table(storage, "trials")
    assert 1 <= len(trials) < TRIALS
    assert (trials["status"] == "finished").all()
    assert not storage.exists("driver.json")
    runs = {one.info.status for one in child_runs(interrupted.folder)}
    assert "FINISHED" in runs
    assert "RUNNING" not in runs


@pytest.mark.usefixtures("without_ray")
def test_mlflow_that_is_down_delays_no_trial_and_is_written_afterwards(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nobody = {"tracking_uri": "http://127.0.0.1:9"}
    code, output = run_here("launch", str(write_config(tmp_path, seeds=[0], mlflow=nobody)))
    assert code == 0, output
    sync = f"`fusion-search sync-mlflow test --storage {tmp_path / 'results'}`"
    assert output.count(sync) == 1
    assert "1 of 1 trial finished" in output
    at = ("--storage", str(tmp_path / "results"))
    assert main(["sync-mlflow", "test", *at, "--tracking-uri", f"sqlite:///{tmp_path}/up.db"]) == 0
    assert "MLflow shows 1 trial as recorded: 1 run was written" in capfd.readouterr().out
    (child,) = child_runs(tmp_path, "up.db")
    (row,) = read_table(open_storage(tmp_path / "results" / "test"), "trials").to_dict("records")
    assert child.data.metrics["mean_accuracy"] == pytest.approx(row["mean_accuracy"])


@on_one_ray
def test_bad_input_ends_with_one_sentence_and_code_2(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = str(write_config(tmp_path))
    used = str(write_used_name(tmp_path))
    at = ("--storage", str(tmp_path / "results"))
    cases = [
        (["launch", str(tmp_path / "none.yaml")], "cannot be read"),
        (["launch", config, "--set", "network.units=none"], "network.units is 'none'"),
        (["launch", config, "--set", "resources.cpus_per_trial=999"], "but Ray sees"),
        (["launch", config, "--address", "127.0.0.1:9"], "no Ray cluster at '127.0.0.1:9'"),
        (["launch", used], "exists in"),
        (["resume", "nothing", *at], "there is no search 'nothing'"),
        (["status", "nothing", *at], "searches there: used"),
        (["sync-mlflow", "nothing", *at], "there is no search"),
        (["status", "--storage", "nowhere://x"], "cannot be opened by pyarrow"),
    ]
    for words, message in cases:
        assert main(words) == 2
        error = capfd.readouterr().err
        assert message in error
        assert "Traceback" not in error
        assert error.count("\n") == 1


def write_used_name(folder: Path) -> Path:
    path = folder / "results" / "used" / "specification.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(write_config(folder, name="used").read_text())
    write_description(open_storage(path.parent))
    write_config(folder)
    return path


def test_a_search_with_the_name_of_a_number_is_found(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = to_yaml(build_search(small_configuration(name="25921e05")))
    assert text.startswith("name: '25921e05'\n")
    folder = tmp_path / "results" / "25921e05"
    folder.mkdir(parents=True)
    write_description(open_storage(folder))
    at = ("--storage", str(tmp_path / "results"))
    # An earlier version wrote it without quotes.
    for written in (text, text.replace("'25921e05'", "25921e05")):
        (folder / "specification.yaml").write_text(written)
        assert main(["status", *at]) == 0
        assert "\n25921e05  " in capfd.readouterr().out
        assert main(["status", "25921e05", *at]) == 0
        assert "search 25921e05: interrupted" in capfd.readouterr().out


def test_replay_reads_the_space_of_another_configuration(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_used_name(tmp_path)
    config = write_config(tmp_path)
    config.write_text("name: x\ntask: digits\ntrain: [[1, 1]]\nsearcher: {}")
    at = ("--storage", str(tmp_path / "results"))
    assert main(["replay", "used", "--space", str(config), *at]) == 2
    assert "search 'used' has no finished trial in the space" in capfd.readouterr().err


def test_a_search_is_driven_by_one_process_at_a_time(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results" / "test"
    folder.mkdir(parents=True)
    (folder / "specification.yaml").write_text(write_config(tmp_path).read_text())
    now = datetime.now(UTC).isoformat()
    here = {"host": os.uname().nodename, "pid": os.getppid()}
    driver = {**here, "started_at": now, "running": {}}
    (folder / "driver.json").write_text(json.dumps(driver))
    assert main(["resume", "test", "--storage", str(tmp_path / "results")]) == 2
    assert "is being run by process" in capfd.readouterr().err


def test_only_the_tuner_knows_ray_and_trials_run_without_it() -> None:
    code = (
        "import sys, fusion_search.search.running.recorded_trial; "
        "import fusion_search.search.commands.launch; print('ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False", done.stderr
