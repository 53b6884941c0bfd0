"""The trials that confirm a search: its best and the plain networks, with fresh seeds.

The search chose by the validation split; these are measured on the test split.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fusion_search.analysis.records.selection import depth_name
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import CANDIDATES_FILE, CONFIRMATION_SUFFIX, FINISHED
from fusion_search.models.placement import CONCATENATION
from fusion_search.search.declaration.specification import Confirmation, SearchSpecification
from fusion_search.search.running.proposals import observation, read_proposals
from fusion_search.search.spaces.objectives import MINIMIZE
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
    return candidates_among(ranked, search.confirmation)


def candidates_among(
    ranked: Sequence[tuple[tuple[TrialSpecification, ...], float]], settings: Confirmation
) -> list[Candidate]:
    """The best samples, then plain fusion at every depth.

    A plain network takes the hyperparameters of the best plain one at its fusion depth; where
    there is none, those of the best sample.

    Args:
        ranked: trials and first objective of every sample, best first.
        settings: how many, and what differs from the search.
    """
    candidates = [
        Candidate(_label(trials[0]), "top", rank, _fresh(trials, settings), value)
        for rank, (trials, value) in enumerate(ranked[: settings.top], start=1)
    ]
    best = ranked[0][0]
    for depth in range(best[0].levels + 1):
        plain = [
            (trials, value)
            for trials, value in ranked
            if _is_plain(trials[0])
            and (trials[0].levels, trials[0].fusion_depth) == (best[0].levels, depth)
        ]
        found, value = plain[0] if plain else (_plain(best, depth), None)
        label = f"plain {depth_name(depth, best[0].levels)}"
        candidates.append(Candidate(label, "plain", None, _fresh(found, settings), value))
    return candidates


def confirmation_search(
    search: SearchSpecification, candidates: Sequence[Candidate]
) -> SearchSpecification:
    """The search that runs the candidates' trials, each once."""
    trials = {trial.trial_id: trial for one in candidates for trial in one.trials}
    return SearchSpecification(
        name=search.name + CONFIRMATION_SUFFIX,
        listed=tuple(sorted(trials.values(), key=lambda trial: trial.seed)),
        resources=search.resources,
        mlflow=search.mlflow,
        storage=search.storage,
    )


def write_candidates(storage: Storage, candidates: Sequence[Candidate]) -> None:
    """Write down what is compared with what."""
    rows: list[dict[str, Any]] = [
        {
            "label": one.label,
            "role": one.role,
            "rank": one.rank,
            "fusion_depth": one.trials[0].fusion_depth,
            "levels": one.trials[0].levels,
            "search_value": one.search_value,
            "trial_ids": [trial.trial_id for trial in one.trials],
        }
        for one in candidates
    ]
    storage.write(json.dumps(rows, indent=1).encode(), CANDIDATES_FILE)


def _ranked(
    search: SearchSpecification, storage: Storage
) -> list[tuple[tuple[TrialSpecification, ...], float]]:
    """The finished samples' trials and first objective, best first."""
    assert search.space is not None
    found = []
    for sample, rows in read_proposals(storage):
        trials = search.space.trials(sample)
        seen = observation(sample, rows)
        if len(rows) == len(trials) and seen.state == FINISHED:
            found.append((trials, seen.values[0]))
    sign = 1 if search.objectives[0].direction == MINIMIZE else -1
    return sorted(found, key=lambda one: sign * one[1])


def _fresh(
    trials: Sequence[TrialSpecification], settings: Confirmation
) -> tuple[TrialSpecification, ...]:
    overrides = {"evaluation_split": "test", **settings.trials}
    return tuple(
        replace(trial, seed=_FIRST_SEED + number, **overrides)
        for number in range(settings.seeds)
        for trial in trials
    )


def _is_plain(trial: TrialSpecification) -> bool:
    return not trial.placement_name


def _plain(trials: Sequence[TrialSpecification], depth: int) -> tuple[TrialSpecification, ...]:
    nothing: dict[str, Any] = {"couplings": (), "to_audio": (), "to_image": ()}
    return tuple(
        replace(trial, fusion_depth=depth, fusion=CONCATENATION, **nothing) for trial in trials
    )


def _label(trial: TrialSpecification) -> str:
    return f"d={trial.fusion_depth}, {trial.placement_name or 'plain'}"
