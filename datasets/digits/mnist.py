"""MNIST: 70,000 handwritten digits of 28 x 28 (train and test files combined).

LeCun, Cortes, Burges: The MNIST database of handwritten digits. IDX files, gzip-packed.
"""

from __future__ import annotations

import functools
import hashlib
import math
import struct
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fusion_search.datasets.files import DataFile, damaged, decompressed

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


def _checked(path: Path, md5: str) -> bytes:
    content = decompressed(path, _MOST_BYTES)
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise damaged(path, "its content is not MNIST's")
    return content


def _verify(md5: str, path: Path) -> None:
    _checked(path, md5)


FILES: Final = tuple(
    DataFile(
        name=name,
        folder="mnist",
        other_folders=("MNIST/raw", ""),
        url=URL + name,
        size=size,
        verify=functools.partial(_verify, md5),
    )
    for name, (size, md5) in _FILES.items()
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
        raise damaged(path, f"not an IDX file of bytes: it starts with {content[:4].hex()}")
    if not 1 <= content[3] <= _MOST_DIMENSIONS:
        raise damaged(path, f"it has {content[3]} dimensions, 1 to {_MOST_DIMENSIONS} expected")
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise damaged(path, "its IDX header is cut short")
    shape = struct.unpack(f">{content[3]}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise damaged(
            path, f"{math.prod(shape):,} values promised, {len(content) - header:,} found"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def load_mnist(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Load all of MNIST, train files first.

    Returns:
        Images [70000, 28, 28] in 0 .. 255 and labels [70000].

    Raises:
        DataError: a file is missing or damaged.
    """
    arrays = []
    for file in FILES:
        path = file.require(folder)
        arrays.append(parse_idx(_checked(path, _FILES[file.name][1]), path))
    train_images, train_labels, test_images, test_labels = arrays
    images = np.concatenate([train_images, test_images])
    labels = np.concatenate([train_labels, test_labels]).astype(np.int64)
    return images, labels
