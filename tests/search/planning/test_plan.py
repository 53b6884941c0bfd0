"""What a plan says, against rules written down apart, and against what a search then leaves."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from ray.tune.schedulers import ASHAScheduler
from search_processes import ROOT, search_process
from small_trials import small_configuration, small_trial

from fusion_search.analysis.records.description import read_description
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import read_table
from fusion_search.search.commands import plan as plan_commands
from fusion_search.search.commands.command_line import main
from fusion_search.search.declaration.configuration import build_search, load_configuration
from fusion_search.search.declaration.specification import (
    Resources,
    SchedulerSettings,
    SearchSpecification,
)
from fusion_search.search.planning import timing as plan_timing
from fusion_search.search.planning.contents import Contents, search_contents
from fusion_search.search.planning.measurement import (
    Calibration,
    Cost,
    Kind,
    measure_kind,
    measure_kinds,
)
from fusion_search.search.planning.plan import Plan, make_plan
from fusion_search.search.planning.units import (
    Unit,
    alike,
    all_costs,
    chosen_kinds,
    dropped_early,
    planned_confirmation,
    planned_units,
    rungs,
    simulate,
    slots_of,
    stopped_after,
    trial_seconds,
    unit_seconds,
)
from fusion_search.search.records.planned import write_plan
from fusion_search.search.records.provenance import provenance
from fusion_search.search.records.recorder import Recorder
from fusion_search.search.running.recorded_trial import execute
from fusion_search.search.running.run import write_specification
from fusion_search.search.tasks.digits.task import Digits
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.tracking.syncing import sync
from fusion_search.search.trials.trial import run_trial

CONFIGS = ROOT / "search" / "configs"


def cost(**fields: float) -> Cost:
    zero = dict.fromkeys((one.name for one in dataclasses.fields(Cost)), 0.0)
    return Cost(**{**zero, **fields})


def config(name: str, *overrides: str) -> SearchSpecification:
    return build_search(load_configuration(CONFIGS / f"{name}.yaml", overrides))


@pytest.mark.parametrize(
    ("name", "units", "trials", "confirming"),
    [("demo", 3, 3, 0), ("paper", 240, 240, 0), ("placement", 64, 64, 120)],
)
def test_what_is_dispatched(name: str, units: int, trials: int, confirming: int) -> None:
    search = config(name)
    found = planned_units(search)
    assert len(found) == units
    assert len({trial.trial_id for unit in found for trial in unit.trials}) == trials
    confirmation = planned_confirmation(search, found)
    assert len(confirmation.planned_trials() if confirmation else ()) == confirming


def test_a_grid_search_is_planned_sample_by_sample() -> None:
    assert len(planned_units(config("placement-grid", "searcher.samples=1000"))) == 145


def test_packed_trials_take_a_slot_together() -> None:
    units = planned_units(config("paper", "resources.packed_trials=32"))
    assert len(units) == 9  # 80 trials of each depth
    assert sorted(len(unit.trials) for unit in units) == [16] * 3 + [32] * 6
    assert {unit.kinds[0].packed for unit in units} == {16, 32}


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "slots"),
    [
        (Resources(), 8, None, 8),
        (Resources(cpus_per_trial=3), 8, None, 2),
        (Resources(concurrent_trials=5), 8, None, 5),
        (Resources(gpus_per_trial=0.25), 64, 2, 8),
        (Resources(gpus_per_trial=0.4), 64, 3, 6),  # two on each GPU, 0.2 left over
        (Resources(gpus_per_trial=0.1), 64, 1, 10),
        (Resources(gpus_per_trial=2), 64, 5, 2),
        (Resources(cpus_per_trial=2, gpus_per_trial=0.25), 6, 2, 3),
    ],
)
def test_how_many_run_at_once(resources: Resources, cpus: int, gpus: int, slots: int) -> None:
    assert slots_of(resources, cpus=cpus, gpus=gpus) == slots


def test_what_fits_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="lower resources"):
        slots_of(Resources(cpus_per_trial=4), cpus=2, gpus=None)


def test_units_go_to_the_first_free_slot_in_order() -> None:
    generator = np.random.default_rng(0)
    seconds = generator.uniform(1, 10, size=40).tolist()
    free = [0.0] * 3
    for number, one in enumerate(seconds):
        slot = int(np.argmin(free))
        free[slot] += one + (5.0 if number < 3 else 0.0)
    run = simulate(seconds, 3, warm_up=5.0)
    assert run.wall == pytest.approx(max(free))
    assert run.busy == pytest.approx(sum(seconds) + 15)


def test_the_last_one_runs_faster_alone() -> None:
    # Both for 4 s, then 6 s of work at twice the speed.
    run = simulate([4.0, 10.0], 2, warm_up=0.0, alone=2.0)
    assert (run.wall, run.busy) == (pytest.approx(7), pytest.approx(11))


def test_more_slots_than_trials_change_nothing() -> None:
    assert simulate([3.0, 5.0], 100, warm_up=1.0).wall == pytest.approx(6)


def test_the_seconds_of_a_trial_are_its_parts() -> None:
    trial = small_trial(epochs=3, epoch_examples=160, batch_size=16)
    parts = cost(build=1, step=2, validation=10, grid=100)
    own = 1 + 3 * (10 * 2 + 10) + 100 + 2 * 2
    assert trial_seconds(trial, parts) == pytest.approx(own, abs=0.2)
    # Stopped after four epochs over two trials: one whole, one epoch of the second, no grid.
    unit = Unit((trial, small_trial(epochs=3, epoch_examples=160, batch_size=16, units=4)))
    costs = dict.fromkeys(unit.kinds, parts)
    assert unit_seconds(unit, costs, 4) == pytest.approx(own + 1 + 30, abs=0.4)


@pytest.mark.parametrize(("grace", "reduction", "epochs"), [(2, 3, 5), (1, 3, 20), (1, 2, 8)])
def test_rungs_are_those_of_ray(grace: int, reduction: int, epochs: int) -> None:
    settings = SchedulerSettings(name="asha", grace_epochs=grace, reduction=reduction)
    asha = ASHAScheduler(max_t=epochs, grace_period=grace, reduction_factor=reduction)
    milestones = [one for one, _ in asha._brackets[0]._rungs if one < epochs]
    assert rungs(settings, epochs) == sorted(milestones)


def test_asha_lets_one_in_three_pass() -> None:
    found = stopped_after(config("placement", "searcher.samples=90"), 90)
    assert found is not None
    assert set(found) == {2, None}
    assert found.count(None) == pytest.approx(30, abs=1)
    other = config("placement", "scheduler.name=median", "scheduler.within=[]")
    assert stopped_after(other, 90) is None


def test_after_every_fold_one_in_so_many_samples_is_left() -> None:
    trials = tuple(small_trial(fold=fold, seed=seed) for fold in range(3) for seed in (0, 1))
    search: Any = SimpleNamespace(
        space=(), scheduler=SchedulerSettings(name="fold_rungs", reduction=3)
    )
    left = dropped_early(search, [Unit(trials)] * 900)
    counts = Counter(len(one.trials) for one in left)
    assert [round(counts[count], -2) for count in (2, 4, 6)] == [600, 200, 100]
    assert all(one.trials == trials[: len(one.trials)] for one in left)
    other = config("placement")
    assert dropped_early(other, [Unit(trials)]) == [Unit(trials)]


def test_few_examples_tell_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that only the call moves: fixed 3 s, 0.5 s an example, 40 s for compiling."""
    clock = 0.0
    called: list[int] = []

    def call(size: int) -> None:
        nonlocal clock
        clock += 3 + 0.5 * size + (40 if not called else 0)
        called.append(size)

    for name in ("perf_counter", "process_time"):
        monkeypatch.setattr(time, name, lambda: clock)
    line = plan_timing.measure_line(call, 1000, 60.0, by_processor=True, warm=False)
    assert line.seconds == pytest.approx(503)
    assert line.warm_up == pytest.approx(40)
    assert line.share == max(called) / 1000
    assert clock <= 40 + 4 + 60 + 3 + 0.5 * max(called)
    whole = plan_timing.measure_line(call, 8, 60.0, by_processor=True, warm=True)
    assert (whole.seconds, whole.warm_up, whole.share) == (pytest.approx(7), 0, 1)
    # What takes nothing is not repeated until the time is up.
    called.clear()
    plan_timing.measure_line(call, 8, 1e9, by_processor=True, warm=True)
    assert called == [1, 2, 4, 8, 8, 8, 8]


def test_what_is_not_measured_goes_by_its_operations() -> None:
    kinds = [
        Kind(alike(small_trial(units=units, fusion_depth=d)))
        for d in (0, 2)
        for units in range(1, 9)
    ]
    work = {kind: 10**6 * kind.trial.network.units for kind in kinds}
    chosen = chosen_kinds(kinds, work, 6)
    assert len(set(chosen)) == 6
    assert {kind.trial.network.fusion_depth for kind in chosen} == {0, 2}
    true = {
        kind: cost(
            step=kind.trial.network.units * (5 if kind.trial.network.fusion_depth == 0 else 1),
            build=1,
        )
        for kind in kinds
    }
    found = all_costs(kinds, {kind: true[kind] for kind in chosen}, work)
    assert {kind: (one.step, one.build) for kind, one in found.items()} == {
        kind: (pytest.approx(one.step), 1) for kind, one in true.items()
    }


def test_a_gpu_question_about_trials_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(CONFIGS / "demo.yaml"), "--gpus", "2"]) == 2
    assert "resources.gpus_per_trial is 0" in capsys.readouterr().err


@pytest.mark.parametrize(("speed", "said"), [(None, "not measured"), (128.0, "1 GPU: 2 GPU hours")])
def test_gpu_hours_are_measured_or_given(
    speed: float | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Eight trials of two hours here at 64 examples/s, four of which share a GPU."""
    search = build_search(
        {
            "name": "eight",
            "task": "digits",
            "train": [[2, 1]],
            "seeds": list(range(8)),
            "training": {
                "epochs": 1,
                "batch_size": 64,
                "examples": 64,
                "epoch_examples": 64 * 7200,
            },
            "resources": {"gpus_per_trial": 0.25},
        }
    )
    units = planned_units(search)
    costs = {units[0].kinds[0]: cost(step=1.0)}
    plan = Plan(
        device="cpu",
        searches=[search],
        phases=[units],
        costs=costs,
        calibration=Calibration(costs=costs, alone=1.0, idle=1.0),
        start_seconds=30.0,
        slots=2,
        contents=Contents(),
    )
    monkeypatch.setattr(plan_commands, "make_plan", lambda *_: plan)
    long = ", ".join(f"a_setting_{number} 1" for number in range(9))
    monkeypatch.setattr(plan_commands, "_labels", lambda kinds: dict.fromkeys(kinds, long))
    plan_commands.print_plan(search, gpus=1, examples_per_second=speed)
    output = capsys.readouterr().out
    assert not any("a_setting" in line[44:] for line in output.splitlines())
    assert all(f"a_setting_{number}" in output for number in range(9))
    assert "16 CPU hours, 8h 01m" in output
    assert said in output
    # Two waves of an hour.
    assert ("2h 01m; 4 at once" in output) == (speed is not None)


@pytest.fixture(scope="module")
def small_task() -> OpenedTask:
    return OpenedTask(Digits(), small_trial().data)


def test_a_pack_validates_each_of_its_trials(small_task: OpenedTask) -> None:
    trial = alike(small_trial())
    _, alone = measure_kind(Kind(trial), small_task, 0.5, True)
    _, packed = measure_kind(Kind(trial, 3), small_task, 0.5, True)
    assert 1.5 < packed.grid / alone.grid < 6
    assert packed.step > alone.step


def database_rows(path: Path) -> dict[str, int]:
    tables = {"runs": "runs", "parameters": "params", "metrics": "metrics", "tags": "tags"}
    with contextlib.closing(sqlite3.connect(path)) as database:
        return {
            name: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for name, table in tables.items()
        }


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def small_search(storage: Path, **trials: object) -> SearchSpecification:
    sweep = [
        {"network": {"fusion_depth": [0, 2]}},
        {"placement": {"streams": [["audio"]]}, "train": [[2, "original"]]},
        # 0.3 is not in the grid: one result less.
        {"train": [[0.3, 0.25]]},
    ]
    return build_search(small_configuration(sweep=sweep, storage=str(storage), **trials))


def sensors_search(storage: Path, task: str = "Sensors", **fields: Any) -> SearchSpecification:
    """Of a regression: two widths, coupled or not, in two folds."""
    declared = {
        "name": "sensors",
        "task": f"odd_tasks:{task}",
        "network": {"width": [2, 8], "dropout": 0.1},
        "placement": {"couplings": ["none", "gates"]},
        "seeds": [0, 1],
        "training": {"epochs": 2, "batch_size": 8, "device": "cpu"},
        "folds": [0, 1],
        "storage": str(storage),
    }
    return build_search(declared | fields)


@pytest.mark.parametrize("task", ["digits", "Sensors", "NoisySensors"])
def test_what_is_left_is_what_was_planned(
    tmp_path: Path, task: str, request: pytest.FixtureRequest
) -> None:
    if task == "digits":
        search = small_search(tmp_path, predictions=True)
        small_task = request.getfixturevalue("small_task")
    else:
        # Where an SNR is drawn, there is no such parameter, nor a metric at the train condition.
        noisy = {
            "folds": [0],
            "train": [[1.0, 0.0], [{"low": 0.5, "high": 2}, {"low": -5, "high": 0}], [0.7, 0.0]],
        }
        search = sensors_search(tmp_path, task, **noisy if task == "NoisySensors" else {})
        first = search.planned_trials()[0]
        small_task = OpenedTask(search.definition, first.data, first.fold)
    planned = search_contents(search, planned_units(search), small_task)
    storage = open_storage(tmp_path).below(search.name)
    trials = search.planned_trials()
    write_specification(search, storage, small_task, trials[0])
    recorder = Recorder(
        storage,
        search.name,
        read_description(storage),
        provenance(),
        cpus_per_trial=search.resources.cpus_per_trial,
    )
    write_plan(storage, trials, len(trials))
    for trial in trials:
        assert execute(trial, small_task, recorder)["status"] == "finished"
    tables = ("trials", "epochs", "grid", "predictions", "checkpoints")
    for name in tables:
        there = folder_bytes(tmp_path / search.name / name)
        if name == "predictions" and task != "digits":
            assert not there
        assert planned.sizes[name] == pytest.approx(there, rel=0.3), name
    sync(storage, f"sqlite:///{tmp_path}/mlflow.db")
    assert dict(planned.rows) == database_rows(tmp_path / "mlflow.db")


def test_a_regression_without_axes_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = {"cpus_per_trial": os.cpu_count() or 1}
    coupled = {"couplings": ["gates"]}
    search = sensors_search(tmp_path, "Compiled", placement=coupled, resources=alone)
    monkeypatch.setenv("SEMAPHORES", str(tmp_path / "semaphores"))
    plan = make_plan(search, seconds=1.0)
    # What its processes took of the system they have given back.
    taken = (tmp_path / "semaphores").read_text().split()
    assert taken
    assert not [one for one in taken if Path(f"/dev/shm/sem.{one.strip('/')}").exists()]
    assert plan.trials == 8
    # Folds and seeds cost the same, and epochs are passes over 24 examples in batches of 8.
    assert sorted(kind.trial.network.width for kind in plan.costs) == [2, 8]
    for kind, one in plan.costs.items():
        own = trial_seconds(kind.trial, one)
        parts = one.build + 2 * (3 * one.step + one.validation) + one.grid + 2 * one.step
        assert own == pytest.approx(parts, abs=0.2)
        assert one.step > 0
    monkeypatch.setattr(plan_commands, "make_plan", lambda *_: plan)
    plan_commands.print_plan(search, gpus=None, examples_per_second=None)
    output = capsys.readouterr().out
    assert "width 8, gates at s1" in output
    assert "trials: 8" in output


def test_a_trial_takes_about_what_was_measured(small_task: OpenedTask) -> None:
    trial = small_trial(fusion_depth=0, epochs=3)
    kind = Kind(alike(trial))
    calibration = measure_kinds([kind], small_task, processes=1, threads=1, seconds=1.0)
    started = time.process_time()
    run_trial(trial, small_task)
    took = time.process_time() - started
    planned = trial_seconds(trial, calibration.costs[kind]) + calibration.costs[kind].warm_up
    assert 0.5 < planned / took < 2.0


def test_a_trial_that_cannot_run_is_told_before(small_task: OpenedTask) -> None:
    kind = Kind(alike(small_trial(validation_examples=10**7)))
    with pytest.raises(ValueError, match="ask for fewer"):
        measure_kinds([kind], small_task, processes=1, threads=1, seconds=1.0)


def worker_times(driver: int) -> dict[int, float]:
    """CPU seconds of the Ray workers below a process, by process id."""
    stats: dict[int, tuple[str, int, float]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, tail = path.read_text().rpartition(")")
            fields = tail.split()
            ticks = int(fields[11]) + int(fields[12])
            name = head.partition("(")[2]
            stats[int(path.parent.name)] = name, int(fields[1]), ticks / os.sysconf("SC_CLK_TCK")
    found = {}
    for process, (name, parent, seconds) in stats.items():
        while parent in stats and parent != driver:
            parent = stats[parent][1]
        if parent == driver and name.startswith("ray::Implicit"):
            found[process] = seconds
    return found


@contextlib.contextmanager
def worker_seconds(driver: int) -> Iterator[dict[int, float]]:
    """The last :func:`worker_times` of each worker there was."""
    found: dict[int, float] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            found.update(worker_times(driver))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
def test_a_plan_holds_within_30_percent(tmp_path: Path) -> None:
    """Against a real run. What other programs take of the machine is taken out of both sides."""
    raw: dict[str, Any] = yaml.safe_load((CONFIGS / "demo.yaml").read_text())
    raw["training"] |= {"epoch_examples": 500, "epochs": 3}
    raw["seeds"] = [0, 1]
    path = tmp_path / "demo.yaml"
    path.write_text(yaml.safe_dump(raw | {"storage": str(tmp_path / "results")}))
    search = build_search(load_configuration(path, []))
    plan = make_plan(search)
    assert not (tmp_path / "results").exists()

    started = time.perf_counter()
    with (
        search_process("launch", str(path)) as process,
        worker_seconds(process.pid) as workers,
    ):
        output, _ = process.communicate(timeout=3000)
        assert process.returncode == 0, output
    wall = time.perf_counter() - started
    storage = open_storage(tmp_path / "results").below("demo")
    trials = read_table(storage, "trials")
    occupied = float(trials["seconds"].sum())
    processor = sum(workers.values()) / occupied
    print(f"processor {processor:.2f} of the run, {plan.calibration.idle:.2f} of the plan")
    ratios = {
        "CPU hours": plan.here.busy / sum(workers.values()),
        "wall": plan.here.wall / (wall * min(1.0, processor)),
        "storage": plan.contents.sizes.total()
        / (folder_bytes(tmp_path / "results") - 960_000),  # MLflow's empty database
    }
    print(", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()))
    assert plan.trials == len(trials) == 6
    assert dict(plan.contents.rows) == database_rows(tmp_path / "results" / "mlflow.db")
    for name, ratio in ratios.items():
        assert abs(math.log(ratio)) < math.log(1.3), f"{name}: planned / run = {ratio:.2f}"
