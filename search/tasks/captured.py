"""A training step's forward pass, loss and gradients as one CUDA graph.

A step of a small recurrent network is a thousand kernels, each shorter than it takes to start one.
A graph starts them all at once; they are the same kernels on the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from fusion_search.datasets.batch import Batch, Tree
from fusion_search.search.tasks.base import Task

_EAGER_STEPS: Final = 3  # until kernels are compiled and chosen, and memory is fetched

Pass = Callable[[Batch], tuple[Tensor, Tree]]
"""Gives a batch's loss and the outputs, and leaves gradients at the parameters."""


class CapturedPass:
    """A pass, replayed from the fourth batch of a shape on; other shapes are computed as they were.

    Args:
        parameters: what gets gradients, which are None whenever it is called.
        eager: the pass. For all batches of one shape it runs the same kernels, and looks at nothing
            but their inputs and targets.
        device: a GPU.

    What it gives is overwritten by its next call.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], eager: Pass, device: torch.device
    ) -> None:
        self._parameters = [one for one in parameters if one.requires_grad]
        self._eager = eager
        # Gradients are added up on the stream that a parameter was first used on, which for a
        # capture may not be the default one.
        self._stream = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._shape: list[tuple[torch.Size, torch.dtype]] = []
        self._seen = 0

    def __call__(self, batch: Batch) -> tuple[Tensor, Tree]:
        """Loss and outputs, detached where they are replayed."""
        shape = _shape(batch)
        self._shape = self._shape or shape
        if shape != self._shape:
            return self._on_own_stream(batch)
        if self._seen < _EAGER_STEPS:
            self._seen += 1
            return self._on_own_stream(batch)
        if self._graph is None:
            self._graph = self._captured(batch)
        for own, new in zip(_leaves(self._batch), _leaves(batch), strict=True):
            own.copy_(new)
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._given

    def _on_own_stream(self, batch: Batch) -> tuple[Tensor, Tree]:
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            given = self._eager(batch)
        current.wait_stream(self._stream)
        return given

    def _captured(self, batch: Batch) -> torch.cuda.CUDAGraph:
        inputs, targets = tree_map(_copied, (batch.inputs, batch.targets))
        self._batch = Batch(inputs, targets)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            loss, outputs = self._eager(self._batch)
        self._given = loss.detach(), tree_map(_detached, outputs)
        self._gradients = [one.grad for one in self._parameters]
        return graph


def _leaves(batch: Batch) -> list[Tensor]:
    found = tree_leaves((batch.inputs, batch.targets))
    return [one for one in found if isinstance(one, Tensor)]


def _shape(batch: Batch) -> list[tuple[torch.Size, torch.dtype]]:
    return [(one.shape, one.dtype) for one in _leaves(batch)]


def _copied(one: Tree) -> Tree:
    return one.clone() if isinstance(one, Tensor) else one


def _detached(one: Tree) -> Tree:
    return one.detach() if isinstance(one, Tensor) else one


def is_captured(task: Task, settings: Any, device: torch.device) -> bool:
    """Whether steps of a network of these settings are replayed on this device."""
    return device.type == "cuda" and task.captures(settings)


def pass_on(
    parameters: Iterable[nn.Parameter],
    eager: Pass,
    task: Task,
    settings: Any,
    device: torch.device,
) -> Pass:
    """A pass as it is computed on this device: replayed where it can be, else ``eager``."""
    return CapturedPass(parameters, eager, device) if is_captured(task, settings, device) else eager


def with_capture(engine: str, task: Task, settings: Any, device: torch.device) -> str:
    """What computes a network, for the record: its engine, and whether steps are replayed."""
    return f"{engine}, captured" if is_captured(task, settings, device) else engine
