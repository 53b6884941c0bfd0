"""What the networks of a search offer to placements, asked of its task once each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from fusion_search.datasets.batch import Data
from fusion_search.models.layout import Layout
from fusion_search.search.tasks.base import Task, open_task
from fusion_search.search.trials.fields import typed


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
        if network not in self._known:
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
        declared = self._declared if isinstance(self._declared, Mapping) else {}
        first = {
            name: one[0] if isinstance(one, list) and one else one for name, one in declared.items()
        }
        return open_task(self._task, typed(self._task.data, first, "data."))
