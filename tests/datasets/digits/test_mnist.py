"""MNIST however it is packed, and others of its form."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fusion_search.datasets.digits.mnist import FILES, load_mnist
from fusion_search.datasets.errors import DataError

REAL = os.environ.get("FUSION_SEARCH_DATA")


def idx(values: NDArray[np.uint8]) -> bytes:
    shape = struct.pack(f">{values.ndim}I", *values.shape)
    return bytes([0, 0, 8, values.ndim]) + shape + values.tobytes()


def write(folder: Path, number: int, values: NDArray[np.uint8]) -> None:
    (folder / FILES[number].name).write_bytes(gzip.compress(idx(values)))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Seven and three images of one's own, and their labels."""
    chance = np.random.default_rng(0)
    for number, count in ((0, 7), (2, 3)):
        write(tmp_path, number, chance.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        write(tmp_path, number + 1, np.arange(count, dtype=np.uint8))
    return tmp_path


def test_other_images_of_the_right_form_are_taken_by_their_own_name(own: Path) -> None:
    images, labels, name = load_mnist(own)
    assert images.shape == (10, 28, 28)
    assert labels.tolist() == [*range(7), *range(3)]
    assert name == f"10 images in {own.name}/ (NOT MNIST)"
    assert FILES[0].describe(own / FILES[0].name) == ("7 images of 28 x 28, NOT MNIST's", 0)
    assert FILES[1].describe(own / FILES[1].name) == ("7 labels, NOT MNIST's", 0)


@pytest.mark.parametrize(
    ("number", "values", "reason"),
    [
        (0, np.zeros((7, 32, 32), np.uint8), "its images are 32 x 32, and 28 x 28 are needed"),
        (0, np.zeros(7, np.uint8), "it has 1 dimension, not 3"),
        (1, np.zeros((7, 28, 28), np.uint8), "it has 3 dimensions, not 1"),
        (1, np.full(7, 25, np.uint8), "it has the label 25, and 0 to 9 are known"),
        (3, np.zeros(2, np.uint8), "it has 2 labels, and t10k-images-idx3-ubyte.gz 3 images"),
    ],
)
def test_another_form_says_what_about_it(
    own: Path, number: int, values: NDArray[np.uint8], reason: str
) -> None:
    write(own, number, values)
    with pytest.raises(
        DataError, match=rf"{FILES[number].name} cannot be used \({reason}\)"
    ) as caught:
        load_mnist(own)
    assert "delete" not in str(caught.value)


@pytest.mark.real_data
@pytest.mark.skipif(not REAL, reason="FUSION_SEARCH_DATA is not set")
def test_another_packing_is_mnist_all_the_same(tmp_path: Path) -> None:
    assert REAL is not None
    source = Path(REAL) / "mnist"
    for file in FILES[:3]:
        shutil.copy(source / file.name, tmp_path)
    labels = gzip.decompress((source / FILES[3].name).read_bytes())
    (tmp_path / FILES[3].name.removesuffix(".gz")).write_bytes(labels)  # not packed
    packed = gzip.decompress((source / FILES[1].name).read_bytes())
    (tmp_path / FILES[1].name).write_bytes(gzip.compress(packed, 1, mtime=7))
    assert load_mnist(tmp_path)[2] == "MNIST"
