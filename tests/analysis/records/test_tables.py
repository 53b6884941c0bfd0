"""Storage and tables: whole files, old files, damaged files."""

from __future__ import annotations

import contextlib
import io
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from descriptions import write_description
from flips import damaged
from pyarrow import fs
from synthetic_records import DIGITS, Trial, write_trial

from fusion_search.analysis.records.description import TASK_FILE
from fusion_search.analysis.records.parquet import bounds
from fusion_search.analysis.records.parquet.bounds import read_bounded
from fusion_search.analysis.records.selection import AnalysisError, open_search
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import (
    SCHEMA_VERSION,
    RecordError,
    read_batches,
    read_table,
    recorded_trials,
    to_parquet,
)

TRIALS, GRID, PREDICTIONS = map(DIGITS.schema, ("trials", "grid", "predictions"))


def storages(folder: Path) -> list[Storage]:
    return [
        open_storage(folder / "plain"),
        open_storage(f"file://{folder}/uri"),
        # pyarrow's in-memory stand-in for a remote filesystem.
        Storage("mock", fs._MockFileSystem(), "bucket/results"),
    ]


def test_files_written_are_files_read_wherever_they_lie(tmp_path: Path) -> None:
    for storage in storages(tmp_path):
        folder = storage.below("search")
        folder.write(b"one", "trials", "a.parquet")
        folder.write(b"two", "trials", "a.parquet")
        folder.write(b"three", "trials", "b.parquet")
        assert folder.read("trials", "a.parquet") == b"two"
        assert folder.names("trials") == ["a.parquet", "b.parquet"]
        assert storage.names() == ["search"]
        folder.remove("trials", "a.parquet")
        folder.remove("trials", "a.parquet")
        assert folder.names("trials") == ["b.parquet"]
        assert folder.names("nothing") == []
        with pytest.raises(FileNotFoundError):
            folder.read("nothing")


def test_a_write_that_fails_leaves_the_old_file_and_no_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(tmp_path)
    storage.write(b"old", "x.parquet")

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    broken = Storage(str(tmp_path), _NoMove(storage.filesystem, full), storage.root)
    with pytest.raises(OSError, match="No space left"):
        broken.write(b"new", "x.parquet")
    assert storage.read("x.parquet") == b"old"
    assert storage.names() == ["x.parquet"]


class _NoMove:
    """A filesystem whose last step fails."""

    def __init__(self, inner: fs.FileSystem, move: object) -> None:
        self._inner, self.move = inner, move

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


def test_a_location_that_nobody_opens_is_named() -> None:
    with pytest.raises(ValueError, match="storage 'nowhere://x' cannot be opened"):
        open_storage("nowhere://x")


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    search = open_storage(tmp_path)
    trial = Trial((0.5, 0.25), correct=lambda audio, visual: 7)
    write_trial(search, trial)
    grid = read_table(search, "grid")
    assert len(grid) == 100
    assert set(grid["accuracy_sum"]) == {7}
    assert list(grid.columns) == GRID.names
    assert read_table(search, "epochs").empty
    assert list(read_table(search, "epochs").columns) == DIGITS.schema("epochs").names


def test_a_column_that_a_file_lacks_is_null(tmp_path: Path) -> None:
    search = open_storage(tmp_path)
    write_trial(search, Trial((0.5, 0.25)))
    (name,) = search.names("trials")
    path = search.path("trials", name)
    pq.write_table(pq.read_table(path).drop_columns(["host", "engine"]), path)
    trials = read_table(search, "trials")
    assert list(trials.columns) == TRIALS.names
    assert trials["host"].isna().all()


def test_a_file_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    search = open_storage(tmp_path)
    write_trial(search, Trial((0.5, 0.25), extra={"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(ValueError, match=r"schema version 3, .*newer fusion-search"):
        read_table(search, "trials")


@pytest.mark.parametrize("damage", [b"", b"PAR1 nonsense PAR1", None])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, damage: bytes | None) -> None:
    search = open_storage(tmp_path)
    write_trial(search, Trial((0.5, 0.25)))
    (name,) = search.names("trials")
    search.write(search.read("trials", name)[:-20] if damage is None else damage, "trials", name)
    with pytest.raises(ValueError, match=rf"{name} is damaged .*resume the search"):
        read_table(search, "trials")


def old_search(folder: Path) -> Storage:
    """As an earlier program left it: without a description."""
    search = open_storage(folder)
    write_trial(search, Trial((0.5, 0.25), extra={"schema_version": 1}))
    search.remove(TASK_FILE)
    return search


def test_an_earlier_schema_is_one_sentence_wherever_it_is_met(tmp_path: Path) -> None:
    said = r"was written by an earlier fusion-search \(schema version 1\), which this program does"
    search = old_search(tmp_path / "old")
    for table in ("trials", "grid"):
        with pytest.raises(RecordError, match=said):
            read_table(search, table)
    with pytest.raises(AnalysisError, match=said):
        open_search(open_storage(tmp_path), "old")
    write_description(search)
    with pytest.raises(RecordError, match=said):
        read_table(search, "trials")
    damage: dict[str, str] = {}
    assert read_table(search, "trials", on_damage=damage.__setitem__).empty
    assert len(damage) == 1


def test_without_a_description_nothing_is_read(tmp_path: Path) -> None:
    search = open_storage(tmp_path)
    write_trial(search, Trial((0.5, 0.25)))
    search.remove(TASK_FILE)
    with pytest.raises(RecordError, match=r"task\.json is missing; put a copy back"):
        read_table(search, "trials")
    with pytest.raises(RecordError, match=r"task\.json is missing; put a copy back"):
        list(read_batches(search, "grid", ["n"]))
    assert len(read_table(search, "trials", description=DIGITS)) == 1


OLD = ["host", "packed_trials", "engine"]
"""Columns that a file lacks."""


def two_kinds(tmp_path: Path) -> Storage:
    search = open_storage(tmp_path)
    for number, pair in enumerate([(0.5, 0.25), (1.0, 0.5)]):
        write_trial(search, Trial(pair, seed=number, extra={"host": "here", "packed_trials": 3}))
    name = search.names("trials")[0]
    path = search.path("trials", name)
    pq.write_table(pq.read_table(path).drop_columns(OLD), path)
    return search


def test_pandas_reads_files_of_two_kinds_as_the_readme_says(tmp_path: Path) -> None:
    folder = two_kinds(tmp_path).path("trials")
    own = read_table(open_storage(tmp_path), "trials")
    # As many rows, but the columns of the first file alone.
    plain = pd.read_parquet(folder)
    assert list(plain["seed"]) == list(own["seed"])
    assert not set(OLD) & set(plain.columns)
    # Read one by one, nothing is lost.
    whole = pd.concat(map(pd.read_parquet, sorted(Path(folder).glob("*.parquet"))))
    assert set(whole.columns) == set(TRIALS.names)
    assert [one if one == "here" else None for one in whole["host"]] == [None, "here"]
    assert list(whole["packed_trials"].fillna(0)) == [0, 3]


def test_files_that_are_no_records_are_passed_over(tmp_path: Path) -> None:
    search = open_storage(tmp_path)
    write_trial(search, Trial((0.5, 0.25)))
    before = read_table(search, "trials")
    (name,) = search.names("trials")
    record = search.read("trials", name)
    for other in (
        *("Thumbs.db", "desktop.ini", f"{name}.bak", f"{name}~", f".{name}.swp"),
        *(f"._{name}", f"{name.removesuffix('.parquet')} (copy).parquet", "conflict.parquet"),
    ):
        search.write(record if other.endswith("parquet") else b"others'", "trials", other)
        search.write(search.read("grid", name), "grid", other)
    (tmp_path / "trials" / "old").mkdir()
    pd.testing.assert_frame_equal(read_table(search, "trials"), before)
    batches = read_batches(search, "grid", ["accuracy_sum"])
    assert sum(batch.num_rows for batch in batches) == 100
    assert name.removesuffix(".parquet") in recorded_trials(search)
    assert not [one for one in recorded_trials(search) if "." in one or "~" in one]


def test_a_record_that_cannot_be_read_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    search = open_storage(tmp_path)
    trials = [Trial((0.5, 0.25), seed=seed) for seed in range(4)]
    for trial in trials:
        write_trial(search, trial)
    search.write(b"PAR1 nonsense PAR1", "trials", f"{trials[1].trial_id}.parquet")
    (tmp_path / "trials" / f"{trials[2].trial_id}.parquet").unlink()
    (tmp_path / "trials" / f"{trials[2].trial_id}.parquet").mkdir()
    said: dict[str, str] = {}
    found = read_table(search, "trials", on_damage=said.__setitem__)
    assert list(found["seed"]) == [0, 3]
    assert list(said) == [trials[1].trial_id, trials[2].trial_id]
    assert "is damaged (" in said[trials[1].trial_id]
    assert "is damaged (it is not a regular file)" in said[trials[2].trial_id]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"accuracy_sum": None}, "its accuracy_sum is missing"),
        ({"n": 0}, "it counts what cannot be counted so"),
        ({"accuracy_sum": 101.0}, "it counts what cannot be counted so"),
        ({"accuracy_sum": -1.0}, "it counts what cannot be counted so"),
        ({"accuracy": 1.5}, "its accuracy is not between 0 and 1"),
        ({"accuracy_sum": 49.0}, "its accuracy is not its accuracy_sum over n"),
        ({"test_audio_snr": math.nan}, "its test_audio_snr is nan"),
        ({"trial_id": "another"}, "it is a record of another trial, another"),
    ],
)
def test_a_grid_that_nothing_can_be_counted_with_is_damaged(
    fields: dict[str, Any], said: str, tmp_path: Path
) -> None:
    search = open_storage(tmp_path)
    trial = Trial((0.5, 0.25))
    write_trial(search, trial)
    path = search.path("grid", f"{trial.trial_id}.parquet")
    rows = pq.read_table(path).to_pylist()
    pq.write_table(pa.Table.from_pylist([*rows[1:], {**rows[0], **fields}], GRID), path)
    with pytest.raises(RecordError, match=rf"is damaged \({said}\)"):
        read_table(search, "grid", [trial.trial_id])
    with pytest.raises(RecordError, match=rf"is damaged \({said}\)"):
        list(
            read_batches(
                search,
                "grid",
                ["n", "accuracy", "accuracy_sum", "test_audio_snr"],
                [trial.trial_id],
            )
        )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"mean_accuracy": None}, "its mean_accuracy is missing"),
        ({"worst_accuracy": 1.2}, "its worst_accuracy is 1.2"),
        ({"seconds": -1.0}, "its seconds is -1"),
        ({"streams": ["smell"]}, "its streams are not those of the task"),
        ({"placement": "[]"}, "its placement is not a mapping"),
        ({"placement": '{"level1": 3}'}, "its placement is not one of words at sites"),
        ({"placement": '{"level1": {"smell>audio": "cross"}}'}, "its placement connects"),
        ({"specification": '{"data": null}'}, "its specification has a data that is not"),
        ({"specification": '{"training": [1]}'}, "its specification has a training that"),
        ({"placement_options": "[]"}, "its placement_options is not a mapping"),
        ({"placement_options": '{"mmtm": 2}'}, "its placement_options are not options of kinds"),
        ({"train": '{"audio_snr": "loud"}'}, "a train condition is 'loud'"),
        ({"train_audio_snr": math.nan}, "its train_audio_snr is nan"),
    ],
)
def test_a_trial_that_no_search_writes_is_damaged(
    fields: dict[str, Any], said: str, tmp_path: Path
) -> None:
    search = open_storage(tmp_path)
    write_trial(search, Trial((0.5, 0.25), extra=fields))
    with pytest.raises(RecordError, match=rf"is damaged \({said}"):
        read_table(search, "trials")


def constant(rows: int, text: str, schema: pa.Schema = PREDICTIONS) -> pa.Table:
    """Rows that are all alike, as a table that takes no memory."""
    columns = []
    for field in schema:
        value = text if field.name == "search" else "x" if field.type == pa.string() else 2
        one = pa.array([value], field.type)
        columns.append(pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int8()).fill_null(0), one))
    return pa.table(columns, schema.names)


@pytest.mark.parametrize(("rows", "text"), [(4_000, "y" * 10_000), (1_000_000, "y")])
def test_a_small_file_that_would_fill_the_memory_is_not_read(
    rows: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "LARGEST_BYTES", 20 << 20)
    search = open_storage(tmp_path)
    write_description(search)
    content = to_parquet(constant(rows, text))
    assert len(content) < 1_000_000
    search.write(content, "predictions", "x.parquet")
    used = pa.total_allocated_bytes()
    refusal = r"predictions/x\.parquet is too large \(it would take \d\d MiB .* at most 20 MiB\)"
    with pytest.raises(RecordError, match=refusal):
        read_table(search, "predictions")
    if rows == 1_000_000:  # its batches would be small, but there are too many
        with pytest.raises(RecordError, match=refusal):
            list(read_batches(search, "predictions", ["number", "label", "predicted"]))
    assert pa.total_allocated_bytes() - used < 20 << 20


def zigzag(number: int) -> bytes:
    """A number as Thrift writes it."""
    number, content = number << 1, b""
    while number >= 128:
        content, number = content + bytes([number & 127 | 128]), number >> 7
    return content + bytes([number])


def lying(content: bytes) -> bytes:
    """The same file with a footer that says of every large column it unpacks to 32 bytes."""
    metadata = pq.ParquetFile(io.BytesIO(content)).metadata
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    end = content[footer:]
    for at in range(metadata.num_columns):
        size = metadata.row_group(0).column(at).total_uncompressed_size
        if size > 1000:
            true = zigzag(size)
            end = end.replace(true, bytes([0xC0, *[0x80] * (len(true) - 2), 0]))
    return content[:footer] + end


def test_a_footer_that_lies_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "LARGEST_BYTES", 4 << 20)
    search = open_storage(tmp_path)
    write_description(search)
    text, key = pa.array(["y" * (6 << 20)]), pa.array(["x"])
    version = pa.array([2], pa.int32())
    # A column that is not ours takes nothing: the row is then found to lack the others.
    for column, said in (("reason", "it would take 6 MiB of memory"), ("more", "its status is")):
        table = pa.table([version, key, text], ["schema_version", "trial_id", column])
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", use_dictionary=False)
        content = lying(buffer.getvalue())
        metadata = pq.ParquetFile(io.BytesIO(content)).metadata
        assert metadata.row_group(0).column(2).total_uncompressed_size == 32
        search.write(content, "trials", "x.parquet")
        used = pa.total_allocated_bytes()
        with pytest.raises(RecordError, match=said):
            read_table(search, "trials")
        assert pa.total_allocated_bytes() - used < 1 << 20


def test_headers_of_pages_are_damaged_rather_than_guessed() -> None:
    buffer = io.BytesIO()
    table = pa.table(
        {"a": pa.array([[1, 2], [3], None] * 50), "b": pa.array(["x", "y", None] * 50)}
    )
    pq.write_table(table, buffer, data_page_size=64, write_batch_size=8)
    content = buffer.getvalue()
    file = pq.ParquetFile(io.BytesIO(content))
    end = file.metadata.row_group(0).column(1).total_compressed_size
    assert read_bounded(io.BytesIO(content)) == table
    for copy in damaged(content[: end + 200], 400, seed=1):
        with contextlib.suppress(ValueError, OSError, pa.ArrowException):
            read_bounded(io.BytesIO(copy + content[end + 200 :]))


def test_a_footer_that_contradicts_its_schema_is_damaged() -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"label": pa.array([1, 2], pa.int32())}), buffer)
    # In the schema the column is optional; as a required one it has no levels to be counted.
    optional, required = b"\x25\x02\x18\x05label", b"\x25\x00\x18\x05label"
    assert buffer.getvalue().count(optional) == 1
    # pyarrow's own view of such a column's metadata ends the process.
    with pytest.raises((ValueError, OSError, pa.ArrowException)):
        read_bounded(io.BytesIO(buffer.getvalue().replace(optional, required)))


def test_predictions_of_all_test_images_are_within_the_bounds(tmp_path: Path) -> None:
    search = open_storage(tmp_path)
    write_description(search)
    content = constant(1_000_000, "a search of some name").cast(PREDICTIONS)
    search.write(to_parquet(content), "predictions", "x.parquet")
    assert read_table(search, "predictions").shape == (1_000_000, len(PREDICTIONS))
