"""What the two networks of XFlow share: where streams meet, how these connect, a dense layer.

Cangea, Velickovic, Lio: "XFlow: Cross-modal Deep Neural Networks for Audiovisual Classification".

Streams ``image`` and ``audio`` meet at the sites ``level1`` and ``level2``. At each, a connection
in either direction is none, cross (concatenated), residual (from the input, added) or both: 256
placements of these. Every number is the paper's on its two sizes of frames, 80 x 60 (AVletters) and
90 x 120 (CUAVE, Digits); other sizes are pooled alike, and their kernels follow from
``default_kernel``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from torch import nn

from fusion_search.models.couplings.cross_connections import default_kernel
from fusion_search.models.couplings.transfer import BOTH, CROSS, RESIDUAL
from fusion_search.models.layout import COUPLING, Feature, Placement, Site

IMAGE, AUDIO = "image", "audio"
LEVELS: Final = ("level1", "level2")
TO_AUDIO, TO_IMAGE = f"{IMAGE}>{AUDIO}", f"{AUDIO}>{IMAGE}"

_POOLS: Final = (((4, 4), (4, 4)), ((8, 8), (8, 4)))
"""Height and width, and stride, of the pooling of a 2D -> 1D residual, level by level."""

_KERNELS: Final[Mapping[tuple[str, tuple[int, int]], tuple[int, int]]] = {
    ("cnn_mlp", (80, 60)): (8, 4),
    ("cnn_mlp", (90, 120)): (32, 16),
    ("cnn_mlp_lstm", (80, 60)): (16, 8),
    ("cnn_mlp_lstm", (90, 120)): (32, 16),
}
"""Sides of the transposed convolutions of the 1D -> 2D connections, level by level."""

Merged = Callable[[int, str, Feature], nn.Module]
"""(level, stream, feature) -> what stands behind a merging point."""


def connected(placement: Placement) -> bool:
    """Whether a connection of XFlow's is placed: the streams themselves then have more dropout."""
    return any(
        kind in (CROSS, RESIDUAL, BOTH)
        for placed in placement.sites.values()
        for name, kind in placed.items()
        if name != COUPLING
    )


def xflow_sites(
    kind: str,
    sides: tuple[int, int],
    sizes: tuple[int, int],
    merged: Merged,
    *,
    slope: float,
) -> list[Site]:
    """Both sites, with the options of their connections.

    Args:
        kind: "cnn_mlp", whose connections have batch normalisation and dropout, or
            "cnn_mlp_lstm", whose have none.
        sides: height and width of a frame.
        sizes: of the vectors that the 2D -> 1D cross-connections give, level by level.
        merged: makes what stands behind a merging point.
        slope: what PReLU's slopes start at.
    """
    regular = kind == "cnn_mlp"
    maps = tuple((sides[0] // 2**level, sides[1] // 2**level) for level in (1, 2))
    kernels = _KERNELS.get((kind, sides)) or tuple(default_kernel(*one) for one in maps)
    residual_dropout = ((0.25, 0.25), (0.25, 0.5)) if regular else ((0.0, 0.0), (0.0, 0.0))
    sites = []
    for number, name in enumerate(LEVELS):
        pool, stride = _POOLS[number]
        to_audio, to_image = residual_dropout[number]
        upward = {"kernel": kernels[number], "batch_norm": regular, "slope": slope}
        options: dict[str, dict[str, Any]] = {
            f"{CROSS} {TO_AUDIO}": {
                "size": sizes[number],
                "batch_norm": regular,
                "slope": slope,
            },
            f"{RESIDUAL} {TO_AUDIO}": {
                "pool": pool,
                "stride": stride,
                "dropout": to_audio,
                "slope": slope,
            },
            f"{CROSS} {TO_IMAGE}": {**upward, "dropout": 0.5 if regular else 0.0},
            f"{RESIDUAL} {TO_IMAGE}": {
                **upward,
                "dropout": to_image,
                "final_batch_norm": regular and number == 0,
            },
        }
        after = {IMAGE: name, AUDIO: name}
        sites.append(Site(name, after, options=options, merged=partial(merged, number + 1)))
    return sites


def dense_of(feature: Feature, size: int) -> nn.Module:
    """[B, C, *size] to [B, size]: a dense layer of all values, and ReLU."""
    values = feature.channels
    for side in feature.size:
        assert side is not None
        values *= side
    return nn.Sequential(nn.Flatten(), nn.Linear(values, size), nn.ReLU(inplace=True))
