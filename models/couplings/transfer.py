"""Connections: what one stream gives another at a site, chosen by the ranks of their features.

A connection's kind is one of

* ``transfer``: any rank to any: squeezed, a dense layer that starts at zero, added at every
  position. It changes no shape, so that any network can take it.
* ``cross``: XFlow's cross-connection from the level's features, concatenated to the other
  stream's channels; only between a map and a vector or sequence, and only where a stream may widen.
* ``residual``: XFlow's residual cross-connection from the stream's raw input, added.
* ``both``: the last two.

Cangea, Velickovic, Lio: "XFlow: Cross-modal Deep Neural Networks for Audiovisual Classification".
"""

from __future__ import annotations

from collections.abc import Mapping
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

_MAP: Final = 2  # the rank; of vectors it is 0, of sequences 1


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


class Connection(nn.Module):
    """XFlow's ``cross`` or ``residual``, in either direction.

    A sequence [B, C, T] is read as its mean over time, and given the same at every step.
    (**Choice**: in the paper a connection has no time, or every step its own.)

    Args:
        kind: which of them.
        source, target: features.
        size: channels of what it gives; those of the target when None.
        options: of the module of ``cross_connections.py``.

    Attributes:
        width: channels of what it gives.
    """

    def __init__(
        self,
        kind: str,
        source: Feature,
        target: Feature,
        *,
        size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.width = target.channels if size is None else size
        self.reads_map, self.rank = source.rank == _MAP, target.rank
        sides = source.size if self.reads_map else target.size
        made = connection_module(kind, source.rank, target.rank)
        self.module = made(source.channels, *sides, self.width, **options)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, C, *size] to [B, width, *size'], where a sequence has one step."""
        if not self.reads_map:
            if mask is not None and mask.shape[1:] != features.shape[2:]:
                raise ValueError(
                    f"a connection reads {list(features.shape)}, of which the site's mask "
                    f"{list(mask.shape)} does not say what is padding; place none here"
                )
            features = squeeze(features, mask)
        values: Tensor = self.module(features)
        return values[:, :, None] if self.rank == 1 else values


_TO_VECTOR: Final[Mapping[str, type[nn.Module]]] = {
    CROSS: MapToVector,
    RESIDUAL: ResidualMapToVector,
}


def connection_module(kind: str, source: int, target: int) -> type[Any]:
    """What makes a connection between features of these ranks.

    Raises:
        ValueError: nothing does.
    """
    if kind in _TO_VECTOR and source == _MAP and target < _MAP:
        return _TO_VECTOR[kind]
    if kind in _TO_VECTOR and source < _MAP and target == _MAP:
        return VectorToMap
    raise ValueError(
        f"{kind} connects a map with a vector or a sequence, not features with {source} and "
        f"{target} sizes"
    )


def make_connection(kind: str, source: Feature, target: Feature, **options: Any) -> nn.Module:
    """One learned transfer; ``both`` is made of two."""
    if kind == TRANSFER:
        return Transfer(source, target)
    return Connection(kind, source, target, **options)


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
    try:
        connection_module(kind, source.rank, target.rank)
    except ValueError:
        return False
    # A flattening needs every side of a map, and a transposed convolution a map to land on.
    return None not in (source.size if source.rank == _MAP else target.size)
