"""Connections: what one stream gives another at a site, chosen by the ranks of their features.

A connection's kind is one of

* ``transfer``: any rank to any: squeezed, a dense layer that starts at zero, added at every
  position. It changes no shape, so that any network can take it.
* ``cross``: XFlow's cross-connection from the level's features, concatenated to the other
  stream's channels; only between a map and a vector, and only where a stream may widen.
* ``residual``: XFlow's residual cross-connection from the stream's raw input, added.
* ``both``: the last two.

Cangea, Velickovic, Lio: "XFlow: Cross-modal Deep Neural Networks for Audiovisual Classification".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import Tensor, nn

from fusion_search.models.couplings.cross_connections import (
    MapToVector,
    ResidualMapToVector,
    VectorToMap,
)
from fusion_search.models.couplings.mmtm import squeeze
from fusion_search.models.layout import NONE, Feature

TRANSFER: Final = "transfer"
CROSS: Final = "cross"
RESIDUAL: Final = "residual"
BOTH: Final = "both"

_VECTOR, _MAP = 0, 2  # ranks

Maker = Callable[..., nn.Module]


class Transfer(nn.Module):
    """[B, C, *size] of any rank to what is added to [B, C', *size'].

    Args:
        source, target: features.

    Attributes:
        dense: starts at zero, so that a fresh one changes nothing.
    """

    def __init__(self, source: Feature, target: Feature) -> None:
        super().__init__()
        self.dense = nn.Linear(source.channels, target.channels)
        nn.init.zeros_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)
        self.rank = target.rank

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, C', 1, ...], the same at every position."""
        values = self.dense(squeeze(features, mask))
        shaped: Tensor = values.reshape(*values.shape, *[1] * self.rank)
        return shaped


def _map_to_vector(source: Feature, target: Feature, **options: Any) -> nn.Module:
    height, width = _sides(source)
    size = options.pop("size", target.channels)
    return MapToVector(source.channels, height, width, size, **options)


def _vector_to_map(source: Feature, target: Feature, **options: Any) -> nn.Module:
    height, width = _sides(target)
    return VectorToMap(source.channels, height, width, target.channels, **options)


def _image_to_vector(source: Feature, target: Feature, **options: Any) -> nn.Module:
    height, width = _sides(source)
    return ResidualMapToVector(source.channels, height, width, target.channels, **options)


_MAKERS: Final[Mapping[tuple[str, int, int], Maker]] = {
    (CROSS, _MAP, _VECTOR): _map_to_vector,
    (CROSS, _VECTOR, _MAP): _vector_to_map,
    (RESIDUAL, _MAP, _VECTOR): _image_to_vector,
    (RESIDUAL, _VECTOR, _MAP): _vector_to_map,
}


def make_connection(kind: str, source: Feature, target: Feature, **options: Any) -> nn.Module:
    """One learned transfer; ``both`` is made of two."""
    if kind == TRANSFER:
        return Transfer(source, target)
    return _MAKERS[kind, source.rank, target.rank](source, target, **options)


def kinds_between(
    source: Feature, raw: Feature | None, target: Feature, *, widen: bool
) -> tuple[str, ...]:
    """What may connect one stream to another, "none" first.

    Args:
        source: the first stream's features at the site.
        raw: of its input; None where that is no float tensor.
        target: the other stream's features at the site.
        widen: whether the other stream's channels may grow.
    """
    cross = widen and _fits(CROSS, source, target)
    residual = raw is not None and _fits(RESIDUAL, raw, target)
    found = [NONE, TRANSFER, *[CROSS] * cross, *[RESIDUAL] * residual]
    return (*found, *[BOTH] * (cross and residual))


def _fits(kind: str, source: Feature, target: Feature) -> bool:
    # A flattening needs every size, and a transposed convolution one to land on.
    fixed = None not in (*source.size, *target.size)
    return fixed and (kind, source.rank, target.rank) in _MAKERS


def _sides(feature: Feature) -> tuple[int, int]:
    height, width = feature.size
    assert height is not None
    assert width is not None
    return height, width
