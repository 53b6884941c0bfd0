"""Where in a network should two senses meet? What a user imports, each when it is first asked for.

>>> from fusion_search import TrialSpecification, run_trial
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from fusion_search.datasets.torch_extensions import mend_imports

if TYPE_CHECKING:
    from fusion_search.datasets.batch import Batch, Data, TensorData
    from fusion_search.datasets.columns import Columns
    from fusion_search.datasets.conditions import ABSENT, ORIGINAL, Axis, Range
    from fusion_search.datasets.metrics import Metric
    from fusion_search.datasets.splits import split
    from fusion_search.models.convlstm import ConvLSTM
    from fusion_search.models.coupled.heads import Concatenate
    from fusion_search.models.coupled.network import CoupledNetwork
    from fusion_search.models.early_fusion import EarlyFusionNetwork, EarlyFusionSettings
    from fusion_search.models.layout import (
        TOKENS,
        Feature,
        Layout,
        Placement,
        Site,
        View,
        entry_of,
        first_of,
        frames,
        masked_by,
    )
    from fusion_search.models.placement import EarlyFusionPlacement
    from fusion_search.models.weights import load_weights
    from fusion_search.search.python.launching import launch, resume
    from fusion_search.search.python.tables import trials
    from fusion_search.search.python.trained_trial import load_trial
    from fusion_search.search.tasks.base import Classification, Regression, Task
    from fusion_search.search.tasks.named import find_task
    from fusion_search.search.tasks.opened import OpenedTask, open_task
    from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings
    from fusion_search.search.trials.specification import TrialSpecification
    from fusion_search.search.trials.task_trial import TaskTrial
    from fusion_search.search.trials.trial import TrialResult, run_task_trial, run_trial

__all__ = [
    "ABSENT",
    "ORIGINAL",
    "TOKENS",
    "Axis",
    "Batch",
    "Classification",
    "Columns",
    "Concatenate",
    "ConvLSTM",
    "CoupledNetwork",
    "Data",
    "EarlyFusionNetwork",
    "EarlyFusionPlacement",
    "EarlyFusionSettings",
    "EvaluationSettings",
    "Feature",
    "Layout",
    "Metric",
    "OpenedTask",
    "Placement",
    "Range",
    "Regression",
    "Site",
    "Task",
    "TaskTrial",
    "TensorData",
    "TrainingSettings",
    "TrialResult",
    "TrialSpecification",
    "View",
    "entry_of",
    "find_task",
    "first_of",
    "frames",
    "launch",
    "load_trial",
    "load_weights",
    "masked_by",
    "open_task",
    "resume",
    "run_task_trial",
    "run_trial",
    "split",
    "trials",
]

_HOMES: Final = {
    "ABSENT": "datasets.conditions",
    "Axis": "datasets.conditions",
    "Batch": "datasets.batch",
    "Classification": "search.tasks.base",
    "Columns": "datasets.columns",
    "Concatenate": "models.coupled.heads",
    "ConvLSTM": "models.convlstm",
    "CoupledNetwork": "models.coupled.network",
    "Data": "datasets.batch",
    "EarlyFusionNetwork": "models.early_fusion",
    "EarlyFusionPlacement": "models.placement",
    "EarlyFusionSettings": "models.early_fusion",
    "entry_of": "models.layout",
    "EvaluationSettings": "search.trials.settings",
    "Feature": "models.layout",
    "find_task": "search.tasks.named",
    "first_of": "models.layout",
    "frames": "models.layout",
    "launch": "search.python.launching",
    "Layout": "models.layout",
    "load_trial": "search.python.trained_trial",
    "load_weights": "models.weights",
    "masked_by": "models.layout",
    "Metric": "datasets.metrics",
    "open_task": "search.tasks.opened",
    "OpenedTask": "search.tasks.opened",
    "ORIGINAL": "datasets.conditions",
    "Placement": "models.layout",
    "Range": "datasets.conditions",
    "Regression": "search.tasks.base",
    "resume": "search.python.launching",
    "run_task_trial": "search.trials.trial",
    "run_trial": "search.trials.trial",
    "Site": "models.layout",
    "split": "datasets.splits",
    "Task": "search.tasks.base",
    "TaskTrial": "search.trials.task_trial",
    "TensorData": "datasets.batch",
    "TOKENS": "models.layout",
    "TrainingSettings": "search.trials.settings",
    "TrialResult": "search.trials.trial",
    "TrialSpecification": "search.trials.specification",
    "trials": "search.python.tables",
    "View": "models.layout",
}

# Before any task's file is imported, which may begin with torchvision.
mend_imports()


def __getattr__(name: str) -> Any:
    # Later, because torch takes seconds that ``fusion-search --help`` should not wait for.
    if name not in _HOMES:
        raise AttributeError(f"fusion_search has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"fusion_search.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
