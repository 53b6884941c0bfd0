"""Claim 6: what a network answers of a noisy image, before the sound begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fusion_search.analysis.early_fusion.parts import Part
from fusion_search.analysis.records.words.counts import count_label
from fusion_search.analysis.statistics import interval
from fusion_search.analysis.verdicts import HELD, REFUTED, UNDECIDED

PAIRS: Final = 100
SEED: Final = 1
_WHAT: Final = "before the sound a noisy image is confused mainly with one other class"
_HALF: Final = 0.5


def share_of_second(logits: NDArray[Any]) -> float:
    """What the second most probable class has of all that the most probable one [C] has not."""
    others = np.sort(logits)[:-1]
    return float(1 / np.exp(others - others[-1]).sum())


def claim_6(logits: Sequence[NDArray[Any]], missing: str) -> Part:
    """Held where the interval of the mean share over pairs lies above one half.

    Args:
        logits: [C] of every pair that was probed, at the last step before its sound.
        missing: said in place of numbers where these are too few.
    """
    if len(logits) < PAIRS:
        return Part(6, _WHAT, UNDECIDED, 0, missing)
    values = np.array([share_of_second(one) for one in logits])
    mean, low, high = interval(values, share=True)
    verdict = HELD if low > _HALF else REFUTED if high < _HALF else UNDECIDED
    said = (
        f"the second class has {100 * mean:.1f} % ({100 * low:.1f} to {100 * high:.1f}) of what "
        f"the first has not, over {count_label(len(values), 'pair')} of one network"
    )
    return Part(6, _WHAT, verdict, 1, said)
