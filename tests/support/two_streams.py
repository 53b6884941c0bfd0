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


def ready(video: type[Ready] = Ready, emg: type[Ready] = Ready) -> dict[str, Ready]:
    """The same parts as modules."""
    own = {"video": video, "emg": emg}
    return {
        name: own[name](*one.values(), names=tuple(one))  # type: ignore[arg-type]
        for name, one in parts().items()
    }


def network_of(streams: Any, placement: Placement | None = None, **more: Any) -> CoupledNetwork:
    """A network with one seed for what the streams have not made."""
    torch.manual_seed(5)
    sites, example = more.pop("sites", SITES), more.pop("example", EXAMPLE)
    head = more.pop("head", lambda ends: Concatenate(ends, 5))
    return CoupledNetwork(streams, sites, head, example, placement, **more)


def levels(placement: Placement | None = None, **more: Any) -> CoupledNetwork:
    return network_of(parts(), placement, **more)


def modules(placement: Placement | None = None, **more: Any) -> CoupledNetwork:
    return network_of(ready(), placement, **more)


def drawn(network: CoupledNetwork) -> CoupledNetwork:
    """With exchanges that do something: many begin as identity."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in network.exchanges.parameters():
            parameter.normal_()
    return network


def gradients(network: nn.Module) -> dict[str, Tensor]:
    """By name, of the parameters that have one."""
    return {name: one.grad for name, one in network.named_parameters() if one.grad is not None}


COUPLED = Placement(
    {"s1": {"coupling": "mmtm", "emg>video": "transfer"}, "s2": {"coupling": "squeeze_excitation"}}
)
