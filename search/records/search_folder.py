"""Searches as they lie in a storage folder."""

from __future__ import annotations

import json

from fusion_search.analysis.records.plain_data import shown
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import EXHAUSTED_FILE, SPECIFICATION_FILE
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
        there = ", ".join(search_names(location)) or "none"
        raise ConfigurationError(
            f"there is no search {shown(name)} in {location}; searches there: {there}"
        )
    where = storage.named(SPECIFICATION_FILE)
    raw = parse_yaml(storage.read(SPECIFICATION_FILE), where)
    try:
        return build_search({**known(SearchSpecification, raw, ""), "storage": location})
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
