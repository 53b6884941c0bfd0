"""MMTM and its variants, of ``mmtm.py``, as couplings between named streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from fusion_search.models.couplings.contract import Features, Masks, Streams, same_size
from fusion_search.models.couplings.mmtm import MMTM, ConvolutionalMMTM, SqueezeExcitation


class Gating(nn.Module):
    """One of MMTM's modules between named streams.

    Args:
        kind: the module.
        features, gated: see ``Coupling``.
        options: of the module.
    """

    def __init__(
        self,
        kind: type[MMTM | SqueezeExcitation | ConvolutionalMMTM],
        features: Features,
        gated: Sequence[str],
        **options: Any,
    ) -> None:
        super().__init__()
        self.names = tuple(features)
        channels = [one.channels for one in features.values()]
        changed = [name in gated for name in features]
        self.module = kind(channels, gated=changed, **options)

    def forward(self, streams: Streams, masks: Masks) -> Mapping[str, Tensor]:
        """Gate the streams; averages leave out what is padding."""
        ordered = [streams[name] for name in self.names]
        there = [masks.get(name) for name in self.names]
        return dict(zip(self.names, self.module(*ordered, masks=there), strict=True))


class MultimodalTransfer(Gating):
    """``mmtm``: Vaezi Joze et al., equations 1 to 4."""

    def __init__(self, features: Features, gated: Sequence[str], **options: Any) -> None:
        super().__init__(MMTM, features, gated, **options)

    @staticmethod
    def fits(features: Features) -> bool:
        """Of two streams or more, whatever their sizes."""
        return len(features) > 1


class OwnGates(Gating):
    """``squeeze_excitation``: every stream gates itself."""

    def __init__(self, features: Features, gated: Sequence[str], **options: Any) -> None:
        super().__init__(SqueezeExcitation, features, gated, **options)

    @staticmethod
    def fits(features: Features) -> bool:
        """Always."""
        return True


class PositionGates(Gating):
    """``convolutional``: MMTM without the squeeze, a gate for every position."""

    combine = "gate"

    def __init__(self, features: Features, gated: Sequence[str], **options: Any) -> None:
        super().__init__(ConvolutionalMMTM, features, gated, combine=self.combine, **options)

    @staticmethod
    def fits(features: Features) -> bool:
        """Of two streams or more whose positions correspond."""
        return len(features) > 1 and same_size(features)


class PositionSums(PositionGates):
    """``sum``: the same, added instead of multiplied."""

    combine = "sum"
