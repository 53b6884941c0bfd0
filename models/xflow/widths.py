"""A network without connections, widened to the size of the whole XFlow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from fusion_search.models.couplings.transfer import BOTH
from fusion_search.models.layout import Placement
from fusion_search.models.xflow.sites import LEVELS, TO_AUDIO, TO_IMAGE

WHOLE = Placement({level: {TO_AUDIO: BOTH, TO_IMAGE: BOTH} for level in LEVELS})
"""Every connection of both kinds."""


@dataclass(frozen=True)
class Widths:
    """The paper's widths times a factor."""

    factor: float = 1.0

    def __call__(self, units: int) -> int:
        """At least one unit."""
        return max(1, round(self.factor * units))


def trainable(network: nn.Module) -> int:
    """Parameters that are trained."""
    return sum(one.numel() for one in network.parameters() if one.requires_grad)


def widening(make: Callable[[float, Placement], nn.Module]) -> float:
    """The factor at which a network without connections is nearest to the whole XFlow's size.

    Args:
        make: (factor, placement) -> a network.
    """
    counts: dict[float, int] = {}
    low, high = 1.0, 4.0
    with torch.device("meta"):  # counted, not kept
        wanted = trainable(make(1.0, WHOLE))
        for _ in range(12):
            middle = (low + high) / 2
            counts[middle] = trainable(make(middle, Placement()))
            low, high = (middle, high) if counts[middle] < wanted else (low, middle)
    return min(counts, key=lambda factor: abs(counts[factor] - wanted))
