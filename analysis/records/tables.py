"""The Parquet tables of a search, and how they are read.

One folder per search, ``<storage>/<search name>/``, holds one folder per table, and each of these
one file per trial (``<trial_id>.parquet``), so pandas, DuckDB, Polars and pyarrow read a table by
its folder's name alone. ``task.json`` beside them says which columns they have. Conditions are
plain numbers; infinity is the original input (no noise), minus infinity an absent one.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fusion_search.analysis.records.columns import COLUMNS
from fusion_search.analysis.records.description import (
    TASK_FILE,
    TaskDescription,
    read_description,
)
from fusion_search.analysis.records.filesystems.errors import StorageError
from fusion_search.analysis.records.parquet.bounds import (
    LARGEST_BYTES,
    TooLargeError,
    check_values,
    read_bounded,
)
from fusion_search.analysis.records.parquet.checksum import check, sealed
from fusion_search.analysis.records.parquet.values import FAILED as FAILED
from fusion_search.analysis.records.parquet.values import FINISHED as FINISHED
from fusion_search.analysis.records.parquet.values import STOPPED as STOPPED
from fusion_search.analysis.records.parquet.values import check_rows, check_trial
from fusion_search.analysis.records.secrets import sentence
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.words.names import CANDIDATES_FILE as CANDIDATES_FILE
from fusion_search.analysis.records.words.names import CONFIRMATION_SUFFIX as CONFIRMATION_SUFFIX
from fusion_search.analysis.records.words.names import SPECIFICATION_FILE as SPECIFICATION_FILE

SCHEMA_VERSION: Final = 2
CODE_FILE: Final = "code.json"  # hashes of the files of a task of one's own
PLANNED_FILE: Final = "planned.json"  # the trials a search consists of
PLANNED_REMEDY: Final = (  # a sweep's is written by resume without being read
    "put a copy back, or delete it and resume: a sweep lists its trials again, a search over a "
    "space proposes anew, and what has a record is not trained again"
)
SPECIFICATION_REMEDY: Final = (
    "mend it, put a copy back, or delete it and launch the search again, which trains nothing twice"
)
DECISIONS: Final = "fold_rungs"  # in it: which samples were kept or dropped between two folds
ASHA_FILE: Final = "asha.json"  # what ASHA decided, in order
CHECKPOINTS: Final = "checkpoints"
EXHAUSTED_FILE: Final = "exhausted"  # there when a searcher found nothing new to propose
IMPORTANCE_FILE: Final = "importance.parquet"  # of every choice, by fANOVA
REPLAY_FILE: Final = "replay.parquet"  # searchers run against the records

_BATCH_ROWS: Final = 256 * 1024
_READERS: Final = 16

TABLES: Final = tuple(COLUMNS)

_NO_ROW: Final = "it has no row"

OnDamage = Callable[[str, str], None]  # given a trial's id and one sentence on its record


class RecordError(ValueError):
    """A record cannot be read; the message is one sentence that names the file and the remedy."""


class VersionError(RecordError):
    """A record was written by an earlier or a newer program."""


def to_parquet(table: pa.Table) -> bytes:
    """A table as the content of a Parquet file, with a checksum."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return sealed(buffer.getvalue())


def parse_parquet(content: bytes, columns: Collection[str] | None = None) -> pa.Table:
    """The inverse of :func:`to_parquet`; a file of other programs has no checksum, and is read too.

    Args:
        content: of the file.
        columns: those wanted, as far as they are there; all by default.

    Raises:
        ValueError, pyarrow.ArrowException, OSError: it is damaged.
    """
    source = io.BytesIO(content)
    check(source)
    table = read_bounded(source, columns)
    table.validate(full=True)
    return table


def read_table(
    search: Storage,
    table: str,
    trial_ids: list[str] | None = None,
    on_damage: OnDamage | None = None,
    description: TaskDescription | None = None,
) -> pd.DataFrame:
    """Read one table of a search, all trials or the named ones, sorted by file name.

    Columns that a file lacks come back as null. An absent table is empty. A file
    that is not named like the trial in it (a copy, another program's) does not count; where the
    trial is asked for, its record is damaged.

    Args:
        search: the search's folder.
        table: its name.
        trial_ids: the trials wanted; all by default.
        on_damage: told of each record that cannot be read, or has values that no search writes,
            while the others are read.
        description: what the search is of; read from its folder by default.

    Raises:
        RecordError: a file is damaged or of another schema version, and nobody is told; or it
            cannot be read what the search is of.
    """
    rows: pd.DataFrame = _read(search, table, trial_ids, on_damage, description).to_pandas()
    return rows


def recorded_trials(search: Storage) -> set[str]:
    """Ids of the trials that have a record: finished, stopped or failed. Other files are none."""
    return {name.removesuffix(".parquet") for name in _file_names(search, "trials", None)}


def came_to_nothing(trials: pd.DataFrame) -> bool:
    """Whether trials ended (rows of TRIALS), and none of them finished."""
    return len(trials) > 0 and not (trials["status"] == FINISHED).any()


def read_rows(
    search: Storage,
    table: str,
    trial_ids: list[str] | None = None,
    on_damage: OnDamage | None = None,
    description: TaskDescription | None = None,
) -> list[dict[str, Any]]:
    """The same rows as plain Python values, as they were written."""
    rows: list[dict[str, Any]] = _read(search, table, trial_ids, on_damage, description).to_pylist()
    return rows


def read_batches(
    search: Storage,
    table: str,
    columns: Sequence[str],
    trial_ids: Sequence[str] | None = None,
    description: TaskDescription | None = None,
) -> Iterator[pa.RecordBatch]:
    """Some columns of a table that may be large, in parts of bounded size.

    Texts come dictionary-encoded. Rows of ``trials`` are not checked: parts lack columns.

    Raises:
        RecordError: a file is damaged or of another schema version.
    """
    description = description or described(search)
    schema = description.schema(table)
    columns = list(columns)
    names = list(dict.fromkeys(["schema_version", "trial_id", *columns]))
    texts = [name for name in names if schema.field(name).type == pa.string()]
    for name in _file_names(search, table, trial_ids):
        with (
            _damage_named(search, table, name),
            search.open(table, name, most=LARGEST_BYTES) as source,
        ):
            check(source)
            parts = pq.ParquetFile(source, read_dictionary=texts)
            if not set(names) <= set(parts.schema_arrow.names):
                raise ValueError(f"it lacks a column of {', '.join(names)}")
            if trial_ids is not None and not parts.metadata.num_rows:
                raise ValueError(_NO_ROW)
            check_values(parts, source, names)
            for batch in parts.iter_batches(_BATCH_ROWS, columns=names):
                _check_version(search, table, name, batch["schema_version"])
                if _is_of(name, batch, named=trial_ids is not None):
                    if table != "trials":
                        check_rows(batch, description)
                    yield batch.select(columns)


def _file_names(search: Storage, table: str, trial_ids: Sequence[str] | None) -> list[str]:
    names = search.names(table) if trial_ids is None else [f"{one}.parquet" for one in trial_ids]
    return [name for name in names if name.endswith(".parquet")]


@contextmanager
def _damage_named(search: Storage, table: str, name: str) -> Iterator[None]:
    """Say which file is damaged, and what to do about it."""
    try:
        yield
    except FileNotFoundError as error:
        if table in ("trials", "activations"):  # a trial that has not ended, or was not probed
            raise
        raise RecordError(
            f"{search.named(table, name)} is missing; {remedy(search, table, name, there=False)}"
        ) from error
    except (StorageError, VersionError):
        raise
    except (PermissionError, NotADirectoryError) as error:
        raise RecordError(
            f"{search.named(table, name)} cannot be read ({error.strerror}); see to its permissions"
        ) from error
    except (pa.ArrowException, ValueError, OSError) as error:
        what = "too large" if isinstance(error, TooLargeError) else "damaged"
        raise RecordError(
            f"{search.named(table, name)} is {what} ({sentence(error)}); "
            f"{remedy(search, table, name)}"
        ) from error


def remedy(search: Storage, table: str, name: str, *, there: bool = True) -> str:
    """What has a trial write a file of a table again, where it is damaged or not ``there``."""
    if table == "activations":  # which no trial writes
        return "probe the trial again to write it anew"
    files = ["it"] if there else []
    if table != "trials":  # by whose record the trial has ended
        files.append(search.named("trials", name))
    return f"delete {' and '.join(files)} and resume the search to run the trial again"


def earlier_version(where: str, version: int) -> str:
    """What is said of a file of an earlier program."""
    return (
        f"{where} was written by an earlier fusion-search (schema version {version}), which this "
        "program does not read; read it with that one, or launch the search again under another "
        "name"
    )


def _check_version(search: Storage, table: str, name: str, versions: Any) -> None:
    ends = pc.min_max(versions).as_py()
    oldest, newest = ends["min"] or SCHEMA_VERSION, ends["max"] or SCHEMA_VERSION
    if newest > SCHEMA_VERSION:
        raise VersionError(
            f"{search.named(table, name)} has schema version {newest}, this program reads "
            f"{SCHEMA_VERSION}; use a newer fusion-search"
        )
    if oldest < SCHEMA_VERSION:
        raise VersionError(earlier_version(search.named(table, name), oldest))


def described(search: Storage) -> TaskDescription:
    """What a search is of.

    Raises:
        RecordError: that cannot be read, or its records are of an earlier schema version, which
            had no such file.
    """
    try:
        return read_description(search)
    except ValueError as error:
        if not search.is_there(TASK_FILE):
            for name in _file_names(search, "trials", None)[:1]:
                with _damage_named(search, "trials", name):
                    content = search.read("trials", name, most=LARGEST_BYTES)
                    version = parse_parquet(content, ["schema_version"])["schema_version"]
                    _check_version(search, "trials", name, version)
        raise RecordError(str(error)) from error


def _is_of(name: str, part: pa.Table | pa.RecordBatch, *, named: bool) -> bool:
    """Whether a file is the record that it is named like.

    Raises:
        ValueError: it is not, and was asked for by name.
    """
    if not part.num_rows:
        if named:
            raise ValueError(_NO_ROW)
        return False
    own = name.removesuffix(".parquet")
    other = next((one for one in pc.unique(part["trial_id"]).to_pylist() if one != own), own)
    if named and other != own:
        raise ValueError(f"it is a record of another trial, {other}")
    return bool(other == own)


def _read(
    search: Storage,
    table: str,
    trial_ids: list[str] | None,
    on_damage: OnDamage | None,
    description: TaskDescription | None,
) -> pa.Table:
    description = description or described(search)
    names = _file_names(search, table, trial_ids)

    def read(name: str) -> pa.Table | RecordError:
        try:
            return _read_file(search, table, name, description, named=trial_ids is not None)
        except RecordError as error:
            if on_damage is None:
                raise
            return error

    # Side by side, since storage elsewhere takes its time for each.
    with ThreadPoolExecutor(_READERS) as pool:
        found = dict(zip(names, pool.map(read, names), strict=True))
    for name, part in found.items():
        if on_damage is not None and isinstance(part, RecordError):
            on_damage(name.removesuffix(".parquet"), str(part))
    parts = [part for part in found.values() if isinstance(part, pa.Table)]
    return pa.concat_tables([description.schema(table).empty_table(), *parts])


def _read_file(
    search: Storage, table: str, name: str, description: TaskDescription, *, named: bool
) -> pa.Table:
    schema = description.schema(table)
    with _damage_named(search, table, name):
        part = parse_parquet(search.read(table, name, most=LARGEST_BYTES), schema.names)
        for key in ("schema_version", "trial_id"):
            if key not in part.column_names:
                raise ValueError(f"it has no {key}")
        _check_version(search, table, name, part["schema_version"].cast(pa.int32()))
        if not _is_of(name, part, named=named):
            return schema.empty_table()
        there = [one for one in schema.names if one in part.column_names]
        for field in schema:
            if field.name not in part.column_names:
                part = part.append_column(field, pa.nulls(part.num_rows, field.type))
        whole = part.select(schema.names).cast(schema)
        if table != "trials":
            check_rows(whole.select(there), description)
            return whole
        if whole.num_rows != 1:
            raise ValueError(f"it has {whole.num_rows} rows")
        check_trial(whole, description)
        return whole
