"""Searches of tasks unlike digits: an error that is to be small, and classes that are rare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import odd_tasks
import pandas as pd
import pytest
import yaml
from search_processes import on_one_ray, run_here

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import FINISHED, STOPPED, read_table
from fusion_search.search.commands.command_line import main
from fusion_search.search.records.search_folder import load_search
from fusion_search.search.running.samples.observations import observation
from fusion_search.search.running.samples.proposals import read_proposals
from fusion_search.search.spaces.searchers import make_searcher, propose_new

PLACED = {"couplings": ["none", "gates"], "connections": {"ecg>heat": ["none", "transfer"]}}
SENSORS = ("odd_tasks:Sensors", "mean_absolute_error", "minimize")
IMBALANCED = ("odd_tasks:Imbalanced", "macro_f1", "maximize")
KINDS = [SENSORS, pytest.param(*IMBALANCED, marks=pytest.mark.slow)]
SIZE = {"epochs": 4, "batch_size": 8, "device": "cpu"}


@pytest.fixture(autouse=True)
def beside_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find what lies in the folder of the command."""
    monkeypatch.chdir(Path(odd_tasks.__file__).parent)


def write_config(folder: Path, task: str, **fields: Any) -> str:
    path = folder / "config.yaml"
    config = {
        "name": "test",
        "task": task,
        "storage": str(folder / "results"),
        "network": {"width": [2, 4]},
        "training": {**SIZE, "learning_rate": {"low": 0.001, "high": 0.1, "log": True}},
        "placement": PLACED,
        "searcher": {"name": "tpe", "samples": 6},
        "resources": {"concurrent_trials": 1},
        **fields,
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


def folder_of(parent: Path, name: str = "test") -> Storage:
    return open_storage(parent / "results" / name)


@on_one_ray
@pytest.mark.usefixtures("kept_runs")
@pytest.mark.parametrize(
    ("task", "metric", "direction"),
    [SENSORS, pytest.param(*IMBALANCED, marks=pytest.mark.slow)],
)
def test_a_search_chooses_stops_and_confirms_by_its_own_metric(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    task: str,
    metric: str,
    direction: str,
) -> None:
    config = write_config(
        tmp_path,
        task,
        scheduler={"name": "asha", "grace_epochs": 1, "reduction": 2},
        confirmation={"top": 1, "seeds": 2, "training": {"epochs": 1}},
    )
    code, output = run_here("launch", config)
    assert code == 0, output
    storage = folder_of(tmp_path)
    trials, epochs = read_table(storage, "trials"), read_table(storage, "epochs")
    finished = trials[trials["status"] == FINISHED]
    sign = 1 if direction == "maximize" else -1
    # The best of all that finished is the one that is named, and the one that is confirmed.
    best = finished.loc[(sign * finished[f"mean_{metric}"]).idxmax()]
    assert f"best trial: {best['trial_name']} with " in output
    (top,) = (
        one
        for one in json.loads(folder_of(tmp_path, "test-confirmation").read("candidates.json"))
        if one["role"] == "top"
    )
    assert top["search_value"] == best[f"mean_{metric}"]
    assert_the_worse_half_stopped(trials, epochs, f"validation_{metric}", sign)
    confirmed = read_table(folder_of(tmp_path, "test-confirmation"), "trials")
    assert set(confirmed["seed"]) == {1000, 1001}
    assert set(confirmed["split"]) == {"test"}
    assert (confirmed["epochs_run"] == 1).all()

    at = ["--storage", str(tmp_path / "results")]
    capsys.readouterr()
    assert main(["status", "test", *at]) == 0
    told = capsys.readouterr().out
    assert metric.replace("_", " ") in told
    assert told.count(" finished ") == len(finished)
    assert told.count(" in validation\n") == 6 - len(finished)
    assert main(["status", *at]) == 0
    assert " 6 of 6 " in capsys.readouterr().out
    assert main(["sync-mlflow", "test", *at]) == 0
    assert "MLflow shows 6 trials as recorded: no run had to be written" in capsys.readouterr().out
    assert main(["importance", "test", *at]) == 0
    for name in ("test", "test-confirmation"):
        assert main(["report", name, *at, "--output", str(tmp_path)]) == 0
        assert metric.replace("_", " ") in (tmp_path / f"{name}-report.html").read_text()


def assert_the_worse_half_stopped(
    trials: pd.DataFrame, epochs: pd.DataFrame, column: str, sign: int
) -> None:
    """By ASHA's own arithmetic: of those that came to a rung before, the better half goes on."""
    assert set(trials["status"]) == {FINISHED, STOPPED}
    seen: dict[int, list[float]] = {1: [], 2: []}
    for row in trials.sort_values("started_at").to_dict("records"):
        own = epochs[epochs["trial_id"] == row["trial_id"]].sort_values("epoch")
        scores = (sign * own[column]).cummax().tolist()
        stopped = None
        for rung, others in seen.items():
            worse = bool(others) and scores[rung - 1] < float(pd.Series(others).quantile(0.5))
            others.append(scores[rung - 1])
            if worse:
                stopped = rung
                break
        assert row["epochs_run"] == (stopped or 4), row["trial_name"]


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize(("task", "metric", "direction"), KINDS)
def test_an_unfinished_search_goes_on_with_the_proposals_it_would_have_had(
    tmp_path: Path, task: str, metric: str, direction: str
) -> None:
    samples = 11  # TPE's first ten are at random
    searcher = {"name": "tpe", "samples": samples, "seed": 3}
    training = {**SIZE, "epochs": 1, "learning_rate": {"low": 0.001, "high": 0.1, "log": True}}
    config = write_config(tmp_path, task, searcher=searcher, training=training)
    code, output = run_here("launch", config)
    assert code == 0, output
    storage = folder_of(tmp_path)
    whole = json.loads(storage.read("planned.json"))
    # As a driver leaves it that is killed when nine have ended and one is under way.
    under_way, not_proposed = (one["trial_id"] for one in whole["trials"][-2:])
    left = {**whole, "trials": whole["trials"][:-1]}
    storage.write(json.dumps(left).encode(), "planned.json")
    for trial_id in (under_way, not_proposed):
        storage.remove("trials", f"{trial_id}.parquet")
    code, output = run_here("resume", "test", "--storage", str(tmp_path / "results"))
    assert code == 0, output
    assert "9 of 11 trials have ended before" in output
    assert json.loads(storage.read("planned.json")) == whole

    search = load_search("test", str(tmp_path / "results"))
    assert search.space is not None
    assert [one.direction for one in search.objectives] == [direction]
    chooses = search.definition.metrics[0]
    *history, last = [
        observation(sample, rows, chooses) for sample, rows in read_proposals(storage)
    ]
    taken = [one.sample for one in history]
    asked = {}
    for way in ("minimize", "maximize"):
        fresh = make_searcher("tpe", search.space, [way], 3)
        asked[way] = propose_new(fresh, history, lambda new: new not in taken)
    assert asked.pop(direction) == last.sample
    assert asked != dict.fromkeys(asked, last.sample)  # whoever seeks the other end goes there


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize(("task", "metric", "direction"), KINDS)
def test_records_of_a_countable_space_start_another_warm_and_are_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, metric: str, direction: str
) -> None:
    countable: dict[str, Any] = {
        "training": {**SIZE, "epochs": 1, "learning_rate": 0.01},
        "searcher": {"name": "grid", "samples": 50},
    }
    code, output = run_here("launch", write_config(tmp_path, task, **countable))
    assert code == 0, output
    trials = read_table(folder_of(tmp_path), "trials")
    assert len(trials) == 2 * 2 * 2
    at = ["--storage", str(tmp_path / "results")]
    assert main(["replay", "test", *at, "--searcher", "tpe", "--seeds", "2"]) == 0
    said = capsys.readouterr().out
    assert "records: 8 samples of the space's 8" in said
    values = trials[f"mean_{metric}"]
    best = values.max() if direction == "maximize" else values.min()
    assert f"best recorded mean_{metric} {best:.4f}" in said
    runs = pd.read_parquet(folder_of(tmp_path).path("replay.parquet"))
    for _, run in runs.groupby(["searcher", "seed"]):
        so_far = run["value"].cummax() if direction == "maximize" else run["value"].cummin()
        assert run["best"].tolist() == so_far.tolist()
    assert main(["draw", "replay", "test", *at, "--output", str(tmp_path)]) == 0

    countable["searcher"] = {"name": "tpe", "samples": 2, "warm_start": ["test"]}
    code, output = run_here("launch", write_config(tmp_path, task, name="warm", **countable))
    assert code == 0, output
    assert "warm start: 8 samples known from test" in output
    assert len(read_table(folder_of(tmp_path, "warm"), "trials")) == 2


@pytest.mark.usefixtures("without_ray")
def test_reading_commands_run_no_code_of_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = {**SIZE, "epochs": 1, "learning_rate": [0.01, 0.02]}
    searcher = {"name": "grid", "samples": 2}
    confirmation = {"top": 1, "seeds": 1}
    code, output = run_here(
        "launch",
        write_config(
            tmp_path,
            "odd_tasks:NoisySensors",
            training=training,
            searcher=searcher,
            confirmation=confirmation,
        ),
    )
    assert code == 0, output
    at = ["--storage", str(tmp_path / "results")]
    assert main(["replay", "test", *at, "--searcher", "random", "--seeds", "1"]) == 0
    ran = tmp_path / "ran"
    hostile = f"open({str(ran)!r}, 'w').close()\nraise SystemExit('it ran')\n"
    (tmp_path / "hostile_task.py").write_text(hostile)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("test", "test-confirmation"):
        storage = folder_of(tmp_path, name)
        for file in ("specification.yaml", "task.json"):
            text = storage.read(file).decode()
            assert "odd_tasks:NoisySensors" in text
            changed = text.replace("odd_tasks:NoisySensors", "hostile_task:Hostile")
            storage.write(changed.encode(), file)
    capsys.readouterr()
    tracking = ["--tracking-uri", f"sqlite:///{tmp_path}/other.db"]
    drawn = ["--output", str(tmp_path / "drawn")]
    for words in (
        ["status", *at],
        ["status", "test", *at],
        ["sync-mlflow", "test", *at, *tracking],
        ["draw", "replay", "test", *at, *drawn],
        ["draw", "grids", "test-confirmation", *at, *drawn],
        ["report", "test", *at, *drawn],
    ):
        assert main(words) == 0, (words, capsys.readouterr().err)
        assert not ran.exists(), words
    assert main(["resume", "test", *at]) == 2
    assert "the code of task hostile_task:Hostile has changed" in capsys.readouterr().err
    assert not ran.exists()
    assert main(["resume", "test", *at, "--changed-code"]) == 2  # those that run trials do
    assert "hostile_task cannot be imported: it ends the program" in capsys.readouterr().err
    assert ran.exists()
