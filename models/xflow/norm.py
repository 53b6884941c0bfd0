"""Batch normalisation as XFlow's framework had it: over a batch, or step by step over frames."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

EPSILON: Final = 1e-3


def as_published(network: nn.Module, momentum: float) -> None:
    """Give every batch normalisation the paper's epsilon, and a momentum.

    Running statistics begin as the plain mean of the first batches: else, from mean 0 and
    variance 1 on, they would take hundreds of steps to reach grey values. (**Choice**; after
    1 / momentum batches it makes no difference.)
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eps = EPSILON
            module.register_forward_pre_hook(partial(_paced, momentum))


def _paced(momentum: float, module: nn.Module, _given: Any) -> None:
    if module.training:
        seen = int(module.num_batches_tracked)  # type: ignore[arg-type]
        module.momentum = max(momentum, 1 / (seen + 1))  # type: ignore[assignment]


class StepNorm(nn.Module):
    """Batch normalisation of frames with one scale and one shift per time step.

    Statistics of a step are over all values of its frames, whatever their shape. In evaluation a
    step that no train example reached has those of the last one before it.

    Args:
        steps: T.
        momentum: of the running statistics, which begin as the mean of the first batches.

    Inputs: frames [N, ...] and the step of each, [N] int64. Output: like the frames.
    """

    running_mean: Tensor
    running_var: Tensor
    batches: Tensor

    def __init__(self, steps: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.weight, self.bias = nn.Parameter(torch.ones(steps)), nn.Parameter(torch.zeros(steps))
        self.register_buffer("running_mean", torch.zeros(steps))
        self.register_buffer("running_var", torch.ones(steps))
        self.register_buffer("batches", torch.zeros(steps, dtype=torch.int64))

    def forward(self, frames: Tensor, steps: Tensor) -> Tensor:
        """Normalise each frame by its step."""
        flat = frames.flatten(1)
        if self.training:
            mean, variance = self._of_batch(flat, steps)
        else:
            mean, variance = self._running()
        scale = self.weight * (variance + EPSILON).rsqrt()
        shift = self.bias - mean * scale
        normal = torch.addcmul(shift[steps, None], flat, scale[steps, None])
        return normal.view_as(frames)

    def _of_batch(self, flat: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        frames = torch.bincount(steps, minlength=len(self.weight))
        counts = (frames * flat.shape[1]).clamp(min=1)
        zeros = flat.new_zeros(len(frames))
        mean = zeros.index_add(0, steps, flat.sum(1)) / counts
        squares = (flat - mean[steps, None]).square().sum(1)
        variance = zeros.index_add(0, steps, squares) / counts
        with torch.no_grad():
            there = frames > 0
            self.batches += there
            pace = (1 / self.batches.clamp(min=1)).clamp(min=self.momentum) * there
            pace = pace.to(self.running_mean.dtype)
            unbiased = variance * counts / (counts - 1).clamp(min=1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), pace)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), pace)
        return mean, variance

    def _running(self) -> tuple[Tensor, Tensor]:
        seen = torch.arange(len(self.batches), device=self.batches.device) * (self.batches > 0)
        last = seen.cummax(0).values
        return self.running_mean[last], self.running_var[last]
