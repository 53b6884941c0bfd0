"""How much memory a Parquet file would take, before it is read.

Runs of equal values cost nothing in a file: one of a megabyte may stand for gigabytes.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

LARGEST_BYTES: Final = 2 << 30  # 30 times the predictions of a trial on all of MNIST's test images
_TEXT: Final = "BYTE_ARRAY"
_WIDTHS: Final = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, _TEXT: 4}  # of a text: its place alone
_WIDEST: Final = 16


class TooLargeError(ValueError):
    """A file would take more memory than any record does."""


def check_values(metadata: pq.FileMetaData) -> None:
    """Raise :class:`TooLargeError` when a file's values are too many, texts counted once each."""
    _check(sum(_size(chunk, rows) for chunk, rows in _chunks(metadata)))


def read_bounded(file: pq.ParquetFile, source: Any) -> pa.Table:
    """All of a file, unless that takes more than ``LARGEST_BYTES``.

    Args:
        file: opened, unread.
        source: the same, to open it again.

    Raises:
        TooLargeError: it does.
    """
    check_values(file.metadata)
    # As if every text were as long as all in its column together: true of small files.
    if _texts(file.metadata, in_lists=False) <= LARGEST_BYTES:
        return file.read()
    _check(_texts(file.metadata, in_lists=True))
    columns = [file.schema.column(at) for at in range(len(file.schema))]
    flat = [one.path for one in columns if one.physical_type == _TEXT and "." not in one.path]
    source.seek(0)
    table = pq.ParquetFile(source, read_dictionary=flat).read()
    _check(sum(_decoded(chunk) for name in flat for chunk in table[name].chunks))
    return table.cast(file.schema_arrow)


def _chunks(metadata: pq.FileMetaData) -> list[tuple[Any, int]]:
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return [(one.column(at), one.num_rows) for one in groups for at in range(one.num_columns)]


def _size(chunk: Any, rows: int) -> int:
    width = _WIDTHS.get(chunk.physical_type, _WIDEST)
    return max(int(chunk.total_uncompressed_size), width * max(int(chunk.num_values), rows))


def _texts(metadata: pq.FileMetaData, *, in_lists: bool) -> int:
    """Bytes of all texts at most; or of those in lists alone, which are not counted one by one."""
    return sum(
        chunk.total_uncompressed_size * max(chunk.num_values, rows)
        for chunk, rows in _chunks(metadata)
        if chunk.physical_type == _TEXT and ("." in chunk.path_in_schema or not in_lists)
    )


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
