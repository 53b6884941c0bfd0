"""Couplings as users write them: three methods and no base class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
        seen = [streams[name] for name in self.names]
        means = [one.reshape(*one.shape[:2], -1).mean(2) for one in seen]
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


class Misbehaving(Bottleneck):
    """Breaks the contract in one way."""

    def __init__(
        self, features: Mapping[str, Feature], gated: Sequence[str], fault: str = ""
    ) -> None:
        super().__init__(features, gated)
        self.fault = fault
        if fault == "hidden":
            self.secret = [nn.Linear(2, 2)]
        if fault == "unmade":
            raise RuntimeError("out of luck")
        if fault == "ends":
            raise SystemExit(2)

    def forward(self, streams: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Any:
        moved = super().forward(streams, masks)
        name = self.names[0]
        match self.fault:
            case "list":
                return list(moved.values())
            case "lost":
                del moved[name]
            case "shape":
                moved[name] = moved[name][:, :1]
            case "changed":
                moved[name] = moved[name] + 1
            case "in place":
                moved[name].add_(1)
            case "exits":
                raise SystemExit(2)
            case "fails":
                raise RuntimeError("out of luck")
        return moved


class Untyped(Bottleneck):
    """Has an option of which nobody knows the type."""

    def __init__(self, features, gated, width=None) -> None:  # type: ignore[no-untyped-def]
        super().__init__(features, gated)


class Unsure(Bottleneck):
    """Cannot say where it fits."""

    @staticmethod
    def fits(features: Mapping[str, Feature]) -> bool:
        raise RuntimeError("out of luck")


class Needy(Bottleneck):
    """Has an option without a default."""

    def __init__(
        self, features: Mapping[str, Feature], gated: Sequence[str], share: float, width: int = 2
    ) -> None:
        super().__init__(features, gated, width)
        self.share = share


class NoModule:
    """Has no weights that anybody finds."""


def no_class() -> None:
    """Is none."""
