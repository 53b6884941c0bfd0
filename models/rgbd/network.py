"""A network of colour and depth images: two encoders, sites between their levels, a gate.

Shapes: B examples; "rgb" is [B, 3, S, S] with colours in 0 .. 1, or [B, C], the features of a
backbone; "depth" is {"values": [B, 1 or 3, S, S], "measured": [B, 1, S, S]}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from fusion_search.models.coupled.network import CoupledNetwork
from fusion_search.models.encoders.backbones import LEVELS, Backbone, check_side
from fusion_search.models.encoders.convolutional import ConvolutionalNetwork
from fusion_search.models.encoders.small import level_names
from fusion_search.models.layout import Placement, Site, Tree
from fusion_search.models.rgbd.head import DenseLayers, FusionHead

RGB: Final = "rgb"
DEPTH: Final = "depth"
SMALL: Final = "small"

ENDS: Final[Mapping[str, str | None]] = {
    "concatenate": None,
    "gate_by_depth": DEPTH,
    "gate_by_rgb": RGB,
}
"""How the streams end -> the stream that the gate is made from."""


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """What reads a stream.

    Attributes:
        name: small, or a backbone of torchvision.
        weights: the backbone's; None for random ones.
    """

    name: str = SMALL
    weights: Path | None = None


class DepthBackbone(Backbone):
    """A backbone that was trained on colours and reads depth.

    Depth that is standardised is what such networks take colours for: its one channel, or the three
    of normals, stand for standardised red, green and blue.

    Input: values [B, 1 or 3, H, W], zero where ``measured`` [B, 1, H, W] is not. Output: [B,
    channels].
    """

    def forward(self, values: Tensor, measured: Tensor | None = None) -> Tensor:
        """Depth to features."""
        there = values if measured is None else values * measured
        features: Tensor = self.network(there.expand(-1, len(self.mean), -1, -1))
        return features


def build_rgbd(
    encoders: Mapping[str, Encoder],
    example: Mapping[str, Tree],
    placement: Placement,
    *,
    classes: int,
    widths: Sequence[int],
    size: int,
    dense: DenseLayers,
) -> CoupledNetwork:
    """Build it, with sites behind the levels that both streams have, the last ones.

    Args:
        encoders: of "rgb" and "depth".
        example: two examples. Where those of "rgb" are features, there are no sites.
        placement: what couples the streams, how they end, and which there are.
        classes: how many.
        widths: channels of the small encoders' levels.
        size: of both streams in front of the gate.
        dense: what follows the gate.

    Raises:
        ValueError: a backbone or its weights cannot be had, or images have too few pixels for it;
            or the placement is none of the network's.
    """
    # Both are made, one that a placement drops too: then it changes no weights.
    depth, depth_levels = _depth(encoders[DEPTH], example[DEPTH], widths)
    rgb, rgb_levels = _rgb(encoders[RGB], example[RGB], widths)
    count = min(len(rgb_levels), len(depth_levels))
    pairs = zip(rgb_levels[-count:], depth_levels[-count:], strict=True) if count else ()
    sites = [
        Site(name, {RGB: own, DEPTH: other})
        for name, (own, other) in zip(level_names(count), pairs, strict=True)
    ]

    heads = {
        end: partial(FusionHead, classes=classes, size=size, dense=dense, source=source)
        for end, source in ENDS.items()
    }
    return CoupledNetwork({RGB: rgb, DEPTH: depth}, sites, heads, example, placement)


def _rgb(
    encoder: Encoder, given: Tensor, widths: Sequence[int]
) -> tuple[nn.Module, tuple[str, ...]]:
    """The encoder of colours, and submodules that sites may lie behind."""
    if given.dim() == 2:
        return nn.Identity(), ()
    if encoder.name == SMALL:
        small = ConvolutionalNetwork(given.shape[1], masked=False, widths=widths)
        return small, small.names
    check_side(encoder.name, given)
    backbone = Backbone(encoder.name, encoder.weights, frozen=False)
    return backbone, _stages(encoder.name)


def _depth(
    encoder: Encoder, given: Mapping[str, Tensor], widths: Sequence[int]
) -> tuple[nn.Module, tuple[str, ...]]:
    if encoder.name == SMALL:
        small = ConvolutionalNetwork(given["values"].shape[1], masked=True, widths=widths)
        return small, small.names
    check_side(encoder.name, given["values"])
    backbone = DepthBackbone(encoder.name, encoder.weights, frozen=False)
    return backbone, _stages(encoder.name)


def _stages(name: str) -> tuple[str, ...]:
    return tuple(f"network.{stage}" for stage in LEVELS[name])
