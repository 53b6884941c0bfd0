"""Views of objects as examples: colours, depth and where it was measured, in folds."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from torch import Tensor

from fusion_search.datasets.batch import SPLITS, Batch, Data
from fusion_search.datasets.decoded import Listed, decoded, in_memory
from fusion_search.datasets.errors import DataError, count_label
from fusion_search.datasets.files import data_folder, files_below, unread_words
from fusion_search.datasets.rgbd.examples import RgbdSplit, depth_scale, measured_pixels
from fusion_search.datasets.rgbd.folder import FOLDER, FORM, find_views, read_views
from fusion_search.datasets.rgbd.folds import LEAST_FOLDS, instance_folds, random_folds
from fusion_search.datasets.rgbd.rendering import FOCAL
from fusion_search.datasets.rgbd.stand_in import MOST_CLASSES, NOTE, VIEWS, stand_in
from fusion_search.datasets.rgbd.view import VIEW_KIND, View
from fusion_search.datasets.rgbd.washington import FORM as WASHINGTON_FORM
from fusion_search.datasets.rgbd.washington import (
    NAME,
    find_trials,
    find_washington,
    known_files,
    read_trials,
    read_washington,
)
from fusion_search.datasets.splits import absent_classes, split_fingerprint

Sources = Literal["standin", "washington", "folder"]
FoldBy = Literal["random", "instance"]
Depth = Literal["metres", "normals"]

_PARTS: Final = re.compile(r"([0-9]+)")


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

    source: Sources = "standin"
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
            ("source", get_args(Sources)),
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
            ("folds", LEAST_FOLDS, 1000),
            ("split_seed", 0, 2**31 - 1),
            ("classes", 2, MOST_CLASSES),
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


@dataclass(frozen=True)
class Source:
    """Views, and what else is known of where they come from.

    Attributes:
        listed: all views.
        note: what a reader of the results has to know of them.
        focal: length of their camera in pixels.
        trials: the object that every published trial tests, by class.
    """

    listed: Listed[View]
    note: str
    focal: float
    trials: Sequence[Mapping[str, str]] | None = None


def load_rgbd(settings: RgbdSettings, folder: Path | None = None) -> Source:
    """The views of a source.

    Args:
        settings: which ones.
        folder: where files lie; None for FUSION_SEARCH_DATA, else the cache folder. Not looked for
            when the source is the stand-in.

    Raises:
        DataError: a file is missing, damaged or of another form.
    """
    if settings.source == "standin":
        views = settings.views or VIEWS
        made = stand_in(settings.classes, settings.instances, views)
        return Source(in_memory(VIEW_KIND, made), NOTE, FOCAL)
    root = data_folder(folder, os.environ)
    if settings.source == "folder":
        path = settings.path or FOLDER
        files = find_views(root / path)
        listed = decoded(VIEW_KIND, files, read_views(root / path, files))
        note = f"views in {path}/"
        left = len(set(files_below(root / path)) - set(files))
        if left:
            note += f" ({count_label(left, 'file')} in it not read)"
        return Source(listed, note, settings.focal)
    found = find_washington(root, settings.path)
    listed = decoded(VIEW_KIND, found.files, read_washington(found))
    note = f"{count_label(len(listed.records), 'view')} in the form of {NAME}"
    if found.between:
        note += f", every fifth frame alone ({found.between:,} between them left out)"
    if found.without_depth:
        note += f", {len(found.without_depth):,} without depth left out"
    trials = find_trials(found.folder)
    return Source(listed, note, settings.focal, read_trials(trials) if trials else None)


def unread_views(settings: RgbdSettings, folder: Path) -> str:
    """Which files of a source are not read, and the form of those that are; empty without any.

    Args:
        settings: of views that ``load_rgbd`` reads.
        folder: where files lie.
    """
    if settings.source == "standin":
        return ""
    if settings.source == "folder":
        root = folder / (settings.path or FOLDER)
        return unread_words(root, files_below(root), find_views(root), FORM)
    found = find_washington(folder, settings.path)
    there = files_below(found.folder)
    return unread_words(found.folder, there, known_files(found.folder, there), WASHINGTON_FORM)


def class_names(views: Sequence[View]) -> tuple[str, ...]:
    """The classes of views, in order.

    Raises:
        DataError: there is one.
    """
    names = tuple(sorted({view.label for view in views}))
    if len(names) < 2:
        raise DataError(f"there is one class, {names[0]}: add views of another")
    return names


def open_rgbd(settings: RgbdSettings, folder: Path | None = None, fold: int = 0) -> Data:
    """The splits of a fold; what is tested next in order validates.

    Items are ({"rgb": [3, S, S], "depth": {"values": [C, S, S], "measured": [1, S, S]}}, class):
    colours in 0 .. 1; depth in C = 1 or 3 channels, zero where nothing was measured; ``measured``
    bool. (The mask belongs to the stream depth, for the names of inputs are those of streams: an
    axis impairs "depth.values", with ``where=measured``.) The splits have ``targets`` [N] int64 and
    ``groups`` [N], the object or person of each.

    Args:
        settings: which views.
        folder: see ``load_rgbd``.
        fold: from 0 on.

    Raises:
        DataError: see ``load_rgbd``; or there are too few views, objects or persons.
    """
    if not 0 <= fold < settings.folds:
        raise DataError(f"fold is {fold}; allowed: 0 to {settings.folds - 1}")
    source = load_rgbd(settings, folder)
    views, left_out = _chosen(settings, source.listed.records)
    split, words = _split(settings, source, views, fold)
    labels = class_names(views)
    kept = {
        name: [view for view, its in zip(views, split, strict=True) if its == name]
        for name in SPLITS
    }
    for name in SPLITS:
        absent = absent_classes([view.label for view in views], split, name)
        if absent and (name == "train" or not kept[name]):
            raise DataError(
                f"class {absent[0]} has no view in the {name} split of fold {fold}: add views of "
                "it, or lower data.folds"
            )
    masked = settings.masked
    if not any(measured_pixels(view, masked).any() for view in kept["train"]):
        raise DataError(
            f"depth is missing in all pixels of the train split of fold {fold}: add views with "
            "measured depth (millimetres, 0 where there is none)"
        )
    scale = depth_scale(kept["train"], masked) if settings.depth == "metres" else source.focal
    made: dict[str, Any] = {
        name: RgbdSplit(
            kept[name],
            labels,
            size=settings.size,
            scale=scale,
            masked=masked,
            flip=settings.flip and name == "train",
        )
        for name in SPLITS
    }
    return Data(
        **made,
        classes=len(labels),
        folds=settings.folds,
        fingerprint=_fingerprint(settings, source),
        split_fingerprint=split_fingerprint(
            source.listed.fingerprint,
            {name: [view.name for view in own] for name, own in kept.items()},
        ),
        note="; ".join(filter(None, [source.note + left_out, words])),
        labels=labels,
        shared=settings.source == "standin",
    )


def _chosen(settings: RgbdSettings, found: Sequence[View]) -> tuple[list[View], str]:
    """The views that are used, in order, and in words what is left out."""
    views = [view for view in found if view.mask.size] if settings.masked else list(found)
    words = ""
    if len(views) < len(found):
        words = f", {len(found) - len(views):,} without a mask left out"
    if not views:
        raise DataError("no view comes with a mask: add some, or set data.masked to false")
    most = settings.views
    if most:
        of: dict[tuple[str, str], list[View]] = {}
        for view in sorted(views, key=_in_order):
            of.setdefault((view.label, view.group), []).append(view)
        spread = [
            own[place * len(own) // most] if len(own) > most else own[place]
            for own in of.values()
            for place in range(min(most, len(own)))
        ]
        if len(spread) < len(views):
            words += f", at most {most:,} of each object: {len(spread):,} of {len(views):,}"
        views = spread
    return sorted(views, key=_in_order), words


def _in_order(view: View) -> list[tuple[int, str]]:
    """Numbers in a name by their value."""
    return [(int(one), "") if one.isdecimal() else (-1, one) for one in _PARTS.split(view.name)]


def _split(
    settings: RgbdSettings, source: Source, views: Sequence[View], fold: int
) -> tuple[list[str], str]:
    labels, groups = [view.label for view in views], [view.group for view in views]
    if settings.fold_by == "random":
        return random_folds(labels, settings.folds, fold, settings.split_seed)
    trials = source.trials
    if trials is not None and len(trials) < settings.folds:
        raise DataError(
            f"there {'is' if len(trials) == 1 else 'are'} "
            f"{count_label(len(trials), 'published trial')}, "
            f"and {settings.folds} folds: lower data.folds, or move testinstance_ids.txt away"
        )
    return instance_folds(labels, groups, settings.folds, fold, settings.split_seed, trials)


def _fingerprint(settings: RgbdSettings, source: Source) -> str:
    own = source.listed.fingerprint
    if settings.fold_by == "random" or source.trials is None:
        return own
    told = f"{own} {[sorted(one.items()) for one in source.trials]}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]
