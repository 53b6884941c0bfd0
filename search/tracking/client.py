"""MLflow's client: opened quietly, and written to in few calls."""

from __future__ import annotations

import logging
import math
import os
import queue
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from fusion_search.search.tracking.sqlite_file import prepared, sqlite_file
from fusion_search.search.tracking.trouble import BAD_ADDRESS, BAD_SERVER, UnfitStoreError
from fusion_search.search.tracking.values import Point

_METRICS_PER_CALL: Final = 1000  # MLflow's limits for one log_batch
_PARAMETERS_PER_CALL: Final = 100
ANSWER_SECONDS: Final = 10  # that a server or a database is waited for


def open_client(uri: str) -> Any:
    """An ``mlflow.MlflowClient`` that gives up on a dead server within seconds, and is quiet.

    A SQLite file is made ready for several processes that open and write it at once. Raises
    whatever MLflow and the database's driver raise.
    """
    # MLflow takes these from the environment alone (and by default tries for four minutes).
    # What the user has set stays.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(ANSWER_SECONDS))
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(ANSWER_SECONDS))  # PostgreSQL's, at any time
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow  # takes seconds: only the process that tracks pays for it

    # After the import, which sets levels itself. No lines about migrations and retries; of what
    # its stores raise, no traceback: it is told in a sentence.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    for name in ("mlflow.store", "mlflow.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"mlflow\.")
    _check_server(uri)
    if sqlite_file(uri) is None:
        _connect_once(uri)
    with prepared(uri) as address:
        return mlflow.MlflowClient(tracking_uri=address)  # makes the tables


def _check_server(uri: str) -> None:
    """Raise ``UnfitStoreError`` for a server's address that cannot be taken apart."""
    if uri.startswith(("http://", "https://")):
        try:
            _ = urlsplit(uri).port
        except ValueError as error:
            raise UnfitStoreError(BAD_SERVER) from error


def _connect_once(uri: str) -> None:
    """Raise what a database says to a connection: MLflow would try again for 100 s before.

    What is no database's address is left to MLflow.

    Raises:
        UnfitStoreError: the address cannot be taken apart.
        TimeoutError: the database takes the connection and does not answer.
        Exception: whatever SQLAlchemy and the database's driver raise.
    """
    from mlflow.store.db.db_types import DATABASE_ENGINES
    from mlflow.store.db.utils import create_sqlalchemy_engine

    if uri.partition("://")[0].partition("+")[0] not in DATABASE_ENGINES:
        return

    try:
        engine = create_sqlalchemy_engine(uri)
    except ValueError as error:
        raise UnfitStoreError(BAD_ADDRESS) from error

    def connect() -> None:
        try:
            engine.connect().close()
        finally:
            engine.dispose()

    _within(ANSWER_SECONDS, connect)


def _within(seconds: float, action: Callable[[], None]) -> None:
    """Do what may never end, and raise what it raises, or ``TimeoutError`` after so long."""
    ended: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def act() -> None:
        try:
            action()
        except Exception as error:
            ended.put(error)
        else:
            ended.put(None)

    threading.Thread(target=act, name="mlflow-connection", daemon=True).start()
    try:
        error = ended.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"timed out after {seconds:g} s") from None
    if error is not None:
        raise error


def find_experiments(client: Any, query: str) -> list[Any]:
    """The experiments that a query finds, deleted ones last."""
    from mlflow.entities import ViewType

    found = client.search_experiments(view_type=ViewType.ALL, filter_string=query)
    return sorted(found, key=is_deleted)


def find_runs(client: Any, experiment_id: str, query: str) -> Iterator[Any]:
    """The runs of an experiment that a query finds, deleted ones too."""
    from mlflow.entities import ViewType

    token = None
    while True:
        page = client.search_runs(
            [experiment_id], query, run_view_type=ViewType.ALL, page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def is_deleted(thing: Any) -> bool:
    """Whether an experiment, or a run's information, is marked as deleted."""
    return bool(thing.lifecycle_stage != "active")


def is_local(artifact_uri: str) -> bool:
    """Whether a run's files are in a folder, where looking at them costs nothing."""
    return urlsplit(artifact_uri).scheme in ("", "file")


def file_names(client: Any, artifact_uri: str) -> set[str]:
    """The names of a run's files."""
    return {one.path for one in _files(client, artifact_uri).list_artifacts()}


def log_file(client: Any, artifact_uri: str, name: str, content: bytes) -> None:
    """Store one file of a run: ``log_text`` would first ask the store where the run's files go.

    Args:
        client: of the run's store.
        artifact_uri: as the run's information has it.
        name: of the file.
        content: what is in it.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_bytes(content)
        _files(client, artifact_uri).log_artifact(str(file))


def _files(client: Any, artifact_uri: str) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(artifact_uri, tracking_uri=client.tracking_uri)


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
