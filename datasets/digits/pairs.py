"""Split first, then pair: every image with every recording of the same label in its split.

The paper's 11 million pairs are index arithmetic; memory is O(images + recordings).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

SPLITS: Final = ("train", "validation", "test")
LABELS: Final = 10


def split_indices(count: int, seed: int, stream: int) -> dict[str, Tensor]:
    """Split ``0 .. count - 1`` at random 8:1:1 into train, validation and test.

    Args:
        count: how many there are to split.
        seed: equal seeds give equal splits.
        stream: tells the images' split from the recordings' under the same seed.

    Returns:
        For each of ``SPLITS`` an int64 tensor, ascending; together they hold each index once.
    """
    order = np.random.default_rng([seed, stream]).permutation(count)
    tenth = round(count / 10)
    parts = np.split(order, [count - 2 * tenth, count - tenth])
    return {
        name: torch.from_numpy(np.sort(part).astype(np.int64))
        for name, part in zip(SPLITS, parts, strict=True)
    }


class Pairs:
    """All same-label (image, recording) pairs of one split, numbered and never listed.

    Numbers run over labels, within a label over images, within an image over recordings
    (image-major), so the pairs of one image are neighbours.

    Args:
        images: [I] int64, the split's images as numbers in the whole set.
        image_labels: [I] int64 in 0 .. 9, their labels.
        recordings: [R] int64, the split's recordings as numbers in the whole set.
        recording_labels: [R] int64 in 0 .. 9, their labels.
    """

    def __init__(
        self, images: Tensor, image_labels: Tensor, recordings: Tensor, recording_labels: Tensor
    ) -> None:
        self.images = images[torch.argsort(image_labels, stable=True)]
        self.recordings = recordings[torch.argsort(recording_labels, stable=True)]
        image_counts = torch.bincount(image_labels, minlength=LABELS)
        self._recording_counts = torch.bincount(recording_labels, minlength=LABELS)
        pair_counts = image_counts * self._recording_counts
        self._pair_ends = pair_counts.cumsum(0)
        self._pair_starts = self._pair_ends - pair_counts
        self._image_starts = image_counts.cumsum(0) - image_counts
        self._recording_starts = self._recording_counts.cumsum(0) - self._recording_counts

    @property
    def absent(self) -> list[int]:
        """The labels without a pair."""
        return torch.nonzero(self._pair_ends == self._pair_starts).flatten().tolist()

    def __len__(self) -> int:
        return int(self._pair_ends[-1])

    def lookup(self, pairs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find the parts of pairs.

        Args:
            pairs: [B] int64 in 0 .. len - 1, on the CPU.

        Returns:
            Image number, recording number (both in the whole set) and label, each [B] int64.

        Raises:
            IndexError: a number outside the pairs.
        """
        if len(pairs) and (int(pairs.min()) < 0 or int(pairs.max()) >= len(self)):
            raise IndexError(
                f"pairs must be in 0 .. {len(self) - 1}, got {int(pairs.min())} .. "
                f"{int(pairs.max())}"
            )
        label = torch.searchsorted(self._pair_ends, pairs, right=True)
        within = pairs - self._pair_starts[label]
        recordings = self._recording_counts[label]
        image = self._image_starts[label] + within // recordings
        recording = self._recording_starts[label] + within % recordings
        return self.images[image], self.recordings[recording], label
