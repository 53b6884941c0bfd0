"""A trained network back from its record: what commands and Python take it from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import nn

from fusion_search.analysis.records.parquet.bounds import LARGEST_BYTES
from fusion_search.analysis.records.storage import Storage, UnfitError
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
        name = f"{self.specification.trial_id}.pt"
        where = self.storage.named(CHECKPOINTS, name)
        if self.row["status"] != FINISHED:
            raise ConfigurationError(
                f"trial {self.specification.trial_id} is {self.row['status']}, and only finished "
                f"ones keep their weights; {self._remedy}"
            )
        try:
            content = self.storage.read(CHECKPOINTS, name, most=LARGEST_BYTES)
            return trained_network(self.specification, self.opened, content)
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"checkpoint {where} is missing; put a copy back; or {self._remedy}"
            ) from error
        except (TorchFileError, UnfitError) as error:
            raise ConfigurationError(
                f"checkpoint {where} is damaged or of another version ({error}); {self._remedy}"
            ) from error
        except TrialError as error:
            raise ConfigurationError(
                f"checkpoint {where} does not fit ({error}): it is damaged, or the code of task "
                f"{self.specification.task} has changed since; take the code that trained it; or "
                f"{self._remedy}"
            ) from error

    @property
    def _remedy(self) -> str:
        folder, trial_id = self.storage.location, self.specification.trial_id
        return (
            "choose another trial, or train it again from its record with "
            f'fusion_search.load_trial("{folder}", "{trial_id}", retrain=True)'
        )

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


def recorded(storage: Storage, row: pd.Series, task: Task) -> Recorded:
    """A trial from its row of ``trials``.

    Args:
        storage: the folder of its search.
        row: of ``trials``.
        task: its task, found by its name.

    Raises:
        ConfigurationError: the task has other settings than when the trial was run.
        ValueError: the data cannot be opened.
    """
    text = str(row["specification"])
    with _of_task(row):
        data, fold = parse_data(text, task)
    # Before the rest is read: only then a task has the axes that depend on its data.
    opened = OpenedTask(task, data, fold)
    with _of_task(row):
        specification = parse_specification(text, task)
    return Recorded(specification, opened, storage, {str(name): one for name, one in row.items()})


@contextmanager
def _of_task(row: pd.Series) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ConfigurationError(
            f"trial {row['trial_id']} is none of task {row['task']} as its code is now ({error}); "
            "take the code that trained it"
        ) from error
