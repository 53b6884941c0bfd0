"""SQLite files that MLflow keeps its runs in: their addresses, and how processes share one."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from fusion_search.analysis.records.processes import locked_within
from fusion_search.analysis.records.secrets import printable
from fusion_search.search.tracking.trouble import ANOTHER_FILE, IN_MEMORY, NO_FILE, UnfitStoreError

_LOCAL_FILES: Final = {"ext2/ext3", "xfs", "btrfs", "zfs", "f2fs", "overlayfs", "tmpfs"}
_LOCK_SECONDS: Final = 60.0  # another process's making of the tables takes seconds
_FIRST_TABLES: Final = {"experiments", "runs", "tags", "metrics", "params"}  # MLflow makes them
_VERSION_TABLE: Final = "alembic_version"  # and then this one

_opened: Final[dict[Path, tuple[int, int]]] = {}
"""The files that this process wrote to, by device and number."""
_replaced: Final[dict[Path, int]] = {}
"""How often it found another file, or none, in the place of one."""


def sqlite_uri(path: str) -> str | None:
    """The address of a SQLite file; None when no address of MLflow's leads to it.

    What follows a question mark is taken for options, ``%20`` for a space: such a path is quoted.
    """
    if "?" not in path and unquote(path) == path:
        return f"sqlite:///{path}"
    from sqlalchemy.engine import make_url

    # With the driver's name: of "sqlite:///" MLflow makes the folders, called as the quotation.
    uri = f"sqlite+pysqlite:///{quote(os.fsencode(path))}"
    return uri if make_url(uri).database == path else None  # SQLAlchemy 2.0 took it as it is


def sqlite_file(uri: str) -> Path | None:
    """The file of an address; None where that is of something else, or has SQLite's own options.

    Raises:
        UnfitStoreError: it is of no file, but of memory, or cannot be taken apart.
    """
    if uri.partition(":")[0].partition("+")[0] != "sqlite":
        return None
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
    except ArgumentError as error:
        raise UnfitStoreError(NO_FILE) from error
    if url.host:  # "sqlite://FOLDER/x.db", where a slash is missing
        raise UnfitStoreError(NO_FILE)
    options = "uri" in url.query
    in_memory = options and "memory" in url.query.get("mode", "")
    if in_memory or not url.database or url.database in (":memory:", "file::memory:"):
        raise UnfitStoreError(IN_MEMORY)
    return None if options else Path(url.database).absolute()


def was_replaced(uri: str) -> bool:
    """Whether the file that this process wrote to is there no longer, or is another one now."""
    try:
        file = sqlite_file(uri)
    except UnfitStoreError:  # said when it is opened
        return False
    return file is not None and file in _opened and _opened[file] != _identity(file)


def will_be_made(uri: str) -> bool:
    """Whether an address is of a SQLite file that is not there yet."""
    file = sqlite_file(uri)
    return file is not None and not file.exists()


@contextmanager
def prepared(uri: str) -> Iterator[str]:
    """Within the block, this process alone makes MLflow's tables; gives the address for MLflow.

    Of a folder on a network file system, where locks may not hold, others are not kept out.

    MLflow keeps what it opened for an address as long as the process lives, also when the file is
    gone: one that was replaced is called by another name for the same path.

    Raises:
        TimeoutError: another process held the folder for a minute.
        UnfitStoreError: another program's tables are in the file, or it is none.
        sqlite3.Error: it is no database, or cannot be written.
    """
    file = sqlite_file(uri)
    if file is None:
        yield uri
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UnfitStoreError(
            f"{printable(file.parent)} is to be a folder, and a file is in its way; {ANOTHER_FILE}"
        ) from error
    local = _is_local(file.parent)
    with _alone(file.parent) if local else nullcontext():
        if was_replaced(uri):
            _replaced[file] = _replaced.get(file, 0) + 1
        _check_ours(file)
        if local:
            _use_log(file)
        else:  # MLflow would try for 100 s to open what it cannot
            _ask(file, "PRAGMA schema_version")
        address, options, rest = uri.partition("?")
        folder, _, name = address.rpartition("/")
        yield f"{folder}{'/.' * _replaced.get(file, 0)}/{name}{options}{rest}"
        if (identity := _identity(file)) is not None:
            _opened[file] = identity


def close_store(uri: str) -> None:
    """Bring all that was written to a SQLite store into its one file, so that a copy is whole."""
    file = sqlite_file(uri)
    if file is not None and file.exists():
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _check_ours(file: Path) -> None:
    """MLflow would add its tables to those of any program."""
    if not file.exists():
        return
    if not file.is_file():
        kind = "a folder" if file.is_dir() else "a pipe or a device"
        raise UnfitStoreError(f"it is {kind}, not a file; {ANOTHER_FILE}")
    with closing(sqlite3.connect(file, timeout=20)) as connection:
        named = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = {name for (name,) in named} - {"sqlite_sequence", "sqlite_stat1"}
        columns = connection.execute("SELECT name FROM pragma_table_info('experiments')")
        of_mlflow = ("experiment_id",) in columns.fetchall()
    # Without a version, of a process that was killed while it made them.
    if tables and not (of_mlflow and (_VERSION_TABLE in tables or tables <= _FIRST_TABLES)):
        shown = printable(", ".join(sorted(tables))[:100])
        raise UnfitStoreError(f"it holds another program's tables ({shown}); {ANOTHER_FILE}")


def _identity(file: Path) -> tuple[int, int] | None:
    """Not another file's, while MLflow's connections hold this one, removed or not."""
    try:
        state = file.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two that make the tables at once would break each other's."""
    held = os.open(folder, os.O_RDONLY)
    try:
        if not locked_within(held, _LOCK_SECONDS):
            raise TimeoutError(f"another process holds {folder}")
        yield
    finally:
        os.close(held)


def _is_local(folder: Path) -> bool:
    """Whether a folder is on a disk of this machine, as far as GNU's ``stat`` knows."""
    command = ["stat", "--file-system", "--format=%T", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() in _LOCAL_FILES


def _use_log(file: Path) -> None:
    """Turn on SQLite's write-ahead log, with which whoever reads holds up nobody who writes.

    It needs memory that all processes share, so it is off on network file systems.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "connect", _wait_for_no_disk):
        event.listen(Engine, "connect", _wait_for_no_disk)
    _ask(file, "PRAGMA journal_mode = WAL")


def _ask(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file, timeout=20)) as connection:
        connection.execute(statement)


def _wait_for_no_disk(connection: object, _record: object) -> None:
    """With a write-ahead log, a power cut may cost the last transactions, never the file."""
    if isinstance(connection, sqlite3.Connection):
        mode = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == ("wal",):
            connection.execute("PRAGMA synchronous = NORMAL")
