"""Views of a split as examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from fusion_search.datasets.rgbd.pixels import normals, resized_colours, resized_measured
from fusion_search.datasets.rgbd.view import View

_MILLIMETRES: Final = 1000
_HALF: Final = 0.5  # of the presentations are mirrored


class RgbdSplit(Dataset[Any]):
    """Views of a split as examples.

    Items are ({"rgb": [3, S, S], "depth": {"values": [C, S, S], "measured": [1, S, S] bool}},
    class). What is not measured is zero.

    Args:
        views: of the split.
        labels: all classes, in their order.
        size: S, to which views are stretched.
        scale: mean and standard deviation of depth in metres, which values are relative to (C = 1);
            or the camera's length in pixels, for surface normals (C = 3).
        masked: whether all but the object is black, and missing in depth.
        flip: whether half of the presentations, drawn by torch's generator, are mirrored.

    Attributes:
        views: of the split.
        targets: [N] int64, their classes.
        groups: [N], the object or person of each.
    """

    def __init__(
        self,
        views: Sequence[View],
        labels: Sequence[str],
        *,
        size: int,
        scale: tuple[float, float] | float,
        masked: bool = False,
        flip: bool = False,
    ) -> None:
        self.views, self.size, self.scale = tuple(views), size, scale
        self.masked, self.flip = masked, flip
        numbers = {label: number for number, label in enumerate(labels)}
        self.targets = torch.tensor([numbers[view.label] for view in views])
        self.groups = [view.group for view in views]

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, number: int) -> tuple[dict[str, Any], Tensor]:
        view = self.views[number]
        colour = view.colour * view.mask[:, :, None] if self.masked else view.colour
        measured = measured_pixels(view, self.masked)
        metres: NDArray[np.float32] = view.depth.astype(np.float32) / np.float32(_MILLIMETRES)
        rgb = resized_colours(colour, self.size)
        values, there = self._depth(metres, measured)
        if self.flip and torch.rand(()) < _HALF:
            rgb, values, there = (one.flip(-1) for one in (rgb, values, there))
            if len(values) > 1:
                values[0] = -values[0]  # a normal's part across
        return {"rgb": rgb, "depth": {"values": values, "measured": there}}, self.targets[number]

    def _depth(
        self, metres: NDArray[np.float32], measured: NDArray[np.bool_]
    ) -> tuple[Tensor, Tensor]:
        if not isinstance(self.scale, tuple):
            vectors, found = normals(metres, measured, self.scale)
            means, there = resized_measured(vectors, found, self.size)
            return means / means.norm(dim=0).clamp(min=1e-6), there
        mean, deviation = self.scale
        values, there = resized_measured((metres[None] - mean) / deviation, measured, self.size)
        return values, there


def measured_pixels(view: View, masked: bool) -> NDArray[np.bool_]:
    """Where depth was measured, [H, W]; ``masked``: on the object alone."""
    measured: NDArray[np.bool_] = view.depth > 0
    return measured & (view.mask > 0) if masked else measured


def depth_scale(views: Sequence[View], masked: bool) -> tuple[float, float]:
    """Mean and standard deviation in metres over all measured pixels of some views."""
    count, total, square = 0, 0.0, 0.0
    for view in views:
        millimetres = view.depth[measured_pixels(view, masked)].astype(np.float64)
        count += len(millimetres)
        total += float(millimetres.sum())
        square += float(np.square(millimetres).sum())
    mean = total / max(count, 1)
    deviation = math.sqrt(max(square / max(count, 1) - mean**2, 0))
    return mean / _MILLIMETRES, max(deviation, 1.0) / _MILLIMETRES  # one map may be flat
