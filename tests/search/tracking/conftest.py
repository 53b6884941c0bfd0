"""A database with MLflow's tables, made once, and a folder of searches that has a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.tracking.client import open_client
from fusion_search.search.tracking.sqlite_file import close_store


@pytest.fixture(scope="package")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making the tables takes a second, copying them none."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_client(f"sqlite:///{path}")
    close_store(f"sqlite:///{path}")
    return path


@pytest.fixture
def storage(tmp_path: Path, empty_store: Path) -> Storage:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return open_storage(tmp_path)


@pytest.fixture
def uri(storage: Storage) -> str:
    return f"sqlite:///{storage.path('mlflow.db')}"
