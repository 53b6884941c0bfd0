"""What a search may choose: options or a range, and whoever chooses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fusion_search.search.trials.plain import plain_value

Scalar = str | int | float | bool
Sample = dict[str, Scalar]
"""What was chosen, by name."""


@dataclass(frozen=True)
class Choice:
    """One of these options, as a sample holds them.

    Attributes:
        options: numbers, texts or truth values.
        values: what they stand for, where that is something else (a list, nothing at all).
    """

    options: tuple[Scalar, ...]
    values: tuple[Any, ...] = ()

    def value(self, option: Scalar) -> Any:
        """What an option stands for."""
        return self.values[self.options.index(option)] if self.values else option

    def option(self, value: Any) -> Any:
        """The option that stands for a value; the value itself where there is none."""
        known = self.values or self.options
        return self.options[known.index(value)] if value in known else value


@dataclass(frozen=True)
class Range:
    """A number from ``low`` to ``high``, both included, uniform or uniform in its logarithm."""

    low: float
    high: float
    log: bool = False
    integer: bool = False


Parameter = Choice | Range


def choice_of(values: Sequence[Any]) -> Choice:
    """Among values of any kind; those that are no scalars are named by their JSON."""
    values = tuple(values)
    if all(isinstance(one, str | int | float | bool) for one in values):
        return Choice(values)
    texts = (
        one if isinstance(one, str) else json.dumps(plain_value(one), sort_keys=True)
        for one in values
    )
    return Choice(tuple(texts), values)


def is_searched(parameter: Parameter) -> bool:
    """Whether there is anything to choose."""
    return not isinstance(parameter, Choice) or len(parameter.options) > 1


def count_of(parameter: Parameter) -> int | None:
    """How many options there are; None in a continuous range."""
    if isinstance(parameter, Choice):
        return len(parameter.options)
    return int(parameter.high) - int(parameter.low) + 1 if parameter.integer else None


def options_of(parameter: Parameter) -> tuple[Any, ...]:
    """The values of a choice, every whole number of a range, or both ends of a continuous one."""
    if isinstance(parameter, Choice):
        return parameter.values or parameter.options
    if parameter.integer:
        return tuple(range(int(parameter.low), int(parameter.high) + 1))
    return parameter.low, parameter.high


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

    def __init__(self, name: str) -> None:
        super().__init__(f"the {name} of a sample does not lie in the space of its search")


class Asked:
    """Asks a chooser and remembers the answers."""

    def __init__(self, chooser: Chooser) -> None:
        self.chooser = chooser
        self.sample: Sample = {}

    def of(self, name: str, parameter: Parameter) -> Any:
        """The value chosen; what has a single option is not asked for, and is in no sample."""
        option: Scalar
        if isinstance(parameter, Choice):
            if len(parameter.options) == 1:
                return parameter.value(parameter.options[0])
            option = self.chooser.choice(name, parameter.options)
        elif parameter.integer:
            low, high = int(parameter.low), int(parameter.high)
            option = self.chooser.integer(name, low, high, parameter.log)
        else:
            option = self.chooser.number(name, parameter.low, parameter.high, parameter.log)
        self.sample[name] = option
        return parameter.value(option) if isinstance(parameter, Choice) else option


class Follow:
    """Answers as a finished sample does. Raises ``OutsideError`` for what is not in it."""

    def __init__(self, sample: Mapping[str, Scalar]) -> None:
        self._sample = sample

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        """The sample's, when it is an option."""
        value = self._get(name)
        if value not in options:
            raise OutsideError(name)
        return value

    def integer(self, name: str, low: int, high: int, log: bool) -> int:
        """The sample's, when it is inside."""
        return int(self.number(name, low, high, log))

    def number(self, name: str, low: float, high: float, log: bool) -> float:
        """The sample's, when it is inside."""
        value = self._get(name)
        if not isinstance(value, int | float) or not low <= value <= high:
            raise OutsideError(name)
        return value

    def _get(self, name: str) -> Scalar:
        if name not in self._sample:
            raise OutsideError(name)
        return self._sample[name]


class Extreme:
    """Chooses the first or the last of everything."""

    def __init__(self, last: bool) -> None:
        self._last = last

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        """An end of the options."""
        return options[-1 if self._last else 0]

    def integer(self, name: str, low: int, high: int, log: bool) -> int:
        """An end of the range."""
        return high if self._last else low

    def number(self, name: str, low: float, high: float, log: bool) -> float:
        """An end of the range."""
        return high if self._last else low
