"""One view of an object: colours, depth and mask of the same pixels, read from PNG files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fusion_search.datasets.decoded import Kind
from fusion_search.datasets.errors import DataError, damaged
from fusion_search.datasets.tables.files import FileError, opened_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

Values = NDArray[Any]


@dataclass(frozen=True)
class View:
    """An object, a face or a scene, seen once.

    Attributes:
        name: tells it from all others of its source.
        label: its class.
        group: the object or the person.
        colour: [H, W, 3] uint8.
        depth: [H, W] uint16, millimetres along the camera's axis; 0 where nothing was measured.
        mask: [H, W] uint8, 1 where the object is; [0, 0] where that is not known.
    """

    name: str
    label: str
    group: str
    colour: Values
    depth: Values
    mask: Values


VIEW_KIND: Final = Kind(
    "rgbd 1",
    "view",
    View,
    words=("name", "label", "group"),
    arrays=("colour", "depth", "mask"),
)

NO_MASK: Final = np.zeros((0, 0), np.uint8)


def read_view(
    name: str, label: str, group: str, colour: Path, depth: Path, mask: Path | None
) -> View:
    """Read the files of one view.

    Raises:
        DataError: one is missing, damaged or foreign, or they differ in size.
    """
    view = View(
        name,
        label,
        group,
        _read(colour, _colours),
        _read(depth, _millimetres),
        NO_MASK if mask is None else _read(mask, _object),
    )
    for path, values in ((depth, view.depth), (mask, view.mask)):
        if path is not None and values.shape != view.colour.shape[:2]:
            raise unusable(
                path,
                f"it has {_sides(values)} pixels, {colour.name} {_sides(view.colour)}",
            )
    return view


def unusable(path: Path, reason: str) -> DataError:
    """Build the error for a file that may be whole, but is not of the form that is read."""
    return DataError(f"{path} cannot be used ({reason}): move it away, or bring it to this form")


def _sides(values: Values) -> str:
    return f"{values.shape[0]} x {values.shape[1]}"


def _read(path: Path, take: Callable[[Image.Image], Values]) -> Values:
    try:
        with opened_image(str(path), ("PNG",)) as image:
            return take(image)
    except FileError as error:
        if "is no whole image" in str(error):
            raise damaged(path, f"it {error}") from error
        raise unusable(path, f"it {error}") from error


def _colours(image: Image.Image) -> Values:
    if image.mode not in ("RGB", "RGBA", "P", "L", "LA"):
        raise FileError(f"has pixels of mode {image.mode}; allowed: colours or greys of 8 bits")
    return np.array(image.convert("RGB"))


def _millimetres(image: Image.Image) -> Values:
    if image.mode != "I;16":
        raise FileError(f"has pixels of mode {image.mode}; allowed: one channel of 16 bits")
    return np.array(image, dtype=np.uint16)


def _object(image: Image.Image) -> Values:
    if image.mode not in ("1", "L"):
        raise FileError(f"has pixels of mode {image.mode}; allowed: one channel of 1 or 8 bits")
    return (np.array(image) > 0).astype(np.uint8)
