"""Records decoded once, such as clips or pictures, and mapped by every process that reads them.

One file in the cache folder: all arrays end to end, then a list of what lies where. It is written
whole, belongs to source files of certain names, sizes and times, and is checked against the hash of
its content before it is used; what does not fit is decoded again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from fusion_search.datasets.errors import DataError
from fusion_search.datasets.files import data_folder

_TYPES: Final = ("uint8", "uint16", "float32")
_LENGTH_BYTES: Final = 8  # at the end of the file: how long the list before them is

Record = TypeVar("Record")
"""A frozen dataclass of texts and arrays, whose ``name`` tells it from all others."""


@dataclass(frozen=True)
class Kind(Generic[Record]):
    """What records of one kind are.

    Attributes:
        form: changes when what readers make of files changes.
        noun: what one is called.
        make: of its fields, by name.
        words: fields that are texts.
        arrays: fields that are arrays, of ``_TYPES``; their sizes may differ between records.
        check: raises a DataError when a record does not fit the first one.
    """

    form: str
    noun: str
    make: Callable[..., Record]
    words: tuple[str, ...]
    arrays: tuple[str, ...]
    check: Callable[[Record, Record], None] | None = None


@dataclass(frozen=True)
class Listed(Generic[Record]):
    """Records of a source.

    Attributes:
        records: in the order of their names; their arrays may be mapped files.
        fingerprint: 16 hexadecimal digits over words and arrays.
    """

    records: tuple[Record, ...]
    fingerprint: str


def decoded(kind: Kind[Record], files: Sequence[Path], records: Iterator[Record]) -> Listed[Record]:
    """The records of these files.

    Args:
        kind: of the records.
        files: what they are read from.
        records: reads them; only asked where they are not decoded yet.

    Raises:
        DataError: a record does not fit the others, or nothing can be written.
    """
    folder = data_folder(None, _cache_only()) / "decoded"
    path = folder / f"{_stamp(kind.form, files)}.bin"
    found = _mapped(kind, path)
    if found is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(kind, path, records)
        except OSError as error:
            raise DataError(
                f"decoded {kind.noun}s cannot be written to {folder} ({error}): set XDG_CACHE_HOME "
                "to a folder with room"
            ) from error
        found = _mapped(kind, path)
    if found is None:
        raise DataError(f"{path} changes while it is read: remove it, and what writes to it")
    return found


def in_memory(kind: Kind[Record], records: Iterable[Record]) -> Listed[Record]:
    """The same without files."""
    return _listed(kind, tuple(_checked(kind, records)))


def _cache_only() -> dict[str, str]:
    cache = os.environ.get("XDG_CACHE_HOME")
    return {"XDG_CACHE_HOME": cache} if cache else {}


def _stamp(form: str, files: Sequence[Path]) -> str:
    digest = hashlib.sha256(form.encode())
    for path in sorted(files):
        try:
            status = path.stat()
        except OSError as error:  # such as a link to nowhere, or to itself
            raise DataError(
                f"{path} cannot be read ({error.strerror}): put a file in its place, or move it "
                "away"
            ) from error
        digest.update(_bytes(f"{path} {status.st_size} {status.st_mtime_ns}\n"))
    return digest.hexdigest()[:24]


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # a file's name may be no UTF-8


def _checked(kind: Kind[Record], records: Iterable[Record]) -> Iterator[Record]:
    """The same, when all fit the first one and no name is there twice."""
    first: Record | None = None
    names = set()
    for record in records:
        first = record if first is None else first
        if kind.check:
            kind.check(record, first)
        name = _name(record)
        if name in names:
            raise DataError(f"{kind.noun} {name} is there twice: leave one of them")
        names.add(name)
        yield record
    if first is None:
        raise DataError(f"there is no {kind.noun}")


def _name(record: Any) -> str:
    return str(record.name)


def _listed(kind: Kind[Record], records: tuple[Record, ...]) -> Listed[Record]:
    ordered = tuple(sorted(records, key=_name))
    digest = hashlib.sha256()
    for record in ordered:
        words = " ".join(getattr(record, name) for name in kind.words)
        digest.update(_bytes(f"{words}\n"))
        for name in kind.arrays:
            values = getattr(record, name)
            digest.update(f"{values.dtype} {values.shape}\n".encode())
            digest.update(np.ascontiguousarray(values).data)
    return Listed(ordered, digest.hexdigest()[:16])


def _write(kind: Kind[Record], path: Path, records: Iterator[Record]) -> None:
    # Under a temporary name first, and as one file: several processes may decode at once, and no
    # list may lie beside another one's arrays.
    rows, at = [], 0
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            for record in _checked(kind, records):
                row: dict[str, Any] = {name: getattr(record, name) for name in kind.words}
                for name in kind.arrays:
                    values = np.ascontiguousarray(getattr(record, name))
                    row[name] = [at, str(values.dtype), list(values.shape)]
                    file.write(values.data)
                    padding = -values.nbytes % 8
                    file.write(bytes(padding))
                    at += values.nbytes + padding
                rows.append(row)
            file.flush()
            listed = _mapped_rows(kind, np.memmap(file.name, np.uint8, mode="r"), rows)
            text = json.dumps({"fingerprint": listed.fingerprint, "records": rows}).encode()
            file.write(text + len(text).to_bytes(_LENGTH_BYTES, "little"))
        except BaseException:
            Path(file.name).unlink()
            raise
    Path(file.name).replace(path)


def _mapped(kind: Kind[Record], path: Path) -> Listed[Record] | None:
    """What was decoded before; None where nothing was, or where it is not whole."""
    try:
        found: Listed[Record] = _verified(kind, path, path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found


@functools.lru_cache(maxsize=4)
def _verified(kind: Kind[Any], path: Path, _time: int) -> Listed[Any]:
    content = np.memmap(path, np.uint8, mode="r")
    length = int.from_bytes(content[-_LENGTH_BYTES:].tobytes(), "little")
    if length > len(content):
        raise ValueError("its end is missing")
    kept = json.loads(content[-_LENGTH_BYTES - length : -_LENGTH_BYTES].tobytes())
    found = _mapped_rows(kind, content, kept["records"])
    if found.fingerprint != kept["fingerprint"]:
        raise ValueError("the content is another one")
    return found


def _mapped_rows(
    kind: Kind[Record], content: NDArray[np.uint8], rows: Sequence[dict[str, Any]]
) -> Listed[Record]:
    def values(at: int, type_name: str, shape: list[int]) -> NDArray[Any]:
        if type_name not in _TYPES or at < 0 or any(one < 0 for one in shape):
            raise ValueError("no such values")
        size = np.dtype(type_name).itemsize * int(np.prod(shape, dtype=object))
        return content[at : at + size].view(type_name).reshape(shape)

    def record(row: dict[str, Any]) -> Record:
        words = {name: str(row[name]) for name in kind.words}
        return kind.make(**words, **{name: values(*row[name]) for name in kind.arrays})

    return _listed(kind, tuple(map(record, rows)))
