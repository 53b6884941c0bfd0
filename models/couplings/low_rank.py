"""Low-rank tensor fusion as a coupling.

Liu, Shen, Lakshminarasimhan, Liang, Zadeh, Morency: "Efficient Low-rank Multimodal Fusion with
Modality-Specific Factors". With z_m the squeezed stream m and a 1 appended (section 3.1), the
product of all streams' vectors is a tensor whose weights are a sum of R rank-one tensors, so that
it is never made (section 3.2, equations 5 and 6):

    h = sum over r of the element-wise product over m of (w_m^(r) [z_m, 1])        [B, H]

The paper predicts from h. **Choice**: here every gated stream is moved by a dense layer of h, the
same at every position, which starts at zero, so that a fresh coupling changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fusion_search.models.couplings.contract import Features, Masks, Streams
from fusion_search.models.couplings.mmtm import over_positions, squeeze


class LowRankFusion(nn.Module):
    """``low_rank``; see the module.

    Args:
        features, gated: see ``Coupling``.
        rank: R of the weight tensor.
        ratio: channels read for one element of h.

    Raises:
        ValueError: rank or ratio is below 1.
    """

    def __init__(
        self, features: Features, gated: Sequence[str], *, rank: int = 4, ratio: int = 4
    ) -> None:
        super().__init__()
        for name, value in (("rank", rank), ("ratio", ratio)):
            if value < 1:
                raise ValueError(f"{name} is {value}; allowed: 1 or more")
        size = max(1, sum(one.channels for one in features.values()) // ratio)
        self.names = tuple(features)
        self.factors = nn.ParameterDict(
            {name: torch.empty(rank, one.channels + 1, size) for name, one in features.items()}
        )
        for factor in self.factors.values():
            nn.init.xavier_normal_(factor)
        self.moves = nn.ModuleDict(
            {name: nn.Linear(size, features[name].channels) for name in gated}
        )
        for parameter in self.moves.parameters():
            nn.init.zeros_(parameter)

    @staticmethod
    def fits(features: Features) -> bool:
        """Of two streams or more, whatever their sizes."""
        return len(features) > 1

    def fused(self, squeezed: Mapping[str, Tensor]) -> Tensor:
        """H [B, H] of the squeezed streams [B, C_m]."""
        product: Tensor | None = None
        for name in self.names:
            one = squeezed[name]
            with_one = torch.cat([one, one.new_ones(len(one), 1)], dim=1)
            of_ranks = torch.einsum("bc,rch->rbh", with_one, self.factors[name])
            product = of_ranks if product is None else product * of_ranks
        assert product is not None
        return product.sum(0)

    def forward(self, streams: Streams, masks: Masks) -> Mapping[str, Tensor]:
        """Move the streams."""
        squeezed = {name: squeeze(streams[name], masks.get(name)) for name in self.names}
        joint = self.fused(squeezed)
        moved = dict(streams)
        for name, layer in self.moves.items():
            moved[name] = streams[name] + over_positions(layer(joint), streams[name])
        return moved
