"""The RGB-D Object Dataset of the University of Washington, as distributed.

Lai, Bo, Ren, Fox: "A Large-Scale Hierarchical Multi-View RGB-D Object Dataset". 300 objects of 51
categories on a turntable, seen from three elevations.

``rgbd-dataset/{category}/{category}_{i}/{category}_{i}_{v}_{n}_crop.png`` holds colours,
``_depthcrop.png`` millimetres and ``_maskcrop.png`` where the object is, of frame n in the v-th of
its videos. Every fifth frame, the first and the sixth and so on, makes the evaluation set; of the
whole set the same frames are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fusion_search.datasets.errors import DataError
from fusion_search.datasets.files import in_the_way, lacking
from fusion_search.datasets.rgbd.view import View, read_view, unusable

NAME: Final = "Washington RGB-D"
TRIALS_FILE: Final = "testinstance_ids.txt"
FOLDER: Final = "washington"  # of the data folder
_FOLDERS: Final = ("rgbd-dataset", "rgbd-dataset_eval")
_COLOUR, _DEPTH, _MASK = "_crop.png", "_depthcrop.png", "_maskcrop.png"
_LOCATION: Final = "_loc.txt"  # beside every frame, not needed
FORM: Final = f"CATEGORY/CATEGORY_I/CATEGORY_I_V_N{_COLOUR}, {_DEPTH} and {_MASK}"
_EVERY: Final = 5
_STEM: Final = re.compile(r"((.+)_\d+)_\d+_(\d+)")  # from the right: categories hold underscores
_MOST_BYTES: Final = 1 << 20  # of the list of trials; the published one has some 7,000


@dataclass(frozen=True)
class Frame:
    """The files of a view; ``mask`` is None where there is none."""

    name: str
    category: str
    instance: str
    colour: Path
    depth: Path
    mask: Path | None


@dataclass(frozen=True)
class Washington:
    """What was found of it.

    Attributes:
        folder: of the categories.
        frames: of the evaluation set, with depth.
        between: how many frames between every fifth are not read.
        without_depth: names of frames that have no depth, and are not read.
    """

    folder: Path
    frames: tuple[Frame, ...]
    between: int
    without_depth: tuple[str, ...]

    @property
    def files(self) -> list[Path]:
        """All that is read."""
        return [
            path
            for one in self.frames
            for path in (one.colour, one.depth, one.mask)
            if path is not None
        ]


def find_washington(root: Path, path: str = "") -> Washington:
    """The frames below a data folder.

    Args:
        root: the data folder.
        path: of a folder in it that holds ``rgbd-dataset`` or the categories themselves; "" for
            ``washington``, or else the data folder.

    Raises:
        DataError: there are none, or a file's name is of another form.
    """
    home = root / (path or FOLDER)
    folders = [*(home / one for one in _FOLDERS), home]
    if not path:
        folders += [root / one for one in _FOLDERS]
    for folder in folders:
        found = _found(folder)
        if found.frames:
            return found
    hindered = [one for one in folders if in_the_way(one)]
    why = (
        f"{lacking(hindered[0])}put the" if hindered else f"{NAME} is missing from {home}: put its"
    )
    raise DataError(
        f"{why} folder rgbd-dataset there, name another folder by data.path, or name a folder "
        "that has it by --data or FUSION_SEARCH_DATA"
    )


def _found(folder: Path) -> Washington:
    frames, between, without = [], 0, []
    for instance in sorted(folder.glob("*/*/")):
        there = {path.name for path in instance.iterdir() if not path.name.startswith(".")}
        for name in sorted(one for one in there if one.endswith(_COLOUR)):
            stem = name.removesuffix(_COLOUR)
            named = _STEM.fullmatch(stem)
            if named is None:
                raise unusable(instance / name, "its name is not CATEGORY_I_V_N_crop.png")
            if int(named[3]) % _EVERY != 1:
                between += 1
            elif f"{stem}{_DEPTH}" not in there:
                without.append(stem)
            else:
                mask = f"{stem}{_MASK}"
                frames.append(
                    Frame(
                        stem,
                        named[2],
                        named[1],
                        instance / name,
                        instance / f"{stem}{_DEPTH}",
                        instance / mask if mask in there else None,
                    )
                )
    return Washington(folder, tuple(frames), between, tuple(without))


def read_washington(found: Washington) -> Iterator[View]:
    """Read what ``find_washington`` found.

    Raises:
        DataError: a file is damaged or foreign.
    """
    for one in found.frames:
        yield read_view(one.name, one.category, one.instance, one.colour, one.depth, one.mask)


def find_trials(folder: Path) -> Path | None:
    """The list of published trials, beside the categories or beside their folder."""
    there = (folder / TRIALS_FILE, folder.parent / TRIALS_FILE)
    return next((path for path in there if path.is_file()), None)


def known_files(folder: Path, there: Iterable[Path]) -> set[Path]:
    """The files of frames, read or left out and counted, and the list of published trials.

    Args:
        folder: of the categories.
        there: files below it.
    """
    known, found = {folder / TRIALS_FILE}, set(there)
    for path in found:
        for ending in (_COLOUR, _DEPTH, _MASK, _LOCATION):
            colour = path.with_name(path.name.removesuffix(ending) + _COLOUR)
            placed = len(path.relative_to(folder).parts) == 3
            if placed and path.name.endswith(ending) and colour in found:
                known.add(path)
    return known


def read_trials(path: Path) -> list[dict[str, str]]:
    """The object that every trial tests, by category.

    Raises:
        DataError: it is no such list.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        lines = content.decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise unusable(path, "it cannot be read as text") from error
    if len(content) > _MOST_BYTES:
        raise unusable(path, f"it is larger than {_MOST_BYTES:,} bytes")
    trials: list[dict[str, str]] = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if line.startswith("*"):
            trials.append({})
        elif line:
            named = re.fullmatch(r"(.+)_\d+", line)
            if not trials or named is None or named[1] in trials[-1]:
                raise unusable(
                    path,
                    f"line {number} is {line[:60]!r}, and not the one CATEGORY_I of its category "
                    "below a heading with asterisks",
                )
            trials[-1][named[1]] = line
    if not trials or not all(trials):
        raise unusable(path, "it lists no trial, or an empty one")
    return trials
