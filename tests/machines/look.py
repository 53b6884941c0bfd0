"""What a machine that is no node sees of a search: how far it is, and what it left.

    look.py watch FOLDER                  its state, a line of JSON for each change
    look.py fetch FOLDER SERVER TARGET    its records to TARGET, with MLflow's runs as runs.json

Lines tell how many trials have ended, and the last epoch of each that runs.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from pyarrow import fs

from fusion_search.analysis.records.filesystems.errors import StorageError
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.records.driver_file import read_driver_file


def state(search: Storage) -> dict[str, Any]:
    driver = read_driver_file(search) or {"running": {}}
    running = {trial_id: one["epoch"] for trial_id, one in driver["running"].items()}
    return {"ended": len(search.names("trials")), "running": running}


def watch(search: Storage) -> None:
    last = None
    while True:
        try:
            now = state(search)
        except StorageError as error:
            print(f"storage: {error}", flush=True)
        else:
            if now != last:
                print(json.dumps(now), flush=True)
            last = now
        time.sleep(0.5)


def fetch(search: Storage, server: str, target: Path) -> None:
    target.mkdir(parents=True)
    fs.copy_files(search.root, str(target), search.filesystem, fs.LocalFileSystem())
    (target / "runs.json").write_text(json.dumps(runs(server, target.name)))


def runs(server: str, search: str) -> list[dict[str, Any]]:
    """Status and tags of every run of the search that MLflow shows."""
    import mlflow

    client = mlflow.MlflowClient(server)
    experiment = client.get_experiment_by_name(search)
    return [
        {"status": one.info.status, "id": one.info.run_id, "tags": dict(one.data.tags)}
        for one in client.search_runs([experiment.experiment_id], max_results=1000)
    ]


if __name__ == "__main__":
    what, folder, *rest = sys.argv[1:]
    if what == "watch":
        watch(open_storage(folder))
    else:
        fetch(open_storage(folder), rest[0], Path(rest[1]))
