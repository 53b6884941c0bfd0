"""The commands that a search's report advises: those that work on that search, and no others."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from fusion_search.analysis.records.advice import (
    command,
    figures_of_results,
    go_on_command,
    read_options,
)
from fusion_search.analysis.records.samples import FEWEST_SAMPLES, finished_samples
from fusion_search.analysis.records.selection import Search
from fusion_search.analysis.records.words.names import is_unnamed


def advised(search: Search, specification: Mapping[str, Any], storage: str) -> dict[str, str]:
    """Verb -> command. Every verb reads the specification, so without one there are none.

    What runs trials has the options that the search last ran with, what reads records its data.

    Args:
        search: what the commands are for.
        specification: its own, as plain data; empty when it cannot be read.
        storage: where the search is found.
    """
    if not specification:
        return {}
    running, reading = ["resume", "retry"], []
    task = search.description.task
    if is_space(specification):
        if not is_unnamed(task):  # what a notebook defined is confirmed by no command
            running.append("confirm")
        if finished_samples(search.trials) >= FEWEST_SAMPLES:
            reading.append("importance")
        if is_countable(specification):
            reading.append("replay")
    options = read_options(search.storage)
    return {
        **{one: go_on_command(one, search.name, task, storage, options) for one in running},
        **{one: command(one, search.name, *options.data_words, storage=storage) for one in reading},
    }


def declared_confirmation(specification: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a specification says of the confirmation; nothing where it declares none."""
    found = _mapping(specification.get("confirmation"))
    counts = [found.get(one) for one in ("top", "seeds")]
    return found if all(isinstance(one, int) and one for one in counts) else {}


def is_space(specification: Mapping[str, Any]) -> bool:
    """Whether samples of a space were proposed, rather than a sweep run in full."""
    return "searcher" in specification


def searched(
    specification: Mapping[str, Any], varied: Collection[str] | None = None
) -> dict[str, Any]:
    """What a declared space leaves a choice of: name -> options or range.

    Args:
        specification: as plain data.
        varied: the settings that its trials say were searched. A list alone does not tell a choice
            from a value that is a list, such as the sizes of an image; None, before any trial has
            ended, takes each for a choice.
    """
    found: dict[str, Any] = {}
    for group in ("network", "data", "training"):
        found |= {
            name: options
            for name, options in _mapping(specification.get(group)).items()
            if (_is_range(options) or isinstance(options, list))
            and (varied is None or name in varied)
        }
    placement = _mapping(specification.get("placement"))
    for name, options in placement.items():
        if name == "connections":
            found |= _mapping(options)
        elif name == "options":
            for kind, given in _mapping(options).items():
                found |= {f"{kind}.{one}": value for one, value in _mapping(given).items()}
        else:
            found[name] = options
    train = specification.get("train")
    if isinstance(train, Mapping) and "choose" in train:
        found["train condition"] = train["choose"]
    return {name: options for name, options in found.items() if _is_choice(options)}


def varied_settings(trials: pd.DataFrame) -> set[str] | None:
    """The settings that a search varies, as its trials' records name them; None without trials."""
    texts = trials["specification"].dropna()
    if texts.empty:
        return None
    return {name for text in texts.unique() for name in json.loads(text).get("varied", ())}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_range(options: Any) -> bool:
    return isinstance(options, Mapping) and "low" in options


def _is_choice(options: Any) -> bool:
    """A range, a list of several options, or at some site one of these."""
    if isinstance(options, Mapping):
        return _is_range(options) or any(map(_is_choice, options.values()))
    return isinstance(options, list) and len(options) > 1


def is_countable(specification: Mapping[str, Any]) -> bool:
    """Whether no choice is a number from a range, unless a whole one."""
    ranges = [one for one in searched(specification).values() if "low" in one]
    return not any(isinstance(one["low"], float) for one in ranges)


def figures_of_sweep(search: Search) -> list[str | None]:
    """What draws a sweep's results; None while none has finished."""
    storage = search.storage.parent.location
    return [
        command("draw", figure, search.name, storage=storage)
        for figure in figures_of_results(search.finished["streams"], search.description.task)
    ] or [None]
