"""A task with the data that its trials share, opened once each."""

from __future__ import annotations

from typing import Any

from fusion_search.datasets.batch import Data
from fusion_search.search.tasks.base import Task, open_task


class OpenedTask:
    """A task, and data by settings and fold. Picklable: it travels to the workers.

    Args:
        task: what is fused.
        settings: of the data that are opened at once; others follow when they are asked for.
        fold: likewise.

    Attributes:
        task: as given.
        first: the data opened at once.

    Raises:
        TaskError: see ``open_task``.
    """

    def __init__(self, task: Task, settings: Any, fold: int = 0) -> None:
        self.task = task
        self._first = (settings, fold)
        self._opened = {self._first: open_task(task, settings, fold)}

    @property
    def first(self) -> Data:
        """The data opened at once."""
        return self.data(*self._first)

    def data(self, settings: Any, fold: int = 0) -> Data:
        """Of these settings and this fold."""
        key = (settings, fold)
        if key not in self._opened:
            self._opened[key] = open_task(self.task, settings, fold)
        return self._opened[key]

    def __getstate__(self) -> dict[str, Any]:
        # What does not lie in memory, such as an open file, is opened where it is needed.
        kept = {key: data for key, data in self._opened.items() if data.shared}
        return {**self.__dict__, "_opened": kept}
