"""The conditional search space: every sample is a valid trial.

A space asks a chooser only for what has a meaning, in a fixed order: couplings exist for the
levels at which the streams run apart, the gate where there are such levels, MMTM's settings where
there is a coupling. What is not asked for does not exist in the sample.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from fusion_search.models.placement import CONCATENATION, NONE
from fusion_search.search.trials.specification import Pair, TrialSpecification, snr_text

Scalar = str | int | float | bool
Sample = dict[str, Scalar]

PLACED: Final = {"couplings": "coupling", "to_audio": "to_audio", "to_image": "to_image"}
"""Field of a trial -> first part of the names in a sample (``coupling_1``)."""

MMTM_FIELDS: Final = ("mmtm_ratio", "mmtm_relu", "mmtm_identity")
ORDINARY_FIELDS: Final = (
    *("units", "dense_units", "batch_size"),
    *("learning_rate", "weight_decay", "dropout"),
)


@dataclass(frozen=True)
class Choice:
    """One of these options."""

    options: tuple[Scalar, ...]


@dataclass(frozen=True)
class Range:
    """A number from ``low`` to ``high``, both included, uniform or uniform in its logarithm."""

    low: float
    high: float
    log: bool = False
    integer: bool = False


Parameter = Choice | Range


class Chooser(Protocol):
    """Whoever decides: chance, a searcher, an enumeration, a finished sample."""

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        """One of at least two options."""
        ...

    def integer(self, name: str, low: int, high: int, log: bool) -> int:
        """A whole number from ``low`` to ``high``."""
        ...

    def number(self, name: str, low: float, high: float, log: bool) -> float:
        """A number from ``low`` to ``high``."""
        ...


class OutsideError(ValueError):
    """A trial does not lie in the space."""

    def __init__(self, name: str = "train_pair") -> None:
        super().__init__(f"the {name} of a sample does not lie in the space of its search")


@dataclass(frozen=True, kw_only=True)
class Space:
    """A space of trials.

    Attributes:
        fixed: fields of ``TrialSpecification`` that all trials share.
        levels: the network's levels L.
        fusion_depths: those above L do not exist at L.
        placed: ``couplings``, ``to_audio``, ``to_image`` -> options at every insertion point that
            is not in ``placed_at``.
        placed_at: the same -> insertion point -> options there.
        fusions: how the separate levels end.
        parameters_of: parameters of ``MMTM_FIELDS`` and ``ORDINARY_FIELDS`` that are searched.
        train_pairs: a choice among them; or, with ``average``, all of them for every sample.
        seed: of every trial.
    """

    fixed: Mapping[str, Any]
    train_pairs: tuple[Pair, ...]
    average: bool = False
    levels: tuple[int, ...] = (2,)
    fusion_depths: tuple[int, ...] = (0, 1, 2)
    placed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    placed_at: Mapping[str, Mapping[int, tuple[str, ...]]] = field(default_factory=dict)
    fusions: tuple[str, ...] = (CONCATENATION,)
    parameters_of: Mapping[str, Parameter] = field(default_factory=dict)
    seed: int = 0

    def sample(self, chooser: Chooser) -> Sample:
        """One sample; a parameter with a single option is not part of it."""
        sample, _ = self._walk(chooser)
        return sample

    def trials(self, sample: Sample) -> tuple[TrialSpecification, ...]:
        """The trials of a sample: one, or one per train pair when these are averaged."""
        _, fields = self._walk(_Follow(sample))
        pairs = self.train_pairs if self.average else [fields.pop("train_pair")]
        return tuple(
            TrialSpecification(
                **self.fixed,
                **fields,
                train_audio_snr=audio,
                train_visual_snr=visual,
                seed=self.seed,
            )
            for audio, visual in pairs
        )

    def any_trial(self) -> TrialSpecification:
        """Some trial of the space; all share what makes their examples and their budget."""
        audio, visual = self.train_pairs[0]
        return TrialSpecification(
            **self.fixed, levels=self.levels[0], train_audio_snr=audio, train_visual_snr=visual
        )

    def sample_of(self, trial: TrialSpecification) -> Sample | None:
        """The sample that gives this trial's searched fields; None when it lies outside."""
        try:
            if self.average and trial.train_pair not in self.train_pairs:
                raise OutsideError
            sample, fields = self._walk(_Read(trial))
        except OutsideError:
            return None
        # A field with a single option was not asked for.
        pair = fields.pop("train_pair", trial.train_pair)
        same = pair == trial.train_pair and all(
            value == getattr(trial, name)
            for name, value in fields.items()
            if name not in (*PLACED, *MMTM_FIELDS)  # the placement has them
        )
        rebuilt = self.trials(sample)[0].network.placement
        return sample if same and rebuilt == trial.network.placement else None

    def sample_id(self, sample: Sample) -> str:
        """The same for all samples that build the same trials."""
        ids = [trial.trial_id for trial in self.trials(sample)]
        return ids[0] if len(ids) == 1 else hashlib.sha256("".join(ids).encode()).hexdigest()[:12]

    @property
    def trials_per_sample(self) -> int:
        """How many trials a sample stands for."""
        return len(self.train_pairs) if self.average else 1

    def parameters(self) -> dict[str, Parameter]:
        """Every name that may occur in a sample, in the order asked, with what it may be."""
        found: dict[str, Parameter] = {}
        self._declare(found, "levels", Choice(self.levels))
        for levels in self.levels:
            self._declare(found, self._depth_name(levels), Choice(self.depths(levels)))
        for point in range(1, max(self._deepest()) + 1):
            for name, short in PLACED.items():
                self._declare(found, f"{short}_{point}", Choice(self.options(name, point)))
        if max(self._deepest()) > 0:
            self._declare(found, "fusion", Choice(self.fusions))
        for name, parameter in self.parameters_of.items():
            if name not in MMTM_FIELDS or self._may_couple():
                self._declare(found, name, parameter)
        if not self.average:
            pairs = tuple(pair_text(pair) for pair in self.train_pairs)
            self._declare(found, "train_pair", Choice(pairs))
        return found

    def size(self) -> int | None:
        """How many samples there are; None when a number is drawn from a continuous range."""
        counts = {name: _count(parameter) for name, parameter in self.parameters_of.items()}
        if None in counts.values():
            return None
        mmtm = math.prod(counts.get(name) or 1 for name in MMTM_FIELDS)
        ordinary = math.prod(counts.get(name) or 1 for name in ORDINARY_FIELDS)
        placements = 0
        for levels in self.levels:
            for depth in self.depths(levels):
                points = range(1, depth + 1)
                options = {name: [self.options(name, k) for k in points] for name in PLACED}
                every = math.prod(len(one) for one in options["couplings"])
                without = math.prod(NONE in one for one in options["couplings"])
                connections = math.prod(
                    len(one) for name in ("to_audio", "to_image") for one in options[name]
                )
                fusions = len(self.fusions) if depth else 1
                placements += ((every - without) * mmtm + without) * connections * fusions
        return placements * ordinary * (1 if self.average else len(self.train_pairs))

    def depths(self, levels: int) -> tuple[int, ...]:
        """The fusion depths that exist in a network of so many levels."""
        return tuple(depth for depth in self.fusion_depths if depth <= levels)

    def options(self, name: str, point: int) -> tuple[str, ...]:
        """What may be placed at an insertion point."""
        return self.placed_at.get(name, {}).get(point, self.placed.get(name, (NONE,)))

    @staticmethod
    def complexity(sample: Sample) -> int:
        """Number of couplings and connections; the gate is one, "both" connections are two."""
        total = 0
        for name, value in sample.items():
            if name.startswith(tuple(f"{short}_" for short in PLACED.values())):
                total += 2 if value == "both" else value != NONE
            elif name == "fusion":
                total += value != CONCATENATION
        return total

    def _walk(self, chooser: Chooser) -> tuple[Sample, dict[str, Any]]:
        """The sample, and the trial's fields it stands for (the train pair under its own name)."""
        asked = _Asked(chooser)
        levels = asked.of("levels", Choice(self.levels))
        depth = asked.of(self._depth_name(levels), Choice(self.depths(levels)))
        placed: dict[str, list[str]] = {name: [] for name in PLACED}
        for point in range(1, depth + 1):
            for name, short in PLACED.items():
                options = Choice(self.options(name, point))
                placed[name].append(asked.of(f"{short}_{point}", options))
        fields: dict[str, Any] = {"levels": levels, "fusion_depth": depth}
        fields |= {name: tuple(values) for name, values in placed.items()}
        fields["fusion"] = asked.of("fusion", Choice(self.fusions)) if depth else CONCATENATION
        coupled = any(one != NONE for one in placed["couplings"])
        for name, parameter in self.parameters_of.items():
            if coupled or name not in MMTM_FIELDS:
                fields[name] = asked.of(name, parameter)
        if not self.average:
            texts = {pair_text(pair): pair for pair in self.train_pairs}
            fields["train_pair"] = texts[asked.of("train_pair", Choice(tuple(texts)))]
        return asked.sample, fields

    def _depth_name(self, levels: int) -> str:
        # What depths there are depends on the levels; a name must always mean the same options.
        return "fusion_depth" if len(self.levels) == 1 else f"fusion_depth_of_{levels}"

    def _deepest(self) -> Iterable[int]:
        return [max(self.depths(levels)) for levels in self.levels]

    def _may_couple(self) -> bool:
        # A coupling that is the only option of its insertion point is in no sample, but is there.
        points = range(1, max(self._deepest()) + 1)
        return any(one != NONE for point in points for one in self.options("couplings", point))

    @staticmethod
    def _declare(found: dict[str, Parameter], name: str, parameter: Parameter) -> None:
        if isinstance(parameter, Range) or len(parameter.options) > 1:
            found[name] = parameter


def pair_text(pair: Pair) -> str:
    """A train pair in a sample: audio SNR / visual SNR."""
    return "/".join(snr_text(snr) for snr in pair)


def _count(parameter: Parameter) -> int | None:
    if isinstance(parameter, Choice):
        return len(parameter.options)
    return int(parameter.high) - int(parameter.low) + 1 if parameter.integer else None


class _Asked:
    """Asks a chooser and remembers the answers."""

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser
        self.sample: Sample = {}

    def of(self, name: str, parameter: Parameter) -> Any:
        value: Scalar
        if isinstance(parameter, Choice):
            if len(parameter.options) == 1:
                return parameter.options[0]
            value = self._chooser.choice(name, parameter.options)
        elif parameter.integer:
            low, high = int(parameter.low), int(parameter.high)
            value = self._chooser.integer(name, low, high, parameter.log)
        else:
            value = self._chooser.number(name, parameter.low, parameter.high, parameter.log)
        self.sample[name] = value
        return value


class _Follow:
    """Answers as a finished sample does. Raises ``OutsideError`` for what is not in it."""

    def __init__(self, sample: Mapping[str, Scalar]) -> None:
        self._sample = sample

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        value = self._get(name)
        if value not in options:
            raise OutsideError(name)
        return value

    def integer(self, name: str, low: int, high: int, log: bool) -> int:
        return int(self.number(name, low, high, log))

    def number(self, name: str, low: float, high: float, log: bool) -> float:
        value = self._get(name)
        if not isinstance(value, int | float) or not low <= value <= high:
            raise OutsideError(name)
        return value

    def _get(self, name: str) -> Scalar:
        if name not in self._sample:
            raise OutsideError(name)
        return self._sample[name]


class _Read(_Follow):
    """Answers as a trial's fields do.

    Of MMTM's settings that build the same network a trial keeps one, which the space need not have.
    """

    def __init__(self, trial: TrialSpecification) -> None:
        super().__init__({})
        self._trial = trial

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        same = (
            [] if self._get(name) in options else [one for one in options if self._same(name, one)]
        )
        return same[0] if same else super().choice(name, options)

    def number(self, name: str, low: float, high: float, log: bool) -> float:
        inside = low <= float(self._get(name)) <= high
        # A larger ratio gives no larger joint: if another builds the same network, the lowest does.
        return low if not inside and self._same(name, low) else super().number(name, low, high, log)

    def _same(self, name: str, value: Scalar) -> bool:
        changed: dict[str, Any] = {name: value}
        return name in MMTM_FIELDS and replace(self._trial, **changed) == self._trial

    def _get(self, name: str) -> Scalar:
        if name == "train_pair":
            return pair_text(self._trial.train_pair)
        if name.startswith("fusion_depth"):
            return self._trial.fusion_depth
        short, _, point = name.rpartition("_")
        for index, one in enumerate(PLACED.values()):
            if short == one and point.isdigit():
                return self._trial.network.placement.at(int(point))[index]
        value: Scalar = getattr(self._trial, name)
        return value
