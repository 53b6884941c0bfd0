"""The plan of a search, ``planned.json``: every trial, and what fold rungs decided."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from fusion_search.analysis.records.plain_data import LARGEST_PLAN, read_json
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import DECISIONS, PLANNED_FILE, PLANNED_REMEDY
from fusion_search.search.spaces.fold_rungs import Decision, parse_decision
from fusion_search.search.spaces.parameters import Sample
from fusion_search.search.trials.specification import TrialSpecification


def write_plan(
    storage: Storage,
    trials: Sequence[TrialSpecification],
    planned: int,
    samples: Mapping[str, Sample] | None = None,
    decisions: Sequence[Decision] = (),
) -> None:
    """Write the trials a search consists of, so that what is missing can be named.

    Args:
        storage: the search's folder.
        trials: in the order declared or proposed.
        planned: how many there will be.
        samples: of a search over a space, trial id -> the sample it belongs to.
        decisions: of fold rungs, in the order in which they were made.
    """
    rows = [
        {**trial.planned(), **({"sample": samples[trial.trial_id]} if samples else {})}
        for trial in trials
    ]
    plan: dict[str, Any] = {"planned": planned, "trials": rows}
    if decisions:
        plan[DECISIONS] = [asdict(one) for one in decisions]
    storage.write(json.dumps(plan, indent=1).encode(), PLANNED_FILE)


@dataclass(frozen=True)
class Plan:
    """What one reading of ``planned.json`` gave.

    Attributes:
        count: how many trials there will be; None where the file was never written.
        rows: of the trials so far, in the order declared or proposed.
        decisions: of fold rungs, in the order in which they were made.
    """

    count: int | None = None
    rows: Sequence[Mapping[str, Any]] = ()
    decisions: Sequence[Decision] = ()


def read_plan(storage: Storage, *, samples: bool = False) -> Plan:
    """What :func:`write_plan` wrote; to be read once by a command, for it may be long.

    Args:
        storage: the search's folder.
        samples: every row must have a sample, as those of a search over a space do.

    Raises:
        ValueError: the file is damaged.
    """
    if not storage.exists(PLANNED_FILE):
        return Plan()
    plain = read_json(storage, PLANNED_FILE, PLANNED_REMEDY, _parsed, LARGEST_PLAN)
    count, rows = plain["planned"], plain["trials"]
    if type(count) is not int or count < 0:
        raise _damaged(storage)
    if not isinstance(rows, list) or not all(_is_planned(row, samples) for row in rows):
        raise _damaged(storage)
    try:
        decisions = [parse_decision(one) for one in plain.get(DECISIONS, ())]
    except (ValueError, TypeError) as error:
        raise _damaged(storage) from error
    return Plan(count, rows, decisions)


def _parsed(plain: Any) -> dict[str, Any]:
    if not isinstance(plain, dict) or not {"planned", "trials"} <= set(plain):
        raise ValueError(_NO_PLAN)
    return plain


def _damaged(storage: Storage) -> ValueError:
    return ValueError(f"{storage.named(PLANNED_FILE)} is damaged ({_NO_PLAN}); {PLANNED_REMEDY}")


_NO_PLAN: Final = "it is not a list of trials"


def _is_planned(row: Any, sampled: bool) -> bool:
    return (
        isinstance(row, dict)
        and all(isinstance(row.get(name), str) for name in ("trial_id", "trial_name"))
        and isinstance(row.get("sample", None if sampled else {}), dict)
    )
