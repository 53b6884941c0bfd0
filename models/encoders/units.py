"""Outputs of a head in the units of what is predicted."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class InUnits(nn.Module):
    """A head of one value, times a deviation, plus a mean.

    Args:
        head: gives [B, 1].
        mean, deviation: of the train targets, so that a fresh network predicts their mean, about.

    Input: as the head's. Output: [B].
    """

    def __init__(self, head: nn.Module, mean: float, deviation: float) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))

    def forward(self, ends: Mapping[str, Tensor]) -> Tensor:
        """Predictions."""
        values: Tensor = self.head(ends)[:, 0] * self.deviation + self.mean
        return values
