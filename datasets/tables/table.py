"""A CSV or Parquet table as columns, with errors that name row and column.

Rows are numbered as a spreadsheet shows them: the header is row 1, the first example row 2; in
Parquet, which has no header row, too.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fusion_search.datasets.errors import DataError, count_label, said

_LARGEST: Final = 1 << 30  # bytes of a CSV file, or of the columns wanted of a Parquet file
_MOST_ROWS: Final = 5_000_000
_SEPARATORS: Final = (",", ";", "\t")
_SHOWN: Final = 60  # characters of a cell
_NAMED: Final = 3  # rows in one sentence
_PARQUET: Final = b"PAR1"
_LARGEST_NUMBER: Final = float(np.finfo(np.float32).max)
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Table:
    """Columns of equal length.

    Attributes:
        path: of the file, absolute.
        names: of all its columns.
        columns: those that were asked for: texts of a CSV, values or lists of a Parquet file.
        rows: number of each example's row.
        digest: of the file's bytes.
    """

    path: Path
    names: tuple[str, ...]
    columns: dict[str, Sequence[Any]]
    rows: NDArray[np.int64]
    digest: str

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def folder(self) -> Path:
        """What file names in it are relative to."""
        return self.path.parent

    def at(self, example: int, column: str) -> str:
        """Where a cell is, for errors."""
        return f"{self.path.name}, row {self.rows[example]}, column {column!r}"

    def without(self, rows: Iterable[int]) -> Table:
        """The same without these rows.

        Raises:
            DataError: there is no such row.
        """
        left_out = np.array(sorted(rows), dtype=np.int64)
        missing = np.setdiff1d(left_out, self.rows)
        if len(missing):
            raise DataError(f"{self.path.name} has no row {missing[0]}, which leave_out names")
        if not len(left_out):
            return self
        kept = np.flatnonzero(~np.isin(self.rows, left_out))
        if not len(kept):
            raise DataError(f"{self.path.name} has no example but those that leave_out names")
        columns: dict[str, Sequence[Any]] = {
            name: [one[int(n)] for n in kept] for name, one in self.columns.items()
        }
        return Table(self.path, self.names, columns, self.rows[kept], self.digest)


def read_table(path: Path, wanted: Iterable[str] | None = None) -> Table:
    """Read columns of a table.

    Args:
        path: of a CSV file (comma, semicolon or tab; UTF-8) or a Parquet file.
        wanted: names of columns; None for all.

    Raises:
        DataError: it cannot be read, has no such column, or no example.
    """
    path = path.absolute()
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(4)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"table {str(path)!r} cannot be read: {reason}") from error
    if not size:
        raise DataError(f"table {path.name} is empty; its first row is to name the columns")
    if start == _PARQUET:
        return _read_parquet(path, wanted)
    if path.suffix.lower() in (".parquet", ".pq"):
        raise DataError(f"{path.name} is no whole Parquet file, for it does not begin as one does")
    if size > _LARGEST:
        raise DataError(
            f"{path.name} has {size:,} bytes; write a CSV above {_LARGEST:,} as Parquet"
        )
    return _read_csv(path, wanted)


def missing_columns(path: Path, names: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """The columns wanted. Raises ``DataError`` where a table does not have one."""
    asked = list(wanted)
    for name in asked:
        if name not in names:
            raise DataError(f"{path.name} has no column {name!r}; it has {some_names(names)}")
    return asked


def some_names(names: Sequence[str]) -> str:
    """The first columns of a table, for errors."""
    return ", ".join(map(repr, names[:20])) + (" and more" if len(names) > 20 else "")


def _read_csv(path: Path, wanted: Iterable[str] | None) -> Table:
    content = path.read_bytes()
    text = _decoded(path, content)
    separator = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines: list[list[str]] = []
    try:
        lines.extend(reader)
    except csv.Error as error:
        raise DataError(
            f"{path.name}, row {len(lines) + 1} is no CSV: {error}; are its quotes closed? Arrays "
            f"of more than {csv.field_size_limit():,} characters belong into .npy files"
        ) from error
    names = _header(path, lines[0])
    places = {name: names.index(name) for name in missing_columns(path, names, wanted or names)}
    rows = []
    found: list[list[str]] = []
    for number, line in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in line):
            continue  # a blank line, as spreadsheets leave behind
        if len(line) != len(names):
            raise DataError(
                f"{path.name}, row {number} has {count_label(len(line), 'cell')}, the header "
                f"{len(names)}; put cells that hold {separator!r} in double quotes"
            )
        rows.append(number)
        found.append(line)
    if not rows:
        raise DataError(f"{path.name} has a header and no example; each row below is to be one")
    columns: dict[str, Sequence[Any]] = {
        name: [line[place].strip() for line in found] for name, place in places.items()
    }
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return Table(path, tuple(names), columns, np.array(rows), digest)


def _decoded(path: Path, content: bytes) -> str:
    if content.startswith(_UTF16) or b"\0" in content[:1000]:
        raise DataError(f"{path.name} is no UTF-8 text; save it as CSV UTF-8, or as Parquet")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path.name} is no UTF-8 text: row {row} holds byte 0x{content[error.start]:02X}; "
            "save it as CSV UTF-8 (of another encoding: `iconv -f latin1 -t utf-8`)"
        ) from error


def _separator(text: str) -> str:
    """What is most frequent in the header, outside quotes."""
    header = text.lstrip("\r\n").partition("\n")[0]
    outside = "".join(header.split('"')[::2])
    return max(_SEPARATORS, key=outside.count)


def _header(path: Path, names: Sequence[str]) -> list[str]:
    found = [name.strip() for name in names]
    for number, name in enumerate(found, start=1):
        if not name:
            raise DataError(
                f"{path.name}, row 1: column {number} has no name; the first row is to name every "
                "column"
            )
        if found.index(name) != number - 1:
            raise DataError(
                f"{path.name}, row 1: columns {found.index(name) + 1} and {number} are both called "
                f"{name!r}; give each its own name"
            )
    return found


def _read_parquet(path: Path, wanted: Iterable[str] | None) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = _header(path, file.schema_arrow.names)
            asked = missing_columns(path, names, wanted or names)
            # As they are called there, maybe with spaces around.
            called = dict(zip(names, file.schema_arrow.names, strict=True))
            _check_size(path, file.metadata, [called[name] for name in asked])
            read = file.read(columns=[called[name] for name in asked])
            read.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path.name} is no whole Parquet file, or none that can be read: {said(error)[:200]}"
        ) from error
    if not len(read):
        raise DataError(f"{path.name} has no example; each of its rows is to be one")
    columns = {name: _values(path, name, read.column(called[name])) for name in asked}
    digest = _file_digest(path)
    return Table(path, tuple(names), columns, np.arange(2, len(read) + 2), digest)


def parquet_columns(path: Path) -> list[str]:
    """Names of a Parquet file's columns; none of another file, or one that is not whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return [name.strip() for name in pq.read_schema(path).names]
    except (pa.ArrowException, OSError, ValueError):
        return []


def _check_size(path: Path, metadata: Any, asked: Sequence[str]) -> None:
    if metadata.num_rows > _MOST_ROWS:
        raise DataError(f"{path.name} has {metadata.num_rows:,} rows; allowed: {_MOST_ROWS:,}")
    size = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for number in range(row_group.num_columns):
            one = row_group.column(number)
            # A name may itself hold a dot.
            if any(f"{one.path_in_schema}.".startswith(f"{name}.") for name in asked):
                size += one.total_uncompressed_size
    if size > _LARGEST:
        raise DataError(
            f"{path.name} has {size:,} bytes in the columns that are read; above {_LARGEST:,} "
            "write arrays as .npy files, and their names into the table"
        )


def _values(path: Path, name: str, column: Any) -> Sequence[Any]:
    """Texts and numbers as Python's, lists as NumPy arrays that share one buffer."""
    import pyarrow as pa

    kind = column.type
    if isinstance(kind, pa.DictionaryType):
        return _values(path, name, column.cast(kind.value_type))
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if is_list or pa.types.is_fixed_size_list(kind):
        inner = kind.value_type
        if pa.types.is_floating(inner) or pa.types.is_integer(inner):
            return [None if one is None else np.asarray(one) for one in _rows(column)]
        return [None if one is None else one.as_py() for one in column]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_struct(kind):
        raise DataError(
            f"{path.name}, column {name!r} holds {kind}; allowed: numbers, texts, truth values, "
            "lists of numbers, and file names"
        )
    return list(column.to_pylist())


def _rows(column: Any) -> Iterable[Any]:
    """Lists of numbers, as arrays."""
    for chunk in column.chunks:
        yield from chunk.to_numpy(zero_copy_only=False)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def is_empty(cell: Any) -> bool:
    """Whether a cell holds nothing: no text, Parquet's null, or NaN, as pandas writes that."""
    if isinstance(cell, str):
        return not cell
    return cell is None or (isinstance(cell, float) and cell != cell)


def shown_cell(cell: Any) -> str:
    """A cell in an error."""
    text = repr(cell)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def some_rows(table: Table, examples: Sequence[int]) -> str:
    """The rows of examples, in words; the first few and how many follow."""
    named = ", ".join(str(table.rows[one]) for one in examples[:_NAMED])
    more = f" and {len(examples) - _NAMED:,} more" if len(examples) > _NAMED else ""
    return f"row{'s' * (len(examples) > 1)} {named}{more}"


def number_column(table: Table, name: str) -> NDArray[np.float64]:
    """A column of finite numbers, [N].

    Raises:
        DataError: names the first cell that is none.
    """
    cells = table.columns[name]
    try:
        numbers = np.array([float(one) for one in cells])
        if (np.abs(numbers) <= _LARGEST_NUMBER).all():  # NaN is not
            return numbers
    except (TypeError, ValueError, OverflowError):
        pass
    bad = [n for n, one in enumerate(cells) if not is_number(one)]
    what = "is empty" if is_empty(cells[bad[0]]) else f"is {shown_cell(cells[bad[0]])}"
    more = ""
    if len(bad) > 1:
        others = count_label(len(bad) - 1, "other")
        more = f" (so {'is' if len(bad) == 2 else 'are'} {others} of its column)"
    raise DataError(
        f"{table.at(bad[0], name)} {what}; allowed: a finite number, of up to 38 digits{more}; "
        "mend it, or leave the row out with leave_out"
    )


def is_number(cell: Any) -> bool:
    """Whether a cell is a finite number that float32 holds, or the text of one."""
    try:
        return abs(float(cell)) <= _LARGEST_NUMBER
    except (TypeError, ValueError, OverflowError):
        return False


def file_path(folder: str, name: str) -> str:
    """The file that a cell names, in the table's folder; Windows' backslashes are read as slashes.

    They are where there is no file whose name has them.
    """
    path = os.path.join(folder, name)  # noqa: PTH118 (50,000 of these a second)
    if "\\" in name and not os.path.exists(path):  # noqa: PTH110
        return os.path.join(folder, name.replace("\\", "/"))  # noqa: PTH118
    return path
