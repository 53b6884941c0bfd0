"""MNIST: 70,000 handwritten digits of 28 x 28 (train and test files combined).

LeCun, Cortes, Burges: The MNIST database of handwritten digits. IDX files, gzip-packed.
"""

from __future__ import annotations

import functools
import hashlib
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fusion_search.datasets.errors import count_label
from fusion_search.datasets.files import DataFile, read_packed, unusable

NAME: Final = "MNIST"
URL: Final = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_UINT8: Final = 8  # IDX type code
_MOST_DIMENSIONS: Final = 3
_MOST_BYTES: Final = 48 << 20  # the train images have 47,040,016

# MD5 of the decompressed files: gzip packings of the same content differ between mirrors.
_FILES: Final = {
    "train-images-idx3-ubyte.gz": (9_912_422, "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte.gz": (28_881, "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte.gz": (1_648_877, "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte.gz": (4_542, "27ae3e4e09519cfbb04c329615203637"),
}


@dataclass(frozen=True)
class _Part:
    """What one file holds: its array, whose it is, and the bytes behind it that are left out."""

    array: NDArray[np.uint8]
    name: str
    left_out: int


def _read(path: Path, name: str) -> _Part:
    """Read one of ``_FILES``; images or labels of MNIST's form may be others than MNIST's.

    Raises:
        DataError: it cannot be read, or its form is another one.
    """
    content, left_out = read_packed(path, _MOST_BYTES)
    array = parse_idx(content, path)
    if hashlib.md5(content, usedforsecurity=False).hexdigest() == _FILES[name][1]:
        return _Part(array, NAME, left_out)
    wanted = 3 if "images" in name else 1
    if array.ndim != wanted:
        raise unusable(path, f"it has {count_label(array.ndim, 'dimension')}, not {wanted}")
    if wanted == 1:
        if array.size and array.max() > 9:
            raise unusable(path, f"it has the label {array.max()}, and 0 to 9 are known")
        return _Part(array, f"{count_label(array.size, 'label')}, NOT {NAME}'s", left_out)
    if array.shape[1:] != (28, 28):
        size = " x ".join(map(str, array.shape[1:]))
        raise unusable(path, f"its images are {size}, and 28 x 28 are needed")
    return _Part(array, f"{count_label(len(array), 'image')} of 28 x 28, NOT {NAME}'s", left_out)


def _describe(name: str, path: Path) -> tuple[str, int]:
    part = _read(path, name)
    return part.name, part.left_out


FILES: Final = tuple(
    DataFile(
        name=name,
        folder="mnist",
        other_folders=("MNIST/raw", ""),
        url=URL + name,
        size=size,
        other_names=(name.removesuffix(".gz"),),
        describe=functools.partial(_describe, name),
        expected=NAME,
    )
    for name, (size, _) in _FILES.items()
)


def parse_idx(content: bytes, path: Path) -> NDArray[np.uint8]:
    """Read an array of bytes in IDX format.

    Args:
        content: the decompressed file.
        path: where it came from, for messages.

    Returns:
        The array, in the shape the header says.

    Raises:
        DataError: the header is not that of an IDX array of bytes, or the size differs from it.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UINT8:
        raise unusable(path, f"not an IDX file of bytes: it starts with {content[:4].hex()}")
    if not 1 <= content[3] <= _MOST_DIMENSIONS:
        raise unusable(path, f"it has {content[3]} dimensions, 1 to {_MOST_DIMENSIONS} expected")
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise unusable(path, "its IDX header is cut short")
    shape = struct.unpack(f">{content[3]}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise unusable(
            path,
            f"{count_label(math.prod(shape), 'value')} promised, {len(content) - header:,} found",
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def load_mnist(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], str]:
    """Load all of MNIST, or of what lies in its place, train files first.

    Returns:
        Images [I, 28, 28] in 0 .. 255 and labels [I], 70,000 of MNIST, and what they are in words.

    Raises:
        DataError: a file is missing or cannot be read, or there are more images than labels.
    """
    paths = [file.require(folder) for file in FILES]
    parts = [_read(path, file.name) for file, path in zip(FILES, paths, strict=True)]
    for number in (0, 2):
        count, named = len(parts[number].array), len(parts[number + 1].array)
        if count != named:
            raise unusable(
                paths[number + 1],
                f"it has {count_label(named, 'label')}, and {paths[number].name} "
                f"{count_label(count, 'image')}",
            )
    images = np.concatenate([parts[0].array, parts[2].array])
    labels = np.concatenate([parts[1].array, parts[3].array]).astype(np.int64)
    if all(part.name == NAME for part in parts):
        return images, labels, NAME
    found = count_label(len(images), "image")
    return images, labels, f"{found} in {paths[0].parent.name}/ (NOT {NAME})"
