"""A checksum inside a Parquet file, over the whole of it.

Parquet's own checksums cover the pages alone, not the footer that says what they mean. Ours stands
between the last page and the footer, where no reader looks: all offsets count from the start. A
file without one (of an earlier version, or written by others) is read unchecked.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, Final

from fusion_search.analysis.records.parquet.footer import END, footer_length

_MAGIC: Final = b"fusion-search crc32:"
_BLOCK: Final = 1 << 20


class ChecksumError(ValueError):
    """A file is not as it was written."""


def sealed(content: bytes) -> bytes:
    """A Parquet file with its checksum put in."""
    footer = len(content) - END - footer_length(content[-END:])
    return content[:footer] + _MAGIC + struct.pack("<I", zlib.crc32(content)) + content[footer:]


def check(source: Any) -> None:
    """Read a Parquet file through, and go back to its start.

    Args:
        source: an open file that can seek.

    Raises:
        ChecksumError: it differs from what was sealed.
    """
    size = source.seek(0, io.SEEK_END)
    source.seek(max(0, size - END))
    seal = size - END - footer_length(source.read(END)) - len(_MAGIC) - 4
    source.seek(max(0, seal))
    if seal > 0 and source.read(len(_MAGIC)) == _MAGIC:
        (expected,) = struct.unpack("<I", source.read(4))
        footer = zlib.crc32(source.read(), _checksum_until(source, seal))
        if footer != expected:
            raise ChecksumError("its checksum is not that of its content")
    source.seek(0)


def _checksum_until(source: Any, end: int) -> int:
    """Of the bytes before ``end``, leaving the position where it was."""
    position, checksum = source.tell(), 0
    source.seek(0)
    for start in range(0, end, _BLOCK):
        checksum = zlib.crc32(source.read(min(_BLOCK, end - start)), checksum)
    source.seek(position)
    return checksum
