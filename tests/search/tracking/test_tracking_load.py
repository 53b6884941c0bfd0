"""Several drivers that write to one MLflow at once: nothing lost, nothing doubled."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from tracking_load import Driven, drive, synced
from tracking_records import EPOCHS_PER_TRIAL, end_row, epoch_row, runs_of
from tracking_servers import PASSWORD, Server, postgres, postgres_programs, running

from fusion_search.search.tracking.client import open_client

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")


def at_once(
    what: Callable[[str, str, str, int], Driven], folder: Path, uri: str, drivers: int, trials: int
) -> list[Driven]:
    """Every driver in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(drivers, mp_context=context) as pool:
        names = [f"{what.__name__}-{number}" for number in range(drivers)]
        waiting = [pool.submit(what, str(folder), name, uri, trials) for name in names]
        return [one.result(600) for one in waiting]


def assert_whole(uri: str, name: str, trials: int) -> None:
    parent, runs = runs_of(uri, name)
    assert parent.info.status == "FINISHED"
    assert sorted(runs) == [f"t{number:03}" for number in range(trials)]
    client = open_client(uri)
    for number in range(trials):
        run, row = runs[f"t{number:03}"], end_row(number)
        assert run.info.status == "FINISHED"
        assert run.info.end_time == int(row["ended_at"].timestamp() * 1000)
        assert run.data.params["seed"] == str(number)
        assert run.data.metrics["validation_accuracy"] == row["validation_accuracy"]
        last = epoch_row(number, EPOCHS_PER_TRIAL)
        assert run.data.metrics["epoch/train_loss"] == last["train_loss"]
    (file,) = client.list_artifacts(runs["t000"].info.run_id)
    assert file.path == "grid.csv"
    points = client.get_metric_history(runs["t001"].info.run_id, "epoch/train_loss")
    assert sorted(point.step for point in points) == [1, 2, 3]


def check(drivers: list[Driven], uri: str, trials: int) -> None:
    for one in drivers:
        print(
            f"{one.name}: {1000 * one.seconds / trials:.0f} ms per trial, of which telling the "
            f"tracker and writing records {1000 * one.following / trials:.0f}"
        )
        assert one.warnings == []
        assert one.complete
        assert_whole(uri, one.name, trials)


@pytest.mark.slow
def test_drivers_that_open_one_new_sqlite_file_at_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"  # MLflow's tables are not there yet
    check(at_once(drive, tmp_path, uri, drivers=2, trials=3), uri, trials=3)


@pytest.mark.slow
@pytest.mark.parametrize("what", [drive, synced])
def test_four_drivers_on_one_sqlite_file(
    tmp_path: Path, what: Callable[[str, str, str, int], Driven]
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    check(at_once(what, tmp_path, uri, drivers=4, trials=25), uri, trials=25)


@pytest.fixture(scope="module")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if postgres_programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    folder = tmp_path_factory.mktemp("server")
    with postgres() as store, running(folder, store, workers=2) as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("what", [drive, synced])
def test_four_drivers_on_a_server_with_postgresql(
    tmp_path: Path, postgres_server: Server, what: Callable[[str, str, str, int], Driven]
) -> None:
    folder = tmp_path / what.__name__
    uri = postgres_server.uri
    drivers = at_once(what, folder, uri, drivers=4, trials=25)
    check(drivers, uri, trials=25)
    # Files went through the server, and its database's password nowhere.
    location = runs_of(uri, drivers[0].name)[0].info.artifact_uri
    assert location.startswith("mlflow-artifacts:/")
    assert list(postgres_server.folder.glob("files/**/grid.csv"))
    assert PASSWORD not in postgres_server.log.read_text()
    for file in (one for one in folder.rglob("*") if one.is_file()):
        assert PASSWORD.encode() not in file.read_bytes()
