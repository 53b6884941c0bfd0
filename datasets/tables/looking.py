"""What the columns of a table hold: which is predicted, which name persons, which are streams."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from torch import nn

from fusion_search.datasets.batch import SPLITS
from fusion_search.datasets.errors import DataError, count_label
from fusion_search.datasets.tables.cells import decode, is_array
from fusion_search.datasets.tables.files import FileError
from fusion_search.datasets.tables.measuring import (
    MOST,
    Measured,
    decimal_comma,
    input_of_arrays,
    input_of_files,
    kind_of_file,
)
from fusion_search.datasets.tables.settings import Input
from fusion_search.datasets.tables.table import (
    Table,
    file_path,
    is_empty,
    is_number,
    missing_columns,
    parquet_columns,
    read_table,
    shown_cell,
    some_names,
)
from fusion_search.datasets.tables.targets import text_of

_TARGETS: Final = ("label", "target", "class", "category", "y")
_GROUPS: Final = (
    *("person", "speaker", "subject", "participant", "patient", "user", "signer", "actor"),
    *("session", "group", "recording", "instance"),
)
_SPLIT: Final = ("split", "set", "subset", "partition")
_IDS: Final = ("id", "index", "row", "number", "nr", "no")
_GROUP_ROWS: Final = 2  # on average, of texts that could be groups
_MOST_CLASSES: Final = 20  # that whole numbers are taken for
_MOST_BROKEN: Final = 0.5  # of a column's cells


@dataclass(frozen=True)
class Broken:
    """A cell that cannot be read: its row, as a spreadsheet numbers it, and what is wrong."""

    row: int
    column: str
    reason: str


@dataclass
class Looked:
    """What was seen.

    Attributes:
        table: as read.
        target, group, split_column: columns; "" where there is none.
        target_kind: class or number.
        inputs: stream -> its settings.
        words: stream -> what its column holds.
        unused: column -> why it is no stream.
        broken: cells of the streams and the target that cannot be read.
    """

    table: Table
    target: str
    target_kind: str
    group: str
    split_column: str
    inputs: dict[str, Input] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    @property
    def broken_rows(self) -> tuple[int, ...]:
        """In order, each once."""
        return tuple(sorted({one.row for one in self.broken}))


def look(
    path: Path, target: str = "", group: str = "", on_read: Callable[[int], object] = lambda _: None
) -> Looked:
    """Look at every column, and read every file once.

    Args:
        path: of the table.
        target: the column to be predicted; "" to find it by its name.
        group: likewise whose an example is.
        on_read: told how many more files have been read.

    Raises:
        DataError: the table cannot be read, says not what is to be predicted, or has no input.
    """
    table, unused = _readable(path)
    target = target or _named(table, _TARGETS)
    for name in filter(None, (target, group)):
        missing_columns(table.path, table.names, [name])
        if name in unused:
            raise DataError(f"{table.path.name}, column {name!r} {unused[name]}")
    if not target:
        raise DataError(
            f"{table.path.name} has no column called {', '.join(_TARGETS)}; say what is to be "
            f"predicted with --target COLUMN; it has {some_names(table.names)}"
        )
    group = group or _group(table, target, unused)
    found = Looked(table, target, _target_kind(table, target), group, "", unused=unused)
    found.broken += [Broken(row, target, why) for row, why in _bad_targets(found)]
    if group:
        found.broken += [
            Broken(int(row), group, "is empty")
            for row, cell in zip(table.rows, table.columns[group], strict=True)
            if is_empty(cell)
        ]
    numbers: list[str] = []
    for name in table.columns:
        if name not in (target, group, *unused):
            _look_at(found, name, numbers)
    if numbers:
        found.inputs[_stream("numbers", found.inputs)] = Input(
            kind="numbers", columns=tuple(numbers)
        )
    if not found.inputs:
        reasons = "; ".join(f"{name!r} {why}" for name, why in found.unused.items())
        raise DataError(f"{table.path.name} has no column that could be an input: {reasons}")
    found.inputs = dict(sorted(found.inputs.items()))
    _read_all(found, on_read)
    return found


def _readable(path: Path) -> tuple[Table, dict[str, str]]:
    """The table with the columns that can be read, and why others cannot."""
    try:
        return read_table(path), {}
    except DataError:
        names, reasons = parquet_columns(path), dict[str, str]()
        for name in names:
            try:
                read_table(path, [name])
            except DataError as error:
                reasons[name] = str(error).partition(f"column {name!r} ")[2] or str(error)
        if not reasons or len(reasons) == len(names):
            raise
        return read_table(path, [name for name in names if name not in reasons]), reasons


def _named(table: Table, words: Sequence[str], but: str = "") -> str:
    """The first column that is called so, or so and "id"; "" for none."""
    plain = {re.sub(r"[_\s-]*id$", "", name.casefold()): name for name in reversed(table.columns)}
    return next((plain[one] for one in words if one in plain and plain[one] != but), "")


def _group(table: Table, target: str, unused: dict[str, str]) -> str:
    """The column that is called like one of groups, if there are as many as splits."""
    name = _named(table, _GROUPS, but=target)
    if not name:
        return ""
    count = len({text_of(one) for one in _there(table, name)})
    if count < len(SPLITS):
        groups = count_label(count, "group")
        unused[name] = f"names {groups}, too few to keep them whole in {len(SPLITS)} splits"
        return ""
    return name


def _there(table: Table, name: str) -> list[Any]:
    return [one for one in table.columns[name] if not is_empty(one)]


def _target_kind(table: Table, name: str) -> str:
    cells = _there(table, name)
    if not cells:
        raise DataError(f"{table.path.name}, column {name!r} is empty in every row")
    numbers = [float(one) for one in cells if is_number(one)]
    if len(numbers) < MOST * len(cells):
        if comma := decimal_comma(cells):
            raise DataError(f"{table.path.name}, column {name!r} {_comma_words(comma)}")
        return "class"
    counts = Counter(numbers)
    whole = all(one.is_integer() for one in counts)
    return "class" if whole and len(counts) <= min(_MOST_CLASSES, len(cells) // 2) else "number"


def _bad_targets(found: Looked) -> Iterator[tuple[int, str]]:
    for row, cell in zip(found.table.rows, found.table.columns[found.target], strict=True):
        if is_empty(cell):
            yield int(row), "is empty"
        elif found.target_kind == "number" and not is_number(cell):
            yield int(row), f"is {shown_cell(cell)}, and no number"


def _look_at(found: Looked, name: str, numbers: list[str]) -> None:
    """Make a column part of what is found: an input, the split column, or not used."""
    table, cells = found.table, _there(found.table, name)
    if not cells:
        found.unused[name] = "is empty in every row"
    elif sum(map(is_number, cells)) >= MOST * len(cells):
        _look_at_numbers(found, name, numbers)
    elif sum(map(is_array, cells)) >= MOST * len(cells):
        measured = input_of_arrays(name, [one for one in cells if is_array(one)])
        if isinstance(measured, str):  # dates, lists of words
            found.unused[name] = measured
        else:
            _add(found, name, measured)
    elif kinds := Counter(kind for one in cells if (kind := kind_of_file(one))):
        kind, count = kinds.most_common(1)[0]
        if count < MOST * len(cells):
            what = ", ".join(f"{n:,} {one}" for one, n in kinds.most_common())
            found.unused[name] = f"names files of several kinds, {what} in {len(cells):,} rows"
            return
        files = [file_path(str(table.folder), one) for one in cells if kind_of_file(one) == kind]
        _add(found, name, input_of_files(name, kind, files))
    elif name.casefold() in _SPLIT and set(cells) <= set(SPLITS) and len(cells) == len(table):
        found.split_column = name
    elif comma := decimal_comma(cells):
        found.unused[name] = _comma_words(comma)
    else:
        values = len(set(map(str, cells)))
        texts = count_label(values, "different text")
        found.unused[name] = f"holds {texts}, and no file names or numbers"
        if not found.group and len(SPLITS) <= values <= len(cells) // _GROUP_ROWS:
            option = f"--group {shlex.quote(name)}"
            found.unused[name] += f"; if they say whose an example is, add {option}"


def _comma_words(cell: str) -> str:
    return (
        f"holds numbers with a decimal comma, such as {cell!r}; save the table with points "
        "(pandas: read_csv with decimal=',', then to_csv)"
    )


def _look_at_numbers(found: Looked, name: str, numbers: list[str]) -> None:
    cells, rows = found.table.columns[name], found.table.rows
    values = [float(one) for one in cells if is_number(one)]
    first = values[0]
    if len(set(values)) == 1:
        found.unused[name] = f"is {first:g} in every row"
    elif name.casefold() in _IDS or values == [first + n for n in range(len(values))]:
        found.unused[name] = "numbers the rows"
    else:
        numbers.append(name)
        found.broken += [
            Broken(int(row), name, "is empty" if is_empty(one) else f"is {shown_cell(one)}")
            for row, one in zip(rows, cells, strict=True)
            if not is_number(one)
        ]


def _add(found: Looked, name: str, measured: Measured | str) -> None:
    if isinstance(measured, str):
        raise DataError(f"{found.table.path.name}, column {name!r}: {measured}")
    stream = _stream(name, found.inputs)
    found.inputs[stream], found.words[stream] = measured


def _stream(name: str, taken: dict[str, Input]) -> str:
    """A column's name as a stream's: letters, digits and _, and none that PyTorch has taken."""
    plain = re.sub(r"\W+", "_", name).strip("_").lower() or "stream"
    if not plain.isidentifier() or hasattr(nn.ModuleDict, plain):
        plain = f"stream_{plain}"
    others = (f"{plain}_{number}" for number in range(2, len(taken) + 3))
    return plain if plain not in taken else next(one for one in others if one not in taken)


def _read_all(found: Looked, on_read: Callable[[int], object]) -> None:
    """Read every cell of the inputs, and note those that cannot be."""
    folder, table = str(found.table.folder), found.table

    def reason(one: Input, cell: Any) -> str:
        try:
            decode(one, cell, folder)
        except FileError as error:
            named = "" if is_empty(cell) or is_array(cell) else f"{cell} "
            return f"{named}{error}"
        return ""

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for one in found.inputs.values():
            if one.kind == "numbers":
                continue
            cells = table.columns[one.column]
            reasons = []
            for said in pool.map(lambda cell, one=one: reason(one, cell), cells):
                reasons.append(said)
                on_read(1)
            broken = [
                Broken(int(row), one.column, said)
                for row, said in zip(table.rows, reasons, strict=True)
                if said
            ]
            if len(broken) > _MOST_BROKEN * len(table):
                raise DataError(
                    f"{table.path.name}: {len(broken):,} of {len(table):,} cells of column "
                    f"{one.column!r} cannot be read, the first in row {broken[0].row}: "
                    f"{broken[0].reason}; file names are relative to {table.folder}"
                )
            found.broken += broken


def groups_of(found: Looked) -> int:
    """How many groups there are in the rows that can be read."""
    cells = found.table.columns[found.group] if found.group else []
    return len({text_of(one) for one in cells if not is_empty(one)})
