"""The benchmarks run, tiny: they compare equal results; how fast, only an idle machine can say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.benchmarks import (
    bench_convlstm,
    bench_data,
    bench_features,
    bench_grid,
    bench_memory,
    bench_mlflow,
    bench_search_overhead,
)
from tests.benchmarks.table import Measurement, side_by_side, table


def test_the_table_says_what_was_reached() -> None:
    row = {"what": "a", "against": "b", "unit": "s", "baseline": 6.0, "ours": 2.0}
    text = table([Measurement(**row, aim=3), Measurement(**row, aim=3.1, note="why")])
    assert [line.split()[8] for line in text.splitlines()[1:]] == ["reached", "MISSED"]


def test_sides_are_run_in_turns() -> None:
    calls: list[str] = []
    assert len(side_by_side(lambda: calls.append("a"), lambda: calls.append("b"), rounds=2)) == 2
    assert calls == ["a", "b"] * 3


@pytest.mark.slow
def test_the_layer_equals_its_baseline() -> None:
    measurements = bench_convlstm.measure(units=(4,), frames=3, rounds=1)
    assert [one.aim for one in measurements] == [None] * 4


@pytest.mark.slow
def test_the_grid_equals_its_baseline() -> None:
    tiny = [replace(one, images=2, recordings=1) for one in bench_grid.SETTINGS if one.depth]
    measurements = bench_grid.measure(units=2, rounds=1, settings=tiny)
    assert len(measurements) == 3


def test_runs_have_the_content_of_their_baseline() -> None:
    (measurement,) = bench_mlflow.measure(trials=2, plain_trials=1, with_server=False)
    assert measurement.unit == "ms"


@pytest.mark.slow
def test_checkpointing_takes_less_memory_for_the_same_loss() -> None:
    measurements = bench_memory.measure(units=16, frames=60, batch=16, rounds=1)
    assert [one.unit for one in measurements] == ["GiB", "GiB"]
    assert all(one.ratio > 1.5 for one in measurements)


def test_the_data_benchmark_compares_equal_waveforms() -> None:
    measurement = bench_data.measure_noise(batch=4, frames=24, rounds=1)
    assert measurement.unit == "ms/example"


@pytest.mark.slow
def test_the_overhead_is_that_of_finished_trials() -> None:
    measurements = bench_search_overhead.measure(trials=3, rounds=1)
    assert [one.aim for one in measurements] == [6, None, 6, None]


@pytest.mark.slow
def test_workers_share_the_data() -> None:
    seconds, memory = bench_data.measure_sharing()
    assert seconds.ratio > 2
    assert memory.ratio > 5


@pytest.mark.slow
def test_a_second_trial_on_frozen_features_equals_the_first_and_computes_none() -> None:
    pytest.importorskip("torchvision")
    (measurement,) = bench_features.measure("resnet18", size=64, instances=3, epochs=1)
    assert measurement.ratio > 1.5
