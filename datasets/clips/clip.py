"""One clip, and how its two parts come to one length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fusion_search.datasets.decoded import Kind
from fusion_search.datasets.errors import DataError

Values = NDArray[Any]


@dataclass(frozen=True)
class Clip:
    """A person says something once.

    Attributes:
        name: tells it from all others of its source.
        person, label, take: who, what, and which time.
        frames: [n, H, W] uint8 or float32, grey values as they are.
        coefficients: [m, C] float32, of the sound.
    """

    name: str
    person: str
    label: str
    take: str
    frames: Values
    coefficients: Values


def _fits(clip: Clip, first: Clip) -> None:
    for what, own, other in (
        ("frames", clip.frames.shape[1:], first.frames.shape[1:]),
        ("coefficients", clip.coefficients.shape[1:], first.coefficients.shape[1:]),
    ):
        if own != other:
            raise DataError(
                f"{what} of {clip.name} are {' x '.join(map(str, own))}, those of {first.name} "
                f"{' x '.join(map(str, other))}: bring all clips to one size"
            )


CLIP_KIND: Final = Kind(
    "clips 2",
    "clip",
    Clip,
    words=("name", "person", "label", "take"),
    arrays=("frames", "coefficients"),
    check=_fits,
)


def averaged(values: Values, count: int) -> NDArray[np.float32]:
    """Bring n values to ``count``: means of windows of n - count + 1, one apart.

    Args:
        values: [n, ...].
        count: at most n.

    Returns:
        [count, ...].

    Raises:
        ValueError: there are fewer values.
    """
    window = len(values) - count + 1
    if count < 1 or window < 1:
        raise ValueError(f"count is {count}; allowed: 1 to {len(values)}")
    if window == 1:
        return values.astype(np.float32)
    # Sums of whole grey values are exact in float32. The product is torch's, for NumPy's take all
    # cores, whatever number of threads a trial was given.
    first, at = np.arange(count)[:, None], np.arange(len(values))
    windows = torch.from_numpy(((first <= at) & (at < first + window)).astype(np.float32))
    flat = torch.from_numpy(values.reshape(len(values), -1).astype(np.float32))
    sums: NDArray[np.float32] = (windows @ flat).numpy()
    return sums.reshape(count, *values.shape[1:]) / np.float32(window)
