"""Searches on a cluster of three machines, launched from a fourth; a cable is cut, power is lost.

Storage is S3, and it and MLflow's server are machines, too: nothing is shared but by the network.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from cluster import Cluster, cluster
from search_processes import workers_of
from searches import Search, undisturbed_trials

from fusion_search.analysis.records.storage import Storage

pytestmark = pytest.mark.machines

CUT_SECONDS = 20


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("machines")) as one:
        yield one


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    return undisturbed_trials(tmp_path_factory.mktemp("undisturbed"))


def runs_on(cluster: Cluster, search: Search, name: str) -> bool:
    """Whether both workers have a trial under way, so that one is on this machine."""
    epochs = search.state["running"].values()
    return len(epochs) == 2 and min(epochs) >= 2 and bool(workers_of(cluster.rack[name].first))


def test_launched_by_a_client_while_a_worker_is_cut_off(
    machines: Cluster, undisturbed: Storage
) -> None:
    search = Search(machines, "launched")
    search.start("launch", machines.client)
    search.wait_until(lambda: runs_on(machines, search, "one"), "a trial under way on one")
    machines.rack["one"].cut()
    healed = time.monotonic() + CUT_SECONDS
    search.wait_until(lambda: time.monotonic() > healed, f"{CUT_SECONDS} s without one")
    machines.rack["one"].heal()
    assert search.wait() == 0
    search.check(undisturbed)


def test_submitted_while_a_worker_loses_power_and_comes_back(
    machines: Cluster, undisturbed: Storage
) -> None:
    search = Search(machines, "submitted")
    search.start("submit", machines.dashboard)
    search.wait_until(lambda: runs_on(machines, search, "one"), "a trial under way on one")
    machines.rack["one"].lose_power()
    search.wait_until(lambda: search.told("tried again (1 of 2)"), "its trial is tried again")
    machines.rack["one"].boot()
    machines.start_worker("one")
    assert search.wait() == 0
    assert search.told("goes on after epoch")
    search.check(undisturbed)
