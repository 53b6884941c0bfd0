"""Running ``fusion-search`` as a user does, and looking at what it left."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import mlflow
import pytest
import yaml
from small_trials import small_configuration

from fusion_search.analysis.records.storage import Storage
from fusion_search.search.commands.command_line import main
from fusion_search.search.records.driver_file import read_driver

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def search_process(
    *words: str,
    program: Sequence[str] = ("-m", "fusion_search"),
    group: int | None = None,
    **environment: str,
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *program, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
        process_group=group,  # 0: one of its own
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} never came:\n{''.join(seen)}")


def run(*words: str) -> tuple[int, str]:
    with search_process(*words) as process:
        output, _ = process.communicate(timeout=300)
        return process.returncode, output


def on_one_ray(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that calls ``run_here``: all of them share a worker of pytest, and its Ray."""
    return pytest.mark.xdist_group("one_ray")(pytest.mark.usefixtures("one_ray")(test))


def run_here(*words: str) -> tuple[int, str]:
    """The same in this process, on the Ray of the fixture ``one_ray``."""
    with io.StringIO() as printed:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = main(words)
        return code, printed.getvalue()


def records(storage: Storage) -> dict[str, bytes]:
    return {name: storage.read("trials", name) for name in storage.names("trials")}


def child_runs(folder: Path, name: str = "results/mlflow.db") -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(f"sqlite:///{folder}/{name}")
    experiment = client.get_experiment_by_name("test")
    runs = client.search_runs([experiment.experiment_id])
    return [one for one in runs if "mlflow.parentRunId" in one.data.tags]


def write_config(folder: Path, **fields: object) -> Path:
    """A search of five small trials, of seeds 0 to 4.

    Args:
        folder: of the file, and of the results.
        fields: of the configuration, or settings, as ``small_configuration`` takes them; None
            takes one out.
    """
    path = folder / "config.yaml"
    config = {
        "name": "test",
        "storage": str(folder / "results"),
        # Few examples: initial fusion runs its whole network for every cell of a grid.
        "test_examples": 4,
        "seeds": list(range(5)),
        "resources": {"concurrent_trials": 1},
    }
    given = small_configuration(**{**config, **fields})
    path.write_text(yaml.safe_dump({key: one for key, one in given.items() if one is not None}))
    return path


def workers_of(driver: int) -> set[int]:
    """Processes below ``driver`` that run a trial, from /proc."""
    parents, workers = {}, set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
            if (folder / "cmdline").read_bytes().startswith(b"ray::ImplicitFunc"):
                workers.add(int(folder.name))

    def below(pid: int) -> bool:
        return pid == driver or (pid in parents and below(parents[pid]))

    return {pid for pid in workers if below(pid)}


def wait_for_worker(process: subprocess.Popen[str], storage: Storage, but: set[int]) -> int:
    """The worker of the running trial, once it has ended an epoch."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        driver = read_driver(storage) or {"running": {}}
        new = workers_of(process.pid) - but
        if new and any(one["epoch"] for one in driver["running"].values()):
            return new.pop()
        time.sleep(0.1)
    raise AssertionError("no worker ran the trial")
