"""Timing a call on few examples to know what it takes on many, also on a machine that is shared."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from scipy.optimize import nnls

# Calls with all examples; more would tell less than the machine's load changes.
_ENOUGH: Final = 3

# By the clock, when other programs take the processors.
_PATIENCE: Final = 3.0


@dataclass(frozen=True)
class Line:
    """What a call on all examples takes.

    Attributes:
        seconds: of it.
        warm_up: what the first call took beyond what it should.
        share: of the examples that the largest call had.
        processor: CPU seconds per second; less than 1 when one thread had to wait for others'.
    """

    seconds: float
    warm_up: float
    share: float
    processor: float


def measure_line(
    call: Callable[[int], None], largest: int, seconds: float, *, by_processor: bool, warm: bool
) -> Line:
    """Time a call on ever more examples, up to ``largest``, for at most about so many seconds.

    When all are reached the mean time of a few such calls counts, else a fixed part and a part per
    example, fitted.

    Args:
        call: takes the number of examples.
        largest: how many to know the time of.
        seconds: to spend at most; by the clock up to three times as much where CPU seconds count.
        by_processor: count this process's CPU seconds, which other programs do not lengthen.
        warm: whether what compiles has done so; the first call then counts like any.
    """
    # Not one: what is compiled for any number is compiled again for one.
    size = 1 if warm else min(2, largest)
    first = 0.0 if warm else timed(partial(call, size), by_processor=by_processor)[0]
    sizes: list[int] = []
    times: list[float] = []
    cpu, started = time.process_time(), time.perf_counter()
    while True:
        taken, waited = timed(partial(call, size), by_processor=by_processor)
        sizes.append(size)
        times.append(taken)
        if sizes.count(largest) > _ENOUGH:
            break
        following = min(2 * size, largest)
        longest = _PATIENCE * seconds - (time.perf_counter() - started)
        if sum(times) + taken * following / size <= seconds and waited <= longest:
            size = following
        elif sum(times) + taken > seconds or waited > longest:
            break
    processor = (time.process_time() - cpu) / (time.perf_counter() - started)
    known, took = np.array(sizes, dtype=float), np.array(times)
    # Errors are in proportion to times, so each counts alike.
    (fixed, each), _ = nnls(np.stack([1 / took, known / took], axis=1), np.ones(len(took)))
    estimate = fixed + each * largest
    whole = took[known == largest]
    if len(whole):
        # The first of a size warms up.
        estimate = float(whole[min(1, len(whole) - 1) :].mean())
    warm_up = max(0.0, first - (fixed + each * sizes[0]))
    return Line(estimate, warm_up, sizes[-1] / largest, processor)


def timed(call: Callable[[], object], *, by_processor: bool) -> tuple[float, float]:
    """Seconds of a call, on the processor or by the clock, and those by the clock."""
    cpu, started = time.process_time(), time.perf_counter()
    call()
    waited = time.perf_counter() - started
    return (time.process_time() - cpu if by_processor else waited), waited
