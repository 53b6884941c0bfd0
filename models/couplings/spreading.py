"""A transposed convolution of one map as products of matrices.

PyTorch's own, of one map and a large kernel, reaches a fiftieth of what a processor multiplies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

_BLOCKS: Final = 8
"""Into which the rows are cut: more multiply fewer zeros, in smaller matrices."""

LEAST: Final = 8
"""Side of a kernel. With smaller ones the matrices hold too many zeros."""

_plain = ContextVar("plain", default=False)


@contextmanager
def as_the_equation() -> Iterator[None]:
    """Leave it to PyTorch, as where its operations are counted."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


class Spreading(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d(1, channels, kernel)``, faster on a CPU; equal but for rounding.

    Args:
        channels: C.
        kernel: side of the kernel, K.

    Input [B, 1, H, W], output [B, C, H + K - 1, W + K - 1].
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(1, channels, kernel)

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Every element of the map adds its multiple of the kernel."""
        if self.kernel_size[0] < LEAST or maps.device.type != "cpu" or _plain.get():
            return super().forward(maps, output_size)
        assert self.bias is not None
        return spread(maps, self.weight, self.bias)


def spread(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Transposed convolution of one map, its rows block by block.

    A block of output rows is the product of the input rows that reach it with a banded matrix of
    the kernel, which is the same for all blocks but for the rows beyond the map.

    Args:
        maps: [B, 1, H, W].
        weight: [1, C, K, K].
        bias: [C].

    Returns:
        [B, C, H + K - 1, W + K - 1], channels last.
    """
    height, width = maps.shape[2:]
    channels, kernel = weight.shape[1:3]
    rows, columns = height + kernel - 1, width + kernel - 1
    block = -(-rows // _BLOCKS)
    starts = range(0, rows, block)
    # Of every block: the first and the last row of the map that reach it, counted from its start.
    reach = [(max(0, one - kernel + 1) - one, min(height, one + block) - one) for one in starts]
    first, last = min(one for one, _ in reach), max(one for _, one in reach)
    matrix = _banded(_banded(weight[0], width, columns).movedim(1, -1), last - first, block, first)
    # [C, input column, output column, input row, output row]
    matrix = matrix.permute(3, 1, 4, 2, 0).flatten(2).flatten(0, 1)
    flat, biases = maps.flatten(1), bias.repeat(block * columns)
    blocks = []
    for start, (low, high) in zip(starts, reach, strict=True):
        there = min(block, rows - start) * columns * channels
        reaching = flat[:, (start + low) * width : (start + high) * width]
        part = matrix[(low - first) * width : (high - first) * width, :there]
        blocks.append(torch.addmm(biases[:there], reaching, part))
    return torch.cat(blocks, 1).view(-1, rows, columns, channels).permute(0, 3, 1, 2)


def _banded(values: Tensor, height: int, width: int, first: int = 0) -> Tensor:
    """[..., K] to matrices [..., height, width] of values[..., column - row - first]."""
    known = values.shape[-1]
    left = height - 1 + first
    padded = functional.pad(values, (left, height + width - 1 - left - known))
    return padded.unfold(-1, width, 1).flip(-2)
