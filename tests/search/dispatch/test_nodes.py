"""Several nodes on this machine: what they write, what they are asked before, what they refuse.

Each node is a Ray node of its own, with an object store of its own and one trial at a time.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray
import torch
from odd_tasks import Amount, Sensors
from ray._private.internal_api import node_stats
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from s3_server import S3Server
from search_processes import ROOT, run, write_config
from small_recorder import small_recorder
from small_trials import small_trial

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_table
from fusion_search.datasets.batch import Data
from fusion_search.datasets.digits.data import DigitData
from fusion_search.search.records.claim import claimed
from fusion_search.search.records.expectation import (
    Expectation,
    data_trouble,
    expectation,
    node_trouble,
    opening_trouble,
)
from fusion_search.search.running.recorded_trial import execute
from fusion_search.search.tasks.digits.task import digit_splits
from fusion_search.search.tasks.opened import OpenedTask

SEEDS = 8
# What differs between two runs of the same trial: when, how long, where.
VARYING = [
    *("started_at", "ended_at", "seconds", "train_seconds", "evaluation_seconds", "data_seconds"),
    *("milliseconds_per_example", "peak_memory_bytes", "host"),
    *("threads", "cpus_per_trial"),  # alone: those of this process, and no search's
]


@pytest.fixture
def expected(tmp_path: Path, small_opened: OpenedTask) -> Iterator[Expectation]:
    storage = open_storage(tmp_path / "results")
    with claimed(storage, "test") as lease:
        yield expectation(storage, lease.started_text, "digits", small_opened)


def test_a_node_like_the_driver_is_in_order(
    expected: Expectation, small_opened: OpenedTask
) -> None:
    assert node_trouble(expected) is None
    assert data_trouble(expected, small_opened.first) is None


def test_a_node_that_differs_says_in_what(expected: Expectation, tmp_path: Path) -> None:
    older = replace(expected, versions={**expected.versions, "torch": "2.0.1"})
    installed = torch.__version__.partition("+")[0]
    assert f"has torch {installed} and the driver has 2.0.1" in (node_trouble(older) or "")
    assert "other source files" in (node_trouble(replace(expected, code="0" * 16)) or "")
    other_task = replace(expected, task_code="0" * 16)
    assert "has other code of task digits than the search" in (node_trouble(other_task) or "")
    elsewhere = replace(expected, storage=open_storage(tmp_path / "elsewhere"))
    assert "--storage a folder that all machines mount" in (node_trouble(elsewhere) or "")
    # A folder of the same path and content, but of an earlier driver.
    assert "does not see" in (node_trouble(replace(expected, token="earlier")) or "")


def test_data_that_changed_on_the_way_are_noticed(
    expected: Expectation, small_data: DigitData
) -> None:
    state = small_data.__getstate__()
    state["images"] = state["images"].copy()
    state["images"][0, 14, 14] ^= 1
    arrived = DigitData.__new__(DigitData)
    arrived.__setstate__(state)
    assert arrived.fingerprint == small_data.fingerprint  # what it says of itself
    assert f"the search's is {expected.data}" in (
        data_trouble(expected, digit_splits(arrived)) or ""
    )


class InAFolder(Sensors):
    """Opened by path, and so by every process for itself."""

    folder = Path()

    def open(self, data: Amount, fold: int = 0) -> Data:
        size = len((self.folder / "index.txt").read_text())
        return replace(super().open(data, fold), fingerprint=f"{size}", shared=False)


def test_a_node_that_does_not_see_the_data_is_named(expected: Expectation, tmp_path: Path) -> None:
    task = InAFolder()
    task.folder = tmp_path
    (tmp_path / "index.txt").write_text("four")
    here = replace(expected, data="4")
    content = pickle.dumps(OpenedTask(task, Amount(size=4)))
    assert len(content) < 1000  # the examples do not travel
    assert opening_trouble(here, pickle.loads(content)) is None
    (tmp_path / "index.txt").write_text("other")
    assert "has other data" in (opening_trouble(here, pickle.loads(content)) or "")
    (tmp_path / "index.txt").unlink()
    trouble = opening_trouble(here, pickle.loads(content)) or ""
    assert trouble.startswith("cannot open the data (FileNotFoundError: ")
    assert "index.txt" in trouble
    assert "a folder that all machines mount" in trouble


@contextlib.contextmanager
def ray_cluster(nodes: Sequence[str], **options: int) -> Iterator[Cluster]:
    """A head that runs no trials, and nodes of these names."""
    # A folder of its own: other clusters on this machine shall not take it for the current one.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # Ray wants a port for the dashboard even when there is none.
        head = {"num_cpus": 0, "include_dashboard": False, "dashboard_port": port}
        head["temp_dir"] = folder
        one = Cluster(initialize_head=True, head_node_args=head)
        try:
            for name in nodes:
                one.add_node(node_name=name, **options)
            yield one
        finally:
            one.shutdown()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Two nodes for one trial each."""
    # It hears this machine alone; a token, if there is one, is not the nodes'.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with ray_cluster(["first", "second"], num_cpus=1) as one:
        yield one


def launch(cluster: Cluster, folder: Path, storage: str, seeds: int = SEEDS) -> tuple[int, str]:
    others = {"resources": {}, "mlflow": {"enabled": False}}
    config = write_config(folder, storage=storage, seeds=list(range(seeds)), **others)
    return run("launch", str(config), "--address", cluster.address)


def comparable(storage: Storage, table: str) -> pd.DataFrame:
    rows = read_table(storage, table)
    return rows.drop(columns=[name for name in VARYING if name in rows])


def most_at_once(trials: pd.DataFrame) -> int:
    """How many trials ran at the same time: on as many nodes, of one core each."""
    starts = [(when, 1) for when in trials["started_at"]]
    changes = sorted(starts + [(when, -1) for when in trials["ended_at"]])
    return int(pd.Series([change for _, change in changes]).cumsum().max())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["s3", "shared folder"])
def test_several_nodes_write_the_records_of_one_undisturbed_process(
    tmp_path: Path, server: S3Server, cluster: Cluster, small_opened: OpenedTask, kind: str
) -> None:
    cluster.add_node(num_cpus=1, node_name="third")
    location = server.uri if kind == "s3" else str(tmp_path / "shared")
    code, output = launch(cluster, tmp_path, location)
    assert code == 0, output
    assert f"{SEEDS} of {SEEDS} trials finished" in output, output
    storage = open_storage(location).below("test")
    assert most_at_once(read_table(storage, "trials")) == 3

    alone = open_storage(tmp_path / "alone")
    recorder = small_recorder(alone, small_opened)
    for seed in range(SEEDS):
        execute(small_trial(seed=seed, test_examples=4), small_opened, recorder)
    for table in ("trials", "epochs", "grid"):
        pd.testing.assert_frame_equal(comparable(storage, table), comparable(alone, table))
    for name in alone.names("checkpoints"):
        one, other = (checkpoint(folder, name) for folder in (storage, alone))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def checkpoint(storage: Storage, name: str) -> dict[str, torch.Tensor]:
    content = io.BytesIO(storage.read("checkpoints", name))
    state: dict[str, torch.Tensor] = torch.load(content, weights_only=True)["state"]
    return state


@pytest.fixture
def island(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """A folder that a third node, named so, sees as an empty one of its own."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-m", "true"]).returncode:
        pytest.skip("a mount of one process takes root's rights")
    folder = tmp_path / "shared"
    folder.mkdir()
    start = f"{sys.executable} -m ray.scripts.scripts start --address={cluster.address} --block"
    command = f"mount -t tmpfs tmpfs {folder} && exec {start} --num-cpus=1 --node-name=island"
    log = (tmp_path / "island.log").open("w")
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", command], stdout=log, stderr=subprocess.STDOUT
    )
    try:
        yield folder
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.mark.slow
def test_a_node_that_does_not_mount_the_storage_is_named_before_any_trial(
    tmp_path: Path, cluster: Cluster, island: Path
) -> None:
    wait_for_nodes(cluster, 4)
    code, output = launch(cluster, tmp_path, str(island))
    assert code == 2, output
    assert output.count("error: node island (") == 1
    assert "does not see" in output
    assert str(island) in output
    assert "give --storage a folder that all" in output
    assert "Traceback" not in output
    assert open_storage(island).names("test", "trials") == []


def wait_for_nodes(cluster: Cluster, count: int) -> None:
    deadline = time.monotonic() + 120
    ask = "import ray, sys; ray.init(address=sys.argv[1], logging_level='ERROR'); "
    ask += "print(sum(one['Alive'] for one in ray.nodes()))"
    while time.monotonic() < deadline:
        asked = [sys.executable, "-c", ask, cluster.address]
        done = subprocess.run(asked, capture_output=True, text=True)
        if done.stdout.strip() == str(count):
            return
    raise AssertionError(f"{count} nodes never came: {done.stdout} {done.stderr}")


# What Python runs first on a node that is different.
OTHER_TORCH = """
    import importlib.metadata as metadata
    real = metadata.version
    metadata.version = lambda name: "2.0.1" if name == "torch" else real(name)
"""
OTHER_DATA = """
    import importlib.abc, importlib.util, sys

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name != "fusion_search.datasets.digits.data":
                return None
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            load = spec.loader.exec_module

            def change(module):
                load(module)
                restore = module.DigitData.__setstate__

                def other(self, state):
                    restore(self, {**state, "image_labels": state["image_labels"][::-1].copy()})

                module.DigitData.__setstate__ = other

            spec.loader.exec_module = change
            return spec

    sys.meta_path.insert(0, Finder())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("difference", "message"),
    [
        (OTHER_TORCH, r"has torch 2.0.1 and the driver has"),
        (OTHER_DATA, "has other data than the search (fingerprint"),
    ],
    ids=["torch", "data"],
)
def test_a_node_with_other_packages_or_data_ends_the_search_with_its_name(
    tmp_path: Path, cluster: Cluster, difference: str, message: str
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    (start / "sitecustomize.py").write_text(textwrap.dedent(difference))
    path = os.pathsep.join([str(start), str(ROOT)])
    cluster.add_node(num_cpus=1, node_name="different", env_vars={"PYTHONPATH": path})
    code, output = launch(cluster, tmp_path, str(tmp_path / "results"))
    assert code == 2, output
    assert "error: node different (" in output
    assert message in output
    assert "Traceback" not in output
    trials = read_table(open_storage(tmp_path / "results" / "test"), "trials")
    assert set(trials["status"]) <= {"finished"}
    cluster.remove_node(cluster.list_all_nodes()[-1])


# So are machines told apart, though all nodes are on this one.
OTHER_HOST = """
    import os, platform
    platform.node = lambda: os.environ["OTHER_HOST"]
"""


@pytest.mark.slow
def test_trials_land_on_no_node_that_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    (start / "sitecustomize.py").write_text(textwrap.dedent(OTHER_HOST))
    path = os.pathsep.join([str(start), str(ROOT)])
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    config = write_config(tmp_path, mlflow={"enabled": False}, resources={})
    hosts: dict[str, set[str]] = {}
    with ray_cluster([]) as cluster:
        for name in ("first", "second"):
            variables = {"PYTHONPATH": path, "OTHER_HOST": name}
            cluster.add_node(node_name=name, num_cpus=1, env_vars=variables)
        wait_for_nodes(cluster, 3)
        for name, seeds, options in (("both", 3, []), ("one", 2, ["--leave-out", "second"])):
            there = ["--address", cluster.address, "--storage", str(tmp_path / "results")]
            fields = [f"name={name}", f"seeds={list(range(seeds))}"]
            fields = [word for one in fields for word in ("--set", one)]
            code, output = run("launch", str(config), *fields, *there, *options)
            assert code == 0, output
            trials = read_table(open_storage(tmp_path / "results" / name), "trials")
            assert len(trials) == seeds
            hosts[name] = set(trials["host"])
    assert hosts == {"both": {"first", "second"}, "one": {"first"}}


@pytest.mark.slow
def test_data_travel_to_a_node_once_whatever_number_of_trials_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = 80_000_000  # MNIST and the spoken digits
    names = [f"node{number}" for number in range(4)]
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with ray_cluster(names, num_cpus=2, object_store_memory=2 * size) as cluster:
        ray.init(address=cluster.address, log_to_driver=False)
        digits = DigitData.__new__(DigitData)
        digits.__setstate__({"images": np.zeros(size, dtype=np.uint8)})
        data: Any = ray.put(digits)
        nodes = [one for one in ray.nodes() if one["Resources"].get("CPU")]
        assert len(nodes) == 4

        def get(arrived: DigitData) -> int:
            return int(arrived.images.nbytes)

        began = time.monotonic()
        answers = [
            ray.remote(get)
            .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
            .remote(data)
            for node in nodes
            for _ in range(6)
        ]
        assert ray.get(answers) == [size] * 24
        seconds = time.monotonic() - began
        for node in nodes:
            stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"]).store_stats
            assert size <= stats.object_store_bytes_used < 1.1 * size
        print(f"{size / 1e6:.0f} MB to each of 4 nodes, 24 tasks: {seconds:.1f} s")
        ray.shutdown()
