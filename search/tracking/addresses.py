"""MLflow's addresses: of its store, and of its page."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Final

from pyarrow import fs

from fusion_search.analysis.records.secrets import without_password
from fusion_search.analysis.records.storage import Storage
from fusion_search.search.tracking.sqlite_file import sqlite_uri

TRACKING_OFF: Final = (
    "MLflow tracking is off: no tracking URI is set, and the storage is remote or has a path that "
    "an address of SQLite cannot hold; the records are complete without it"
)

UI_ADDRESS: Final = "http://127.0.0.1:5000"


def tracking_uri(storage: Storage, uri: str | None) -> str | None:
    """MLflow's tracking URI: the one that was set, else SQLite in a local storage folder.

    Returns:
        ``None`` when tracking is off (no folder for SQLite, nothing set): say ``TRACKING_OFF``.
    """
    if uri:
        return uri
    if not isinstance(storage.filesystem, fs.LocalFileSystem):
        return None
    return sqlite_uri(storage.path("mlflow.db"))


def ui_command(uri: str) -> str | None:
    """The command that shows the runs on ``UI_ADDRESS``; ``None`` when a server shows them."""
    if uri.startswith(("http://", "https://")):
        return None
    program = Path(sys.executable).with_name("mlflow")
    words = [str(program) if program.exists() else "mlflow", "ui", "--port", "5000"]
    return shlex.join([*words, "--backend-store-uri", without_password(uri)])


def experiment_page(uri: str, experiment_id: str) -> str:
    """The address of an experiment's list of runs, in the browser."""
    server = re.sub(r"//[^/]*@", "//", uri) if uri.startswith(("http://", "https://")) else ""
    # Without the type, MLflow opens an experiment on its pages for language-model traces.
    page = f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    return (server or UI_ADDRESS).rstrip("/") + page
