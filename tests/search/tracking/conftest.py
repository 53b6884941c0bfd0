"""A database with MLflow's tables, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion_search.search.tracking.client import open_client
from fusion_search.search.tracking.sqlite_file import close_store


@pytest.fixture(scope="package")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making the tables takes a second, copying them none."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_client(f"sqlite:///{path}")
    close_store(f"sqlite:///{path}")
    return path
