"""Progressive search with a surrogate, in the manner of MFAS (Perez-Rua et al., 2019).

The search starts with placements of at most one coupling and lets them grow. A surrogate, trained
on the records, predicts how good candidates would be; the next trial is drawn among them by a
temperature that falls, so that what looks best is tried more and more.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from fusion_search.models.layout import NONE
from fusion_search.search.spaces.names import END
from fusion_search.search.spaces.parameters import Choice, Parameter, Sample, Scalar
from fusion_search.search.spaces.searchers.base import Observation, Searcher, ranks
from fusion_search.search.spaces.searchers.random_grid import RandomChooser
from fusion_search.search.spaces.space import Space

_STARTUP: Final = 5  # proposals by chance before there is anything to learn from
_RANDOM_CANDIDATES: Final = 60
_PARENTS: Final = 5
_CHILDREN: Final = 12
_TRIES: Final = 20
_NOISE: Final = 0.1  # variance of an observation, in units of the variance of all
_WARMEST, _COOLING, _COLDEST = 0.3, 0.96, 0.02  # temperatures, in units of rank

Floats = npt.NDArray[np.float64]
_Nothing = Mapping[str, Sequence[Scalar]]


class SurrogateSearcher(Searcher):
    """See the module.

    Args:
        space, directions, seed: see ``Searcher``.
        width: after so many proposals, placements may have one more coupling or connection.

    Raises:
        ValueError: there are several objectives.
    """

    def __init__(self, space: Space, directions: Sequence[str], seed: int, width: int = 10) -> None:
        if len(directions) > 1:
            raise ValueError("surrogate has one objective; use nsga2 for several")
        super().__init__(space, directions, seed)
        self._width = width
        self._parameters = space.parameters()
        nothing = {**dict.fromkeys(space.placed_names, (NONE,)), END: tuple(space.plain_ends)}
        self._nothing = {name: nothing[name] for name in self._parameters if name in nothing}

    def propose(self, history: Sequence[Observation], attempt: int = 0) -> Sample | None:
        """What the surrogate finds promising; never None."""
        generator = self.generator(history, attempt)
        # Refused proposals let placements grow too: the small ones may all have been tried.
        allowed = 1 + (len(history) + attempt) // self._width
        targets = ranks(history, self.directions[0])
        known = np.flatnonzero(np.isfinite(targets))
        if len(known) < _STARTUP:
            return self._random(generator, allowed)
        candidates = self._candidates(history, targets, allowed, generator)
        features = np.array([encode(self._parameters, history[int(i)].sample) for i in known])
        wanted = np.array([encode(self._parameters, one) for one in candidates])
        predicted = predict(features, targets[known], wanted, len(self._parameters))
        temperature = max(_COLDEST, _WARMEST * _COOLING ** len(known))
        weights = np.exp((predicted - predicted.max()) / temperature)
        return candidates[int(generator.choice(len(candidates), p=weights / weights.sum()))]

    def _candidates(
        self,
        history: Sequence[Observation],
        targets: Floats,
        allowed: int,
        generator: np.random.Generator,
    ) -> list[Sample]:
        """New samples: by chance, and the best so far with one choice changed."""
        seen = {_key(one.sample) for one in history}
        found: dict[str, Sample] = {}
        order = np.argsort(-np.nan_to_num(targets, nan=-1.0), kind="stable")
        best = [int(one) for one in order[:_PARENTS]]
        drawn = [self._random(generator, allowed) for _ in range(_RANDOM_CANDIDATES)]
        for parent in (history[index].sample for index in best if np.isfinite(targets[index])):
            drawn += [self._changed(parent, generator, allowed) for _ in range(_CHILDREN)]
        for sample in drawn:
            if _key(sample) not in seen:
                found[_key(sample)] = sample
        return list(found.values()) or drawn

    def _random(self, generator: np.random.Generator, allowed: int) -> Sample:
        """By chance, with at most ``allowed`` couplings and connections at any sites."""
        share = min(0.75, allowed / max(1, len(self._nothing)))
        return self._within(_SparseChooser(generator, share, self._nothing), generator, allowed)

    def _changed(self, parent: Sample, generator: np.random.Generator, allowed: int) -> Sample:
        names = list(parent)
        changed = names[int(generator.integers(len(names)))] if names else ""
        return self._within(
            _ChangingChooser(generator, parent, changed, self._nothing), generator, allowed
        )

    def _within(
        self, chooser: RandomChooser, generator: np.random.Generator, allowed: int
    ) -> Sample:
        for _ in range(_TRIES):
            sample = self.space.sample(chooser)
            if self.space.complexity(sample) <= allowed:
                return sample
        return self.space.sample(_SparseChooser(generator, 0.0, self._nothing))


class _SparseChooser(RandomChooser):
    """By chance, but something is placed at a site only with a given probability.

    Args:
        generator: of chance.
        share: the probability.
        nothing: name of what sits somewhere -> options that place nothing.
    """

    def __init__(self, generator: np.random.Generator, share: float, nothing: _Nothing) -> None:
        super().__init__(generator)
        self._share, self._nothing = share, nothing

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        """One of the options."""
        nothing = [one for one in options if one in self._nothing.get(name, ())]
        if nothing:
            if self._generator.random() >= self._share:
                return nothing[0]
            options = [one for one in options if one not in nothing]
        return super().choice(name, options)


class _ChangingChooser(_SparseChooser):
    """As a parent, but for one parameter, and what exists only because of it."""

    def __init__(
        self,
        generator: np.random.Generator,
        parent: Sample,
        changed: str,
        nothing: _Nothing,
    ) -> None:
        super().__init__(generator, 0.25, nothing)
        self._parent = parent
        self._changed = changed

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        """As the parent's, or another."""
        kept = self._parent.get(name)
        if name == self._changed:
            others = [one for one in options if one != kept]
            return others[int(self._generator.integers(len(others)))]
        return kept if kept is not None else super().choice(name, options)

    def integer(self, name: str, low: int, high: int, log: bool) -> int:
        """As the parent's, or by chance."""
        kept = self._kept(name)
        return super().integer(name, low, high, log) if kept is None else int(kept)

    def number(self, name: str, low: float, high: float, log: bool) -> float:
        """As the parent's, or by chance."""
        kept = self._kept(name)
        return super().number(name, low, high, log) if kept is None else float(kept)

    def _kept(self, name: str) -> Scalar | None:
        return None if name == self._changed else self._parent.get(name)


def encode(parameters: Mapping[str, Parameter], sample: Sample) -> Floats:
    """A sample as numbers: every option (and "absent") is 0 or 1, a number lies in 0 ... 1."""
    features: list[float] = []
    for name, parameter in parameters.items():
        value = sample.get(name)
        features.append(float(value is None))
        if isinstance(parameter, Choice):
            features += [float(value == one) for one in parameter.options]
        elif value is None:
            features.append(0.5)
        else:
            low, high, at = parameter.low, parameter.high, float(value)
            if parameter.log:
                low, high, at = math.log(low), math.log(high), math.log(at)
            features.append((at - low) / (high - low))
    return np.array(features)


def predict(features: Floats, targets: Floats, wanted: Floats, parameters: int) -> Floats:
    """A Gaussian process's mean at ``wanted`` [M, F], from ``features`` [N, F], ``targets`` [N].

    The kernel is fixed: two samples that differ in every choice (squared distance 2 each) are
    nearly unrelated, whatever the number of parameters.
    """
    process = GaussianProcessRegressor(
        RBF(math.sqrt(max(1, parameters) / 2)), alpha=_NOISE, optimizer=None, normalize_y=True
    )
    predicted: Floats = process.fit(features, targets).predict(wanted)
    return predicted


def _key(sample: Sample) -> str:
    return json.dumps(sample, sort_keys=True)
