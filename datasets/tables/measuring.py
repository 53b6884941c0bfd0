"""What a column's cells are, how long and large its files and arrays, and what its stream takes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from fusion_search.datasets.errors import count_label
from fusion_search.datasets.tables.cells import ending
from fusion_search.datasets.tables.files import (
    ARRAYS,
    IMAGES,
    SOUNDS,
    VIDEOS,
    FileError,
    cell_array,
    read_array,
    read_image,
    read_video,
    sound_length,
)
from fusion_search.datasets.tables.settings import Input, Kind
from fusion_search.datasets.tables.table import is_number

MOST: Final = 0.9
"""Of a column's cells: how many are of one kind where the column is of it."""

_MOST_SECONDS: Final = 10.0
_MOST_RATE: Final = 16000
_MOST_STEPS: Final = 1000
_MOST_FRAMES: Final = 16
_MOST_SIDE: Final = 64
_READ: Final = {"sound": 50_000, "array": 2000, "image": 50, "clip": 20}  # of a column, at most

_COMMA: Final = re.compile(r"[+-]?\d[\d.]*,\d+(?:[eE][+-]?\d+)?")
_KINDS: Final = {"sound": SOUNDS, "image": IMAGES, "clip": VIDEOS, "array": ARRAYS}

Measured = tuple[Input, str]
"""Settings of a stream, and in words what its column holds."""


def kind_of_file(cell: Any) -> str:
    """sound, image, clip or array, by the ending of the name; "" where it is none."""
    if not isinstance(cell, str):
        return ""
    last = ending(cell)
    return next((kind for kind, endings in _KINDS.items() if last in endings), "")


def decimal_comma(cells: Sequence[Any]) -> str:
    """The first of a column's cells such as ``1,5``, if nearly all are that or numbers; else ""."""
    commas = [one for one in cells if isinstance(one, str) and _COMMA.fullmatch(one)]
    numbers = sum(map(is_number, cells))
    return commas[0] if commas and len(commas) + numbers >= MOST * len(cells) else ""


def input_of_files(column: str, kind: str, paths: Sequence[str]) -> Measured | str:
    """What a stream takes of files of a kind; a sentence where not one of them can be read."""
    read: Any = {
        "sound": sound_length,
        "image": read_image,
        "clip": read_video,
        "array": read_array,
    }
    paths = paths[:: math.ceil(len(paths) / _READ[kind])]
    found: list[Any] = []
    reason = ""
    for path in paths:
        try:
            values = read[kind](path)
        except FileError as error:
            reason = reason or f"{path} {error}"
        else:
            found.append(values if kind == "sound" else _seen(values))
    if not found:
        return reason
    if kind == "sound":
        return _sound(column, found)
    return _arrays(column, found) if kind == "array" else _pixels(column, _pixel_kind(kind), found)


def input_of_arrays(column: str, cells: Sequence[Any]) -> Measured | str:
    """What a stream takes of arrays that the cells themselves hold."""
    found, reason = [], ""
    for cell in cells[:: math.ceil(len(cells) / _READ["array"])]:
        try:
            found.append(_seen(cell_array(cell)))
        except FileError as error:
            reason = reason or f"a cell {error}"
    return _arrays(column, found) if found else reason


class _Seen(NamedTuple):
    shape: tuple[int, ...]
    is_bytes: bool
    is_colour: bool  # of three channels at the end, which differ


def _seen(array: Any) -> _Seen:
    colour = array.ndim > 2 and array.shape[-1] == 3 and bool((np.ptp(array, axis=-1) > 0).any())
    return _Seen(array.shape, array.dtype == np.uint8, colour)


def _pixel_kind(kind: str) -> Kind:
    return "image" if kind == "image" else "clip"


def _arrays(column: str, arrays: Sequence[_Seen]) -> Measured | str:
    rank = Counter(len(one.shape) for one in arrays).most_common(1)[0][0]
    arrays = [one for one in arrays if len(one.shape) == rank]
    lengths = [one.shape[0] for one in arrays]
    if not 1 <= rank <= 4:
        return f"holds arrays of {rank} dimensions; allowed: 1 to 4"
    if rank == 1 and min(lengths) == max(lengths) <= _MOST_STEPS:
        return Input(kind="vector", column=column), f"arrays of {count_label(lengths[0], 'number')}"
    if rank > 2 or (rank == 2 and arrays[0].is_bytes):
        kind: Kind = "image" if rank == 2 or (rank == 3 and _are_images(arrays)) else "clip"
        return _pixels(column, kind, [_channels_last(one, kind) for one in arrays])
    channels = 1 if rank == 1 else arrays[0].shape[1]
    words = f"series of {_range(lengths)} steps, {count_label(channels, 'channel')}"
    return Input(
        kind="series", column=column, length=min(int(_nearly_all(lengths)), _MOST_STEPS)
    ), words


def _are_images(arrays: Sequence[_Seen]) -> bool:
    """Whether arrays of three dimensions are images with channels, and no clips without."""
    return all(one.shape[0] in (1, 3) or one.shape[2] in (1, 3) for one in arrays)


def _channels_last(one: _Seen, kind: Kind) -> _Seen:
    front = one.shape[:1] if kind == "clip" else ()
    own = one.shape[len(front) :]
    if len(own) == 2:
        return one._replace(shape=(*front, *own, 1))
    if own[-1] in (1, 3):
        return one
    return one._replace(shape=(*front, *own[1:], own[0]), is_colour=own[0] == 3)


def _sound(column: str, sounds: Sequence[tuple[int, int]]) -> Measured:
    """Of samples and rates."""
    rate, _ = Counter(own for _, own in sounds).most_common(1)[0]
    seconds = [samples / own for samples, own in sounds]
    longest = min(math.ceil(10 * _nearly_all(seconds)) / 10, _MOST_SECONDS)
    one = Input(kind="sound", column=column, seconds=longest, rate=min(rate, _MOST_RATE))
    return one, f"sounds of {_range(seconds)} s at {rate:,} Hz"


def _pixels(column: str, kind: Kind, arrays: Sequence[_Seen]) -> Measured:
    """Images [H, W, C], or clips [T, H, W, C]."""
    height, width = (int(np.median([one.shape[at] for one in arrays])) for at in (-3, -2))
    scale = min(1.0, _MOST_SIDE / max(height, width))
    size = (max(1, round(scale * height)), max(1, round(scale * width)))
    colour = any(one.is_colour for one in arrays)
    words = f"about {height:,} x {width:,} pixels, {'colour' if colour else 'grey'}"
    if kind == "image":
        return Input(kind=kind, column=column, size=size, colour=colour), f"images, {words}"
    frames = [one.shape[0] for one in arrays]
    length = min(int(_nearly_all(frames)), _MOST_FRAMES)
    made = Input(kind=kind, column=column, length=length, size=size, colour=colour)
    return made, f"clips of {_range(frames)} frames, {words}"


def _nearly_all(lengths: Sequence[float]) -> float:
    """No shorter than 99 in 100; all are padded to it, so a few long ones would cost the others."""
    return float(np.quantile(lengths, 0.99, method="higher"))


def _range(values: Sequence[float]) -> str:
    ends = (min(values), max(values))
    low, high = (f"{one:,.3g}" if one < 1000 else f"{one:,.0f}" for one in ends)
    return low if low == high else f"{low} to {high}"
