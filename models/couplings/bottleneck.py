"""Attention bottleneck tokens as a coupling.

Nagrani, Yang, Arnab, Jansen, Schmid, Sun: "Attention Bottlenecks for Multimodal Fusion". Streams
exchange through a few tokens z alone: each stream attends to its own tokens and to z, which it
updates, and z becomes the mean of what the streams made of it (section 3.2.3, equations 8 and 9).

**Choice**: at a site there is no whole transformer layer, but one attention in either direction.
The learned tokens z [K, D] read every stream and are averaged, then every position of a gated
stream reads them:

    z_m = attention(z, keys and values of stream m)         z' = mean over m of z_m     [B, K, D]
    x_m = x_m + V_m attention(Q_m x_m, z')                                              as x_m

V_m starts at zero, so that a fresh coupling changes nothing. The work grows with the positions,
not with their square.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fusion_search.models.couplings.contract import Features, Masks, Streams


class AttentionBottleneck(nn.Module):
    """``bottleneck``; see the module.

    Args:
        features, gated: see ``Coupling``.
        tokens: K, how many the streams exchange through.
        width: D of a token.

    Raises:
        ValueError: tokens or width is below 1.
    """

    def __init__(
        self, features: Features, gated: Sequence[str], *, tokens: int = 4, width: int = 16
    ) -> None:
        super().__init__()
        for name, value in (("tokens", tokens), ("width", width)):
            if value < 1:
                raise ValueError(f"{name} is {value}; allowed: 1 or more")
        self.names = tuple(features)
        self.tokens = nn.Parameter(torch.randn(tokens, width) / math.sqrt(width))
        channels = {name: one.channels for name, one in features.items()}
        self.keys = nn.ModuleDict({name: nn.Linear(channels[name], width) for name in features})
        self.values = nn.ModuleDict({name: nn.Linear(channels[name], width) for name in features})
        self.queries = nn.ModuleDict({name: nn.Linear(channels[name], width) for name in gated})
        self.moves = nn.ModuleDict({name: nn.Linear(width, channels[name]) for name in gated})
        for parameter in self.moves.parameters():
            nn.init.zeros_(parameter)

    @staticmethod
    def fits(features: Features) -> bool:
        """Of two streams or more, whatever their sizes."""
        return len(features) > 1

    def forward(self, streams: Streams, masks: Masks) -> Mapping[str, Tensor]:
        """Move the streams."""
        positions = {name: _positions(streams[name]) for name in self.names}
        read = [self._read(name, one, masks.get(name)) for name, one in positions.items()]
        tokens = torch.stack(read).mean(0)
        moved = dict(streams)
        for name, layer in self.moves.items():
            own = streams[name]
            seen = attention(self.queries[name](positions[name]), tokens, tokens)
            moved[name] = own + layer(seen).movedim(2, 1).reshape(own.shape)
        return moved

    def _read(self, name: str, positions: Tensor, mask: Tensor | None) -> Tensor:
        asked = self.tokens.expand(len(positions), -1, -1)
        there = None if mask is None else mask.flatten(1)
        return attention(asked, self.keys[name](positions), self.values[name](positions), there)


def _positions(stream: Tensor) -> Tensor:
    """[B, C, *size] to [B, N, C]; a vector has one position."""
    flat = stream.flatten(2) if stream.dim() > 2 else stream[:, :, None]
    return flat.movedim(1, 2)


def attention(queries: Tensor, keys: Tensor, values: Tensor, there: Tensor | None = None) -> Tensor:
    """Scaled dot products: [B, Q, D], [B, N, D], [B, N, D] to [B, Q, D]; ``there`` is [B, N]."""
    scores = queries @ keys.transpose(1, 2) / math.sqrt(queries.shape[2])
    if there is not None:
        scores = scores.masked_fill(~there[:, None].bool(), -math.inf)
    weighed: Tensor = scores.softmax(2) @ values
    return weighed
