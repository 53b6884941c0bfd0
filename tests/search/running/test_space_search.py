"""Searches over a space as a user runs them: early stopping, kill and resume, confirmation."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import search_processes
import yaml
from search_processes import (
    child_runs,
    on_one_ray,
    read_until,
    records,
    run_here,
    search_process,
)

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import FINISHED, STOPPED, read_table
from fusion_search.search.commands.command_line import main
from fusion_search.search.records.asha_decisions import read_asha_decisions
from fusion_search.search.records.search_folder import load_search
from fusion_search.search.running.samples.observations import observation
from fusion_search.search.running.samples.proposals import read_proposals
from fusion_search.search.spaces.searchers import make_searcher, propose_new
from fusion_search.search.tasks.base import Classification

(ACCURACY,) = Classification.metrics
RATES = {"low": 0.001, "high": 0.01, "log": True}
PLACED = {
    "placement": {"couplings": ["none", "mmtm", "sum"], "ends": ["concatenation", "gate_audio"]},
    "learning_rate": RATES,
}


def write_config(folder: Path, **fields: Any) -> Path:
    """A search of six samples over placements and learning rates, unless fields say otherwise."""
    own = {"train": [[2, 1]], "seeds": None, "searcher": {"name": "random", "samples": 6}}
    return search_processes.write_config(folder, **{**PLACED, **own, **fields})


def planned(storage: Storage) -> list[dict[str, Any]]:
    return [row["sample"] for row in json.loads(storage.read("planned.json"))["trials"]]


@on_one_ray
@pytest.mark.slow  # others show that a resumed search proposes the same, and a kill loses nothing
@pytest.mark.parametrize("searcher", ["tpe", "surrogate"])
def test_a_killed_search_goes_on_with_all_that_its_searcher_knew(
    tmp_path: Path, searcher: str
) -> None:
    storage = open_storage(tmp_path / "results" / "test")
    config = write_config(tmp_path, searcher={"name": searcher, "samples": 16, "seed": 3})
    with search_process("launch", str(config)) as process:
        read_until(process, "[12/16]")
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    before, proposed = records(storage), planned(storage)
    assert 12 <= len(before) < 16
    code, output = run_here("resume", "test", "--storage", str(tmp_path / "results"))
    assert code == 0, output
    assert f"{len(before)} of 16 trials have ended before" in output
    after = records(storage)
    assert len(after) == 16
    assert {name: after[name] for name in before} == before
    assert planned(storage)[: len(proposed)] == proposed
    # Each proposal is the one that a searcher makes which has seen all earlier results.
    search = load_search("test", str(tmp_path / "results"))
    assert search.space is not None
    history = [observation(sample, rows, ACCURACY) for sample, rows in read_proposals(storage)]
    assert {one.state for one in history} == {FINISHED}
    for number, one in enumerate(history):
        fresh = make_searcher(searcher, search.space, ["maximize"], 3)
        taken = [earlier.sample for earlier in history[:number]]
        assert propose_new(fresh, history[:number], lambda new, t=taken: new not in t) == one.sample
    ids = [one.data.tags["fusion_search.trial_id"] for one in child_runs(tmp_path)]
    assert sorted(ids) == sorted(read_table(storage, "trials")["trial_id"])


@pytest.mark.usefixtures("without_ray")
def test_early_stopping_confirmation_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(
        tmp_path,
        searcher={"name": "random", "samples": 9},
        scheduler={"name": "asha", "grace_epochs": 1, "reduction": 3, "within": ["fusion_depth"]},
        epochs=3,
        objectives=["mean_accuracy", {"name": "quantile_accuracy", "quantile": 0.5}, "parameters"],
        fusion_depth=[2, 1],
        placement={"couplings": {"level1": ["mmtm", "sum"], "level2": ["none", "mmtm", "sum"]}},
        confirmation={"top": 1, "seeds": 2, "training": {"epochs": 1}},
    )
    code, output = run_here("launch", str(config))
    assert code == 0, output
    storage = open_storage(tmp_path / "results" / "test")
    trials, epochs = read_table(storage, "trials"), read_table(storage, "epochs")
    stopped = trials[trials["status"] == STOPPED]
    finished = trials[trials["status"] == FINISHED]
    assert len(trials) == 9
    assert len(stopped) >= 1
    assert "stopped early by asha after 1 epoch" in output
    assert set(trials["split"]) == {"validation"}
    grid = read_table(storage, "grid")
    assert set(grid["trial_id"]) == set(finished["trial_id"])
    for row in stopped.to_dict("records"):
        own = epochs[epochs["trial_id"] == row["trial_id"]]
        assert row["epochs_run"] == len(own) == 1
        assert row["validation_accuracy"] == own["validation_accuracy"].max()
        assert row["objective_values"] is None
    for row in finished.to_dict("records"):
        cells = grid[grid["trial_id"] == row["trial_id"]]
        accuracies = cells["accuracy_sum"] / cells["n"]
        expected = [accuracies.mean(), accuracies.quantile(0.5), row["parameters"]]
        assert row["objective_values"] == pytest.approx(expected)
        assert row["worst_accuracy"] == accuracies.min()
    assert len(child_runs(tmp_path)) == 9
    decided = {one.sample_id: one.group for one in read_asha_decisions(storage)}
    space = load_search("test", str(tmp_path / "results")).space
    assert space is not None
    assert decided == {
        space.sample_id(sample): json.dumps({"fusion_depth": sample["fusion_depth"]})
        for sample in map(json.loads, trials["sample"])
    }
    seen = {json.dumps(sample): rows for sample, rows in read_proposals(storage)}
    for row in stopped.to_dict("records"):
        told = observation({}, seen[row["sample"]], ACCURACY)
        assert (told.state, told.progress) == (STOPPED, (1, row["validation_accuracy"]))

    confirming = open_storage(tmp_path / "results" / "test-confirmation")
    again = read_table(confirming, "trials")
    # The best, and plain second-layer and fully-connected fusion; two seeds each.
    assert len(again) == 2 * 3
    assert set(again["seed"]) == {1000, 1001}
    assert set(again["split"]) == {"test"}
    assert (again["epochs_run"] == 1).all()
    assert "The best network (fusion depth " in output, output
    assert "second-layer fusion" in output
    budget = "trained for another number of epochs, up to 1; in the search up to 3"
    assert budget in output

    at = ["--storage", str(tmp_path / "results")]
    assert main(["confirm", "test", *at]) == 0
    assert "6 of 6 trials have ended before" in capsys.readouterr().out
    code, output = run_here("confirm", "test", *at, "--seeds", "3")
    assert code == 0, output
    assert "6 of 9 trials have ended before" in output
    assert "n = 3 seeds" in output
    assert "cannot be decided with 3 seeds; 6 would do" in output
    assert "regions: cannot be decided with 3 seeds; 6 would do" in output
    assert "  100 conditions. max-T: cannot be decided" in output
    assert main(["confirm", "test", *at, "--seeds", "1"]) == 0
    assert "3 of 3 trials finished, 0 failed, 0 not run" in capsys.readouterr().out
    assert main(["confirm", "test", *at, "--seeds", "3"]) == 0
    assert main(["status", *at]) == 0
    assert "9 of 9" in capsys.readouterr().out
    assert main(["replay", "test", *at]) == 2
    assert "drawn from ranges (learning_rate)" in capsys.readouterr().err
    figures = ["--output", str(tmp_path / "figures")]
    assert main(["draw", "replay", "test", *at, *figures]) == 2
    assert "has no replay yet" in capsys.readouterr().err
    assert main(["report", "test", *at, *figures]) == 0
    page = (tmp_path / "figures" / "test-report.html").read_text()
    assert "The best network (fusion depth " in page
    assert budget in page
    assert "measured on the test split" in page
    for table, rows in (("comparisons", 2 * 3), ("conditions", 200)):
        written = pd.read_csv(tmp_path / "figures" / f"test-confirmation-{table}.csv")
        assert len(written) == rows
        assert set(written["decision"]) == {"cannot be decided with 3 seeds; 6 would do"}
    assert main(["draw", "grids", "test", *at, *figures]) == 2
    assert "is a search over a space" in capsys.readouterr().err
    assert main(["draw", "grids", "test-confirmation", *at, *figures]) == 0
    assert "left out: 3 trials of other candidates" in capsys.readouterr().err


@pytest.mark.slow
@on_one_ray
def test_averaged_samples_a_replay_and_a_warm_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    averaged = {
        "placement": {"couplings": ["none", "mmtm"]},
        "learning_rate": 0.005,
        "train": [[2, 1], [1, 0.5]],
    }
    grid = {"name": "grid", "samples": 50}
    config = write_config(tmp_path, **averaged, searcher=grid)
    code, output = run_here("launch", str(config))
    assert code == 0, output
    storage = open_storage(tmp_path / "results" / "test")
    trials = read_table(storage, "trials")
    assert len(trials) == 4 * 2
    for sample, rows in read_proposals(storage):
        values = [row["mean_accuracy"] for row in rows]
        assert observation(sample, rows, ACCURACY).values == (pytest.approx(sum(values) / 2),)
        assert {row["train_audio_snr"] for row in rows} == {2.0, 1.0}

    at = ["--storage", str(tmp_path / "results")]
    assert main(["replay", "test", *at, "--searcher", "nsga2", "--seeds", "3"]) == 0
    assert "records: 4 samples of the space's 4" in capsys.readouterr().out
    assert main(["replay", "test", *at, "--seeds", "1", "--space", str(config)]) == 0
    assert "records: 4 samples of the space's 4" in capsys.readouterr().out
    assert main(["replay", "test", *at, "--searcher", "genetic"]) == 2
    assert "--searcher is 'genetic'; allowed: random, grid" in capsys.readouterr().err
    assert main(["replay", "test", *at, "--searcher", "nsga2", "--seeds", "3"]) == 0
    capsys.readouterr()
    figures = ["--output", str(tmp_path / "figures")]
    assert main(["draw", "replay", "test", *at, *figures]) == 0
    assert "of 3 seeds arrived" in capsys.readouterr().out
    assert (tmp_path / "figures" / "test-replay.png").stat().st_size > 10_000

    one_pair = {**averaged, "train": [[2, 1]]}
    warm = {"name": "surrogate", "samples": 2, "warm_start": ["test"]}
    config = write_config(tmp_path, name="warm", **one_pair, searcher=warm)
    code, output = run_here("launch", str(config))
    assert code == 0, output
    assert "warm start: 4 samples known from test" in output
    assert len(records(open_storage(tmp_path / "results" / "warm"))) == 2
    code, output = run_here(
        "launch",
        str(write_config(tmp_path, name="x", searcher={"name": "tpe", "warm_start": ["y"]})),
    )
    assert code == 2
    assert "searcher.warm_start: there is no search 'y'" in output


@pytest.mark.usefixtures("without_ray")
def test_a_sample_that_failed_half_way_has_ended_and_is_not_confirmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Noise this loud overflows float32, so the second trial fails and the third is not run.
    config = write_config(
        tmp_path,
        train=[[1, 1], [1e-60, 1], [2, 1]],
        placement=None,
        searcher={"name": "random", "samples": 1},
        confirmation={"top": 1, "seeds": 1},
    )
    at = ("--storage", str(tmp_path / "results"))
    for words in (("launch", str(config)), ("resume", "test", *at)):
        code, output = run_here(*words)
        assert code == 3, output
        assert "1 of 3 trials finished, 1 failed, 0 not run, 1 left out: another" in output
        assert "no confirmation: search 'test' has no finished trial" in output
        assert "interrupted" not in output
    assert main(["status", *at]) == 0
    assert " ended " in capsys.readouterr().out.splitlines()[1]
    assert main(["status", "test", *at]) == 0
    assert "left out: another of its sample" in capsys.readouterr().out


@on_one_ray
@pytest.mark.slow
def test_population_based_training_changes_hyperparameters_on_the_way(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        learning_rate={"low": 1e-5, "high": 0.05, "log": True},
        placement=None,
        epochs=6,
        validation_examples=60,
        scheduler={"name": "pbt", "grace_epochs": 2},
        resources={},
    )
    code, output = run_here("launch", str(config))
    assert code == 0, output
    storage = open_storage(tmp_path / "results" / "test")
    table = read_table(storage, "trials")
    assert (table["status"] == FINISHED).all()
    assert len(table) == 6
    schedules = [json.loads(text) for text in table["changes"]]
    assert max(len(schedule) for schedule in schedules) > 1
    for schedule, row in zip(schedules, table.to_dict("records"), strict=True):
        assert schedule[0][0] == 1
        assert json.loads(row["sample"]) == {"learning_rate": row["learning_rate"]}
    epochs: pd.Series = read_table(storage, "epochs").groupby("trial_id")["epoch"].apply(list)
    assert all(numbers == [1, 2, 3, 4, 5, 6] for numbers in epochs)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"searcher": {"name": "bayes"}}, "searcher.name is 'bayes'; allowed: random, grid, tpe"),
        ({"searcher": {"warm_start": ["x"]}}, "given to random, which does not learn; allowed"),
        ({"searcher": {"samples": 0}}, "searcher.samples is 0; allowed: 1 or more"),
        ({"scheduler": {"name": "hyperband"}}, "allowed: none, asha, median, pbt"),
        ({"scheduler": {"name": "asha", "grace_epochs": 3}}, "grace_epochs is 3; allowed: 1 to 2"),
        (
            {"scheduler": {"name": "asha", "within": ["depth"]}},
            "scheduler.within names depth; allowed: coupling_level1, coupling_level2, end, what",
        ),
        (
            {"scheduler": {"name": "asha", "within": ["depth"]}, "placement": None},
            "within names depth; samples choose nothing among options here: leave it out",
        ),
        (
            {"scheduler": {"name": "median", "within": ["fusion_depth"]}},
            "within is ['fusion_depth'] with scheduler median, which sets no sample against its",
        ),
        ({"scheduler": {"name": "pbt"}}, "a space of learning_rate, weight_decay, dropout alone"),
        ({"objectives": ["accuracy"]}, "objectives.0.name is 'accuracy'; allowed: train_cond"),
        (
            {"objectives": ["parameters", "parameters"]},
            "objectives holds parameters twice; keep one",
        ),
        (
            {"objectives": ["mean_accuracy", "parameters"], "searcher": {"name": "tpe"}},
            "searcher.name is 'tpe' with 2 objectives; allowed: nsga2, random, grid",
        ),
        (
            {"confirmation": {"top": 1, "training": {"units": 4}}},
            "confirmation.training.units is not a field",
        ),
        ({"sweep": [{}]}, "sweep and searcher are both there"),
        (
            {"placement": {"connections": {"image>audio": ["mmtm"]}}},
            "placement.connections.image>audio holds 'mmtm'; allowed: none, both, cross, residual",
        ),
    ],
)
def test_a_wrong_search_says_what_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], message: str
) -> None:
    assert main(["space", str(write_config(tmp_path, **fields))]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_what_has_no_space_names_the_command_that_shows_a_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = search_processes.write_config(tmp_path)
    given = ["space", str(config), "--set", "training.epochs=2", "--data", "my data"]
    assert main(given) == 2
    name = yaml.safe_load(config.read_text())["name"]
    again = shlex.join(["fusion-search", "plan", *given[1:]])
    assert capsys.readouterr().err == (
        f"error: search {name!r} is a sweep; it has no space; `{again}` says what it runs\n"
    )


def test_the_space_is_printed_with_its_size_and_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["space", str(write_config(tmp_path))]) == 0
    output = capsys.readouterr().out
    assert "not countable" in output
    assert output.count("learning_rate=") == 10
    assert main(["space", str(write_config(tmp_path, learning_rate=[0.001, 0.01]))]) == 0
    assert f"size: {3 * 3 * 2 * 2} samples" in capsys.readouterr().out
    few = {"fusion_depth": [0, 1, 2], "placement": None, "learning_rate": 0.01}
    assert main(["space", str(write_config(tmp_path, **few))]) == 0
    _, listed = capsys.readouterr().out.split("all of them:\n")
    ids = [line.split()[0] for line in listed.splitlines()]
    assert len(ids) == len(set(ids)) == 3
