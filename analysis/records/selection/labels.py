"""Counts in words."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import pandas as pd

_LARGE: Final = 10**9  # from here on a number is said by its power of ten


def large_count(count: int) -> str:
    """A number of any size in a few characters."""
    return f"{count:,}" if count < _LARGE else f"about 10^{len(str(count)) - 1}"


def count_label(count: int, noun: str) -> str:
    """A number with its noun, in the plural where it belongs."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def range_label(counts: pd.Series) -> str:
    """From the fewest to the most of some whole numbers: "3", or "2 to 3"."""
    fewest, most = int(counts.min()), int(counts.max())
    return str(most) if most == fewest else f"{fewest} to {most}"


def dropped_words(folds: Collection[int]) -> str:
    """How many samples fold rungs dropped, given in how many folds each ran; empty for none."""
    return ", ".join(
        f"{count_label(sum(one == number for one in folds), 'sample')} dropped after "
        f"{count_label(number, 'fold')}"
        for number in sorted(set(folds))
    )
