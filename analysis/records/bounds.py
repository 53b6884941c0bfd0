"""What a record may hold: how much, seen before it is read, and which values.

Runs of equal values cost nothing in a Parquet file: one of a megabyte may stand for gigabytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fusion_search.analysis.records.plain_data import parse_json

LARGEST_BYTES: Final = 2 << 30  # 30 times the predictions of a trial on all of MNIST's test images
_TEXT: Final = "BYTE_ARRAY"
_WIDTHS: Final = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, _TEXT: 4}  # of a text: its place alone
_WIDEST: Final = 16

_LATEST: Final = 253_402_300_799_999  # milliseconds since 1970: the year 9999, Python's last
_LONGEST_SECONDS: Final = 1e9  # thirty years


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


def check_rows(part: pa.Table | pa.RecordBatch) -> None:
    """Raise ``ValueError`` when a row lacks a value or has one that nothing can be counted with.

    Of the tables that only a trial with results has: none of their columns is ever null.
    """
    for name in part.schema.names:
        if part[name].null_count:
            raise ValueError(f"its {name} is missing")
        _check_times(name, part[name])
    if {"n", "correct"} <= set(part.schema.names):
        wrong = pc.or_(pc.less(part["n"], 1), pc.greater(part["correct"], part["n"]))
        if pc.any(pc.or_(wrong, pc.less(part["correct"], 0))).as_py():
            raise ValueError("it counts what cannot be counted so")


def check_trial(part: pa.Table, needed: Mapping[str, Iterable[str]]) -> None:
    """Raise ``ValueError`` when a trial's row of TRIALS is none that a search writes.

    Args:
        part: of one row, with all columns.
        needed: status -> the columns that are not null then.
    """
    for name in part.schema.names:
        _check_times(name, part[name])
    (row,) = part.to_pylist()
    if row["status"] not in needed:
        raise ValueError(f"its status is {row['status']!r}")
    for name in needed[row["status"]]:
        if row[name] is None:
            raise ValueError(f"its {name} is missing")
    for name, value in row.items():
        if isinstance(value, float) and not _is_sound(name, value):
            raise ValueError(f"its {name} is {value:g}")
    for name in ("sample", "versions", "specification"):
        where = f"its {name}"
        if row[name] is not None and not isinstance(parse_json(row[name].encode(), where), dict):
            raise ValueError(f"its {name} is not a mapping")
    values = row["objective_values"] or []
    if not all(one is not None and math.isfinite(one) for one in values):
        raise ValueError("its objective_values are not finite")


def _is_sound(name: str, value: float) -> bool:
    if name in ("train_audio_snr", "train_visual_snr"):
        return not math.isnan(value)  # infinity is no noise
    if name.endswith("accuracy"):
        return 0 <= value <= 1
    return 0 <= value <= _LONGEST_SECONDS if name.endswith("seconds") else math.isfinite(value)


def _check_times(name: str, column: Any) -> None:
    if not pa.types.is_timestamp(column.type):
        return
    ends = pc.min_max(column.cast(pa.timestamp("ms", "UTC")).cast(pa.int64())).as_py()
    if ends["min"] is not None and not 0 <= ends["min"] <= ends["max"] <= _LATEST:
        raise ValueError(f"its {name} is no time")


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
