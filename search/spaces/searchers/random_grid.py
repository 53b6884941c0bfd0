"""Random search, and grid search over every sample of a countable space."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

import numpy as np

from fusion_search.search.spaces.parameters import Sample, Scalar
from fusion_search.search.spaces.searchers.base import Observation, Searcher
from fusion_search.search.spaces.space import Space


class RandomChooser:
    """Answers by chance, uniformly, or uniformly in the logarithm."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        """One of the options."""
        return options[int(self._generator.integers(len(options)))]

    def integer(self, name: str, low: int, high: int, log: bool) -> int:
        """A whole number."""
        if log:
            # Every number gets the share of the logarithm around it.
            value = math.exp(self._generator.uniform(math.log(low - 0.5), math.log(high + 0.5)))
            return min(max(round(value), low), high)
        return int(self._generator.integers(low, high + 1))

    def number(self, name: str, low: float, high: float, log: bool) -> float:
        """A number."""
        if log:
            value = math.exp(self._generator.uniform(math.log(low), math.log(high)))
            return min(max(value, low), high)
        return float(self._generator.uniform(low, high))


class RandomSearcher(Searcher):
    """Every proposal is drawn by itself: the baseline of every comparison."""

    def propose(self, history: Sequence[Observation], attempt: int = 0) -> Sample | None:
        """A sample by chance; never None."""
        return self.space.sample(RandomChooser(self.generator(history, attempt)))


class GridSearcher(Searcher):
    """Every sample once, in the order in which the space asks."""

    def propose(self, history: Sequence[Observation], attempt: int = 0) -> Sample | None:
        """The first sample that is not in the history, after ``attempt`` others; None at the end.

        Raises:
            ValueError: a parameter is a continuous range.
        """
        seen = {_key(one.sample) for one in history}
        new = (one for one in enumerate_samples(self.space) if _key(one) not in seen)
        return next((one for index, one in enumerate(new) if index == attempt), None)


def enumerate_samples(space: Space) -> Iterator[Sample]:
    """Every sample of a space, depth first.

    Raises:
        ValueError: a parameter is a continuous range.
    """
    path: list[int] = []
    while True:
        walker = _Walker(path)
        yield space.sample(walker)
        # Like an odometer: the last answer that can still be increased is, and what follows it
        # starts anew.
        path = walker.path
        while path and path[-1] + 1 == walker.sizes[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1


class _Walker:
    """Follows a path of answers by number, then always gives the first."""

    def __init__(self, path: Sequence[int]) -> None:
        self.path = list(path)
        self.sizes: list[int] = []

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        if len(self.sizes) == len(self.path):
            self.path.append(0)
        self.sizes.append(len(options))
        return options[self.path[len(self.sizes) - 1]]

    def integer(self, name: str, low: int, high: int, log: bool) -> int:
        return int(self.choice(name, range(low, high + 1)))

    def number(self, name: str, low: float, high: float, log: bool) -> float:
        raise ValueError(f"{name} is a range of numbers; grid search needs a list of values")


def _key(sample: Sample) -> str:
    return json.dumps(sample, sort_keys=True)
