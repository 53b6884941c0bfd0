"""``space``, ``replay`` and ``importance``: spaces and records, without training."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from fusion_search.analysis.records.advice import command, option
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import FINISHED, REPLAY_FILE, read_rows, to_parquet
from fusion_search.search.commands.options import data_of, storage_of
from fusion_search.search.declaration.configuration import build_search, load_configuration
from fusion_search.search.declaration.specification import (
    FOLD_RUNGS,
    SEARCHER_NAMES,
    SearchSpecification,
)
from fusion_search.search.records.search_folder import load_search
from fusion_search.search.running.progress import warn_of_damage
from fusion_search.search.running.samples.earlier import known_observations
from fusion_search.search.running.space_search import print_importance
from fusion_search.search.spaces.objectives import MAXIMIZE
from fusion_search.search.spaces.parameters import Choice, Parameter, Range, Sample
from fusion_search.search.spaces.replay import replay as replay_once
from fusion_search.search.spaces.searchers.random_grid import (
    RandomSearcher,
    enumerate_samples,
)
from fusion_search.search.spaces.space import Space
from fusion_search.search.trials.fields import ConfigurationError

REPLAYED = ("random", "tpe", "nsga2", "surrogate")
_SAMPLES = 10


def space(arguments: argparse.Namespace) -> int:
    """``space CONFIG``: print it."""
    raw = load_configuration(arguments.config, arguments.set, ["space"])
    search = build_search(raw, data_of(arguments))
    given = [word for one in arguments.set for word in option("--set", one)]
    given += option("--data", arguments.data) if arguments.data else ()
    return print_space(search, _space(search, _planned(arguments.config, *given)))


def importance(arguments: argparse.Namespace) -> int:
    """``importance NAME``: compute it for every choice, from the records there are."""
    name, location = arguments.name, storage_of(arguments)
    search = load_search(name, location, data_of(arguments))
    _space(search, f"`{command('report', name, storage=location)}` compares what it trained")
    print_importance(search, open_storage(location).below(name))
    return 0


def replay(arguments: argparse.Namespace) -> int:
    """``replay NAME``: run searchers against its records."""
    return replay_search(
        arguments.name,
        storage_of(arguments),
        arguments.searchers,
        seeds=arguments.seeds,
        trials=arguments.trials,
        config=arguments.space,
        data=data_of(arguments),
    )


def print_space(search: SearchSpecification, space: Space) -> int:
    """Print a search's space, its size where it can be counted, and ten samples or all."""
    print(f"search {search.name}: {count_label(len(space.parameters()), 'parameter')}")
    for name, parameter in space.parameters().items():
        print(f"  {name:28} {_words(parameter)}")
    if space.trials_per_sample > 1:
        print(f"  every sample is {space.trials_per_sample} trials, and averaged")
    if search.scheduler.name == FOLD_RUNGS:
        print(
            f"  in fold after fold, of {len(space.folds)}: between two, one in "
            f"{search.scheduler.reduction} is kept"
        )
    size = space.size()
    count = (
        "not countable: a number is drawn from a range"
        if size is None
        else count_label(size, "sample")
    )
    print(f"size: {count}")
    if space.options:
        print(f"placements: {space.placements():,}, options of what is placed not counted")
    if size is not None and size <= _SAMPLES:
        print("all of them:")
        samples = enumerate_samples(space)
    else:
        print(f"{_SAMPLES} samples at random (seed {search.searcher.seed}):")
        samples = _random_samples(search, space)
    for sample in samples:
        trial = space.trials(sample)[0]
        print(f"  {trial.trial_id}  {_sample_words(sample)}")
    return 0


def _random_samples(search: SearchSpecification, space: Space) -> Iterator[Sample]:
    directions = [one.direction for one in search.objectives]
    searcher = RandomSearcher(space, directions, search.searcher.seed)
    for number in range(_SAMPLES):
        sample = searcher.propose((), number)
        assert sample is not None
        yield sample


def replay_search(
    name: str,
    location: str,
    searchers: Sequence[str] | None,
    *,
    seeds: int,
    trials: int | None,
    config: Path | None,
    data: Path | None = None,
) -> int:
    """Run searchers against a search's records and write what they would have found.

    Args:
        name, location: the search and its storage.
        searchers: those to compare; random is always among them.
        seeds: runs of each.
        trials: of each run at most; None for all that are recorded.
        config: a configuration whose space the records fill; None for the search's own.
        data: where the command line says that real data lie.

    Raises:
        ValueError: there is no space, no finished trial lies in it, or no such searcher.
    """
    for searcher in searchers or ():
        if searcher not in SEARCHER_NAMES:
            raise ConfigurationError(
                f"--searcher is {searcher!r}; allowed: {', '.join(SEARCHER_NAMES)}"
            )
    search = load_search(name, location, data)
    declared, remedy = search, "give one that its records fill with --space"
    if config is not None:
        asked = ["replay", name, *option("--storage", location), "--space"]
        declared, remedy = (
            build_search(load_configuration(config, asked=asked), data),
            _planned(config),
        )
    space, objectives = _space(declared, remedy), declared.objectives
    size = space.size()
    if size is None:
        ranges = [one for one, kind in space.parameters().items() if isinstance(kind, Range)]
        raise ConfigurationError(
            f"the space has numbers drawn from ranges ({', '.join(ranges)}), which records cannot "
            "fill; replay a search whose space is countable, or give one with --space"
        )
    storage = open_storage(location).below(name)
    seconds = {
        row["trial_id"]: row["seconds"]
        for row in read_rows(storage, "trials", on_damage=warn_of_damage)
        if row["status"] == FINISHED
    }
    table: dict[str, tuple[Sample, tuple[float, ...], float]] = {}
    for one in known_observations(space, objectives, storage):
        cost = sum(seconds.get(trial.trial_id, 0.0) for trial in space.trials(one.sample))
        table[space.sample_id(one.sample)] = (one.sample, one.values, cost)
    if not table:
        raise ConfigurationError(f"search {name!r} has no finished trial in the space")
    print(f"records: {count_label(len(table), 'sample')} of the space's {size:,}")
    names = list(dict.fromkeys(["random", *(searchers or REPLAYED)]))
    directions = [one.direction for one in objectives]
    parts = []
    with tqdm(total=len(names) * seeds, unit="run", disable=not sys.stderr.isatty()) as bar:
        for searcher in names:
            for seed in range(seeds):
                parts.append(replay_once(space, table, searcher, directions, seed, trials=trials))
                bar.update(1)
    runs = pd.concat(parts, ignore_index=True)
    storage.write(to_parquet(pa.Table.from_pandas(runs, preserve_index=False)), REPLAY_FILE)
    best = runs["best"].max() if directions[0] == MAXIMIZE else runs["best"].min()
    runs_words = f"{count_label(len(names), 'searcher')} x {count_label(seeds, 'seed')}"
    print(f"{runs_words}; best recorded {objectives[0].name} {best:.4f}")
    for searcher in names:
        last = runs[runs["searcher"] == searcher].groupby("seed")["trial"].max()
        print(f"  {searcher:10} {count_label(int(np.median(last)), 'trial')} a run")
    print(f"figures: {command('draw', 'replay', name, storage=location)}")
    return 0


def _space(search: SearchSpecification, remedy: str) -> Space:
    """The space of a search, or an error that says what to do with a sweep instead."""
    if search.space is None:
        raise ConfigurationError(f"search {search.name!r} is a sweep; it has no space; {remedy}")
    return search.space


def _planned(config: Path, *options: str) -> str:
    return f"`{command('plan', str(config), *options)}` says what it runs"


def _words(parameter: Parameter) -> str:
    if isinstance(parameter, Choice):
        return ", ".join(str(one) for one in parameter.options)
    kind = "whole number" if parameter.integer else "number"
    scale = ", logarithmic" if parameter.log else ""
    return f"{kind} from {parameter.low:g} to {parameter.high:g}{scale}"


def _sample_words(sample: Sample) -> str:
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in sample.items()
    )
