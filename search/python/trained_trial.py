"""A trained network back from the records of its search."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch
from torch import nn
from torch.utils.data import Dataset

from fusion_search.analysis.figures.timeline import choose_trial
from fusion_search.analysis.records.storage import open_storage
from fusion_search.datasets.batch import Data
from fusion_search.search.python.evaluation import evaluated
from fusion_search.search.python.places import GivenTask, open_found, task_of
from fusion_search.search.running.trained import Recorded, recorded
from fusion_search.search.tasks.base import Task
from fusion_search.search.trials.fields import ConfigurationError, value_of
from fusion_search.search.trials.settings import Device
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.trial import choose_device

BEST: Final = "best"


@dataclass(frozen=True, repr=False)
class TrainedTrial:
    """A trial of a search with its trained network.

    Attributes:
        network: with the weights of its best epoch, in evaluation mode on the CPU.
    """

    network: nn.Module
    _recorded: Recorded

    @property
    def record(self) -> Mapping[str, Any]:
        """Its row of ``trials``."""
        return self._recorded.row

    @property
    def task(self) -> Task:
        """What it was trained for: ``task.predict(network, batch)``, ``task.loss``, its axes."""
        return self._recorded.opened.task

    @property
    def specification(self) -> TrialSpecification:
        """All there is to know of it: settings, placement, train condition, fold and seed."""
        return self._recorded.specification

    @property
    def data(self) -> Data:
        """What it was trained, validated and tested on."""
        return self._recorded.data

    def __repr__(self) -> str:
        return f"<trial {self.record['trial_name']} ({self.specification.trial_id})>"

    def save(self, file: str | Path) -> None:
        """Write the network's state dict, to be loaded by ``torch.load(FILE, weights_only=True)``.

        Args:
            file: a path or a URI; a reader sees the old content or the whole new one.

        Raises:
            ValueError: it names no file.
            OSError: it cannot be written.
        """
        content = io.BytesIO()
        torch.save(self.network.state_dict(), content)
        folder, slash, name = str(file).rpartition("/")
        if name in ("", ".", "..") or Path(str(file)).is_dir():
            raise ConfigurationError(f"file is {str(file)!r}; give one, such as winner.pt")
        open_storage(folder or slash or ".").write(content.getvalue(), name)

    def evaluate(
        self,
        examples: Dataset[Any] | str | Path | None = None,
        *,
        groups: Sequence[Any] | None = None,
        resamples: int = 1000,
        device: str = "auto",
    ) -> pd.DataFrame:
        """Loss and metrics at every test condition, also where an input is absent.

        Args:
            examples: a map-style data set whose items are as the task's; a file that the task
                reads, such as a table; the test split of the trial's fold without any. Of
                examples that it was trained or chosen on, a warning says so.
            groups: [n], whose each example is, such as persons; else ``examples.groups``, where
                there are some. Examples of one group are no independent evidence, so the
                intervals are over groups.
            resamples: how often examples or groups are drawn again for the intervals.
            device: auto, cpu or cuda.

        Returns:
            A row per condition: ``test_<axis>``, ``n``, ``loss`` and each metric with the ends
            of its 95 % interval, ``<metric>_low`` and ``<metric>_high``: Wilson's of a share of
            examples, else percentiles of the bootstrap; NaN where there is one example or group.
            ``attrs["intervals"]`` says over what they are, as ``95 % over 12 groups``.

        Raises:
            ValueError: there is no example, they are none of the task, or there is no such device.
        """
        dataset = self._examples(examples)
        whose = getattr(dataset, "groups", None) if groups is None else groups
        where = choose_device(value_of(Device, device, "device"))
        try:
            return evaluated(
                self._recorded,
                self.network.to(where),
                dataset,
                groups=whose,
                resamples=resamples,
                device=where,
            )
        finally:
            self.network.cpu()

    def _examples(self, given: Dataset[Any] | str | Path | None) -> Dataset[Any]:
        if given is None:
            return self.data.test
        if isinstance(given, str | Path):
            settings, fold = self.specification.data, self.specification.fold
            return self.task.read(Path(given).expanduser(), settings, fold)
        for split, use in (("train", "trained"), ("validation", "chosen")):
            if given is self.data.split(split):
                warnings.warn(
                    f"these are the {split} examples, on which the network was {use}: on others "
                    "it is likely to do worse",
                    stacklevel=3,
                )
        return given


def load_trial(
    search: str | Path,
    trial: str = BEST,
    *,
    task: GivenTask = None,
    data_folder: str | Path | None = None,
    retrain: bool = False,
) -> TrainedTrial:
    """A trained network back from its record, with its task and data.

    Every finished trial keeps the weights of its best epoch, in ``results/NAME/checkpoints``.

    Args:
        search: its folder, ``results/NAME``, or a URI such as ``s3://bucket/results/NAME``.
        trial: its name, its id, or the beginning of either; ``best`` is the best trial of the best
            sample, as the search's last line and ``status`` name it.
        task: the task, where it is known here alone, as one of a notebook is, or its name; else
            found by the name that its search has.
        data_folder: of the real data (``FUSION_SEARCH_DATA``, else the cache folder).
        retrain: train it again, here and now, from its record: one that keeps no weights because
            it was stopped, failed or lost them. It warns where data or code have changed since.

    Raises:
        ValueError: there is no such trial; its weights are missing or do not fit; or its task or
            data are not here.
    """
    found = open_found(search)
    best = trial == BEST
    row = choose_trial(found, None) if best else choose_trial(found, trial, found.trials)
    of = task_of(task, str(row["task"]), data_folder)
    own = recorded(found.storage, row, of, weights=not retrain)
    for difference in own.differences:
        warnings.warn(difference, stacklevel=2)
    return TrainedTrial(own.retrained() if retrain else own.network(), own)
