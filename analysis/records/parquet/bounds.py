"""How much a record may hold, seen before it is read.

Runs of equal values cost nothing in a Parquet file: one of a megabyte may stand for gigabytes. The
footer may say less than the pages hold, so their own headers are looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fusion_search.analysis.records.parquet.footer import Column, read_footer
from fusion_search.analysis.records.parquet.thrift import I32, STRUCT, Fields, read_struct

LARGEST_BYTES: Final = 2 << 30  # 30 times the predictions of a trial on all of MNIST's test images
_TEXT: Final = "BYTE_ARRAY"
_FIXED: Final = "FIXED_LEN_BYTE_ARRAY"
_WIDTHS: Final = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, _TEXT: 4}  # of a text: its place alone
_WIDEST: Final = 16

# Parquet's PageHeader.
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3  # Parquet's types of pages
_SIZES: Final = (2, 3)  # numbers of PageHeader's fields
_OF_DATA: Final = {_DATA: (5, 2), _DATA_2: (8, 4)}  # the field with what follows, its encoding
_WHOLE: Final = (0, 2, 8)  # PLAIN, PLAIN_DICTIONARY, RLE_DICTIONARY
_LARGEST: Final = 2**31 - 1
_HEADER: Final = 256  # bytes; most are shorter
_LONGEST_HEADER: Final = 16 << 20


class TooLargeError(ValueError):
    """A file would take more memory than any record does."""


@dataclass(frozen=True)
class _Pages:
    """The pages of one column in one row group.

    Attributes:
        size: bytes they unpack to.
        values: in them, nulls too.
        whole: whether every value is there, or its number in a dictionary is; else a value may be
            the beginning of the one before and a word.
    """

    size: int
    values: int
    whole: bool


@dataclass(frozen=True)
class _Chunk:
    """A column in one row group: its name, and of a list's values those of all in it."""

    path: str
    is_text: bool
    width: int  # bytes of a value, texts without their letters
    rows: int
    pages: _Pages

    @property
    def size(self) -> int:
        return max(self.pages.size, self.width * self.values)

    @property
    def values(self) -> int:
        return max(self.pages.values, self.rows)

    @property
    def is_counted(self) -> bool:
        """Whether texts can be read once each, to be counted one by one."""
        return "." not in self.path and self.pages.whole


def check_values(file: pq.ParquetFile, source: Any, columns: Collection[str]) -> None:
    """Raise :class:`TooLargeError` when the values are too many, texts counted once each."""
    _check(sum(one.size for one in _chunks(file, source, columns)))


def read_bounded(source: Any, columns: Collection[str] | None = None) -> pa.Table:
    """A Parquet file, unless that takes more than ``LARGEST_BYTES``.

    Args:
        source: an open file that can seek.
        columns: those wanted, as far as they are there; all by default.

    Raises:
        TooLargeError: it does.
    """
    file = pq.ParquetFile(source)
    names = [one for one in file.schema_arrow.names if columns is None or one in columns]
    if len(set(names)) < len(names):
        raise ValueError("it has a column twice")
    chunks = _chunks(file, source, names)
    _check(sum(one.size for one in chunks))
    # As if every text were as long as all in its column together: true of small files.
    if _texts(chunks) <= LARGEST_BYTES:
        return file.read(names)
    _check(_texts([one for one in chunks if not one.is_counted]))
    flat = list({one.path for one in chunks if one.is_text and "." not in one.path})
    source.seek(0)
    table = pq.ParquetFile(source, read_dictionary=flat).read(names)
    _check(sum(_decoded(chunk) for name in flat for chunk in table[name].chunks))
    return table.cast(pa.schema([file.schema_arrow.field(name) for name in names]))


def _chunks(file: pq.ParquetFile, source: Any, columns: Collection[str]) -> list[_Chunk]:
    found = []
    schema = [file.schema.column(at) for at in range(len(file.schema))]
    for rows, chunks in read_footer(source):
        if len(chunks) != len(schema):
            raise ValueError("its footer is damaged")
        for one, chunk in zip(schema, chunks, strict=True):
            path, kind = one.path, one.physical_type
            if path.partition(".")[0] in columns:
                width = one.length if kind == _FIXED else _WIDTHS.get(kind)
                pages = _read_pages(source, chunk)
                found.append(_Chunk(path, kind == _TEXT, width or _WIDEST, rows, pages))
    source.seek(0)
    return found


def _texts(chunks: Sequence[_Chunk]) -> int:
    """Bytes of all texts at most."""
    return sum(one.pages.size * one.values for one in chunks if one.is_text)


def _decoded(texts: pa.Array) -> int:
    """Bytes of a column's texts, each written out."""
    if not pa.types.is_dictionary(texts.type):
        return int(texts.nbytes)
    lengths = pc.binary_length(texts.dictionary).cast(pa.int64())
    return int(pc.sum(lengths.take(texts.indices)).as_py() or 0)


def _check(size: int) -> None:
    if size > LARGEST_BYTES:
        raise TooLargeError(
            f"it would take {size >> 20:,} MiB of memory, and records at most "
            f"{LARGEST_BYTES >> 20:,} MiB"
        )


def _read_pages(source: Any, chunk: Column) -> _Pages:
    """Look at the headers of as many pages as pyarrow would read.

    Raises:
        ValueError: it is damaged.
    """
    at = chunk.data_page_offset
    if 0 < chunk.dictionary_page_offset < at:
        at = chunk.dictionary_page_offset
    end = at + chunk.compressed_size
    size = values = 0
    whole = True
    while values < chunk.values:
        if at >= end:
            raise ValueError("a column has fewer values than its footer says")
        header, at = _read_header(source, at, end)
        kind = header.get((1, I32))
        unpacked, packed = (_count(header.get((field, I32))) for field in _SIZES)
        if kind in _OF_DATA:
            field, encoding = _OF_DATA[kind]
            content = header.get((field, STRUCT), {})
            values += _count(content.get((1, I32)))
            whole = whole and content.get((encoding, I32)) in _WHOLE
        size += max(unpacked, packed)
        at += packed
    return _Pages(size, values, whole)


def _count(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise ValueError("the header of a page is damaged")
    return value


def _read_header(source: Any, at: int, end: int) -> tuple[Fields, int]:
    """A page's header, and where it ends."""
    length = _HEADER
    while True:
        source.seek(at)
        content = source.read(min(length, end - at))
        try:
            fields, used = read_struct(content, 0)
            return fields, at + used
        except IndexError:
            if length >= min(end - at, _LONGEST_HEADER):
                raise ValueError("the header of a page is damaged") from None
            length *= 16
