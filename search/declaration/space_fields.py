"""A space as declared in YAML.

    space:
      levels: [2, 3]                     # a list is a choice, a single value is fixed
      fusion_depths: [0, 1, 2]           # default: all from 0 to the most levels
      couplings: [none, mmtm, sum]       # at every insertion point
      to_audio: {1: [none], 2: [none, cross]}    # or at each by itself; default: none
      to_image: [none, cross, residual, both]
      fusion: [concatenation, gate_audio, gate_image]
      mmtm_ratio: [2, 4]
      learning_rate: {low: 0.001, high: 0.01, log: true}
      units: {low: 4, high: 16}
      train_pairs: [[0.5, 0.25], [1, 0.5]]       # a choice; {average: all} averages all 16

"Subsets of insertion points" are couplings that may be none at each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, cast, get_type_hints

from fusion_search.analysis.records.plain_data import shown, shown_name
from fusion_search.models.early_fusion import MOST_LEVELS
from fusion_search.models.placement import CONCATENATION, CONNECTIONS, COUPLINGS, FUSIONS, NONE
from fusion_search.search.declaration.fields import (
    ConfigurationError,
    known,
    listed,
    one_of,
    train_pair,
    value_of,
)
from fusion_search.search.spaces.space import (
    MMTM_FIELDS,
    ORDINARY_FIELDS,
    PLACED,
    Choice,
    Parameter,
    Range,
    Space,
    pair_text,
)
from fusion_search.search.trials.specification import TRAIN_PAIRS, Pair, TrialSpecification

_FIELDS: Final = [
    *("levels", "fusion_depths", *PLACED, "fusion", *MMTM_FIELDS, *ORDINARY_FIELDS),
    *("train_pairs", "seed"),
]
_PLACEABLE: Final = {"couplings": COUPLINGS, "to_audio": CONNECTIONS, "to_image": CONNECTIONS}

Check = Callable[[Any, str], Any]


def build_space(raw: Any, fixed: Mapping[str, Any]) -> Space:
    """Check a declared space and freeze it; ``fixed`` are the fields that its trials share.

    Raises:
        ConfigurationError: names the field and the allowed values.
    """
    values = known(_FIELDS, raw, "space.")
    for name in fixed:
        if name in values:
            raise ConfigurationError(f"trials.{name} is searched in space; keep one of the two")
        if name in (*PLACED, "fusion"):
            raise ConfigurationError(f"trials.{name} is a placement; declare it under space")
    whole: Check = lambda value, where: value_of(int, value, where)  # noqa: E731
    levels = _options(values.get("levels", fixed.get("levels", 2)), "space.levels", whole)
    for one in levels:
        if not 1 <= one <= MOST_LEVELS:
            raise ConfigurationError(f"space.levels holds {one}; allowed: 1 to {MOST_LEVELS}")
    depths = values.get("fusion_depths", list(range(max(levels) + 1)))
    pairs, average = _pairs(values.get("train_pairs"))
    placed, placed_at = _placed(values, max(levels))
    space = Space(
        fixed={name: value for name, value in fixed.items() if name != "levels"},
        train_pairs=pairs,
        average=average,
        levels=levels,
        fusion_depths=_options(depths, "space.fusion_depths", whole),
        placed=placed,
        placed_at=placed_at,
        fusions=_options(values.get("fusion", CONCATENATION), "space.fusion", one_of(FUSIONS)),
        parameters_of={
            name: _parameter(name, values[name])
            for name in (*MMTM_FIELDS, *ORDINARY_FIELDS)
            if name in values
        },
        seed=value_of(int, values.get("seed", 0), "space.seed"),
    )
    _check_depths(space)
    _check_trials(space)
    return space


def space_to_plain(space: Space) -> dict[str, Any]:
    """As YAML would hold it; :func:`build_space` gives the same space back."""
    pairs = [[_plain_snr(snr) for snr in pair] for pair in space.train_pairs]
    plain: dict[str, Any] = {
        "levels": list(space.levels),
        "fusion_depths": list(space.fusion_depths),
    }
    deepest = max(space.levels)
    for name in PLACED:
        if name in space.placed:
            plain[name] = list(space.placed[name])
        elif name in space.placed_at:
            points = range(1, deepest + 1)
            plain[name] = {point: list(space.options(name, point)) for point in points}
    plain["fusion"] = list(space.fusions)
    for name, parameter in space.parameters_of.items():
        if isinstance(parameter, Choice):
            plain[name] = list(parameter.options)
        else:
            low, high = parameter.low, parameter.high
            ends = [int(low), int(high)] if parameter.integer else [low, high]
            plain[name] = {"low": ends[0], "high": ends[1], "log": parameter.log}
    plain["train_pairs"] = {"average": pairs} if space.average else pairs
    plain["seed"] = space.seed
    return plain


def _plain_snr(snr: float) -> float | str:
    return "original" if snr == float("inf") else snr


def _options(raw: Any, where: str, check: Check) -> tuple[Any, ...]:
    """A list is a choice, a single value is the only option."""
    values = listed(raw, where) if isinstance(raw, list) else [raw]
    options = tuple(check(value, where) for value in values)
    twice = [one for index, one in enumerate(options) if one in options[:index]]
    if twice:
        raise ConfigurationError(f"{where} holds {shown(twice[0])} twice; keep one")
    return options


def _pairs(raw: Any) -> tuple[tuple[Pair, ...], bool]:
    where = "space.train_pairs"
    hint = " of [audio SNR, visual SNR], or all, or {average: all}"
    average = isinstance(raw, Mapping)
    if average:
        raw = known(["average"], raw, f"{where}.").get("average")
    if raw == "all":
        return TRAIN_PAIRS, average
    options = _options(listed(raw, where, hint=hint), where, train_pair)
    # A sample knows a pair by its text, in which an SNR has six digits.
    _options([pair_text(pair) for pair in options], where, lambda text, _: text)
    return options, average


def _placed(
    values: Mapping[str, Any], deepest: int
) -> tuple[dict[str, tuple[str, ...]], dict[str, dict[int, tuple[str, ...]]]]:
    """Options for all insertion points alike, or by insertion point."""
    alike, single = {}, {}
    for name, allowed in _PLACEABLE.items():
        raw, where = values.get(name), f"space.{name}"
        if isinstance(raw, Mapping):
            declared = _known_points(raw, where, deepest)
            single[name] = {
                point: _options(declared.get(point, NONE), f"{where}.{point}", one_of(allowed))
                for point in range(1, deepest + 1)
            }
        elif raw is not None:
            alike[name] = _options(raw, where, one_of(allowed))
    return alike, single


def _known_points(raw: Mapping[Any, Any], where: str, deepest: int) -> dict[int, Any]:
    """Insertion point -> what is declared there."""
    for point in raw:
        if type(point) is not int or not 1 <= point <= deepest:
            raise ConfigurationError(
                f"{where}.{shown_name(point)} is not an insertion point; allowed: 1 to {deepest} "
                "(levels)"
            )
    return dict(raw)


def _parameter(name: str, raw: Any) -> Parameter:
    kind, where = get_type_hints(TrialSpecification)[name], f"space.{name}"
    check: Check = lambda value, at: value_of(kind, value, at)  # noqa: E731
    if not isinstance(raw, Mapping):
        return Choice(_options(raw, where, check))
    if kind is bool:
        raise ConfigurationError(f"{where} must be true, false, or a list of both")
    ends = known(["low", "high", "log"], raw, f"{where}.")
    if not {"low", "high"} <= set(ends):
        raise ConfigurationError(f"{where} must have low and high, or be a list of values")
    low, high = (check(ends[name], f"{where}.{name}") for name in ("low", "high"))
    log = value_of(bool, ends.get("log", False), f"{where}.log")
    if not low < high:
        raise ConfigurationError(f"{where}.low is {low} and high is {high}; allowed: low < high")
    if log and low <= 0:
        raise ConfigurationError(f"{where}.low is {low} with log: true; allowed: above 0")
    return Range(low, high, log, integer=kind is int)


def _check_depths(space: Space) -> None:
    for depth in space.fusion_depths:
        if not 0 <= depth <= max(space.levels):
            raise ConfigurationError(
                f"space.fusion_depths holds {depth}; allowed: 0 to {max(space.levels)} (levels)"
            )
    for levels in space.levels:
        if not space.depths(levels):
            raise ConfigurationError(
                f"space.fusion_depths has nothing for levels {levels}; allowed: 0 to {levels}"
            )


class _Extreme:
    """Chooses the first or the last of everything."""

    def __init__(self, last: bool) -> None:
        self._last = last

    def choice(self, name: str, options: Any) -> Any:
        return options[-1 if self._last else 0]

    def integer(self, name: str, low: int, high: int, log: bool) -> int:
        return high if self._last else low

    def number(self, name: str, low: float, high: float, log: bool) -> float:
        return high if self._last else low


def _check_trials(space: Space) -> None:
    """Every option must make a valid trial: each is tried once, in a trial that has it."""
    try:
        for last in (False, True):
            space.trials(space.sample(_Extreme(last)))
        for name, parameter in space.parameters_of.items():
            ends = parameter.options if isinstance(parameter, Choice) else ()
            for value in ends:
                replace(space.any_trial(), **cast(dict[str, Any], {name: value}))
        for levels in space.levels:
            for audio, visual in space.train_pairs:
                replace(
                    space.any_trial(),
                    levels=levels,
                    train_audio_snr=audio,
                    train_visual_snr=visual,
                    seed=space.seed,
                )
    except ValueError as error:
        raise ConfigurationError(f"space: {error}") from error
