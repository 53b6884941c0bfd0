"""A user's own class reaches a process that has not heard of its folder."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from fusion_search.search.tasks.current_folder import Carried

ELSEWHERE = "import pickle, sys; print(pickle.load(sys.stdin.buffer).width)"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "own_module.py").write_text("class Own:\n    width = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield import_module("own_module").Own()
    sys.modules.pop("own_module", None)


def loaded_elsewhere(content: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", ELSEWHERE], input=content, capture_output=True, timeout=100
    )


def test_a_class_of_the_folder_is_found_while_its_value_is_unpickled(
    own: Any, tmp_path: Path
) -> None:
    assert b"No module named 'own_module'" in loaded_elsewhere(pickle.dumps(own)).stderr
    done = loaded_elsewhere(pickle.dumps(Carried(own, tmp_path)))
    assert done.stdout.strip() == b"7", done.stderr
