"""The modality gate: one stream decides how much of each stream passes.

Oyedotun, Aouada, Ottersten: "Learning to Fuse Latent Representations for Multimodal Data".
Features F_A, F_B of two streams; the paper's source of the gate is F_B:

    G     = logistic(W F_B + theta)
    fused = [F_A * (1 - G), F_B * G]

G is one value per feature, so what one stream loses there the other gains.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fusion_search.models.couplings.mmtm import over_positions


class ModalityGate(nn.Module):
    """Weighs two streams against each other. The caller concatenates what it returns.

    Args:
        source_size: size of what the gate is made from.
        size: features, or channels, of either stream.

    Inputs:
        a: [B, size, *spatial_a], any number of spatial dimensions, none included.
        b: [B, size, *spatial_b].
        source: [B, source_size]. The gate is the same at all positions.

    Output: a * (1 - G) and b * G, shaped as a and b.

    Raises:
        ValueError: a size is below 1, or an input does not fit.
    """

    def __init__(self, source_size: int, size: int) -> None:
        super().__init__()
        if source_size < 1 or size < 1:
            raise ValueError(
                f"source_size is {source_size} and size {size}; allowed: 1 or more for both"
            )
        self.size = size
        self.gate = nn.Linear(source_size, size)

    def forward(self, a: Tensor, b: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Gate both streams."""
        expected = {
            "a": (a, self.size),
            "b": (b, self.size),
            "source": (source, self.gate.in_features),
        }
        for name, (stream, size) in expected.items():
            if stream.dim() < 2 or stream.shape[1] != size:
                raise ValueError(
                    f"{name} has shape {list(stream.shape)}; expected [B, {size}, ...]"
                )
        gate = self.weights(source)
        return a * (1 - over_positions(gate, a)), b * over_positions(gate, b)

    def weights(self, source: Tensor) -> Tensor:
        """G [..., size] of a source [..., source_size]."""
        return torch.sigmoid(self.gate(source))
