"""A network of two streams, as levels and as ready-made modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fusion_search.models.coupled.heads import Concatenate
from fusion_search.models.coupled.network import CoupledNetwork
from fusion_search.models.layout import Placement, Site

_GENERATOR = torch.Generator().manual_seed(0)
EXAMPLE = {
    "video": torch.randn(2, 3, 16, 16, generator=_GENERATOR),
    "emg": torch.randn(2, 4, 40, generator=_GENERATOR),
}
SITES = [Site("s1", {"video": "a", "emg": "x"}), Site("s2", {"video": "b", "emg": "y"})]


def block2(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1), nn.ReLU())


def block1(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv1d(inputs, outputs, 5, 2, 2), nn.ReLU())


class Ready(nn.Module):
    """As anybody writes it."""

    def __init__(self, first: nn.Module, second: nn.Module, names: tuple[str, str]) -> None:
        super().__init__()
        self.names = names
        self.add_module(names[0], first)
        self.add_module(names[1], second)

    def forward(self, values: Tensor) -> Tensor:
        for name in self.names:
            values = self.get_submodule(name)(values)
        return values


def parts() -> dict[str, dict[str, nn.Module]]:
    torch.manual_seed(3)
    return {
        "video": {"a": block2(3, 6), "b": block2(6, 8)},
        "emg": {"x": block1(4, 6), "y": block1(6, 8)},
    }


def levels(placement: Placement | None = None, **more: Any) -> CoupledNetwork:
    streams = parts()
    torch.manual_seed(5)
    head = more.pop("head", lambda ends: Concatenate(ends, 5))
    return CoupledNetwork(streams, more.pop("sites", SITES), head, EXAMPLE, placement, **more)


def modules(placement: Placement | None = None, **more: Any) -> CoupledNetwork:
    streams = {
        name: Ready(*one.values(), names=tuple(one))  # type: ignore[arg-type]
        for name, one in parts().items()
    }
    torch.manual_seed(5)
    sites = more.pop("sites", SITES)
    return CoupledNetwork(
        streams, sites, lambda ends: Concatenate(ends, 5), EXAMPLE, placement, **more
    )


COUPLED = Placement(
    {"s1": {"coupling": "mmtm", "emg>video": "transfer"}, "s2": {"coupling": "squeeze_excitation"}}
)
