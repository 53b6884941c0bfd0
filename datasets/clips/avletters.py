"""AVletters as distributed: lips as MATLAB files, coefficients as HTK.

Matthews, Cootes, Bangham, Cox, Harvey: "Extraction of Visual Features for Lipreading". 26 letters,
10 persons, three times each.

``Lips/{letter}{take}_{person}-lips.mat`` holds ``vid`` (uint8, 4800 x T, a column a frame) and
``siz`` = [60, 80, T]; ``Audio/mfcc/Clean/{letter}{take}_{person}.mfcc`` 2 T - 1 vectors of 26. As
in XFlow every second vector is kept and the last frame dropped; where the two lengths do not fit
each other the shorter decides. Frames are 80 x 60: the first axis runs from left to right.
"""

from __future__ import annotations

import io
import lzma
import re
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from fusion_search.datasets.clips.clip import Clip, Values
from fusion_search.datasets.errors import DataError, count_label, damaged, said
from fusion_search.datasets.files import files_below, in_the_way, lacking, unread_words

NAME: Final = "AVletters"
FINGERPRINT: Final = "90111cb7f0c39c8b"
"""Of the 780 clips as distributed."""

LIPS, COEFFICIENTS = "Lips", "Audio/mfcc/Clean"
_ENDINGS: Final = {LIPS: "-lips.mat", COEFFICIENTS: ".mfcc"}
FORM: Final = f"{LIPS}/A1_PERSON-lips.mat and {COEFFICIENTS}/A1_PERSON.mfcc"
_STEM: Final = re.compile(r"([A-Z])([1-9])_([A-Za-z]+)")
_ARCHIVES: Final = ("avletters*.tar", "avletters*.tar.*", "avletters*.tgz")
_SIDES: Final = (60, 80)
_MOST_FRAMES: Final = 1000
_MOST_BYTES: Final = 8 << 20  # of one file; the largest there is has 192,072
_MOST_UNPACKED: Final = 1 << 30
_HEADER: Final = struct.Struct(">iihh")
_PERIOD, _VECTOR, _KIND = 200_000, 104, 326  # 20 ms; 26 float32; MFCC with energy and deltas

Read = Callable[[], bytes]


def find_avletters(folder: Path) -> list[Path]:
    """The files of AVletters below a data folder: all of them, or the archive that holds them.

    Raises:
        DataError: there are none, or several archives.
    """
    for root in (folder / "avletters", folder):
        if (root / LIPS).is_dir():
            return [
                path
                for part, ending in _ENDINGS.items()
                for path in sorted((root / part).glob(f"*{ending}"))
                if not path.name.startswith(".")
            ]
    there = (folder / "avletters", folder)
    found = sorted({path for root in there for one in _ARCHIVES for path in root.glob(one)})
    if len(found) > 1:
        raise DataError(
            f"any of {', '.join(map(str, found))} could be meant: leave one of them in {folder}"
        )
    if not found:
        hindered = [root / LIPS for root in there if in_the_way(root / LIPS)]
        why = f"{NAME} is missing from {folder}: put its"
        if hindered:
            why = f"{lacking(hindered[0])}put the"
        raise DataError(
            f"{why} folders {LIPS} and Audio, or an archive "
            "of them, into avletters/ there, or name a folder that has it by --data or "
            "FUSION_SEARCH_DATA"
        )
    return found


def unread(folder: Path) -> str:
    """Which files in the folders of AVletters are not read; empty without any, and of an archive.

    Args:
        folder: the data folder.
    """
    files = find_avletters(folder)
    for root in (folder / "avletters", folder):
        if (root / LIPS).is_dir():
            there = [one for part in _ENDINGS for one in files_below(root / part)]
            return unread_words(root, there, files, FORM)
    return ""


def read_avletters(files: list[Path]) -> Iterator[Clip]:
    """Read what ``find_avletters`` found.

    Raises:
        DataError: a file is damaged, foreign or without its partner.
    """
    single = len(files) == 1 and not files[0].name.endswith(tuple(_ENDINGS.values()))
    there = _unpacked(files[0]) if single else {str(path): _reader(path) for path in files}
    parts: dict[str, dict[str, tuple[str, Read]]] = {LIPS: {}, COEFFICIENTS: {}}
    for path, read in there.items():
        for part, ending in _ENDINGS.items():
            if path.endswith(ending):
                parts[part][Path(path).name.removesuffix(ending)] = path, read
    for stem in sorted(parts[LIPS].keys() | parts[COEFFICIENTS].keys()):
        for part, ending in _ENDINGS.items():
            if stem not in parts[part]:
                other = next(one[stem][0] for one in parts.values() if stem in one)
                raise DataError(f"{other} has no partner: {part}/{stem}{ending} is missing")
        yield _clip(stem, *parts[LIPS][stem], *parts[COEFFICIENTS][stem])


def _clip(stem: str, lips: str, read_lips: Read, sound: str, read_sound: Read) -> Clip:
    named = _STEM.fullmatch(stem)
    if named is None:
        raise _unusable(lips, "its name is not {letter}{take}_{person}")
    label, take, person = named.groups()
    frames = parse_lips(read_lips(), lips)
    vectors = parse_coefficients(read_sound(), sound)
    count = min(len(frames) - 1, len(vectors) // 2)
    if count < 1:
        raise _unusable(
            lips,
            f"of {count_label(len(frames), 'frame')} and {count_label(len(vectors), 'vector')} "
            "none is left",
        )
    return Clip(stem, person, label, take, frames[:count], vectors[0 : 2 * count : 2])


def parse_lips(content: bytes, path: str) -> Values:
    """Frames [T, 80, 60] uint8 of a MATLAB file.

    Raises:
        DataError: it is damaged, or holds something else.
    """
    from scipy import io as matlab  # costs each process half a second

    # Only an element that is known to be small is unpacked.
    try:
        shapes = {name: shape for name, shape, _ in matlab.whosmat(io.BytesIO(content))}
        shape = shapes.get("vid", ())
        if len(shape) != 2 or shapes.get("siz") != (1, 3):
            raise _unusable(path, "it has no matrix vid beside siz")
        if shape[0] != _SIDES[0] * _SIDES[1] or not 1 <= shape[1] <= _MOST_FRAMES:
            raise _unusable(path, f"vid is {shape[0]} x {shape[1]}, not 4800 x frames")
        read = matlab.loadmat(io.BytesIO(content), variable_names=["vid", "siz"])
        columns, sizes = read["vid"], read["siz"].ravel().tolist()
    except DataError:
        raise
    except Exception as error:  # scipy raises whatever its parser meets
        raise damaged(path, f"no whole MATLAB file: {said(error)}") from error
    if columns.dtype != np.uint8 or columns.shape != shape or sizes != [*_SIDES, shape[1]]:
        raise _unusable(path, "vid is no uint8, or siz not 60, 80 and the number of its columns")
    return np.ascontiguousarray(columns.T).reshape(-1, _SIDES[1], _SIDES[0])


def parse_coefficients(content: bytes, path: str) -> Values:
    """Vectors [n, 26] float32 of an HTK file.

    Raises:
        DataError: it is damaged, or holds something else.
    """
    if len(content) < _HEADER.size:
        raise damaged(path, "shorter than HTK's header")
    count, *form = _HEADER.unpack_from(content)
    if form != [_PERIOD, _VECTOR, _KIND]:
        raise _unusable(path, "its header is not that of 26 coefficients every 20 ms")
    if count < 1 or len(content) != _HEADER.size + count * _VECTOR:
        raise damaged(
            path, f"{count_label(len(content), 'byte')} for {count_label(count, 'vector')}"
        )
    found = np.frombuffer(content, ">f4", offset=_HEADER.size).reshape(count, -1)
    if not np.isfinite(found).all():
        raise damaged(path, "a coefficient is no number")
    return found.astype(np.float32)


def _reader(path: Path) -> Read:
    def read() -> bytes:
        try:
            with path.open("rb") as file:
                return _bounded(file.read(_MOST_BYTES + 1), str(path))
        except OSError as error:
            raise _unusable(str(path), str(error)) from error

    return read


def _bounded(content: bytes, path: str) -> bytes:
    if len(content) > _MOST_BYTES:
        raise _unusable(path, f"it is larger than {_MOST_BYTES:,} bytes")
    return content


def _unpacked(path: Path) -> Mapping[str, Read]:
    found: dict[str, Read] = {}
    total = 0
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                total += member.size
                if member.size > _MOST_BYTES or total > _MOST_UNPACKED:
                    raise _unusable(str(path), f"{member.name} makes it larger than is read")
                name = Path(member.name).name
                if not (member.isfile() and name.endswith(tuple(_ENDINGS.values()))):
                    continue
                if name.startswith("."):
                    continue
                file = archive.extractfile(member)
                assert file is not None
                content = file.read()
                if f"{path}/{member.name}" in found:
                    raise _unusable(str(path), f"{member.name} is in it twice")
                found[f"{path}/{member.name}"] = lambda content=content: content  # type: ignore[misc]
    except DataError:
        raise
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError) as error:
        raise damaged(str(path), f"no whole archive: {said(error)}") from error
    return found


def _unusable(path: str, reason: str) -> DataError:
    return DataError(f"{path} cannot be used ({reason}): move it away, or put AVletters' own there")
