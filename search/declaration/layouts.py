"""What the networks of a search offer to placements, asked of its task once each."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from fusion_search.datasets.batch import Data
from fusion_search.models.layout import Layout
from fusion_search.search.declaration.setting_fields import settings_of
from fusion_search.search.spaces.parameters import options_of
from fusion_search.search.tasks.base import Task, open_task
from fusion_search.search.trials.fields import ConfigurationError


class Layouts:
    """Settings of a network -> its layout. Data are opened only where a network needs them.

    Args:
        task: what is fused.
        data: settings of its data as declared; of those that are searched the first is taken.
    """

    def __init__(self, task: Task, data: Any) -> None:
        self._task, self._declared = task, data
        self._known: dict[Any, Layout] = {}

    def __call__(self, network: Any) -> Layout:
        """The layout of a network with these settings."""
        try:
            known = network in self._known
        except TypeError as error:
            raise ConfigurationError(
                f"settings of the network cannot be compared ({error}); use tuples, not lists"
            ) from error
        if not known:
            self._known[network] = self._task.layout(network, lambda: self._data)
        return self._known[network]

    def open(self) -> None:
        """Take over the axes and metrics that a task has from its data alone."""
        if not (self._task.axes and self._task.metrics):
            _ = self._data

    def folds(self) -> int:
        """How many the data have."""
        return self._data.folds

    @cached_property
    def _data(self) -> Data:
        declared = settings_of(self._task.data, self._declared, "data.")
        first = {name: options_of(one)[0] for name, one in declared.items()}
        try:
            settings = self._task.data(**first)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"data.{error}") from error
        return open_task(self._task, settings)
