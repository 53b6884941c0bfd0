"""What stands at the end of streams: a head takes {stream: end} and gives the outputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fusion_search.models.couplings.contract import Features
from fusion_search.models.couplings.mmtm import squeeze


class Concatenate(nn.Module):
    """The ends averaged over their positions, side by side, then one dense layer.

    Args:
        ends: features of every stream's end.
        outputs: how many values the layer gives.

    Input: {stream: [B, C, *size]}, and {stream: [B, *size]}, True where there is something, of
    those that are padded. Output: [B, outputs].
    """

    def __init__(self, ends: Features, outputs: int) -> None:
        super().__init__()
        self.names = tuple(ends)
        self.dense = nn.Linear(sum(one.channels for one in ends.values()), outputs)

    def forward(
        self, ends: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Values, such as logits."""
        means = [squeeze(ends[name], (masks or {}).get(name)) for name in self.names]
        values: Tensor = self.dense(torch.cat(means, dim=1))
        return values
