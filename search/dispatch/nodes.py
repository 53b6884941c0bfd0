"""Asking every machine of a Ray cluster whether it can run a search's trials.

Examples in memory travel by Ray's object store: once to each machine, where its processes share
them. Others every process opens by itself, so every machine must see their files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import GetTimeoutError, NodeDiedError, RayError, RuntimeEnvSetupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fusion_search.analysis.records.secrets import sentence
from fusion_search.search.declaration.specification import Resources
from fusion_search.search.records.expectation import (
    Answer,
    Expectation,
    code_trouble,
    difference_note,
    gpu_trouble,
    joined,
    node_differences,
    node_trouble,
    notes,
    opening_trouble,
)
from fusion_search.search.running.recorded_trial import SearchStoppedError
from fusion_search.search.tasks.current_folder import Carried
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.trial import device_name

Node = dict[str, Any]  # as Ray describes it

_ANSWER_SECONDS: Final = 120.0  # a node may first have to fetch the code
_INSTALL_SECONDS: Final = 1800.0  # ... and what the task needs
_GPU_SECONDS: Final = 60.0  # all of its GPUs may be in use
_QUIET_SECONDS: Final = 15.0  # before it is told whom the driver waits for
_DROPPED_SECONDS: Final = 75.0  # in which Ray finds out that a node says nothing any more
_LOOK_SECONDS: Final = 5.0  # between two looks whether it has
_HELD_GPU: Final = 0.001  # of one, by the process that is asked whether torch can compute on it

_checked: set[str] = set()  # what this process has found in order, by ``Expectation.token``


class Gone:
    """A machine is no longer there."""


class Busy:
    """A machine had no GPU free to be asked on."""


def check_nodes(
    expected: Expectation,
    opened: OpenedTask,
    resources: Resources,
    say: Callable[[str], None],
    left_out: Collection[str] = (),
) -> Expectation:
    """Ask every machine that can run a trial; where the data do not travel, each also opens them.

    Machines that are gone by the time they should answer are passed over, with a word to ``say``.

    Args:
        expected: what they must find.
        opened: the task and its data.
        resources: of a trial.
        say: told in words what people should know.
        left_out: ids of the nodes that shall run none.

    Returns:
        The same with the machines that were asked.

    Raises:
        SearchStoppedError: names the first machine that cannot, why, and the remedy; or none is
            left that could.
    """
    able = able_nodes(resources, left_out)
    by_path = None if opened.first.shared else Carried(opened, Path.cwd())
    seconds = _INSTALL_SECONDS if resources.requirements else _ANSWER_SECONDS
    # The driver's own has all but the GPU, and what has to be installed.
    others = [one for one in able if resources.requirements or one["NodeID"] != expected.node]
    own = {expected.node: Answer(processor=_processor(expected))}
    asked = ask_nodes(_machine_answer, others, expected, by_path, seconds=seconds, say=say)
    on_gpus: Mapping[str, Answer | Gone | Busy] = {}
    if expected.gpus:
        there = [one for one in able if not isinstance(asked.get(one["NodeID"]), Gone)]
        on_gpus = ask_nodes(_gpu_answer, there, gpus=_HELD_GPU, seconds=_GPU_SECONDS, say=say)
    left: list[tuple[Node, Answer]] = []
    for node in able:
        found = [one[node["NodeID"]] for one in (own, asked, on_gpus) if node["NodeID"] in one]
        if any(isinstance(one, Gone) for one in found):
            say(f"note: node {node_name(node)} is gone; the search begins without it")
            continue
        if any(isinstance(one, Busy) for one in found):
            say(
                f"note: node {node_name(node)} has no GPU free to be asked whether torch can "
                "compute on it; it is asked when a trial begins there"
            )
        left.append((node, joined(one for one in found if isinstance(one, Answer))))
    if not left:
        raise SearchStoppedError(
            "no node is left that could run a trial: start Ray again on those that are gone"
        )
    for node, answer in left:
        if answer.trouble:
            remedy = _or_without(node, [one for one, _ in left])
            raise SearchStoppedError(f"node {node_name(node)} {answer.trouble}{remedy}")
    for text in notes((node_name(node), answer) for node, answer in left):
        say(text)
    return replace(expected, asked=frozenset(node["NodeID"] for node, _ in left))


def _or_without(node: Node, nodes: Sequence[Node]) -> str:
    """The other remedy, where there are others to run the trials."""
    host = node["NodeManagerHostname"]
    same = [one for one in nodes if one["NodeManagerHostname"] == host]
    name = host if len(same) == 1 else node.get("NodeName") or node["NodeManagerAddress"]
    return f", or leave it out with --leave-out {name}" if len(nodes) > 1 else ""


def able_nodes(resources: Resources, left_out: Collection[str] = ()) -> list[Node]:
    """The machines that are there and could run a trial."""
    return [
        node
        for node in ray.nodes()
        if node["Alive"]
        and node["NodeID"] not in left_out
        and node["Resources"].get("CPU", 0) >= resources.cpus_per_trial
        and node["Resources"].get("GPU", 0) >= resources.gpus_per_trial
    ]


def ask_nodes(
    question: Callable[..., Answer],
    nodes: Sequence[Node],
    *arguments: object,
    gpus: float = 0.0,
    seconds: float = _ANSWER_SECONDS,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Answer | Gone | Busy]:
    """What machines answer, by their ids, all asked at once.

    Args:
        question: what runs there, with ``arguments``.
        nodes: whom to ask.
        gpus: of one, that the process which is asked holds.
        seconds: how long they may take to answer.
        say: told whom the driver waits for.
    """
    ask = ray.remote(num_cpus=0, num_gpus=gpus, max_retries=0)(question)
    asked = {
        node["NodeID"]: ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(*arguments)
        for node in nodes
    }
    if not asked:
        return {}
    until = time.monotonic() + seconds
    _, silent = ray.wait(list(asked.values()), num_returns=len(asked), timeout=_QUIET_SECONDS)
    names = [node_name(node) for node in nodes if asked[node["NodeID"]] in silent]
    if names and seconds > _QUIET_SECONDS:
        longest = seconds if gpus else seconds + _DROPPED_SECONDS
        say(f"waiting up to {longest:g} s for an answer of node {', '.join(names)}")
    return {
        node_id: _answer(node_id, answer, until, seconds, gpus) for node_id, answer in asked.items()
    }


def _answer(
    node_id: str, answer: ray.ObjectRef[Answer], until: float, seconds: float, gpus: float
) -> Answer | Gone | Busy:
    wait = until - time.monotonic()
    while True:
        try:
            return ray.get(answer, timeout=max(0.0, wait))
        except RuntimeEnvSetupError as error:
            return Answer(f"could not be given what the trials need: {last_words(error)}")
        except (RayError, TimeoutError) as error:
            # Whose connection breaks is dead, though Ray's head may not know it yet.
            if isinstance(error, NodeDiedError) or not _is_alive(node_id):
                return Gone()
            if not isinstance(error, GetTimeoutError):
                return Answer(f"gives no answer ({_shortened(sentence(error))})")
        if gpus:
            return Busy()
        # One that was cut off a moment ago lives for Ray until it was silent for long.
        wait = min(_LOOK_SECONDS, until + _DROPPED_SECONDS - time.monotonic())
        if wait <= 0:
            return Answer(
                f"does not answer within {seconds + _DROPPED_SECONDS:g} s, though Ray says that it "
                "is there; see whether its disks and network work and the machine is not "
                "overloaded, start its Ray again"
            )


def _is_alive(node_id: str) -> bool:
    return any(node["Alive"] for node in ray.nodes() if node["NodeID"] == node_id)


def _shortened(words: str, most: int = 300) -> str:
    """The beginning, by whole words."""
    return words if len(words) <= most else words[:most].rpartition(" ")[0] + " ..."


def check_process(expected: Expectation, opened: OpenedTask) -> list[str]:
    """Once per process, before its first trial: also of machines that joined later.

    Returns:
        What people should know of a machine that was not asked before.

    Raises:
        SearchStoppedError: names this machine, why it cannot run trials, and the remedy.
    """
    if expected.token in _checked:
        return []
    own = ray.get_runtime_context().get_node_id()
    check = code_trouble if own == expected.node else node_trouble
    trouble = check(expected) or opening_trouble(expected, opened)
    if not trouble and expected.gpus:
        trouble = gpu_trouble()
    if trouble:
        others = [node for node in ray.nodes() if node["Alive"]]
        remedy = next((_or_without(one, others) for one in others if one["NodeID"] == own), "")
        raise SearchStoppedError(f"node {own_name()} {trouble}{remedy}")
    _checked.add(expected.token)
    if own in expected.asked:
        return []
    return [difference_note([own_name()], one) for one in node_differences(expected)]


def own_name() -> str:
    """Of the node that this process runs on."""
    own = ray.get_runtime_context().get_node_id()
    return next((node_name(node) for node in ray.nodes() if node["NodeID"] == own), own)


def _machine_answer(expected: Expectation, by_path: OpenedTask | None) -> Answer:
    trouble = node_trouble(expected)
    if not trouble and by_path is not None:
        trouble = opening_trouble(expected, by_path)
    return Answer(trouble, node_differences(expected), _processor(expected))


def _processor(expected: Expectation) -> str:
    return "" if expected.gpus else device_name("cpu")


def _gpu_answer() -> Answer:
    trouble = gpu_trouble()
    return Answer(trouble, processor="" if trouble else device_name("cuda"))


def last_words(error: BaseException) -> str:
    """Of what Ray tells about a process that it could not start: where pip, say, gave up."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return " ".join(errors or lines[-1:])[-300:]


def node_name(node: Node) -> str:
    """As its owner named it, else its host, with its address."""
    address = node["NodeManagerAddress"]
    given = node.get("NodeName") or address
    return f"{node['NodeManagerHostname'] if given == address else given} ({address})"


def named_nodes(names: Iterable[str]) -> frozenset[str]:
    """Ids of the nodes that are there of these names, hosts or addresses.

    Raises:
        ValueError: there is none of that name.
    """
    there = [node for node in ray.nodes() if node["Alive"]]
    found = set()
    for name in names:
        ids = {
            node["NodeID"]
            for node in there
            if name in (node["NodeManagerAddress"], node["NodeManagerHostname"], node["NodeName"])
        }
        if not ids:
            known = ", ".join(sorted(node_name(node) for node in there))
            raise ValueError(
                f"--leave-out {name} is no node that is there, by host, address or the name of "
                f"its ray start --node-name; there are: {known}"
            )
        found |= ids
    return frozenset(found)
