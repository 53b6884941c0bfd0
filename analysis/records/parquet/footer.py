"""Where a Parquet file's columns lie, read from its footer.

pyarrow's own objects say the same, but end the whole process where a damaged footer contradicts
itself (its C++ throws what Python cannot catch).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

from fusion_search.analysis.records.parquet.thrift import I64, LIST, STRUCT, Fields, read_struct

END: Final = 8  # bytes: the footer's length, PAR1
_ROW_GROUPS: Final = (4, LIST)  # of FileMetaData
_COLUMNS, _ROWS = (1, LIST), (3, I64)  # of RowGroup
_META_DATA: Final = (3, STRUCT)  # of ColumnChunk
_VALUES, _COMPRESSED, _DATA_PAGE, _DICTIONARY_PAGE = ((number, I64) for number in (5, 7, 9, 11))
_LARGEST: Final = 1 << 62


@dataclass(frozen=True)
class Column:
    """A column in one row group: offsets in the file (a dictionary's is 0 without one), sizes."""

    values: int
    compressed_size: int
    data_page_offset: int
    dictionary_page_offset: int


def footer_length(end: bytes) -> int:
    """The length that a file's last ``END`` bytes name; 0 of fewer."""
    return int.from_bytes(end[:4], "little") if len(end) == END else 0


def read_footer(source: Any) -> list[tuple[int, list[Column]]]:
    """The rows of each row group, and its columns in the schema's order.

    Args:
        source: an open Parquet file that can seek.

    Raises:
        ValueError: it is damaged.
    """
    size = source.seek(0, io.SEEK_END)
    source.seek(max(0, size - END))
    length = footer_length(source.read(END))
    source.seek(max(0, size - END - length))
    try:
        fields, _ = read_struct(source.read(length), 0)
    except IndexError:
        raise ValueError("its footer is damaged") from None
    return [
        (_count(group, _ROWS), [_column(one) for one in _structs(group, _COLUMNS)])
        for group in _structs(fields, _ROW_GROUPS)
    ]


def _structs(fields: Fields, field: tuple[int, int]) -> list[Fields]:
    found = fields.get(field)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError("its footer is damaged")
    return found


def _column(chunk: Fields) -> Column:
    content = chunk.get(_META_DATA)
    if not isinstance(content, dict):
        raise ValueError("its footer is damaged")
    return Column(
        _count(content, _VALUES),
        _count(content, _COMPRESSED),
        _count(content, _DATA_PAGE),
        max(0, int(content.get(_DICTIONARY_PAGE) or 0)),
    )


def _count(fields: Fields, field: tuple[int, int]) -> int:
    value = fields.get(field)
    if not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise ValueError("its footer is damaged")
    return value
