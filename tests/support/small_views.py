"""Small views of objects, and folders of them as they are distributed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fusion_search.datasets.rgbd.view import View


def view(name: str = "apple_1_1_1", height: int = 7, width: int = 5, label: str = "") -> View:
    """Random pixels, with depth missing in some; equal for equal names."""
    chance = np.random.default_rng(list(name.encode()))
    group = name.rsplit("_", 2)[0]
    depth = chance.integers(700, 1200, (height, width)).astype(np.uint16)
    depth[chance.random((height, width)) < 0.3] = 0
    return View(
        name,
        label or group.rsplit("_", 1)[0],
        group,
        chance.integers(0, 256, (height, width, 3)).astype(np.uint8),
        depth,
        (chance.random((height, width)) < 0.5).astype(np.uint8),
    )


def write_png(path: Path, pixels: NDArray[np.generic]) -> Path:
    """Of 16 bits where the pixels have them, of 1 where they are truth values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_frame(root: Path, one: View, parts: str = "cdm") -> None:
    """The files of a view as Washington has them: colours, depth, mask."""
    stem = str(root / one.label / one.group / one.name)
    if "c" in parts:
        write_png(Path(f"{stem}_crop.png"), one.colour)
    if "d" in parts:
        write_png(Path(f"{stem}_depthcrop.png"), one.depth)
    if "m" in parts:
        write_png(Path(f"{stem}_maskcrop.png"), one.mask.astype(bool))


def same(one: View, other: View) -> bool:
    """Whether all of it is equal."""
    return all(
        getattr(one, name) == getattr(other, name) for name in ("name", "label", "group")
    ) and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        and getattr(one, name).dtype == getattr(other, name).dtype
        for name in ("colour", "depth", "mask")
    )
