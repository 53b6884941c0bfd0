"""MLflow's client: opened quietly, and written to in few calls."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from fusion_search.search.tracking.values import Point

_METRICS_PER_CALL: Final = 1000  # MLflow's limits for one log_batch
_PARAMETERS_PER_CALL: Final = 100
_LOCAL_FILES: Final = {"ext2/ext3", "xfs", "btrfs", "zfs", "f2fs", "overlayfs", "tmpfs"}


def open_client(uri: str) -> Any:
    """An ``mlflow.MlflowClient`` that gives up on a dead server within seconds, and is quiet.

    A SQLite file is made ready for several processes that open and write it at once.
    """
    # MLflow takes these from the environment alone (and by default tries for four minutes).
    # What the user has set stays.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # seconds
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow  # takes seconds: only the process that tracks pays for it

    # After the import, which sets levels itself. No lines about migrations and retries.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    file = _sqlite_file(uri)
    if file is None or not _is_local(file.parent):
        return mlflow.MlflowClient(tracking_uri=uri)
    with _prepared(file):
        return mlflow.MlflowClient(tracking_uri=uri)  # makes the tables


def sqlite_uri(path: str) -> str | None:
    """The address of a SQLite file; None when MLflow would make another file of it.

    What follows a question mark is taken for options, ``%20`` for a space; quoted, MLflow makes
    folders that are called as the quotation.
    """
    return None if "?" in path or unquote(path) != path else f"sqlite:///{path}"


def close_store(uri: str) -> None:
    """Bring all that was written to a SQLite store into its one file, so that a copy is whole."""
    file = _sqlite_file(uri)
    if file is not None and file.exists():
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def log_file(client: Any, artifact_uri: str, name: str, content: bytes) -> None:
    """Store one file of a run: ``log_text`` would first ask the store where the run's files go.

    Args:
        client: of the run's store.
        artifact_uri: as the run's information has it.
        name: of the file.
        content: what is in it.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(artifact_uri, tracking_uri=client.tracking_uri)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_bytes(content)
        repository.log_artifact(str(file))


def log(
    client: Any,
    run_id: str,
    points: Sequence[Point],
    parameters: Mapping[str, str],
    tags: Mapping[str, str],
) -> None:
    """Write to a run in as few calls as the limits allow: each costs a transaction.

    The tags go with the last one, and MLflow writes them last: when they are there, all is.
    """
    from mlflow.entities import Metric, Param, RunTag

    metrics = [Metric(one.name, one.value, one.milliseconds, one.step) for one in points]
    params = [Param(name, text) for name, text in parameters.items()]
    run_tags = [RunTag(name, text) for name, text in tags.items()]
    calls = max(
        1,
        math.ceil(len(metrics) / _METRICS_PER_CALL),
        math.ceil(len(params) / _PARAMETERS_PER_CALL),
    )
    for call in range(calls):
        client.log_batch(
            run_id,
            metrics=metrics[call * _METRICS_PER_CALL :][:_METRICS_PER_CALL],
            params=params[call * _PARAMETERS_PER_CALL :][:_PARAMETERS_PER_CALL],
            tags=run_tags if call == calls - 1 else [],
            synchronous=True,
        )


def _sqlite_file(uri: str) -> Path | None:
    if not uri.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    name = make_url(uri).database
    return Path(name) if name and name != ":memory:" else None


def _is_local(folder: Path) -> bool:
    """Whether a folder is on a disk of this machine, as far as GNU's ``stat`` knows."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["stat", "--file-system", "--format=%T", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() in _LOCAL_FILES


@contextmanager
def _prepared(file: Path) -> Iterator[None]:
    """Turn on SQLite's write-ahead log, and let one process at a time make MLflow's tables.

    With the log, whoever reads holds up nobody who writes, and a transaction waits for no disk.
    It needs memory that all processes share, so it is off on network file systems.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "connect", _wait_for_no_disk):
        event.listen(Engine, "connect", _wait_for_no_disk)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # two migrations at once would break each other
        with closing(sqlite3.connect(file, timeout=20)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        yield
    finally:
        os.close(folder)


def _wait_for_no_disk(connection: object, _record: object) -> None:
    """With a write-ahead log, a power cut may cost the last transactions, never the file."""
    if isinstance(connection, sqlite3.Connection):
        mode = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == ("wal",):
            connection.execute("PRAGMA synchronous = NORMAL")
