"""What every coupling is: a module made from the features of the streams that meet at a site.

A coupling of your own needs the three methods of :class:`Coupling` and no base class.

Shapes: B examples; a stream's tensor at a site is [B, C, *size], its mask [B, *size].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from fusion_search.models.layout import Feature

Features = Mapping[str, Feature]
Streams = Mapping[str, Tensor]
Masks = Mapping[str, Tensor]
"""Stream -> [B, *size] bool, True where there is something; of those alone that are padded."""


class Coupling(Protocol):
    """Three methods; see the module."""

    def __init__(self, features: Features, gated: Sequence[str], **options: Any) -> None:
        """Make its weights.

        Args:
            features: of every stream at the site, in the order of the network.
            gated: streams that it may change.
            options: its own, as a site or a placement gives them.
        """

    @staticmethod
    def fits(features: Features) -> bool:
        """Whether it can couple streams of these features; only then it is offered."""
        ...

    def __call__(self, streams: Streams, masks: Masks) -> Mapping[str, Tensor]:
        """Every stream's tensor, those that are not gated as they came."""
        ...


def same_size(features: Features) -> bool:
    """Whether the streams have positions that correspond."""
    return len({one.size for one in features.values()}) == 1
