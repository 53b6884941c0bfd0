"""Small trials on the built-in data, loaded once."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from s3_server import CREDENTIALS, S3Server, s3_server
from small_trials import small_trial

from fusion_search.datasets.digits.data import DigitData, load_digits
from fusion_search.datasets.tables.sample import write_sample
from fusion_search.search.declaration.specification import Resources
from fusion_search.search.tasks.digits.task import Digits
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.specification import TrialSpecification

if TYPE_CHECKING:
    from interrupted_launch import Interrupted

# Ray's workers step back behind other programs, here behind the tests beside them, which wait for
# nobody: a search took thrice as long as alone.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (Ray spells it so)


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal() -> None:
    """In the background of a script, and under nohup, some are ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_data() -> DigitData:
    return load_digits(small_trial().data)


@pytest.fixture(scope="session")
def small_opened() -> OpenedTask:
    """Digits with the data of a small trial."""
    return OpenedTask(Digits(), small_trial().data)


_ray = contextlib.ExitStack()
_rays: list[bool] = []  # that one runs, for the tests that follow on each other


@pytest.fixture
def one_ray() -> None:
    """Ray in this process, for all searches that ``run_here`` runs: its start takes seconds."""
    from fusion_search.search.dispatch.connection import connect
    from fusion_search.search.dispatch.dispatcher import listen_here_alone

    if not _rays:
        listen_here_alone()
        _ray.enter_context(connect("local", Resources()))
        _rays.append(True)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End it before a test that does not share it."""
    if "one_ray" not in getattr(nextitem, "fixturenames", ()):
        _ray.close()
        _rays.clear()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables: making them takes a second, copying them none."""
    from fusion_search.search.tracking.client import open_client
    from fusion_search.search.tracking.sqlite_file import close_store

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_client(f"sqlite:///{path}")
    close_store(f"sqlite:///{path}")
    return path


@pytest.fixture
def kept_runs(tmp_path: Path, empty_store: Path) -> None:
    """MLflow's database where ``write_config`` of ``search_processes`` has a search's results."""
    (tmp_path / "results").mkdir()
    shutil.copy(empty_store, tmp_path / "results" / "mlflow.db")


@pytest.fixture
def without_ray(kept_runs: None) -> Iterator[None]:
    """Commands run their trials in this process, and MLflow's database is there."""
    from in_place import in_place

    with in_place():
        yield


@pytest.fixture(scope="session")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    """A search that was launched, looked at and interrupted; not to be changed."""
    from interrupted_launch import interrupted_launch

    return interrupted_launch(tmp_path_factory.mktemp("interrupted"))


@pytest.fixture
def trial() -> TrialSpecification:
    return small_trial()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """S3 on this machine, with its credentials in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server() as one:
        yield one


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No HOME, and a user whom the system does not list, as in many containers."""

    def nobody(user: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {user}")

    for name in ("HOME", "FUSION_SEARCH_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The mount point of a disk of its own, with room for one MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk takes root's rights")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def gestures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with files of every kind, not to be changed."""
    return write_sample(tmp_path_factory.mktemp("table") / "gestures", times=2)
