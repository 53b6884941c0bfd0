"""Couplings as users write them: three methods and no base class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fusion_search.models.layout import Feature


class Bottleneck(nn.Module):
    """Every gated stream is moved by one vector that is made of all."""

    def __init__(
        self, features: Mapping[str, Feature], gated: Sequence[str], width: int = 2
    ) -> None:
        super().__init__()
        self.names = tuple(features)
        self.down = nn.Linear(sum(one.channels for one in features.values()), width)
        self.up = nn.ModuleDict({name: nn.Linear(width, features[name].channels) for name in gated})

    @staticmethod
    def fits(features: Mapping[str, Feature]) -> bool:
        return len(features) > 1

    def forward(
        self, streams: Mapping[str, Tensor], masks: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        means = [streams[name].flatten(2).mean(2) for name in self.names]
        middle = self.down(torch.cat(means, 1)).relu()
        moved = dict(streams)
        for name, layer in self.up.items():
            shift = layer(middle)
            moved[name] = streams[name] + shift.reshape(
                *shift.shape, *[1] * (streams[name].dim() - 2)
            )
        return moved


class Picky(Bottleneck):
    """Fits maps of one size alone."""

    @staticmethod
    def fits(features: Mapping[str, Feature]) -> bool:
        return len({one.size for one in features.values()}) == 1


class Unfinished(nn.Module):
    """Has no fits."""
