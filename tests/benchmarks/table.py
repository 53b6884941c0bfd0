"""What a benchmark reports: a figure beside its baseline, both measured in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One line of the table. ``ratio`` is how many times less ours takes than the baseline.

    Attributes:
        what: is measured.
        against: what the baseline is.
        unit: of both figures.
        aim: least ratio wanted; None where none is set.
        note: what else was found, such as an error or a share of the peak.
    """

    what: str
    against: str
    unit: str
    baseline: float
    ours: float
    aim: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.baseline / self.ours


def side_by_side(*actions: Callable[[], object], rounds: int = 5) -> list[float]:
    """Median seconds of each action, run in turns after one round to warm up.

    In turns, so that what else the machine does falls upon all alike.
    """
    seconds: list[list[float]] = [[] for _ in actions]
    for round_number in range(rounds + 1):
        for action, taken in zip(actions, seconds, strict=True):
            start = time.perf_counter()
            action()
            if round_number:
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def table(measurements: Sequence[Measurement]) -> str:
    """The measurements as aligned text."""
    head = ("what", "against", "baseline", "ours", "ratio", "aim", "", "note")
    rows = [head] + [
        (
            one.what,
            one.against,
            f"{one.baseline:.4g} {one.unit}",
            f"{one.ours:.4g} {one.unit}",
            f"{one.ratio:.2f}",
            "" if one.aim is None else f"{one.aim:g}",
            "" if one.aim is None else "reached" if one.ratio >= one.aim else "MISSED",
            one.note,
        )
        for one in measurements
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
