"""What machines are asked before a search, by answers that are made up: no Ray runs here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.exceptions import GetTimeoutError, NodeDiedError, RaySystemError
from small_trials import small_configuration

from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.declaration.specification import Resources
from fusion_search.search.dispatch import connection, nodes, tuner
from fusion_search.search.dispatch.nodes import Busy, Gone, check_nodes
from fusion_search.search.dispatch.start import ResourceError
from fusion_search.search.records.claim import claimed
from fusion_search.search.records.expectation import (
    Answer,
    Expectation,
    expectation,
    gpu_trouble,
    node_differences,
    node_trouble,
)
from fusion_search.search.records.provenance import package_versions
from fusion_search.search.running.recorded_trial import SearchStoppedError
from fusion_search.search.tasks.opened import OpenedTask

GPU = Resources(gpus_per_trial=0.5)


@pytest.fixture
def expected(tmp_path: Path, small_opened: OpenedTask) -> Iterator[Expectation]:
    storage = open_storage(tmp_path / "results")
    with claimed(storage, "test") as lease:
        yield expectation(storage, lease.started_text, "digits", small_opened, node="id-head")


def node(name: str, gpus: float = 1.0, alive: bool = True) -> dict[str, Any]:
    address = f"10.0.0.{ord(name[0])}"
    names = {"NodeManagerHostname": name, "NodeManagerAddress": address, "NodeName": address}
    there = {"CPU": 2.0, "GPU": gpus}
    return {"NodeID": f"id-{name}", "Alive": alive, "Resources": there, **names}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[Any, list[str], float]]]:
    """Nodes, and their answers by host; gives what was asked of whom, holding how much of a GPU."""

    def make(
        there: Sequence[dict[str, Any]], **answers: Answer | Gone | Busy
    ) -> list[tuple[Any, list[str], float]]:
        asked: list[tuple[Any, list[str], float]] = []

        def ask(
            question: Any, whom: Sequence[dict[str, Any]], *_: object, gpus: float = 0.0, **__: Any
        ) -> dict[str, Answer | Gone | Busy]:
            hosts = [one["NodeManagerHostname"] for one in whom]
            asked.append((question, hosts, gpus))
            if gpus and not answers:
                return {f"id-{host}": question() for host in hosts}
            found = {f"id-{host}": answers.get(host, Answer()) for host in hosts}
            return {"id-other": Answer(), **found}

        monkeypatch.setattr(ray, "nodes", lambda: list(there))
        monkeypatch.setattr(nodes, "ask_nodes", ask)
        return asked

    return make


def test_a_reserved_gpu_that_torch_cannot_compute_on_ends_the_search_before_a_trial(
    expected: Expectation, small_opened: OpenedTask, cluster: Any
) -> None:
    """As here, where torch sees none; the driver's own machine is asked as well."""
    assert not torch.cuda.is_available()
    asked = cluster([node("worker"), node("head"), node("office", gpus=0)])
    with pytest.raises(SearchStoppedError) as stopped:
        check_nodes(replace(expected, gpus=0.5), small_opened, GPU, print)
    told = str(stopped.value)
    assert told.startswith(
        f"node worker (10.0.0.119) has a GPU by what its Ray says, but torch {torch.__version__} "
        "cannot compute on it ("
    )
    assert "resources.gpus_per_trial: 0 or training.device: cpu" in told
    assert told.endswith(", or leave it out with --leave-out worker")
    assert [hosts for _, hosts, _ in asked] == [["worker"], ["worker", "head"]]
    held = [gpus for _, _, gpus in asked]
    assert held[0] == 0
    assert 0 < held[1] <= 0.01  # a process that holds none may see none
    # Where trials compute on the CPU, nobody asks for a GPU.
    asked.clear()
    assert check_nodes(expected, small_opened, GPU, print).asked == {"id-worker", "id-head"}
    assert [gpus for _, _, gpus in asked] == [0]


def test_a_process_asks_itself_for_its_gpu(
    expected: Expectation, small_opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Context:
        def get_node_id(self) -> str:
            return "id-head"

    monkeypatch.setattr(ray, "get_runtime_context", Context)
    monkeypatch.setattr(ray, "nodes", lambda: [node("head")])
    monkeypatch.setattr(nodes, "_checked", set())
    with pytest.raises(SearchStoppedError, match=r"^node head \(10.0.0.104\) has a GPU by what"):
        nodes.check_process(replace(expected, gpus=1.0), small_opened)
    assert nodes.check_process(expected, small_opened) == []


def test_a_gpu_that_is_full_is_no_fault_of_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.cuda, "init", full)
    assert gpu_trouble() is None


@pytest.mark.parametrize(
    ("fields", "gpus"),
    [
        ({"device": "auto"}, 0.5),
        ({"device": "cuda"}, 0.5),
        ({"device": "cpu"}, 0.0),
        ({"device": ["cpu", "auto"]}, 0.5),
    ],
)
def test_gpus_are_used_unless_all_trials_are_to_compute_on_cpus(
    fields: dict[str, Any], gpus: float
) -> None:
    asked = small_configuration(name="x", resources={"gpus_per_trial": 0.5})
    search = build_search({**asked, "training": {**asked.get("training", {}), **fields}})
    assert search.gpus_used == gpus
    assert replace(search, resources=Resources()).gpus_used == 0


def test_a_node_that_is_gone_is_passed_over_with_a_note(
    expected: Expectation, small_opened: OpenedTask, cluster: Any
) -> None:
    told: list[str] = []
    cluster([node("alone"), node("back")], alone=Gone(), back=Answer())
    checked = check_nodes(expected, small_opened, Resources(), told.append)
    assert told == ["note: node alone (10.0.0.97) is gone; the search begins without it"]
    assert checked.asked == {"id-back"}
    cluster([node("alone")], alone=Gone())
    with pytest.raises(SearchStoppedError, match="no node is left that could run a trial"):
        check_nodes(expected, small_opened, Resources(), told.append)


def test_a_trouble_is_told_of_one_of_two_nodes_with_the_same_name(
    expected: Expectation, small_opened: OpenedTask, cluster: Any
) -> None:
    """Two of Ray's nodes may run on one machine."""
    there = [node("same"), {**node("same"), "NodeID": "id-other"}]
    cluster(there, same=Answer("has a fault"))
    with pytest.raises(SearchStoppedError, match=r"node same .* has a fault, or leave it out"):
        check_nodes(expected, small_opened, Resources(), print)


def test_nobody_is_asked_where_only_the_driver_is() -> None:
    assert nodes.ask_nodes(nodes._machine_answer, []) == {}


class Network:
    """In place of Ray: nodes that answer, or break off, or are dropped, at times of a test's clock.

    Attributes:
        now: seconds since the nodes were asked.
        answers: host -> the second at which it answers, and what: an answer, or an error.
        dropped: host -> the second at which Ray finds out that it is gone.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
        self.now = 0.0
        self.answers: dict[str, tuple[float, Answer | Exception]] = {}
        self.dropped: dict[str, float] = {}
        self._hosts = hosts
        monkeypatch.setattr(nodes.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(ray, "nodes", self._nodes)
        whom = "NodeAffinitySchedulingStrategy"
        monkeypatch.setattr(nodes, whom, lambda node_id, soft: node_id.removeprefix("id-"))
        monkeypatch.setattr(ray, "remote", lambda **_: lambda question: self)
        monkeypatch.setattr(ray, "wait", self._wait)
        monkeypatch.setattr(ray, "get", self._get)

    def _nodes(self) -> list[dict[str, Any]]:
        there = {host: self.now < self.dropped.get(host, math.inf) for host in self._hosts}
        return [node(host, alive=alive) for host, alive in there.items()]

    def options(self, scheduling_strategy: str) -> Network:
        self._asked = scheduling_strategy
        return self

    def remote(self, *_: object) -> str:
        return self._asked

    def _wait(
        self, asked: list[str], num_returns: int, timeout: float
    ) -> tuple[list[str], list[str]]:
        self.now += timeout
        silent = [host for host in asked if self.answers.get(host, (math.inf,))[0] > self.now]
        return [], silent

    def _get(self, host: str, timeout: float) -> Answer:
        moment, answer = self.answers.get(host, (math.inf, Answer()))
        if moment > self.now + timeout:
            self.now += timeout
            raise GetTimeoutError("Get timed out: some object(s) not ready.")
        self.now = max(self.now, moment)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_node_that_is_cut_off_while_it_is_asked_is_passed_over(
    expected: Expectation, small_opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever Ray finds out: before it should have answered, after that, or not yet."""
    there = Network(monkeypatch, "early", "late", "broken", "well", "slow")
    there.dropped = {"early": 65, "late": 170}  # cut off at once; at 105 s
    # Power that is back so soon breaks the connection at once, and Ray says that the node lives.
    there.answers = {
        "broken": (30, NodeDiedError("Task failed because the node was dead or unavailable.")),
        "well": (3, Answer()),
        "slow": (150, Answer()),
    }
    told: list[str] = []
    checked = check_nodes(expected, small_opened, Resources(), told.append)
    names = ["early (10.0.0.101)", "late (10.0.0.108)", "broken (10.0.0.98)"]
    assert told == [
        f"waiting up to 195 s for an answer of node {', '.join(names)}, slow (10.0.0.115)",
        *(f"note: node {name} is gone; the search begins without it" for name in names),
    ]
    assert checked.asked == {"id-well", "id-slow"}
    assert there.now <= 175


def test_a_node_that_never_answers_though_it_is_there_is_named_with_the_remedy(
    expected: Expectation, small_opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Network(monkeypatch, "well", "mute")
    there.answers = {"well": (3, Answer())}
    with pytest.raises(SearchStoppedError) as stopped:
        check_nodes(expected, small_opened, Resources(), print)
    assert str(stopped.value) == (
        "node mute (10.0.0.109) does not answer within 195 s, though Ray says that it is there; "
        "see whether its disks and network work and the machine is not overloaded, start its Ray "
        "again, or leave it out with --leave-out mute"
    )
    assert there.now == 195
    # All of its GPUs may be in use: then the trial's own process asks.
    there.now = 0
    asked = nodes.ask_nodes(nodes._gpu_answer, [node("mute")], gpus=0.001, seconds=60)
    assert isinstance(asked["id-mute"], Busy)
    assert there.now == 60


def test_what_ray_says_of_a_node_without_an_answer_is_told_in_whole_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = Network(monkeypatch, "here")
    words = "the worker said no word; " + "and so on " * 60
    there.answers = {"here": (3, RaySystemError(words))}
    asked = nodes.ask_nodes(nodes._machine_answer, [node("here")])
    trouble = getattr(asked["id-here"], "trouble", "")
    assert trouble.startswith("gives no answer (System error: the worker")
    assert trouble.endswith(" ...)")


def test_what_may_change_numbers_is_told_once_for_all_nodes_that_have_it(
    expected: Expectation, small_opened: OpenedTask, cluster: Any
) -> None:
    pandas = "has pandas 1.0 and the driver has 3.0"
    other = Answer(differences=(pandas,), processor="Other CPU, AVX2")
    told: list[str] = []
    cluster([node("a"), node("b"), node("c")], a=other, b=other, c=Answer(processor="CPU, AVX512"))
    check_nodes(expected, small_opened, Resources(), told.append)
    assert told == [
        f"note: each of the nodes a (10.0.0.97), b (10.0.0.98) {pandas}; numbers may differ there, "
        "and each record has the versions it was made with",
        "note: trials run on different processors, between which the last digits of numbers "
        "differ; each record names its own as device_name: Other CPU, AVX2 (a (10.0.0.97), "
        "b (10.0.0.98)); CPU, AVX512 (c (10.0.0.99))",
    ]


def test_other_builds_are_told_and_another_python_ends_the_search(
    expected: Expectation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert node_differences(expected) == ()
    known, where = package_versions, f"{expectation.__module__}.package_versions"

    def other(packages: Sequence[str]) -> dict[str, str]:
        release = torch.__version__.partition("+")[0]
        return {**known(packages), "pandas": "1.0", "torch": f"{release}+other"}

    monkeypatch.setattr(where, other)
    assert node_trouble(expected) is None
    builds = expected.builds
    assert node_differences(expected) == (
        f"has torch {torch.__version__.partition('+')[0]}+other and the driver has "
        f"{builds['torch']}",
        f"has pandas 1.0 and the driver has {builds['pandas']}",
    )
    monkeypatch.setattr(where, lambda names: {**known(names), "python": "3.99.1"})
    assert (node_trouble(expected) or "").startswith("has python 3.99 and the driver has 3.1")


def test_nodes_are_left_out_by_host_or_address(
    monkeypatch: pytest.MonkeyPatch, expected: Expectation, small_opened: OpenedTask, cluster: Any
) -> None:
    asked = cluster([node("a"), node("b"), node("c"), node("d", alive=False)])
    without = nodes.named_nodes(["a", "10.0.0.98"])
    assert without == {"id-a", "id-b"}
    with pytest.raises(ValueError, match=r"--leave-out d is no node .*: a \(10.0.0.97\), b"):
        nodes.named_nodes(["d"])
    with pytest.raises(ResourceError, match=r"left out \(a \(10.*, b .*, c .*\); take one of them"):
        connection._check_resources(Resources(), ["a", "b", "c"])
    check_nodes(expected, small_opened, Resources(), print, without)
    assert [hosts for _, hosts, _ in asked] == [["c"]]
    request: Any = tuner._request(Resources(cpus_per_trial=2), without)
    assert request.bundles == [{"CPU": 2.0}]
    selected = [{"ray.io/node-id": "!in(id-a,id-b)"}]
    assert request._bound.kwargs == {"bundle_label_selector": selected}
    anywhere: Any = tuner._request(Resources(), ())
    assert anywhere._bound.kwargs == {}
