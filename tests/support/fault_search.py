"""Searches with faults, and what they would have left without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from small_recorder import small_recorder

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_rows
from fusion_search.search.running.recorded_trial import execute
from fusion_search.search.tasks.digits.task import Digits
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.specification import parse_specification

HERE: Final = Path(__file__).parents[1] / "faults"
FAULTY: Final = {
    "program": (str(HERE / "faulty_search.py"),),
    "PYTHONPATH": str(HERE),
}
"""For ``search_process``: FAULTS in the environment then says what goes wrong in the workers."""

_OWN: Final = ("search", "seconds", "_at", "host", "memory", "git_commit", "threads", "cpus")
"""Parts of the names of columns in which two runs of a trial may differ."""


def undisturbed(folder: Path, disturbed: Storage) -> Storage:
    """The records of the same trials, run one after another without Ray."""
    storage = open_storage(folder / "test")
    for row in read_rows(disturbed, "trials"):
        trial = parse_specification(row["specification"], Digits())
        opened = OpenedTask(Digits(), trial.data)
        execute(trial, opened, small_recorder(storage, opened))
    return storage


def assert_equal_records(
    one: Storage, other: Storage, trial_ids: Sequence[str] | None = None
) -> None:
    """Every table but the search's name and what was measured, and the weights.

    Args:
        trial_ids: of the trials to compare; None for all.
    """
    assert one.names("trials")
    for table in ("trials", "epochs", "grid", "predictions"):
        first, second = (_shared(each, table, trial_ids) for each in (one, other))
        assert len(first) == len(second)
        for ours, theirs in zip(first, second, strict=True):
            assert ours == theirs
    names = one.names("checkpoints")
    assert names == other.names("checkpoints")
    for name in names:
        first, second = (
            torch.load(each.path("checkpoints", name), weights_only=True)["state"]
            for each in (one, other)
        )
        assert all(torch.equal(first[key], second[key]) for key in first)


def _shared(storage: Storage, table: str, trial_ids: Sequence[str] | None) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if not any(one in name for one in _OWN)}
        for row in read_rows(storage, table)
        if trial_ids is None or row["trial_id"] in trial_ids
    ]
