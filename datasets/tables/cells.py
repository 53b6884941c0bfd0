"""From a cell to what one stream takes of one example: decoded, cut to length, brought to size.

Shapes: T steps or frames, S samples, C channels, H x W pixels; what is decoded has channels last.
"""

from __future__ import annotations

import math
from pathlib import PurePath
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fusion_search.datasets.tables.files import (
    ARRAYS,
    IMAGES,
    SOUNDS,
    VIDEOS,
    FileError,
    cell_array,
    read_array,
    read_image,
    read_sound,
    read_video,
)
from fusion_search.datasets.tables.settings import Input
from fusion_search.datasets.tables.table import file_path, is_empty

Array = NDArray[Any]

_ENDINGS: Final = {"sound": SOUNDS, "image": IMAGES, "clip": (*VIDEOS, ".gif")}
_WORDS: Final = {"vector": "[D]", "series": "[T, channels]", "sound": "[samples]"}
_CHANNELS: Final = (1, 3)


def is_array(cell: Any) -> bool:
    """Whether a cell holds its numbers itself, and names no file."""
    return not isinstance(cell, str) or cell.startswith("[")


def ending(cell: str) -> str:
    """Of a file's name, in small letters."""
    return PurePath(cell.replace("\\", "/")).suffix.lower()


def decode(one: Input, cell: Any, folder: str) -> Array:
    """What a cell holds: [D], [T, C], [S] at the input's rate, [H, W, C] or [T, H, W, C].

    Series, sounds and clips are cut to the input's length; pixels are uint8, or float32.

    Args:
        one: the input.
        cell: as the table has it.
        folder: of the table, where the files lie that cells name.

    Raises:
        FileError: it is empty, cannot be read, or is of another kind.
    """
    if is_empty(cell):
        raise FileError("is empty")
    if is_array(cell):
        return _array(one, cell_array(cell))
    last, path = ending(cell), file_path(folder, cell)
    if last in ARRAYS:
        return _array(one, read_array(path))
    allowed = (*_ENDINGS.get(one.kind, ()), *ARRAYS)
    if last not in allowed:
        raise FileError(f"is no file of kind {one.kind}; allowed: {', '.join(allowed)}")
    if one.kind == "sound":
        return _resampled(one, *read_sound(path, one.seconds))
    if one.kind == "image":
        return read_image(path, one.size, colour=one.colour)
    return _evenly(read_video(path, one.size, colour=one.colour), one.length)


def _array(one: Input, array: Array) -> Array:
    """An array as an input of its kind."""
    if one.kind in ("image", "clip"):
        whole = channels_last(array, one.kind)
        chosen = _evenly(whole, one.length) if one.kind == "clip" else whole
        return _resized(_coloured(chosen, one.colour), one.size)
    if one.kind == "sound" and array.ndim == 1:
        return array.astype(np.float32)[: one.samples]
    if one.kind == "series" and array.ndim in (1, 2):
        return (array if array.ndim == 2 else array[:, None])[: one.length].astype(np.float32)
    if one.kind == "vector" and array.ndim == 1:
        return array.astype(np.float32)
    shape = list(array.shape)
    raise FileError(f"holds an array of shape {shape}; a {one.kind} has {_WORDS[one.kind]}")


def channels_last(array: Array, kind: str) -> Array:
    """An image as [H, W, C] of [H, W], [H, W, C] or [C, H, W]; a clip with T in front of each.

    Raises:
        FileError: it is none.
    """
    own = array.shape[1:] if kind == "clip" else array.shape
    if len(own) == 2:
        return array[..., None]
    if len(own) == 3 and own[2] in _CHANNELS:
        return array
    if len(own) == 3 and own[0] in _CHANNELS:
        return np.moveaxis(array, -3, -1)
    time = "T, " if kind == "clip" else ""
    raise FileError(
        f"holds an array of shape {list(array.shape)}; a {kind} has [{time}H, W], "
        f"[{time}H, W, 1 or 3] or [{time}1 or 3, H, W]"
    )


def _coloured(pixels: Array, colour: bool) -> Array:
    if colour and pixels.shape[-1] == 1:
        return np.repeat(pixels, 3, axis=-1)
    if not colour and pixels.shape[-1] == 3:
        grey: Array = pixels.mean(axis=-1, keepdims=True).astype(pixels.dtype)
        return grey
    return pixels


def _resized(pixels: Array, size: tuple[int, int]) -> Array:
    if pixels.shape[-3:-1] == size:
        return pixels
    frames = torch.from_numpy(pixels.reshape(-1, *pixels.shape[-3:])).float().movedim(3, 1)
    made = functional.interpolate(frames, size, mode="bilinear", antialias=True).movedim(1, 3)
    if pixels.dtype == np.uint8:
        made = made.round().clamp(0, 255).to(torch.uint8)
    found: Array = made.reshape(*pixels.shape[:-3], *size, pixels.shape[-1]).numpy()
    return found


def _evenly(frames: Array, count: int) -> Array:
    """So many evenly spaced frames, the first one among them; all where there are fewer."""
    if len(frames) <= count:
        return frames
    return frames[np.arange(count) * len(frames) // count]


def _resampled(one: Input, samples: NDArray[np.float32], rate: int) -> Array:
    if rate != one.rate:
        from scipy.signal import resample_poly  # here, since it costs each process 150 MB and 2 s

        common = math.gcd(rate, one.rate)
        samples = resample_poly(samples, one.rate // common, rate // common).astype(np.float32)
    return samples[: one.samples]


def as_input(one: Input, decoded: Array) -> Tensor | dict[str, Tensor]:
    """What the stream takes: [D], [C, H, W], or values [C, length, ...] with their length.

    Pixels of 8 bits come to 0 .. 1. What is padded is zero.
    """
    values = torch.from_numpy(np.ascontiguousarray(decoded))
    values = values.float() / 255 if values.dtype == torch.uint8 else values.float()
    if one.kind == "vector":
        return values
    if one.kind == "image":
        return values.movedim(2, 0)
    if one.kind == "sound":
        return _padded(values[None], one.samples)
    return _padded(values.movedim(-1, 0), one.length)


def _padded(values: Tensor, length: int) -> dict[str, Tensor]:
    """[C, T, ...] with zeros behind, and T."""
    there = values.shape[1]
    behind = [0, 0] * (values.dim() - 2) + [0, length - there]
    return {"values": functional.pad(values, behind), "lengths": torch.tensor(there)}
