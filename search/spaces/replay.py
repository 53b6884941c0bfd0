"""Searchers run against recorded results: what they would have found, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.records.tables import FAILED, FINISHED
from fusion_search.search.spaces.objectives import MAXIMIZE
from fusion_search.search.spaces.parameters import Sample
from fusion_search.search.spaces.searchers import make_searcher, propose_new
from fusion_search.search.spaces.searchers.base import Observation
from fusion_search.search.spaces.space import Space

Table = Mapping[str, tuple[Sample, tuple[float, ...], float]]
"""Sample id -> the sample, its objective values, the seconds it took."""

_MISSES: Final = 300


def replay(
    space: Space,
    table: Table,
    searcher: str,
    directions: Sequence[str],
    seed: int,
    *,
    trials: int | None = None,
) -> pd.DataFrame:
    """One run of a searcher, answered from the records.

    A proposal that has no record is told as failed and is not counted as a trial; a run ends
    where it proposes nothing recorded any more.

    Returns:
        One row per trial: ``searcher``, ``seed``, ``trial`` (from 1), ``value`` and ``best`` so
        far (of the first objective), ``seconds`` (recorded, summed up), ``unrecorded`` (proposals
        without a record so far).
    """
    asked = make_searcher(searcher, space, directions, seed)
    better = max if directions[0] == MAXIMIZE else min
    wanted = min(len(table), trials or len(table))
    history: list[Observation] = []
    seen: set[str] = set()
    rows: list[dict[str, Any]] = []

    def is_new(sample: Sample) -> bool:
        return space.sample_id(sample) not in seen

    missed = 0
    while len(rows) < wanted and missed < _MISSES:
        sample = propose_new(asked, history, is_new)
        if sample is None:
            break
        identity = space.sample_id(sample)
        seen.add(identity)
        if identity not in table:
            history.append(Observation(sample=sample, state=FAILED))
            missed += 1
            continue
        missed = 0
        _, values, seconds = table[identity]
        history.append(Observation(sample=sample, state=FINISHED, values=values))
        last = rows[-1] if rows else {"best": values[0], "seconds": 0.0}
        rows.append(
            {
                "searcher": searcher,
                "seed": seed,
                "trial": len(rows) + 1,
                "value": values[0],
                "best": better(last["best"], values[0]),
                "seconds": last["seconds"] + seconds,
                "unrecorded": len(history) - len(rows) - 1,
            }
        )
    return pd.DataFrame(rows)
