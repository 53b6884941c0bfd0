"""The packed benchmark, tiny: both of its sides train the same networks."""

from __future__ import annotations

import pytest

from fusion_search.search.tasks.digits.task import Digits
from fusion_search.search.tasks.opened import OpenedTask
from tests.benchmarks.bench_packed import losses_per_step, measure, trials


def test_both_sides_train_alike() -> None:
    sweep = trials(3, depth=0, units=2, batch=4, frames=24)
    one_after_another, packed = losses_per_step(sweep, OpenedTask(Digits(), sweep[0].data))
    for _ in range(3):
        assert packed() == pytest.approx(one_after_another(), rel=1e-4)


def test_it_is_measured() -> None:
    (line,) = measure(units=2, counts=(2,), depths=(2,), batch=4, frames=24, rounds=1)
    assert line.baseline > 0
    assert line.ours > 0
