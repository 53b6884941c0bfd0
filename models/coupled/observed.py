"""What the connections of a coupled network give while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def observed(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Keep what connections give, by ``SITE.FROM>TO.KIND``, such as level1.audio>image.residual.

    Values are [B, C], or maps [B, C, H, W] where a connection gives more than one position, just as
    they are added or concatenated; of several runs those of the last.

    Args:
        network: one without sites, or that is not coupled at all, gives nothing.
    """
    found: dict[str, Tensor] = {}
    handles = []
    for name, module in connections(network):

        def keep(_: nn.Module, __: Any, values: Tensor, name: str = name) -> None:
            single = values[0, 0].numel() == 1
            found[name] = values.flatten(1) if single else values

        handles.append(module.register_forward_hook(keep))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def connections(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The connections of a coupled network by name, site by site."""
    # Asked for by its attributes: importing CoupledNetwork costs every command seconds.
    exchanges = getattr(network, "exchanges", None)
    if not isinstance(exchanges, nn.ModuleDict):
        return
    for site, exchange in exchanges.items():
        kinds = {"transfer": "transfers", "residual": "residuals", "cross": "crosses"}
        for kind, attribute in kinds.items():
            for way, module in getattr(exchange, attribute, {}).items():
                yield f"{site}.{way}.{kind}", module
