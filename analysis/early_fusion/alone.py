"""Claim 5: networks of one sense, trained at SNRs from original down."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd

from fusion_search.analysis.early_fusion.accuracies import Accuracies
from fusion_search.analysis.early_fusion.parts import NOT_THERE, Part, compared, judged
from fusion_search.analysis.verdicts import UNDECIDED

TRAINED: Final[Mapping[str, Sequence[float]]] = {
    "image": (math.inf, 1.0, 0.5, 0.25, 0.125),
    "audio": (math.inf, 2.0, 1.0, 0.5, 0.25),
}
"""Of each sense, descending: the ranks count from its last."""

OVERALL, CLEANER = "overall", "cleaner"
_WORDS: Final = {
    OVERALL: "the lower the train SNR, the worse a network of {} alone is overall",
    CLEANER: "and on clean data, {}",
}
ABOVE_ALL: Final = "above all of audio"


def slope(values: pd.DataFrame) -> pd.Series:
    """The least-squares slope over the rank of the train SNR, by seed.

    Args:
        values: [train SNRs, seeds], the SNRs ascending.
    """
    ranks = np.arange(len(values)) - (len(values) - 1) / 2
    return values.mul(ranks, axis=0).sum() / float(ranks @ ranks)


def slopes(found: Accuracies, stream: str) -> dict[str, pd.Series] | None:
    """Of the mean over test SNRs and of the clean test condition; None where a network lacks."""
    networks = [found.of_one(stream, snr) for snr in reversed(TRAINED[stream])]
    seeds = networks[0].columns
    for one in networks[1:]:
        seeds = seeds.intersection(one.columns)
    if not len(seeds):
        return None
    overall = pd.DataFrame([one[seeds].mean() for one in networks])
    clean = pd.DataFrame([one[seeds].loc[math.inf] for one in networks])
    return {
        OVERALL: slope(overall.reset_index(drop=True)),
        CLEANER: slope(clean.reset_index(drop=True)),
    }


def claim_5(found: Accuracies) -> list[Part]:
    """The lower the train SNR the worse, overall and on cleaner data, above all of audio."""
    by_stream = {stream: slopes(found, stream) for stream in TRAINED}
    there = {stream: own for stream, own in by_stream.items() if own is not None}
    rows = (
        compared(
            {
                f"{stream} {one}": value
                for stream, own in there.items()
                for one, value in own.items()
            }
        )
        if there
        else {}
    )
    parts = []
    for stream in TRAINED:
        for one, words in _WORDS.items():
            what = words.format(stream)
            row = rows.get(f"{stream} {one}")
            per = "; a step of the train SNR"
            parts.append(
                Part(5, what, UNDECIDED, 0, NOT_THERE)
                if row is None
                else judged(5, what, row, found.metric, per)
            )
    if len(there) < len(TRAINED):
        return [*parts, Part(5, ABOVE_ALL, UNDECIDED, 0, NOT_THERE)]
    apart = there["audio"][CLEANER] - there["image"][CLEANER]
    row = compared({"apart": apart.dropna()})["apart"]
    return [*parts, judged(5, ABOVE_ALL, row, found.metric, "; a step, audio less image")]
