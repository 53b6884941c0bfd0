"""Optuna's TPE and NSGA-II, asked through a study that is made from the history.

The study is only a copy of the history, kept to save time: one made anew gives the same answer.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final, cast

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fusion_search.analysis.records.tables import FAILED, FINISHED, STOPPED
from fusion_search.search.spaces.objectives import MAXIMIZE
from fusion_search.search.spaces.parameters import Choice, Parameter, Sample, Scalar
from fusion_search.search.spaces.searchers.base import RUNNING, Observation, Searcher
from fusion_search.search.spaces.space import Space

_STATES: Final = {
    RUNNING: TrialState.RUNNING,
    FINISHED: TrialState.COMPLETE,
    STOPPED: TrialState.PRUNED,
    FAILED: TrialState.FAIL,
}


def distribution(parameter: Parameter) -> BaseDistribution:
    """Optuna's description of a parameter."""
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.options)
    if parameter.integer:
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


class _OptunaSearcher(Searcher):
    """What TPE and NSGA-II share."""

    def __init__(self, space: Space, directions: Sequence[str], seed: int) -> None:
        super().__init__(space, directions, seed)
        self._distributions = {
            name: distribution(parameter) for name, parameter in space.parameters().items()
        }
        self._last: optuna.Study | None = None
        self._told: tuple[Observation, ...] = ()

    def propose(self, history: Sequence[Observation], attempt: int = 0) -> Sample | None:
        """What Optuna suggests; never None."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        seed = np.random.SeedSequence([self.seed, len(history), attempt])
        with warnings.catch_warnings():
            # Multivariate TPE with groups and the constant liar are marked experimental.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study = self._study(history)
            study.sampler = self._sampler(int(seed.generate_state(1)[0]))
            trial = self._ask(study)
            sample = self.space.sample(_OptunaChooser(trial))
            # It enters the study again with the history, if it is taken; a failure counts nothing.
            study.tell(trial, state=TrialState.FAIL)
        return sample

    def _ask(self, study: optuna.Study) -> optuna.Trial:
        return study.ask()

    def _study(self, history: Sequence[Observation]) -> optuna.Study:
        """A study that knows the history: the last one, when the history has only grown."""
        told = len(self._told)
        if self._last is None or tuple(history[:told]) != self._told:
            directions = [StudyDirection[one.upper()] for one in self.directions]
            self._last, told = optuna.create_study(directions=directions), 0
        self._last.add_trials(self._trials(history, told))
        self._told = tuple(history)
        return self._last

    @abstractmethod
    def _sampler(self, seed: int) -> BaseSampler: ...

    def _trials(self, history: Sequence[Observation], start: int) -> list[FrozenTrial]:
        """The observations from ``start`` on."""
        return [self._trial(one, {}) for one in history[start:]]

    def _genes(self, sample: Sample) -> Sample:
        """What Optuna is told of a sample."""
        return sample

    def _trial(self, one: Observation, attributes: dict[str, int]) -> FrozenTrial:
        values: dict[int, float] = {}
        if one.state == STOPPED:
            assert one.progress is not None
            epochs, accuracy = one.progress
            # Optuna compares them in the direction of the study.
            values = {epochs: accuracy if self.directions[0] == MAXIMIZE else -accuracy}
        return optuna.trial.create_trial(
            state=_STATES[one.state],
            params=self._genes(one.sample),
            distributions={name: self._distributions[name] for name in self._genes(one.sample)},
            values=list(one.values) if one.state == FINISHED else None,
            intermediate_values=values,
            system_attrs=attributes,
        )


class TPESearcher(_OptunaSearcher):
    """Tree-structured Parzen estimator, multivariate, by groups of conditional parameters.

    Early-stopped trials are told as pruned: Optuna ranks them by our rule. Running ones count as
    bad (constant liar), so that parallel proposals spread.

    Raises:
        ValueError: there are several objectives.
    """

    def __init__(self, space: Space, directions: Sequence[str], seed: int) -> None:
        if len(directions) > 1:
            raise ValueError("tpe has one objective; use nsga2 for several")
        super().__init__(space, directions, seed)

    def _sampler(self, seed: int) -> BaseSampler:
        return TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)


class NSGA2Searcher(_OptunaSearcher):
    """NSGA-II, a genetic algorithm for any number of objectives.

    Finished trials alone form the populations: the first ``population_size`` of them the first
    generation, the next the second, and so on.

    A crossover needs parents with the same parameters, so every individual has all of them; those
    that its sample does not have are dormant, at their first option.
    """

    def __init__(
        self, space: Space, directions: Sequence[str], seed: int, population_size: int = 20
    ) -> None:
        super().__init__(space, directions, seed)
        self._population_size = population_size

    def _sampler(self, seed: int) -> BaseSampler:
        return _StableNSGAIISampler(population_size=self._population_size, seed=seed)

    def _ask(self, study: optuna.Study) -> optuna.Trial:
        return study.ask(fixed_distributions=self._distributions)

    def _genes(self, sample: Sample) -> Sample:
        parameters = self.space.parameters().items()
        return {name: sample.get(name, _dormant(parameter)) for name, parameter in parameters}

    def _trials(self, history: Sequence[Observation], start: int) -> list[FrozenTrial]:
        # The sampler reads a trial's generation from an attribute that it sets when asked; the
        # attribute bears the name of the sampler's class.
        key = _StableNSGAIISampler._get_generation_key()
        finished = sum(one.state == FINISHED for one in history[:start])
        trials = []
        for one in history[start:]:
            attributes = {key: finished // self._population_size} if one.state == FINISHED else {}
            finished += one.state == FINISHED
            trials.append(self._trial(one, attributes))
        return trials


class _StableNSGAIISampler(NSGAIISampler):
    """NSGA-II whose parents stand in the same order however often they are asked for.

    Optuna gives a generation's parents best first when it selects them, but by number when it
    remembers them, and draws by place: a resumed search would propose otherwise.
    """

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        parents = super().get_parent_population(study, generation)
        return sorted(parents, key=lambda one: one.number)


def _dormant(parameter: Parameter) -> Scalar:
    if isinstance(parameter, Choice):
        return parameter.options[0]
    return int(parameter.low) if parameter.integer else parameter.low


class _OptunaChooser:
    """Answers as an Optuna trial suggests."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        return cast(Scalar, self._trial.suggest_categorical(name, list(options)))

    def integer(self, name: str, low: int, high: int, log: bool) -> int:
        return self._trial.suggest_int(name, low, high, log=log)

    def number(self, name: str, low: float, high: float, log: bool) -> float:
        return self._trial.suggest_float(name, low, high, log=log)
