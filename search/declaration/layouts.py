"""What the networks of a search offer to placements, asked of its task once each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

from fusion_search.analysis.records.secrets import shown
from fusion_search.datasets.batch import Data
from fusion_search.datasets.errors import count_label
from fusion_search.models.layout import Layout
from fusion_search.search.declaration.setting_fields import settings_of
from fusion_search.search.spaces.parameters import options_of
from fusion_search.search.tasks.base import Task
from fusion_search.search.tasks.opened import open_task, raised
from fusion_search.search.trials.fields import ConfigurationError

_MOST_OPENED: Final = 16  # of data with other settings, to compare their folds


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
            try:
                self._known[network] = self._task.layout(network, lambda: self._data)
            except ConfigurationError:
                raise
            except ValueError as error:  # of whoever wrote the network
                name = type(self._task).__name__
                raise ConfigurationError(f"a network of {name} with {network}: {error}") from error
            except OSError:
                raise
            except Exception as error:  # whatever the code of the task raises
                name = type(self._task).__name__
                raise ConfigurationError(
                    f"a network of {name} with {network} raises {raised(self._task, error)}"
                ) from error
        return self._known[network]

    def open(self) -> None:
        """Take over the axes and metrics that a task has from its data alone."""
        if not (self._task.axes and self._task.metrics):
            _ = self._data

    @property
    def opened(self) -> Data | None:
        """The data, where something needed them."""
        found: Data | None = self.__dict__.get("_data")
        return found

    def folds(self) -> int:
        """How many the data have.

        Raises:
            ConfigurationError: so many with one of the options declared, and so many with another.
        """
        first, *others = itertools.islice(itertools.product(*self._options.values()), _MOST_OPENED)
        for other in others:
            count = self._open(other).folds
            if count != self._data.folds:
                raise ConfigurationError(
                    f"data with {self._words(first)} have "
                    f"{count_label(self._data.folds, 'fold')}, and with {self._words(other)} "
                    f"{count}; declare options that have as many, or a sweep with a block for each"
                )
        return self._data.folds

    @cached_property
    def _data(self) -> Data:
        return self._open([options[0] for options in self._options.values()])

    @cached_property
    def _options(self) -> dict[str, Sequence[Any]]:
        declared = settings_of(self._task.data, self._declared, "data.")
        return {name: options_of(one) for name, one in declared.items()}

    def _words(self, values: Sequence[Any]) -> str:
        varied = [name for name, options in self._options.items() if len(options) > 1]
        named = dict(zip(self._options, values, strict=True))
        return ", ".join(f"{name} {shown(named[name])}" for name in varied)

    def _open(self, values: Sequence[Any]) -> Data:
        try:
            settings = self._task.data(**dict(zip(self._options, values, strict=True)))
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"data.{error}") from error
        return open_task(self._task, settings)
