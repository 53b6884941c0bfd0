"""What stands at the end of two streams: plain concatenation, or the modality gate.

Oyedotun, Aouada, Ottersten: "Learning to Fuse Latent Representations for Multimodal Data". The gate
needs features of one size, so a linear layer brings every stream to it; then

    concatenate    [F_A, F_B]
    gate           [F_A * (1 - G), F_B * G],  G = logistic(W F_B + theta)

go through dense layers, each with batch normalisation, ReLU and dropout, and one more gives the
classes. **Choices**: the linear layer, also before plain concatenation and of a stream alone, and
all that the paper leaves open of the dense layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fusion_search.models.couplings.contract import Features
from fusion_search.models.couplings.modality_gate import ModalityGate


@dataclass(frozen=True, kw_only=True)
class DenseLayers:
    """What follows the fused features.

    Attributes:
        sizes: of the layers before that of the classes.
        dropout: behind each of them.
        batch_norm: whether each normalises over a batch.
    """

    sizes: tuple[int, ...]
    dropout: float
    batch_norm: bool


class FusionHead(nn.Module):
    """The ends at one size, weighed or not, side by side through dense layers.

    Args:
        ends: features of every stream's end.
        classes: how many.
        size: of every stream behind its linear layer.
        dense: what follows.
        source: the stream that the gate is made from, F_B; None for plain concatenation.

    Input: {stream: [B, C]}. Output: logits [B, classes].

    Raises:
        ValueError: the gate does not find two streams, or not its source.
    """

    def __init__(
        self,
        ends: Features,
        classes: int,
        size: int,
        dense: DenseLayers,
        source: str | None = None,
    ) -> None:
        super().__init__()
        self.fitted = nn.ModuleDict(
            {name: nn.Linear(one.channels, size) for name, one in ends.items()}
        )
        self.names, self.gate = tuple(ends), None
        if source is not None:
            if len(ends) != 2 or source not in ends:
                raise ValueError(
                    f"a gate by {source} weighs it against one other stream, and there are: "
                    f"{', '.join(ends)}; allowed: concatenate"
                )
            # The source last, as F_B is.
            self.names = (*(name for name in ends if name != source), source)
            self.gate = ModalityGate(size, size)
        self.layers = nn.Sequential(*_layers(size * len(ends), dense, classes))

    def forward(self, ends: Mapping[str, Tensor]) -> Tensor:
        """Logits."""
        features = [self.fitted[name](ends[name]) for name in self.names]
        if self.gate is not None:
            first, source = features
            features = list(self.gate(first, source, source))
        logits: Tensor = self.layers(torch.cat(features, dim=1))
        return logits


def _layers(size: int, dense: DenseLayers, classes: int) -> list[nn.Module]:
    found: list[nn.Module] = []
    for width in dense.sizes:
        found.append(nn.Linear(size, width))
        if dense.batch_norm:
            found.append(nn.BatchNorm1d(width))
        found += [nn.ReLU(inplace=True), nn.Dropout(dense.dropout)]
        size = width
    return [*found, nn.Linear(size, classes)]
