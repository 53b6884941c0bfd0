"""The Parquet tables of a search: their columns, and how they are read.

One folder per search, ``<storage>/<search name>/``, holds one folder per table, and each of these
one file per trial (``<trial_id>.parquet``), so pandas, DuckDB, Polars and pyarrow read a table by
its folder's name alone. A column means the same in every table. SNR columns hold plain numbers;
infinity is "Original" (no noise).
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

from fusion_search.analysis.records.bounds import (
    LARGEST_BYTES,
    TooLargeError,
    check_rows,
    check_trial,
    check_values,
    read_bounded,
)
from fusion_search.analysis.records.checksum import check, sealed
from fusion_search.analysis.records.secrets import sentence
from fusion_search.analysis.records.storage import Storage, StorageError

SCHEMA_VERSION: Final = 1
SPECIFICATION_FILE: Final = "specification.yaml"
PLANNED_FILE: Final = "planned.json"  # the trials a search consists of
CHECKPOINTS: Final = "checkpoints"
EXHAUSTED_FILE: Final = "exhausted"  # there when a searcher found nothing new to propose
IMPORTANCE_FILE: Final = "importance.parquet"  # of every choice, by fANOVA
REPLAY_FILE: Final = "replay.parquet"  # searchers run against the records
CONFIRMATION_SUFFIX: Final = "-confirmation"  # of the search that confirms another
CANDIDATES_FILE: Final = "candidates.json"  # what a confirmation compares

FINISHED: Final = "finished"
FAILED: Final = "failed"
STOPPED: Final = "stopped"  # early, by the scheduler: it has epochs and costs, but no grid

_KEY = [("schema_version", pa.int32()), ("search", pa.string()), ("trial_id", pa.string())]
_NOW = pa.timestamp("ms", tz="UTC")

TRIALS: Final = pa.schema(
    [
        *_KEY,
        ("trial_name", pa.string()),
        ("status", pa.string()),  # FINISHED, FAILED or STOPPED
        ("reason", pa.string()),  # of a failure, one sentence; else null
        # What was tried.
        ("modality", pa.string()),  # both, visual, audio
        ("fusion_depth", pa.int32()),
        ("levels", pa.int32()),
        ("units", pa.int32()),
        ("kernel", pa.int32()),
        ("padding", pa.bool_()),
        ("pooling", pa.string()),  # after every level (full), or after C-LSTMs alone (literal)
        ("dense_units", pa.int32()),
        ("couplings", pa.list_(pa.string())),  # by insertion point; empty: none at all
        ("to_audio", pa.list_(pa.string())),
        ("to_image", pa.list_(pa.string())),
        ("fusion", pa.string()),
        ("mmtm_ratio", pa.int32()),
        ("mmtm_relu", pa.bool_()),
        ("mmtm_identity", pa.bool_()),
        ("dropout", pa.float64()),
        ("train_audio_snr", pa.float64()),
        ("train_visual_snr", pa.float64()),
        ("snr_ratio", pa.string()),  # power or amplitude
        ("seed", pa.int64()),
        ("examples", pa.int64()),  # training pairs drawn
        ("epoch_examples", pa.int64()),
        ("epochs", pa.int32()),
        ("batch_size", pa.int32()),
        ("learning_rate", pa.float64()),
        ("weight_decay", pa.float64()),
        ("validation_examples", pa.int64()),
        ("test_examples", pa.int64()),
        ("evaluation_split", pa.string()),  # where the grid was measured: test or validation
        ("precision", pa.string()),  # float32 or bfloat16
        ("device", pa.string()),  # the device that was used
        ("engine", pa.string()),  # what computed the C-LSTM's gates: eager (and why) or compiled
        ("threads", pa.int32()),  # with which torch computed where it ran: rounding differs with it
        ("cpus_per_trial", pa.float64()),  # what the search gave it; null without a search
        ("checkpoint_frames", pa.int32()),
        ("data_source", pa.string()),  # builtin or digits
        ("frames", pa.int32()),
        ("split_seed", pa.int64()),
        ("specification", pa.string()),  # the whole trial specification, JSON
        ("sample", pa.string()),  # what a searcher chose, JSON: name -> value; null in a sweep
        ("schedule", pa.string()),  # hyperparameters changed on the way (pbt), JSON; else null
        # What came out; null when the trial failed before.
        ("parameters", pa.int64()),
        ("multiply_accumulates", pa.int64()),  # of one example
        ("epochs_run", pa.int32()),
        ("best_epoch", pa.int32()),
        ("validation_accuracy", pa.float64()),  # of the best epoch, 0 to 1
        ("train_pair_accuracy", pa.float64()),  # on the test split; null if not in the grid
        ("worst_accuracy", pa.float64()),  # over the grid
        ("mean_accuracy", pa.float64()),  # over the grid: robust accuracy
        ("objective_values", pa.list_(pa.float64())),  # as listed in the specification
        # What it cost.
        ("started_at", _NOW),
        ("ended_at", _NOW),
        # Trained together on one device, this one counted; 1 or null: alone. What they cost
        # together is told of each: seconds, train_seconds, data_seconds and peak_memory_bytes.
        ("packed_trials", pa.int32()),
        ("seconds", pa.float64()),  # it took, by a clock that nobody sets
        ("train_seconds", pa.float64()),
        ("evaluation_seconds", pa.float64()),
        ("data_seconds", pa.float64()),  # noise, padding, spectrograms; part of the two above
        ("milliseconds_per_example", pa.float64()),  # of a forward pass, after training
        ("peak_memory_bytes", pa.int64()),
        # Where it comes from.
        ("data_note", pa.string()),  # in words; says when the built-in set stands in
        ("data_fingerprint", pa.string()),
        ("git_commit", pa.string()),
        ("versions", pa.string()),  # JSON: package -> version
        ("host", pa.string()),
    ]
)

_ALWAYS: Final = (
    *("trial_name", "modality", "fusion_depth", "levels", "train_audio_snr", "train_visual_snr"),
    *("seed", "started_at", "ended_at", "seconds", "data_note", "data_fingerprint"),
)
# By status, the columns that hold a value in the records of every version; the others may not.
NEEDED: Final = {
    FINISHED: (*_ALWAYS, "device", "validation_accuracy", "mean_accuracy"),
    FAILED: (*_ALWAYS, "reason"),
    STOPPED: (*_ALWAYS, "reason", "validation_accuracy"),
}

EPOCHS: Final = pa.schema(
    [
        *_KEY,
        ("epoch", pa.int32()),  # from 1
        ("examples_seen", pa.int64()),
        ("train_loss", pa.float64()),
        ("train_accuracy", pa.float64()),
        ("validation_loss", pa.float64()),
        ("validation_accuracy", pa.float64()),
        ("seconds", pa.float64()),  # since the trial's start
        ("ended_at", _NOW),
    ]
)

GRID: Final = pa.schema(
    [
        *_KEY,
        ("test_audio_snr", pa.float64()),
        ("test_visual_snr", pa.float64()),
        ("n", pa.int64()),
        ("correct", pa.int64()),
        ("loss", pa.float64()),  # mean cross-entropy per example, nats
    ]
)

PREDICTIONS: Final = pa.schema(
    [
        *_KEY,
        ("test_audio_snr", pa.float64()),
        ("test_visual_snr", pa.float64()),
        ("pair", pa.int64()),  # index into the test split's pairs
        ("label", pa.int8()),
        ("predicted", pa.int8()),
    ]
)

_BATCH_ROWS: Final = 256 * 1024
_READERS: Final = 16

TABLES: Final = {"trials": TRIALS, "epochs": EPOCHS, "grid": GRID, "predictions": PREDICTIONS}


_NO_ROW: Final = "it has no row"

OnDamage = Callable[[str, str], None]  # given a trial's id and one sentence on its record


class RecordError(ValueError):
    """A record cannot be read; the message is one sentence that names the file and the remedy."""


class VersionError(RecordError):
    """A record was written by a newer program."""


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
) -> pd.DataFrame:
    """Read one table of a search, all trials or the named ones, sorted by file name.

    Columns that an older schema version lacks come back as null. An absent table is empty. A file
    that is not named like the trial in it (a copy, another program's) does not count; where the
    trial is asked for, its record is damaged.

    Args:
        search: the search's folder.
        table: its name.
        trial_ids: the trials wanted; all by default.
        on_damage: told of each record that cannot be read, or has values that no search writes,
            while the others are read.

    Raises:
        RecordError: a file is damaged or was written by a newer schema version, and nobody is told.
    """
    rows: pd.DataFrame = _read(search, table, trial_ids, on_damage).to_pandas()
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
) -> list[dict[str, Any]]:
    """The same rows as plain Python values, as they were written."""
    rows: list[dict[str, Any]] = _read(search, table, trial_ids, on_damage).to_pylist()
    return rows


def read_batches(
    search: Storage, table: str, columns: Sequence[str], trial_ids: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Some columns of a table that may be large, in parts of bounded size.

    Texts come dictionary-encoded. Rows of ``trials`` are not checked: parts lack columns.

    Raises:
        RecordError: a file is damaged or was written by a newer schema version.
    """
    schema = TABLES[table]
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
                        check_rows(batch)
                    yield batch.select(columns)


def _file_names(search: Storage, table: str, trial_ids: Sequence[str] | None) -> list[str]:
    names = search.names(table) if trial_ids is None else [f"{one}.parquet" for one in trial_ids]
    return [name for name in names if name.endswith(".parquet")]


@contextmanager
def _damage_named(search: Storage, table: str, name: str) -> Iterator[None]:
    """Say which file is damaged, and what to do about it."""
    try:
        yield
    except (FileNotFoundError, StorageError, VersionError):
        raise
    except (PermissionError, NotADirectoryError) as error:
        raise RecordError(
            f"{search.named(table, name)} cannot be read ({error.strerror}); see to its permissions"
        ) from error
    except (pa.ArrowException, ValueError, OSError) as error:
        what = "too large" if isinstance(error, TooLargeError) else "damaged"
        raise RecordError(
            f"{search.named(table, name)} is {what} ({sentence(error)}); delete it and resume the "
            "search to run the trial again"
        ) from error


def _check_version(search: Storage, table: str, name: str, versions: Any) -> None:
    newest = pc.max(versions).as_py() or 0
    if newest > SCHEMA_VERSION:
        raise VersionError(
            f"{search.named(table, name)} has schema version {newest}, this program reads up "
            f"to {SCHEMA_VERSION}; use a newer fusion-search"
        )


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
    search: Storage, table: str, trial_ids: list[str] | None, on_damage: OnDamage | None
) -> pa.Table:
    schema = TABLES[table]
    names = _file_names(search, table, trial_ids)

    def read(name: str) -> pa.Table | RecordError:
        try:
            return _read_file(search, table, name, schema, named=trial_ids is not None)
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
    return pa.concat_tables([schema.empty_table(), *parts])


def _read_file(
    search: Storage, table: str, name: str, schema: pa.Schema, *, named: bool
) -> pa.Table:
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
            check_rows(whole.select(there))
            return whole
        if whole.num_rows != 1:
            raise ValueError(f"it has {whole.num_rows} rows")
        check_trial(whole, NEEDED)
        return whole
