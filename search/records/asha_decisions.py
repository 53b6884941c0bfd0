"""What ASHA decided in a search, kept in its folder: a killed search goes on with all of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from fusion_search.analysis.records.plain_data import LARGEST_PLAN, read_json
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import ASHA_FILE
from fusion_search.search.spaces.asha import Asha, RungDecision, parse_rung_decision
from fusion_search.search.spaces.parameters import Sample


class AshaDecisions:
    """Decides at every rung once, and writes it down before anything follows from it.

    A trial that is run again, after a lost worker, node or driver, comes to its rungs again: it is
    answered as it was, and counts once among those that others are set against.

    Args:
        storage: the search's folder.
        rule: decides.

    Raises:
        ValueError: what was decided so far is damaged.
    """

    def __init__(self, storage: Storage, rule: Asha) -> None:
        self._storage = storage
        self._rule = rule
        self._decisions = read_asha_decisions(storage)
        self._made = {(one.sample_id, one.epochs): one for one in self._decisions}

    def goes_on(
        self, sample_id: str, epochs: int, score: float, sample: Sample | None = None
    ) -> bool:
        """Whether a sample is trained beyond so many epochs.

        ``sample`` is what it chose, which a rule needs that sets samples against their like.

        Raises:
            StorageError: the decision cannot be written: it was not made.
        """
        if epochs not in self._rule.rungs:
            return True
        made = self._made.get((sample_id, epochs))
        if made is None:
            group = self._rule.group(sample or {})
            made = self._rule.decide(self._decisions, sample_id, epochs, score, group)
            plain = [asdict(one) for one in (*self._decisions, made)]
            self._storage.write(json.dumps(plain).encode(), ASHA_FILE)
            self._decisions.append(made)
            self._made[sample_id, epochs] = made
        return made.kept


def read_asha_decisions(storage: Storage) -> list[RungDecision]:
    """What ASHA decided in a search, in order; nothing where there is none.

    Raises:
        ValueError: the file is damaged.
    """
    if not storage.exists(ASHA_FILE):
        return []
    remedy = (
        "put a copy back, or delete it and resume the search: trials are then set against those "
        "that come after it"
    )
    return read_json(storage, ASHA_FILE, remedy, _parsed, LARGEST_PLAN)


def _parsed(plain: Any) -> list[RungDecision]:
    if not isinstance(plain, list):
        raise ValueError("it is not a list of decisions")
    return [parse_rung_decision(one) for one in plain]
