"""What ``mine.py`` imports: somebody's own data, colour and depth of one thing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset

SPLITS = ("train", "val", "test")


class RGBD(Dataset[tuple[dict[str, Tensor], int]]):
    """Pictures [3, 32, 32], depth repeated to three channels."""

    def __init__(self, split: str) -> None:
        generator = torch.Generator().manual_seed(SPLITS.index(split))
        self.rgb = torch.randn(6, 3, 32, 32, generator=generator)
        self.depth = torch.randn(6, 1, 32, 32, generator=generator).repeat(1, 3, 1, 1)

    def __len__(self) -> int:
        return len(self.rgb)

    def __getitem__(self, number: int) -> tuple[dict[str, Tensor], int]:
        return {"rgb": self.rgb[number], "depth": self.depth[number]}, number
