"""CNN x MLP: averaged frames as channels of a CNN beside their coefficients in an MLP.

Shapes on AVletters: B clips, K = 11 frames of 80 x 60, 26 coefficients each.

    image [B, K, 80, 60] -> level1 [B, 16, 40, 30] -> level2 [B, 32, 20, 15] -> dense [B, 256]
    audio [B, 26 K]      -> level1 [B, 128]        -> level2 [B, 128]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fusion_search.models.coupled.network import CoupledNetwork
from fusion_search.models.coupled.trace import Levels
from fusion_search.models.couplings.contract import Features
from fusion_search.models.layout import Feature, Placement, Tree
from fusion_search.models.xflow.norm import as_published
from fusion_search.models.xflow.sites import AUDIO, IMAGE, connected, dense_of, xflow_sites
from fusion_search.models.xflow.widths import Widths

CROSS_SIZES = (64, 128)


class AveragedXFlow(CoupledNetwork):
    """CNN x MLP with the connections of a placement.

    Args:
        example: {"image": {"frames": [2, K, H, W]}, "audio": {"coefficients": [2, K, C]}}.
        classes: how many.
        placement: see ``sites.py``.
        factor: all widths times this; 1 for the paper's.
        slope: what PReLU's slopes start at.
        momentum: of the running statistics of batch normalisation.

    Inputs: those of the example, with B clips. Output: logits [B, classes].
    """

    def __init__(
        self,
        example: Mapping[str, Any],
        classes: int,
        placement: Placement,
        *,
        factor: float = 1.0,
        slope: float = 0.0,
        momentum: float = 0.01,
    ) -> None:
        width = Widths(factor)
        more = connected(placement)
        image, audio = _inputs(example)
        levels_of_image: Levels = {
            "norm": nn.BatchNorm2d(image.shape[1]),
            "level1": lambda feature: _convolved(feature, width(16)),
            "level2": lambda feature: _convolved(feature, width(32)),
            "dense": lambda feature: dense_of(feature, width(256)),
        }
        levels_of_audio: Levels = {
            "level1": lambda feature: _regular(dense_of(feature, width(128)), width(128)),
            "level2": lambda feature: (
                _regular(dense_of(feature, width(128)), width(128))
                if more
                else dense_of(feature, width(128))
            ),
        }
        sides = (image.shape[2], image.shape[3])
        sites = xflow_sites("cnn_mlp", sides, CROSS_SIZES, _merged, slope=slope)
        super().__init__(
            {IMAGE: levels_of_image, AUDIO: levels_of_audio},
            sites,
            lambda ends: _Head(ends, width(512), classes),
            {IMAGE: image, AUDIO: audio},
            placement,
            start={IMAGE: "norm"},
        )
        as_published(self, momentum)
        # Faster on a CPU, as the images are.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, **inputs: Tree) -> Tree:
        """Clips to logits."""
        image, audio = _inputs(inputs)
        return super().forward(image=image, audio=audio)


def _inputs(given: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    image: Tensor = given[IMAGE]["frames"]
    audio: Tensor = given[AUDIO]["coefficients"]
    return image.contiguous(memory_format=torch.channels_last), audio.flatten(1)


def _convolved(feature: Feature, channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(feature.channels, channels, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(channels),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
    )


def _regular(module: nn.Module, size: int) -> nn.Module:
    return nn.Sequential(module, nn.BatchNorm1d(size), nn.Dropout(0.5))


def _merged(level: int, stream: str, feature: Feature) -> nn.Module:
    """Behind a merging point; what the audio stream gets at level 2 meets the final merge's."""
    if stream == AUDIO:
        if level == 2:
            return nn.Identity()
        return nn.Sequential(nn.BatchNorm1d(feature.channels), nn.Dropout(0.5))
    return nn.Sequential(nn.BatchNorm2d(feature.channels), nn.Dropout(0.5))


class _Head(nn.Module):
    """The final merge: batch normalisation, dropout, one dense layer, and the classes."""

    def __init__(self, ends: Features, size: int, classes: int) -> None:
        super().__init__()
        joined = sum(one.channels for one in ends.values())
        self.names = tuple(ends)
        self.layers = nn.Sequential(
            nn.BatchNorm1d(joined),
            nn.Dropout(0.5),
            nn.Linear(joined, size),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(size, classes),
        )

    def forward(self, ends: Mapping[str, Tensor]) -> Tensor:
        """Logits."""
        logits: Tensor = self.layers(torch.cat([ends[name] for name in self.names], 1))
        return logits
