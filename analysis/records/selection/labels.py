"""Counts in words."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from fusion_search.analysis.records.words.counts import count_label


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
