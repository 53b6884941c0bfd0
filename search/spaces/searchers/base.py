"""What every searcher is: a pure function from what is known to the next sample.

A searcher keeps nothing that its history does not say. That makes kill and resume exact: the
same space, directions, seed and history give the same proposal.

**What an early-stopped trial tells a searcher**: that it ranks below every finished one. Among the
stopped, the one that got further ranks higher, then the one with the better first metric in
validation there. Its last value never counts as a final one. A failed trial tells nothing but that
it must not be repeated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from fusion_search.analysis.records.tables import FINISHED, STOPPED
from fusion_search.search.spaces.objectives import MAXIMIZE
from fusion_search.search.spaces.parameters import Sample
from fusion_search.search.spaces.space import Space

RUNNING: Final = "running"


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What is known of one proposed sample.

    Attributes:
        sample: the sample.
        state: RUNNING, or FINISHED, STOPPED, FAILED as in the records.
        values: of a finished one, in the order of the objectives.
        progress: of a stopped one, (epochs run, score there: the greater, the better).
    """

    sample: Sample
    state: str
    values: tuple[float, ...] = ()
    progress: tuple[int, float] | None = None


class Searcher(ABC):
    """Proposes samples of a space.

    Args:
        space: where to search.
        directions: of the objectives, maximize or minimize.
        seed: of its choices.
    """

    def __init__(self, space: Space, directions: Sequence[str], seed: int) -> None:
        self.space = space
        self.directions = tuple(directions)
        self.seed = seed

    @abstractmethod
    def propose(self, history: Sequence[Observation], attempt: int = 0) -> Sample | None:
        """The next sample; None when there is nothing left.

        Args:
            history: every sample proposed so far, in order.
            attempt: how many proposals were refused since, because they were there already.
        """

    def generator(self, history: Sequence[Observation], attempt: int) -> np.random.Generator:
        """Chance that never repeats itself within a search, nor after a resume."""
        return np.random.default_rng([self.seed, len(history), attempt])


def ranks(history: Sequence[Observation], direction: str) -> npt.NDArray[np.float64]:
    """How good each observation is by the rule above, from 0 (worst) to 1 (best).

    NaN for those that are running or failed. Equal observations have equal ranks.
    """
    sign = 1 if direction == MAXIMIZE else -1
    keys: dict[int, tuple[float, ...]] = {}
    for index, one in enumerate(history):
        if one.state == FINISHED:
            keys[index] = (1, sign * one.values[0])
        elif one.state == STOPPED:
            assert one.progress is not None
            keys[index] = (0, *one.progress)
    order = sorted(set(keys.values()))
    found = np.full(len(history), np.nan)
    for index, key in keys.items():
        found[index] = order.index(key) / max(1, len(order) - 1)
    return found
