"""Small files in the forms in which clips are distributed."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from scipy import io as matlab

from fusion_search.datasets.clips.clip import Clip, Values


def lips(frames: Values, version: str = "4") -> bytes:
    """[T, 80, 60] as AVletters has it: a column a frame, read down and then across."""
    file = io.BytesIO()
    columns = np.stack([frame.T.ravel(order="F") for frame in frames], axis=1)
    sizes = np.array([[60.0, 80.0, float(len(frames))]])
    matlab.savemat(file, {"vid": columns, "siz": sizes}, format=version)
    return file.getvalue()


def htk(vectors: Values) -> bytes:
    """[n, 26] as HTK has it."""
    header = struct.pack(">iihh", len(vectors), 200_000, 104, 326)
    return header + vectors.astype(">f4").tobytes()


def letter(frames: int, vectors: int, seed: int = 0) -> tuple[Values, Values]:
    """Frames [T, 80, 60] and vectors [n, 26], drawn at random."""
    chance = np.random.default_rng(seed)
    return (
        chance.integers(0, 256, (frames, 80, 60), dtype=np.uint8),
        chance.standard_normal((vectors, 26)).astype(np.float32),
    )


def write_letter(folder: Path, name: str, frames: Values, vectors: Values) -> tuple[Path, Path]:
    """Into AVletters' folders below ``folder``."""
    paths = (
        folder / "Lips" / f"{name}-lips.mat",
        folder / "Audio/mfcc/Clean" / f"{name}.mfcc",
    )
    for path, content in zip(paths, (lips(frames), htk(vectors)), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return paths


def clip(name: str, frames: int = 3, coefficients: int | None = None) -> Clip:
    """One named PERSON_LABEL_TAKE, with frames of 6 x 4."""
    person, label, take = name.split("_")
    chance = np.random.default_rng(list(name.encode()))
    return Clip(
        name,
        person,
        label,
        take,
        chance.integers(0, 256, (frames, 6, 4), dtype=np.uint8),
        chance.standard_normal((coefficients or frames, 26)).astype(np.float32),
    )
