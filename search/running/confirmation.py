"""The trials that confirm a search: its best and the plain networks, with fresh seeds.

The search chose by the validation split; these are measured on the test split.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import (
    CANDIDATES_FILE,
    CONFIRMATION_SUFFIX,
    FINISHED,
    SPECIFICATION_FILE,
)
from fusion_search.analysis.records.words.networks import PLAIN, depth_name, settings_text
from fusion_search.models.layout import Placement
from fusion_search.search.declaration.specification import (
    Confirmation,
    SearchOutline,
    SearchSpecification,
)
from fusion_search.search.records.identity import read_identity
from fusion_search.search.running.samples.observations import observation
from fusion_search.search.running.samples.proposals import read_proposals
from fusion_search.search.spaces.objectives import MINIMIZE
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.specification import TrialSpecification

_FIRST_SEED: Final = 1000  # far from the seeds that searches use


class NothingToConfirmError(ValueError):
    """No sample of the search finished."""


@dataclass(frozen=True)
class Candidate:
    """A network to confirm; ``trials`` differ in seed (and in train pair when averaged)."""

    label: str
    role: str  # top or plain
    rank: int | None
    trials: tuple[TrialSpecification, ...]
    search_value: float | None


def choose_candidates(search: SearchSpecification, storage: Storage) -> list[Candidate]:
    """The candidates of a finished search: see :func:`candidates_among`.

    Raises:
        NothingToConfirmError: no sample finished.
    """
    ranked = _ranked(search, storage)
    if not ranked:
        raise NothingToConfirmError(f"search {search.name!r} has no finished trial to confirm")
    return candidates_among(ranked, search)


def candidates_among(
    ranked: Sequence[tuple[tuple[TrialSpecification, ...], float]], search: SearchSpecification
) -> list[Candidate]:
    """The best samples, then plain fusion: where sites depend on settings, such as the fusion
    depth, at every option of the last of these.

    A plain network takes the hyperparameters of the best plain one of its layout on the best
    sample's data; where there is none, those of the best sample. Of other data, such as other
    folds, nothing could be compared.

    Args:
        ranked: trials and first objective of every sample, best first.
        search: how many candidates it wants, and what differs from its own trials.
    """
    settings = search.confirmation
    labels = _labels([trials[0] for trials, _ in ranked[: settings.top]], _varied_layout(search))
    candidates = [
        Candidate(label, "top", rank, _fresh(trials, settings), value)
        for rank, ((trials, value), label) in enumerate(zip(ranked, labels, strict=False), start=1)
    ]
    best = ranked[0][0]
    told = _varied_layout(search)
    found: dict[str, Candidate] = {}
    for trials in _plain_layouts(search, best):
        own = [(those, value) for those, value in ranked if _is_like(those[0], trials[0])]
        chosen, value = own[0] if own else (trials, None)
        label = f"plain {_layout_words(chosen[0], told)}"
        found.setdefault(label, Candidate(label, "plain", None, _fresh(chosen, settings), value))
    return [*candidates, *found.values()]


def confirmation_search(
    search: SearchSpecification, candidates: Sequence[Candidate]
) -> SearchSpecification:
    """The search that runs the candidates' trials, each once."""
    trials = {trial.trial_id: trial for one in candidates for trial in one.trials}
    listed = tuple(sorted(trials.values(), key=lambda trial: trial.seed))
    return SearchSpecification(
        name=search.name + CONFIRMATION_SUFFIX,
        task=search.task,
        definition=search.definition,
        declared={"listed": [trial.to_plain() for trial in listed]},
        listed=listed,
        resources=search.resources,
        mlflow=search.mlflow,
        storage=search.storage,
    )


def check_confirmation(search: SearchOutline, search_id: str | None) -> None:
    """Refuse what lies where a search's confirmation would, and is that of another search.

    Args:
        search: by its name and storage.
        search_id: its id; None of one that begins, which has none yet.

    Raises:
        ConfigurationError: names the folder, and the remedy.
    """
    storage = open_storage(search.storage).below(search.name + CONFIRMATION_SUFFIX)
    if not storage.exists(SPECIFICATION_FILE):
        return
    if search_id is None or not is_confirmation_of(storage, search_id):
        raise ConfigurationError(
            f"{storage.location} confirms another search than this {search.name!r}, such as one of "
            "that name that was deleted; delete it, too, or give it another name, and go on"
        )


def is_confirmation_of(storage: Storage, search_id: str) -> bool:
    """Whether a confirmation is of the search with an id, or does not say (earlier versions)."""
    found = read_identity(storage)
    return found is None or found.confirms in (None, search_id)


def write_candidates(storage: Storage, candidates: Sequence[Candidate]) -> None:
    """Write down what is compared with what."""
    rows: list[dict[str, Any]] = [
        {
            "label": one.label,
            "role": one.role,
            "rank": one.rank,
            **one.trials[0].layout_settings(),
            "search_value": one.search_value,
            "trial_ids": [trial.trial_id for trial in one.trials],
        }
        for one in candidates
    ]
    storage.write(json.dumps(rows, indent=1).encode(), CANDIDATES_FILE)


def _ranked(
    search: SearchSpecification, storage: Storage
) -> list[tuple[tuple[TrialSpecification, ...], float]]:
    """The finished samples' trials and first objective, best first.

    Of equal ones the first that ended is, as ``BestSample`` has it.
    """
    assert search.space is not None
    sign = 1 if search.objectives[0].direction == MINIMIZE else -1
    found = []
    for sample, rows in read_proposals(storage):
        trials = search.space.trials(sample)
        seen = observation(sample, rows, search.definition.metrics[0])
        if len(rows) == len(trials) and seen.state == FINISHED:
            value = seen.values[0]
            found.append((sign * value, max(one["ended_at"] for one in rows), trials, value))
    return [(trials, value) for *_, trials, value in sorted(found, key=lambda one: one[:2])]


def _fresh(
    trials: Sequence[TrialSpecification], settings: Confirmation
) -> tuple[TrialSpecification, ...]:
    overrides = {"split": "test", **settings.settings}
    # A sample's trials may differ in seed alone; fresh ones take the place of all.
    different = {replace(trial, seed=0): trial for trial in trials}
    return tuple(
        replace(trial.with_settings(overrides), seed=_FIRST_SEED + number)
        for number in range(settings.seeds)
        for trial in different.values()
    )


def _plain_layouts(
    search: SearchSpecification, best: Sequence[TrialSpecification]
) -> Iterator[tuple[TrialSpecification, ...]]:
    """The best sample's trials without couplings, at every option of the last layout setting."""
    assert search.space is not None
    names = getattr(best[0].network, "layout_fields", ())[-1:]
    there = [
        {name: values[name] for name in names if name in values}
        for values in search.space.by_layout.networks()
    ]
    own = best[0].placement.streams
    streams = () if () in search.space.streams else own  # fusion, where the space has it
    for values in there:
        with suppress(ValueError):  # a depth that a network of the best's levels does not have
            yield tuple(
                replace(
                    trial,
                    placement=Placement(streams=streams),
                    network=replace(trial.network, **values),
                )
                for trial in best
            )


def _is_like(trial: TrialSpecification, plain: TrialSpecification) -> bool:
    return (trial.placement, trial.data, trial.layout_settings()) == (
        plain.placement,
        plain.data,
        plain.layout_settings(),
    )


def _varied_layout(search: SearchSpecification) -> set[str]:
    """The settings by which layouts of a space are told apart."""
    assert search.space is not None
    there = list(search.space.by_layout.networks())
    return {name for values in there for name in values if values[name] != there[0][name]}


def _layout_words(trial: TrialSpecification, told: Container[str]) -> str:
    found = trial.layout_settings()
    if {"fusion_depth", "levels"} <= set(found):
        return depth_name(found["fusion_depth"], found["levels"])
    words = settings_text({name: one for name, one in found.items() if name in told})
    alone = trial.placement.streams
    return words or (f"{' + '.join(alone)} alone" if alone else "fusion")


def _labels(trials: Sequence[TrialSpecification], told: Container[str]) -> list[str]:
    """Of candidates, by what was searched: layout, placement, other settings of network and data.

    Those that are alike in these are told apart by all their settings.
    """
    labels = [_label(one, told) for one in trials]
    whole = [settings_text(one.planned()["settings"]) for one in trials]
    return [
        f"{_label(one, told, settings=False)}, {settings}"
        if settings and labels.count(label) > 1
        else label
        for one, label, settings in zip(trials, labels, whole, strict=True)
    ]


def _label(trial: TrialSpecification, told: Container[str], settings: bool = True) -> str:
    layout = {name: one for name, one in trial.layout_settings().items() if name in told}
    plain = trial.to_plain()
    own = {
        name: one
        for name, one in trial.planned()["settings"].items()
        if settings and name not in plain["training"]
    }
    parts = [settings_text(layout), *(trial.placed_parts or [PLAIN]), settings_text(own)]
    return ", ".join(filter(None, parts))
