"""Searches as they lie in a storage folder."""

from __future__ import annotations

import json
from collections.abc import Collection

import pandas as pd

from fusion_search.analysis.records.plain_data import read_content
from fusion_search.analysis.records.selection import no_such_search
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import EXHAUSTED_FILE, FINISHED, SPECIFICATION_FILE
from fusion_search.search.declaration.configuration import build_search, is_name, parse_yaml
from fusion_search.search.declaration.fields import ConfigurationError, known
from fusion_search.search.declaration.specification import SearchSpecification
from fusion_search.search.records.driver_file import read_driver
from fusion_search.search.records.recorder import read_plan
from fusion_search.search.trials.specification import TrialSpecification


def load_search(name: str, location: str) -> SearchSpecification:
    """The specification of an existing search, stored where it was found.

    Raises:
        ValueError: there is no such search; names those that are there.
    """
    storage = open_storage(location).below(name)
    # A name that leads elsewhere, such as "../other", is no search's.
    if not is_name(name) or not storage.exists(SPECIFICATION_FILE):
        raise ConfigurationError(no_such_search(name, location, search_names(location)))
    where = storage.named(SPECIFICATION_FILE)
    raw = parse_yaml(read_content(storage, SPECIFICATION_FILE), where)
    try:
        # It is called as its folder; of an earlier version, 25921e05 stands there as a number.
        found = {"name": name, "storage": location}
        return build_search({**known(SearchSpecification, raw, ""), **found})
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def search_names(location: str) -> list[str]:
    """The searches in a storage folder."""
    storage = open_storage(location)
    names = [name for name in storage.names() if is_name(name)]
    return [name for name in names if storage.is_there(name, SPECIFICATION_FILE)]


def search_state(storage: Storage, planned: int, ended: int) -> str:
    """Running, ended, or interrupted."""
    if read_driver(storage) is not None:
        return "running"
    return "ended" if ended >= planned else "interrupted"


def known_trials(search: SearchSpecification, storage: Storage) -> list[TrialSpecification]:
    """The trials of a sweep, or those that a searcher has proposed so far."""
    if search.space is None:
        return search.planned_trials()
    plan = read_plan(storage, samples=True)
    samples = {json.dumps(row["sample"]): row["sample"] for row in plan}
    return [trial for sample in samples.values() for trial in search.space.trials(sample)]


def skipped_trials(
    storage: Storage, trials: pd.DataFrame, damaged: Collection[str] = ()
) -> set[str]:
    """Planned trials that are never run: another of their sample failed or was stopped.

    Args:
        storage: the search's folder.
        trials: its rows of TRIALS.
        damaged: ids of trials whose record cannot be read, which counts as failed.
    """
    plan = [(json.dumps(row.get("sample")), row["trial_id"]) for row in read_plan(storage)]
    spoilt = {*trials.loc[trials["status"] != FINISHED, "trial_id"], *damaged}
    over = {sample for sample, trial_id in plan if sample != "null" and trial_id in spoilt}
    return {trial_id for sample, trial_id in plan if sample in over} - {
        *trials["trial_id"],
        *damaged,
    }


def planned_count(search: SearchSpecification, storage: Storage) -> int:
    """How many trials a search will run.

    Of a space, as many as samples were declared or exist, unless the searcher found it exhausted.
    """
    if search.space is None:
        return len(search.planned_trials())
    if storage.exists(EXHAUSTED_FILE):
        return len(read_plan(storage))
    size = search.space.size()
    samples = search.searcher.samples if size is None else min(size, search.searcher.samples)
    return samples * search.space.trials_per_sample
