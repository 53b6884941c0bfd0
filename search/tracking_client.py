"""MLflow's client: opened quietly, and written to in few calls."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from search.tracking_values import Point

_METRICS_PER_CALL: Final = 1000  # MLflow's limits for one log_batch
_PARAMETERS_PER_CALL: Final = 100


def open_client(uri: str) -> Any:
    """An ``mlflow.MlflowClient`` that gives up on a dead server within seconds, and is quiet."""
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
    return mlflow.MlflowClient(tracking_uri=uri)


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
