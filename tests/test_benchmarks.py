"""The benchmarks run, tiny: they compare equal results; how fast, only an idle machine can say."""

from __future__ import annotations

from dataclasses import replace

from tests.benchmarks import bench_convlstm, bench_grid, bench_mlflow
from tests.benchmarks.table import Measurement, side_by_side, table


def test_the_table_says_what_was_reached() -> None:
    row = {"what": "a", "against": "b", "unit": "s", "baseline": 6.0, "ours": 2.0}
    text = table([Measurement(**row, aim=3), Measurement(**row, aim=3.1, note="why")])
    assert [line.split()[8] for line in text.splitlines()[1:]] == ["reached", "MISSED"]


def test_sides_are_run_in_turns() -> None:
    calls: list[str] = []
    assert len(side_by_side(lambda: calls.append("a"), lambda: calls.append("b"), rounds=2)) == 2
    assert calls == ["a", "b"] * 3


def test_the_layer_equals_its_baseline() -> None:
    measurements = bench_convlstm.measure(units=(4,), frames=3, rounds=1)
    assert [one.aim for one in measurements] == [None] * 4


def test_the_grid_equals_its_baseline() -> None:
    tiny = [replace(one, images=2, recordings=1) for one in bench_grid.SETTINGS if one.depth]
    measurements = bench_grid.measure(units=2, rounds=1, settings=tiny)
    assert len(measurements) == 3


def test_runs_have_the_content_of_their_baseline() -> None:
    (measurement,) = bench_mlflow.measure(trials=2, plain_trials=1, with_server=False)
    assert measurement.unit == "ms"
