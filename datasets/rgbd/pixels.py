"""Pixels as networks take them: depth resized where it was measured, and surface normals."""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Floats = NDArray[np.float32]
_HALF: Final = 0.5 - 1e-5  # of a pixel's area; rounding may take a little of it


def resized_colours(colour: NDArray[Any], size: int) -> Tensor:
    """Colours [H, W, 3] uint8 stretched to [3, S, S] in 0 .. 1, bilinear and without aliasing."""
    values = torch.from_numpy(np.array(colour)).permute(2, 0, 1).float() / 255
    if values.shape[1:] == (size, size):
        return values.contiguous()
    return functional.interpolate(values[None], (size, size), mode="bilinear", antialias=True)[0]


def resized_measured(
    values: NDArray[Any], measured: NDArray[np.bool_], size: int
) -> tuple[Tensor, Tensor]:
    """Means over the measured part of every new pixel's area.

    A new pixel is measured where half of its area was, or more; elsewhere it is zero.

    Args:
        values: [C, H, W]; of any value where nothing was measured.
        measured: [H, W].
        size: S, of a side.

    Returns:
        Values [C, S, S] float32, and where they are measured [1, S, S] bool.
    """
    # By torch, for NumPy's products take all cores, whatever number of threads a trial was given.
    down, across = (_overlaps(one, size) for one in measured.shape)
    share = down @ torch.from_numpy(measured.astype(np.float32)) @ across.T
    enough = share >= _HALF
    sums = down @ torch.from_numpy(np.where(measured, values, 0).astype(np.float32)) @ across.T
    means = torch.where(enough, sums / torch.where(enough, share, 1), 0)
    return means, enough[None]


@functools.lru_cache(maxsize=512)
def _overlaps(count: int, size: int) -> Tensor:
    """What share of each of ``size`` new pixels in a row lies in each of ``count`` old ones."""
    edges = np.arange(size + 1) * (count / size)
    old = np.arange(count)
    first, last = edges[:-1, None], edges[1:, None]
    lengths = np.clip(np.minimum(last, old + 1) - np.maximum(first, old), 0, None)
    return torch.from_numpy((lengths * (size / count)).astype(np.float32))


def normals(
    depth: Floats, measured: NDArray[np.bool_], focal: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Surface normals of a depth map, as if its camera looked at its middle.

    The slope of depth is the mean of the differences to the two neighbours, or the one to that
    which was measured.

    Args:
        depth: [H, W], above 0 where it was measured, in any unit.
        measured: [H, W].
        focal: length in pixels.

    Returns:
        Unit vectors [3, H, W], across, down and towards the camera; and [H, W], where there are
        some: where one neighbour across and one below or above were measured.
    """
    across, has_across = _slope(depth, measured, 1)
    down, has_down = _slope(depth, measured, 0)
    rows, columns = (np.arange(one) - (one - 1) / 2 for one in depth.shape)
    # The cross product of the derivatives of the point that a pixel shows.
    towards = depth + columns * across + rows[:, None] * down
    vectors: Floats = np.stack([focal * across, focal * down, towards]).astype(np.float32)
    lengths = np.sqrt(np.square(vectors).sum(0))
    found = has_across & has_down & (lengths > 0)
    vectors /= np.where(found, lengths, 1)
    return vectors, found


def _slope(
    depth: Floats, measured: NDArray[np.bool_], axis: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The change of depth by one pixel along an axis, and where it is known."""
    both = np.delete(measured, 0, axis) & np.delete(measured, -1, axis)
    change = np.where(both, np.diff(depth.astype(np.float64), axis=axis), 0)
    sums, counts = np.zeros(depth.shape), np.zeros(depth.shape)
    for one in (slice(None, -1), slice(1, None)):
        place = (one, slice(None)) if axis == 0 else (slice(None), one)
        sums[place] += change
        counts[place] += both
    return sums / np.maximum(counts, 1), counts > 0
