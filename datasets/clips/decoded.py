"""Clips decoded once and mapped by every process that reads them.

Two files in the cache folder: all values end to end, and a list of what lies where. They are
written whole, belong to source files of certain names, sizes and times, and are checked against
the hash of their content before they are used; what does not fit is decoded again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from fusion_search.datasets.clips.clip import Clip, Values
from fusion_search.datasets.errors import DataError
from fusion_search.datasets.files import data_folder

_FORM: Final = "clips 1"  # changes when what readers make of files changes
_TYPES: Final = ("uint8", "float32")
_WORDS: Final = ("name", "person", "label", "take")


@dataclass(frozen=True)
class ClipList:
    """Clips of a source.

    Attributes:
        clips: in the order of their names; frames and coefficients may be mapped files.
        fingerprint: 16 hexadecimal digits over names and content.
    """

    clips: tuple[Clip, ...]
    fingerprint: str


def decoded(files: Sequence[Path], clips: Iterator[Clip]) -> ClipList:
    """The clips of these files.

    Args:
        files: what they are read from.
        clips: reads them; only asked where they are not decoded yet.

    Raises:
        DataError: a clip does not fit the others, or nothing can be written.
    """
    folder = data_folder(None, _cache_only()) / "decoded"
    stem = folder / _stamp(files)
    found = _mapped(stem)
    if found is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(stem, clips)
        except OSError as error:
            raise DataError(
                f"decoded clips cannot be written to {folder} ({error}): set XDG_CACHE_HOME to a "
                "folder with room"
            ) from error
        found = _mapped(stem)
    if found is None:
        raise DataError(f"{stem}.bin changes while it is read: remove it, and what writes to it")
    return found


def in_memory(clips: Iterator[Clip]) -> ClipList:
    """The same without files."""
    return _listed(tuple(_checked(clips)))


def _cache_only() -> dict[str, str]:
    cache = os.environ.get("XDG_CACHE_HOME")
    return {"XDG_CACHE_HOME": cache} if cache else {}


def _stamp(files: Sequence[Path]) -> str:
    digest = hashlib.sha256(_FORM.encode())
    for path in sorted(files):
        status = path.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def _checked(clips: Iterator[Clip]) -> Iterator[Clip]:
    """The same, when all have one shape and no name is there twice."""
    first: Clip | None = None
    names = set()
    for clip in clips:
        first = first or clip
        for what, own, other in (
            ("frames", clip.frames.shape[1:], first.frames.shape[1:]),
            ("coefficients", clip.coefficients.shape[1:], first.coefficients.shape[1:]),
        ):
            if own != other:
                raise DataError(
                    f"{what} of {clip.name} are {' x '.join(map(str, own))}, those of {first.name} "
                    f"{' x '.join(map(str, other))}: bring all clips to one size"
                )
        if clip.name in names:
            raise DataError(f"clip {clip.name} is there twice: leave one of them")
        names.add(clip.name)
        yield clip
    if first is None:
        raise DataError("there is no clip")


def _listed(clips: tuple[Clip, ...]) -> ClipList:
    ordered = tuple(sorted(clips, key=lambda one: one.name))
    digest = hashlib.sha256()
    for clip in ordered:
        digest.update(f"{clip.name} {clip.person} {clip.label} {clip.take}\n".encode())
        for values in (clip.frames, clip.coefficients):
            digest.update(f"{values.dtype} {values.shape}\n".encode())
            digest.update(np.ascontiguousarray(values).data)
    return ClipList(ordered, digest.hexdigest()[:16])


def _write(stem: Path, clips: Iterator[Clip]) -> None:
    # Both under temporary names first: two processes may decode at once.
    rows, at = [], 0
    with tempfile.NamedTemporaryFile(dir=stem.parent, prefix=".", delete=False) as file:
        try:
            for clip in _checked(clips):
                row: dict[str, Any] = {name: getattr(clip, name) for name in _WORDS}
                for name in ("frames", "coefficients"):
                    values = np.ascontiguousarray(getattr(clip, name))
                    row[name] = [at, str(values.dtype), list(values.shape)]
                    file.write(values.data)
                    padding = -values.nbytes % 8
                    file.write(bytes(padding))
                    at += values.nbytes + padding
                rows.append(row)
        except BaseException:
            Path(file.name).unlink()
            raise
    Path(file.name).replace(f"{stem}.bin")
    listed = _mapped_rows(Path(f"{stem}.bin"), rows)
    text = json.dumps({"fingerprint": listed.fingerprint, "clips": rows})
    with tempfile.NamedTemporaryFile("w", dir=stem.parent, prefix=".", delete=False) as list_file:
        list_file.write(text)
    Path(list_file.name).replace(f"{stem}.json")


def _mapped(stem: Path) -> ClipList | None:
    """What was decoded before; None where nothing was, or where it is not whole."""
    rows, values = Path(f"{stem}.json"), Path(f"{stem}.bin")
    try:
        return _verified(rows, rows.stat().st_mtime_ns, values, values.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError):
        return None


@functools.lru_cache(maxsize=4)
def _verified(rows: Path, _rows_time: int, values: Path, _values_time: int) -> ClipList:
    kept = json.loads(rows.read_text())
    found = _mapped_rows(values, kept["clips"])
    if found.fingerprint != kept["fingerprint"]:
        raise ValueError("the content is another one")
    return found


def _mapped_rows(path: Path, rows: Sequence[dict[str, Any]]) -> ClipList:
    content = np.memmap(path, np.uint8, mode="r")

    def values(at: int, kind: str, shape: list[int]) -> Values:
        if kind not in _TYPES or at < 0 or any(one < 1 for one in shape):
            raise ValueError("no such values")
        size = np.dtype(kind).itemsize * int(np.prod(shape, dtype=object))
        return content[at : at + size].view(kind).reshape(shape)

    return _listed(
        tuple(
            Clip(
                **{name: str(row[name]) for name in _WORDS},
                frames=values(*row["frames"]),
                coefficients=values(*row["coefficients"]),
            )
            for row in rows
        )
    )
