"""Storage and tables: whole files, old files, damaged files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs
from synthetic_records import Trial, write_trial

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import GRID, SCHEMA_VERSION, TABLES, TRIALS, read_table


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
    assert set(grid["correct"]) == {7}
    assert list(grid.columns) == GRID.names
    assert read_table(search, "epochs").empty
    assert list(read_table(search, "epochs").columns) == TABLES["epochs"].names


def test_a_file_of_an_older_schema_is_read_with_nulls(tmp_path: Path) -> None:
    search = open_storage(tmp_path)
    write_trial(search, Trial((0.5, 0.25)))
    (name,) = search.names("trials")
    path = search.path("trials", name)
    pq.write_table(pq.read_table(path).drop_columns(["host", "data_note"]), path)
    trials = read_table(search, "trials")
    assert list(trials.columns) == TRIALS.names
    assert trials["host"].isna().all()


def test_a_file_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    search = open_storage(tmp_path)
    write_trial(search, Trial((0.5, 0.25), extra={"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(ValueError, match=r"schema version 2, .*newer fusion-search"):
        read_table(search, "trials")


@pytest.mark.parametrize("damage", [b"", b"PAR1 nonsense PAR1", None])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, damage: bytes | None) -> None:
    search = open_storage(tmp_path)
    write_trial(search, Trial((0.5, 0.25)))
    (name,) = search.names("trials")
    search.write(search.read("trials", name)[:-20] if damage is None else damage, "trials", name)
    with pytest.raises(ValueError, match=rf"{name} is damaged .*resume the search"):
        read_table(search, "trials")


def test_schemas_agree_on_the_columns_they_share() -> None:
    seen: dict[str, pa.DataType] = {}
    for schema in TABLES.values():
        for field in schema:
            assert seen.setdefault(field.name, field.type) == field.type
