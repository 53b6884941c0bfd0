"""Renaming that succeeds and reports an error, as network folders do now and then."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs
from search_processes import on_one_ray, run_here, write_config

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_table
from fusion_search.search.dispatch.adapters import Driver

SPACE = {"placement": {"couplings": ["none", "mmtm"]}}
_REPLACE = os.replace


def replaced(source: Any, target: Any) -> None:
    _REPLACE(source, target)
    if "search_gen_state" in str(target):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


class Network(fs.LocalFileSystem):  # type: ignore[misc]
    failing = 1

    def move(self, source: str, target: str) -> None:
        super().move(source, target)
        Network.failing -= 1
        if Network.failing >= 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_file_whose_rename_reported_an_error_is_there_whole(tmp_path: Path) -> None:
    storage = Storage("there", Network(), str(tmp_path), patience_seconds=10)
    storage.write(b"content", "file")
    assert storage.read("file") == b"content"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
@on_one_ray
@pytest.mark.parametrize("where", ["Ray's own file", "a step of Ray Tune"])
def test_what_ray_cannot_write_is_one_sentence_and_nothing_is_lost(
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # Ray keeps its searchers' histories in files of its own.
    searcher = {"name": "random", "samples": 2}
    config = write_config(
        tmp_path,
        **SPACE,
        seeds=None,
        searcher=searcher,
        mlflow={"enabled": False},
    )
    if where == "Ray's own file":
        monkeypatch.setattr(os, "replace", replaced)
    else:

        def fail(
            self: Driver, iteration: int, trials: Any, trial: Any, result: Any, **_: Any
        ) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(Driver, "on_trial_result", fail)
    code, output = run_here("launch", str(config))
    seen = output + "".join(capfd.readouterr())
    assert code == 2, seen
    assert "Traceback" not in seen
    (told,) = [line for line in seen.splitlines() if "Input/output error" in line]
    assert told.startswith("error: Ray's own state cannot be kept ([Errno 5] Input/output error")
    assert told.endswith(f"go on with: fusion-search resume test --storage {tmp_path}/results")
    storage = open_storage(tmp_path / "results" / "test")
    assert not storage.exists("driver.json")

    if where != "Ray's own file":
        return
    monkeypatch.undo()
    code, output = run_here("resume", "test", "--storage", str(tmp_path / "results"))
    assert code == 0, output
    assert (read_table(storage, "trials")["status"] == "finished").all()
