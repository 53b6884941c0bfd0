"""The trials of a sweep: full products, each trial once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Final

from fusion_search.analysis.records.words.names import column_words
from fusion_search.analysis.records.words.networks import value_words
from fusion_search.search.spaces.parameters import Range, options_of
from fusion_search.search.spaces.searchers.random_grid import enumerate_samples
from fusion_search.search.spaces.space import Space
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.plain import plain_value
from fusion_search.search.trials.specification import FOLD, TrialSpecification

_MOST: Final = 100_000
_MOST_VALUES: Final = 4  # that are listed of a setting


def most_trials(space: Space, where: str) -> None:
    """Raise ``ConfigurationError`` when a block cannot be run whole, or has too many trials."""
    size = space.size()
    if size is None:
        raise ConfigurationError(
            f"{where} has a range of numbers; declare a searcher, or give a list of values"
        )
    trials = size * space.trials_per_sample
    if trials > _MOST:
        raise ConfigurationError(f"{where} has {trials:,} trials; allowed: up to {_MOST:,}")


def swept_trials(blocks: Sequence[Space]) -> list[TrialSpecification]:
    """Every trial once: seed by seed, fold by fold, in each the blocks in the order declared.

    So whatever part of a long sweep has run compares all that it declares. Trials that differ only
    in what does not matter, such as the SNR of an input that they do not have, are one.
    """
    samples = [list(enumerate_samples(space)) for space in blocks]
    seeds = dict.fromkeys(seed for space in blocks for seed in space.seeds)
    folds = dict.fromkeys(fold for space in blocks for fold in space.folds)
    found: dict[str, TrialSpecification] = {}
    for seed, fold in itertools.product(seeds, folds):
        for space, own in zip(blocks, samples, strict=True):
            if seed not in space.seeds or fold not in space.folds:
                continue
            # Of a condition that is chosen the sample says which; all are run.
            for condition, sample in itertools.product(space.train, own):
                one = space.trial_of(sample, condition, fold, seed)
                found.setdefault(one.trial_id, one)
    trials = list(found.values())
    return trials if len(blocks) == 1 else _named(trials)


def data_differences(blocks: Iterable[Space], listed: Iterable[TrialSpecification] = ()) -> str:
    """In what the data of trials differ, as "size (8 or 16), fold"; empty in nothing.

    Args:
        blocks: spaces that the trials are of.
        listed: trials by themselves.
    """
    found: dict[str, dict[str, None]] = {FOLD: {}}  # setting -> its values in words, in order
    ranges = set()

    def add(name: str, values: Iterable[object]) -> None:
        found.setdefault(name, {}).update((value_words(plain_value(one)), None) for one in values)

    for block in blocks:
        add(FOLD, block.folds)
        data = block.any_trial().data
        for one in fields(data):
            declared = block.settings.get(("data", one.name))
            if isinstance(declared, Range):
                ranges.add(one.name)
            add(one.name, [getattr(data, one.name)] if declared is None else options_of(declared))
    for trial in listed:
        add(FOLD, [trial.fold])
        for one in fields(trial.data):
            add(one.name, [getattr(trial.data, one.name)])
    words = {name: " or ".join(values) for name, values in found.items() if len(values) > 1}
    bare = {FOLD, *ranges, *(name for name in words if len(found[name]) > _MOST_VALUES)}
    return ", ".join(
        column_words(name) + ("" if name in bare else f" ({one})")
        for name, one in sorted(words.items(), key=lambda one: one[0] == FOLD)
    )


def _named(trials: list[TrialSpecification]) -> list[TrialSpecification]:
    """The same trials, whose names tell what differs between blocks, too."""
    first, *others = [one.settings() for one in trials]
    varied = [name for name in first if any(one[name] != first[name] for one in others)]
    varied += [FOLD] if len({one.fold for one in trials}) > 1 else []
    return [replace(one, varied=tuple(dict.fromkeys((*one.varied, *varied)))) for one in trials]
