"""MMTM and its variants, of ``mmtm.py``, as couplings between named streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from fusion_search.models.couplings.contract import Features, Masks, Streams, same_size
from fusion_search.models.couplings.mmtm import MMTM, ConvolutionalMMTM, SqueezeExcitation


class MultimodalTransfer(nn.Module):
    """``mmtm``: Vaezi Joze et al., equations 1 to 4; the others are variants of it.

    Args:
        features, gated: see ``Coupling``.
        ratio: channels read for one element of the joint.
        relu: ReLU on the joint.
        identity: a fresh one leaves the streams as they are.
    """

    kind: ClassVar[Any] = MMTM
    fixed: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        features: Features,
        gated: Sequence[str],
        *,
        ratio: int = 4,
        relu: bool = True,
        identity: bool = False,
    ) -> None:
        super().__init__()
        self.names = tuple(features)
        channels = [one.channels for one in features.values()]
        changed = [name in gated for name in features]
        self.module = self.kind(
            channels, gated=changed, ratio=ratio, relu=relu, identity=identity, **self.fixed
        )

    @staticmethod
    def fits(features: Features) -> bool:
        """Of two streams or more, whatever their sizes."""
        return len(features) > 1

    def forward(self, streams: Streams, masks: Masks) -> Mapping[str, Tensor]:
        """Gate the streams; averages leave out what is padding."""
        ordered = [streams[name] for name in self.names]
        there = [masks.get(name) for name in self.names]
        return dict(zip(self.names, self.module(*ordered, masks=there), strict=True))


class OwnGates(MultimodalTransfer):
    """``squeeze_excitation``: every stream gates itself.

    For two streams of C channels ratio 2 makes 2 C^2 + 3 C parameters, where an MMTM of ratio 4
    has 2 C^2 + 2.5 C: the paper compares networks of one size.
    """

    kind = SqueezeExcitation

    def __init__(
        self,
        features: Features,
        gated: Sequence[str],
        *,
        ratio: int = 2,
        relu: bool = True,
        identity: bool = False,
    ) -> None:
        super().__init__(features, gated, ratio=ratio, relu=relu, identity=identity)

    @staticmethod
    def fits(features: Features) -> bool:
        """Always."""
        return True


class PositionGates(MultimodalTransfer):
    """``convolutional``: MMTM without the squeeze, a gate for every position, of one joint."""

    kind = ConvolutionalMMTM
    fixed: ClassVar = {"combine": "gate", "shared": True}

    @staticmethod
    def fits(features: Features) -> bool:
        """Of two streams or more whose positions correspond."""
        return len(features) > 1 and same_size(features)


class PositionSums(PositionGates):
    """``sum``: the same, added instead of multiplied."""

    fixed: ClassVar = {"combine": "sum", "shared": True}
