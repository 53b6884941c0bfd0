"""A folder of searches that has MLflow's tables."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.tracking import tracker


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that begins."""
    monkeypatch.setattr(tracker, "_told", {})


@pytest.fixture
def storage(tmp_path: Path, empty_store: Path) -> Storage:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return open_storage(tmp_path)


@pytest.fixture
def uri(storage: Storage) -> str:
    return f"sqlite:///{storage.path('mlflow.db')}"
