"""Views of objects as examples: colours, depth and where it was measured, in folds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from torch import Tensor

from fusion_search.datasets.batch import Batch, Data

Source = Literal["standin", "washington", "folder"]
FoldBy = Literal["random", "instance"]
Depth = Literal["metres", "normals"]


@dataclass(frozen=True, kw_only=True)
class RgbdSettings:
    """Which views, brought to which form, and what a fold holds out.

    Attributes:
        source: standin (rendered solids, built in), washington (the RGB-D Object Dataset as
            distributed) or folder (CLASS/GROUP/NAME_rgb.png beside NAME_depth.png).
        path: where the files are, below the data folder; "" for ``washington`` and ``rgbd`` there.
        size: pixels of a side, to which every view is stretched; 224 in the paper.
        views: of every object at most so many, spread evenly; 0 for all of a file source, and for
            12 of the stand-in. 15 make the paper's 4,500 of Washington's 300 objects.
        folds: how many there are, 3 or more; the paper's 10 or 5.
        fold_by: random (as in the paper: views of one object train and test) or instance (the
            views of an object, or of a person, lie together: of every class one object is tested,
            or, where objects are of several classes as persons are, a share of them).
        split_seed: of the draw of the folds.
        depth: metres (one channel, standardised over the measured pixels of the train split) or
            normals (three channels: unit vectors across, down and towards the camera).
        focal: length of the files' camera in pixels, by which normals are computed; a Kinect's.
        masked: whether all but the object is black, and missing in depth; only views that come
            with a mask are used.
        flip: whether half of the train examples, drawn anew each time, are mirrored.
        classes: of the stand-in, 2 to 24: a shape and a texture each.
        instances: of the stand-in, objects of a class: of other sizes, proportions and colours.

    Raises:
        ValueError: a field is not one of its allowed values.
    """

    source: Source = "standin"
    path: str = ""
    size: int = 64
    views: int = 0
    folds: int = 10
    fold_by: FoldBy = "random"
    split_seed: int = 0
    depth: Depth = "metres"
    focal: float = 525.0
    masked: bool = False
    flip: bool = False
    classes: int = 8
    instances: int = 6

    def __post_init__(self) -> None:
        for name, allowed in (
            ("source", get_args(Source)),
            ("fold_by", get_args(FoldBy)),
            ("depth", get_args(Depth)),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}"
                )
        for name, least, most in (
            ("size", 8, 1024),
            ("views", 0, 1_000_000),
            ("folds", 3, 1000),
            ("split_seed", 0, 2**31 - 1),
            ("classes", 2, 24),
            ("instances", 1, 1000),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: {least:,} to {most:,}")
        if not 1 <= self.focal <= 1e5:
            raise ValueError(f"focal is {self.focal}; allowed: 1 to 100,000")
        path = Path(self.path)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"path is {self.path!r}; allowed: one below the data folder")


def measured(batch: Batch) -> Tensor:
    """Where depth was measured, of the shape of "depth.values": an axis's ``where``."""
    depth = batch.inputs["depth"]
    mask: Tensor = depth["measured"]
    return mask.expand_as(depth["values"])


def open_rgbd(settings: RgbdSettings, folder: Path | None = None, fold: int = 0) -> Data:
    """The splits of a fold; the next fold in order validates.

    Items are ({"rgb": [3, S, S], "depth": {"values": [C, S, S], "measured": [1, S, S]}}, class):
    colours in 0 .. 1; depth in C = 1 or 3 channels, zero where nothing was measured; ``measured``
    bool. (The mask belongs to the stream depth, for the names of inputs are those of streams: an
    axis impairs "depth.values", with ``where=measured``.) The splits have ``targets`` [N] int64 and
    ``groups`` [N], the object or person of each.

    Args:
        settings: which views.
        folder: where files lie; None for FUSION_SEARCH_DATA, else the cache folder. Not looked for
            when the source is the stand-in.
        fold: from 0 on.

    Raises:
        DataError: a file is missing, damaged or of another form; or there are too few views,
            objects or persons.
    """
    raise NotImplementedError("being written on branch data19")
