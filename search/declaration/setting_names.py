"""What settings of a task may not be called: each is a column, and part of samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Final

from fusion_search.analysis.records.columns import COLUMNS
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.search.spaces.names import END, STREAMS, TRAIN
from fusion_search.search.spaces.space import Space
from fusion_search.search.tasks.base import Task, settings_fields
from fusion_search.search.trials.describe import axes_of, metrics_of
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings

_JOINED: Final = ("trials", "epochs", "grid", "predictions")
"""Tables that readers join by trial, so that a column means the same in each."""


def check_names(task: Task) -> None:
    """Settings of a task have names of their own.

    Raises:
        ConfigurationError: one name is there twice, or means something else in every search.
        TaskError: they are no frozen dataclass.
    """
    own = [name for _, name in _own(task)]
    names = own + [
        one.name for kind in (TrainingSettings, EvaluationSettings) for one in fields(kind)
    ]
    twice = sorted({one for one in names if names.count(one) > 1})
    if twice:
        raise ConfigurationError(
            f"{type(task).__name__} has settings of one name: {', '.join(twice)}; network, data, "
            "training and evaluation share the columns of the records, so give each its own"
        )
    for group, name in _own(task):
        if name in (STREAMS, END, TRAIN):
            raise _taken(task, group, name, "means something else in every search")


def check_columns(task: Task) -> None:
    """Settings are not called like columns of every task; of a task whose data have been opened.

    Raises:
        ConfigurationError: one is.
    """
    try:
        bare = TaskDescription(
            task="a task", streams=(), axes=axes_of(task), metrics=metrics_of(task)
        )
    except ValueError as error:  # of axes and metrics
        raise ConfigurationError(f"{type(task).__name__}: {error}") from error
    taken = {one.name: table for table in _JOINED for one in COLUMNS[table](bare)}
    for group, name in _own(task):
        if name in taken:
            raise _taken(task, group, name, f"is a column of every search's {taken[name]}")


def check_sampled_names(space: Space) -> None:
    """Settings are not called like what may sit at a site.

    Raises:
        ConfigurationError: one is.
    """
    for group, name in _own(space.task):
        if name in space.placed_names:
            raise _taken(space.task, group, name, "says in samples what sits at a site")


def _own(task: Task) -> Iterator[tuple[str, str]]:
    for group in ("network", "data"):
        for name in settings_fields(task, group):
            yield group, name


def _taken(task: Task, group: str, name: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{type(task).__name__} has a setting of its {group} called {name}, which {why}; "
        "give it another name"
    )
