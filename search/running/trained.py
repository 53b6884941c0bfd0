"""A trained network back from its record: what commands and Python take it from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import nn

from fusion_search.analysis.records.filesystems.errors import UnfitError
from fusion_search.analysis.records.parquet.bounds import LARGEST_BYTES
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import CHECKPOINTS, FINISHED
from fusion_search.analysis.records.torch_file import TorchFileError
from fusion_search.datasets.batch import Data
from fusion_search.search.records.task_code import task_code
from fusion_search.search.tasks.base import Task, TrialError
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.inspection.probe import fresh_network, trained_network
from fusion_search.search.trials.specification import (
    TrialSpecification,
    parse_data,
    parse_specification,
)
from fusion_search.search.trials.trial import run_trial


@dataclass(frozen=True)
class Recorded:
    """A trial as its record says, with its data opened.

    Attributes:
        specification: all there is to know about it.
        opened: its task with its data.
        storage: the folder of its search.
        row: its own of ``trials``.
    """

    specification: TrialSpecification
    opened: OpenedTask
    storage: Storage
    row: Mapping[str, Any]

    @property
    def data(self) -> Data:
        """Of its settings and fold."""
        return self.opened.first

    @property
    def differences(self) -> list[str]:
        """Sentences on what is not as it was when the trial was trained."""
        found = []
        if self.data.fingerprint != self.row["data_fingerprint"]:
            found.append(
                "the data at hand are not those the trial was trained on (fingerprint "
                f"{_or_none(self.data.fingerprint)}, the record has "
                f"{_or_none(self.row['data_fingerprint'])})"
            )
        trained = self.row["code_fingerprint"]
        known = trained if isinstance(trained, str) else None
        if task_code(self.specification.task).fingerprint != known:
            found.append("the code of the task is not that with which the trial was trained")
        return found

    def network(self) -> nn.Module:
        """With the weights of its best epoch, in evaluation mode on the CPU.

        Raises:
            ConfigurationError: they are not kept, missing, damaged, or of another network.
        """
        check_weights(self.storage, self.row)
        name = f"{self.specification.trial_id}.pt"
        where = self.storage.named(CHECKPOINTS, name)
        remedy = _remedy(self.storage, self.specification.trial_id)
        try:
            content = self.storage.read(CHECKPOINTS, name, most=LARGEST_BYTES)
            return trained_network(self.specification, self.opened, content)
        except (TorchFileError, UnfitError) as error:
            raise ConfigurationError(
                f"checkpoint {where} is damaged or of another version ({error}); {remedy}"
            ) from error
        except TrialError as error:
            raise ConfigurationError(
                f"checkpoint {where} does not fit ({error}): it is damaged, or the code of task "
                f"{self.specification.task} has changed since; take the code that trained it; or "
                f"{remedy}"
            ) from error

    def retrained(self) -> nn.Module:
        """Train it again from its record; its weights are not kept.

        Raises:
            ConfigurationError: it cannot be repeated.
            TrialError: it fails.
        """
        if isinstance(self.row.get("changes"), str):
            raise ConfigurationError(
                f"trial {self.specification.trial_id} had its hyperparameters changed while it was "
                "trained, and took over other trials' weights; it cannot be trained again alone"
            )
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(int(self.row["threads"]))  # they change the rounding
            state = run_trial(self.specification, self.opened).state
        finally:
            torch.set_num_threads(threads)
        network = fresh_network(self.specification, self.opened)
        network.load_state_dict(state)
        return network.eval()


def _or_none(fingerprint: str | None) -> str:
    return fingerprint or "none"


def check_weights(storage: Storage, row: Mapping[str, Any]) -> None:
    """Raise ``ConfigurationError`` when a trial has no weights: they are not kept, or missing.

    Args:
        storage: the folder of its search.
        row: of ``trials``.
    """
    trial_id = str(row["trial_id"])
    remedy = _remedy(storage, trial_id)
    if row["status"] != FINISHED:
        raise ConfigurationError(
            f"trial {trial_id} is {row['status']}, and only finished ones keep their weights; "
            f"{remedy}"
        )
    name = f"{trial_id}.pt"
    if not storage.exists(CHECKPOINTS, name):
        where = storage.named(CHECKPOINTS, name)
        raise ConfigurationError(f"checkpoint {where} is missing; put a copy back; or {remedy}")


def _remedy(storage: Storage, trial_id: str) -> str:
    return (
        "choose another trial, or train it again from its record with "
        f'fusion_search.load_trial("{storage.location}", "{trial_id}", retrain=True)'
    )


def recorded(storage: Storage, row: pd.Series, task: Task, *, weights: bool = True) -> Recorded:
    """A trial from its row of ``trials``.

    Args:
        storage: the folder of its search.
        row: of ``trials``.
        task: its task, found by its name.
        weights: whether they will be asked for. Where there are none that is said at once, for
            to open data may take long, and whoever was given the records alone has none.

    Raises:
        ConfigurationError: the task has other settings than when the trial was run, or there are
            no weights.
        ValueError: the data cannot be opened.
    """
    plain = {str(name): one for name, one in row.items()}
    if weights:
        check_weights(storage, plain)
    text = str(row["specification"])
    with _of_task(row):
        data, fold = parse_data(text, task)
    # Before the rest is read: only then a task has the axes that depend on its data.
    opened = OpenedTask(task, data, fold)
    with _of_task(row):
        specification = parse_specification(text, task)
    return Recorded(specification, opened, storage, plain)


@contextmanager
def _of_task(row: pd.Series) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ConfigurationError(
            f"trial {row['trial_id']} is none of task {row['task']} as its code is now ({error}); "
            "take the code that trained it"
        ) from error
