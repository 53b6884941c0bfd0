"""How a trial lets its network answer: on a device, in a precision, with the time of data apart."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from fusion_search.datasets.batch import Batch, Tree
from fusion_search.datasets.loading import Loaders

if TYPE_CHECKING:
    from fusion_search.search.tasks.base import Task


class Stopwatch:
    """Adds up the seconds spent inside ``with`` blocks."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds += time.perf_counter() - self._started


@dataclass(frozen=True)
class Run:
    """Calls ``Task.predict`` under a trial's precision.

    Attributes:
        task: whose ``predict`` it is.
        device: where batches are moved.
        precision: float32, or bfloat16 by autocast; outputs are float32.
        data_clock: adds up the seconds that examples take.
        loaders: load examples, perhaps ahead.
    """

    task: Task
    device: torch.device
    precision: str = "float32"
    data_clock: Stopwatch = field(default_factory=Stopwatch)
    loaders: Loaders = field(default_factory=Loaders)

    def __call__(self, network: nn.Module, batch: Batch) -> Tree:
        """What the network gives for a batch on the device."""
        with self.autocast():
            outputs = self.task.predict(network, batch)
        return as_float(outputs)

    def autocast(self) -> torch.autocast:
        """Mixed precision by setting; the weights stay float32."""
        enabled = self.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)


def as_float(outputs: Any) -> Any:
    """Outputs of mixed precision in float32, for losses and metrics."""

    def whole(one: Any) -> Any:
        half = isinstance(one, Tensor) and one.dtype in (torch.bfloat16, torch.float16)
        return one.float() if half else one

    return tree_map(whole, outputs)
