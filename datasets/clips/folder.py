"""A folder of clips: one NumPy file each, or frames and coefficients as CUAVE and Digits have them.

* ``{person}_{label}_{take}.npz`` with ``frames`` [n, H, W] (uint8 or floating point) and
  ``coefficients`` [m, C] (floating point). The person may hold further underscores.
* ``Video frames/`` and ``MFCCs/``, a file a clip in each, named alike but for the ending: raw
  float64 without a header, frames [n, 90, 120] and coefficients [m, 26]. The first frame is left
  out: XFlow's writer never sets it. Names are ``{person}_{label}_{take}``; or hold a person
  ``s01`` and a digit's word, as in CUAVE; or begin with a digit, and hold a person's name beside
  the manner of speaking, as in Digits.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from fusion_search.datasets.clips.clip import Clip, Values
from fusion_search.datasets.errors import DataError, count_label, damaged, said
from fusion_search.datasets.files import in_the_way, lacking

FRAMES, COEFFICIENTS = "Video frames", "MFCCs"
FORM: Final = f"PERSON_LABEL_TAKE.npz, or files in the folders {FRAMES!r} and {COEFFICIENTS!r}"
_SIDES: Final = (90, 120)
_VECTOR: Final = 26
_MOST_BYTES: Final = 1 << 28  # of the frames of a clip
_WORDS: Final = (
    *("zero", "one", "two", "three", "four"),
    *("five", "six", "seven", "eight", "nine"),
)
_MANNERS: Final = ("low", "normal", "loud", "slow", "fast")

Named = tuple[str, str, str]
"""Person, label, take."""


def find_clips(folder: Path) -> list[Path]:
    """The files of a folder of clips.

    Raises:
        DataError: it holds none, or both kinds.
    """
    if not folder.is_dir():
        raise DataError(
            f"{lacking(folder)}put clips there, or name another folder of the data folder by "
            "data.folder"
        )
    archives = sorted(folder.glob("*.npz"))
    raw = [*_files(folder / FRAMES), *_files(folder / COEFFICIENTS)]
    if archives and raw:
        raise DataError(f"{folder} holds both .npz files and {FRAMES}: leave one of them there")
    if not archives and not raw:
        raise DataError(
            f"{folder} holds no clip: put PERSON_LABEL_TAKE.npz files there, or the folders "
            f"{FRAMES!r} and {COEFFICIENTS!r}"
        )
    return archives or raw


def read_clips(files: list[Path]) -> Iterator[Clip]:
    """Read what ``find_clips`` found.

    Raises:
        DataError: a file is damaged, foreign or without its partner.
    """
    if files[0].suffix == ".npz":
        for path in files:
            yield Clip(path.stem, *_own_name(path), *_arrays(path))
        return
    parts = {
        part: {path.stem: path for path in files if path.parent.name == part}
        for part in (FRAMES, COEFFICIENTS)
    }
    if sum(map(len, parts.values())) < len(files):
        raise DataError(f"two files of {files[0].parent} differ in their ending alone: remove one")
    for stem in sorted(parts[FRAMES].keys() | parts[COEFFICIENTS].keys()):
        for part in parts:
            if stem not in parts[part]:
                other = next(one[stem] for one in parts.values() if stem in one)
                raise DataError(f"{other} has no partner of its name in {part!r}")
        frames = _raw(parts[FRAMES][stem], _SIDES)[1:]
        if not len(frames):
            raise _unusable(parts[FRAMES][stem], "it has one frame, which is never set")
        coefficients = _raw(parts[COEFFICIENTS][stem], (_VECTOR,))
        yield Clip(stem, *_raw_name(parts[FRAMES][stem]), frames, coefficients)


def _files(folder: Path) -> list[Path]:
    if hindrance := in_the_way(folder):
        raise DataError(f"{hindrance} and put the files of the clips there")
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.iterdir() if one.is_file() and one.name[0] != ".")


def _own_name(path: Path) -> Named:
    parts = path.stem.rsplit("_", 2)
    if len(parts) != 3 or not all(parts):
        raise _unusable(path, "its name is not PERSON_LABEL_TAKE")
    return parts[0], parts[1], parts[2]


def _raw_name(path: Path) -> Named:
    stem = path.stem
    person = re.search(r"s\d\d(?!\d)", stem)
    words = [one for one in _WORDS if one in stem.lower()]
    if person and len(words) == 1:
        return person[0], str(_WORDS.index(words[0])), stem
    if stem[0].isdigit():
        found = [one for one in re.findall("[A-Z]?[a-z]+", stem) if one.lower() not in _MANNERS]
        if len(found) == 1:
            return found[0], stem[0], stem
    return _own_name(path)


def _arrays(path: Path) -> tuple[Values, Values]:
    try:
        with zipfile.ZipFile(path) as archive:
            for one in archive.infolist():
                if one.file_size > _MOST_BYTES:
                    raise _unusable(path, f"{one.filename} is larger than {_MOST_BYTES:,} bytes")
        with np.load(path, allow_pickle=False) as archive:
            missing = {"frames", "coefficients"} - set(archive.files)
            if missing:
                raise _unusable(path, f"it has no array {', '.join(sorted(missing))}")
            frames, coefficients = archive["frames"], archive["coefficients"]
    except DataError:
        raise
    except Exception as error:  # zipfile and NumPy raise whatever their parsers meet
        raise damaged(path, f"no whole .npz: {said(error)}") from error
    return _values(path, frames, 3, "frames [n, H, W]"), _values(
        path, coefficients, 2, "coefficients [m, C]"
    )


def _values(path: Path, found: Values, rank: int, what: str) -> Values:
    if found.ndim != rank or not found.size or found.dtype.kind not in "fu":
        raise _unusable(
            path, f"{what} have shape {list(found.shape)} and type {found.dtype}, not numbers of it"
        )
    if found.dtype == np.uint8 and rank == 3:
        return found
    return _finite(path, found)


def _raw(path: Path, sides: tuple[int, ...]) -> Values:
    one = 8 * int(np.prod(sides))
    try:
        size = path.stat().st_size
        if size > 2 * _MOST_BYTES or not size or size % one:
            raise _unusable(
                path,
                f"its {count_label(size, 'byte')} hold no float64 of "
                f"{' x '.join(map(str, sides))} each",
            )
        found = np.fromfile(path, "<f8").reshape(-1, *sides)
    except OSError as error:
        raise _unusable(path, str(error)) from error
    if sides == _SIDES:
        found[0] = 0  # undefined memory, which need not be finite
    return _finite(path, found)


def _finite(path: Path, found: Values) -> Values:
    with np.errstate(over="ignore", invalid="ignore"):
        small = found.astype(np.float32)
    if not np.isfinite(small).all():
        raise damaged(path, "a value is no number")
    return small


def _unusable(path: Path, reason: str) -> DataError:
    return DataError(f"{path} cannot be used ({reason}): move it away, or bring it to this form")
