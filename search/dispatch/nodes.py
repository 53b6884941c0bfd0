"""Whether every machine of a Ray cluster can run a search's trials: storage, code and data.

Examples in memory travel by Ray's object store: once to each machine, where its processes share
them. Others every process opens by itself, so every machine must see their files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import RayError, RuntimeEnvSetupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fusion_search.analysis.records.storage import Storage
from fusion_search.datasets.batch import Data
from fusion_search.search.declaration.specification import Resources
from fusion_search.search.records.driver_file import DRIVER_FILE, read_driver_file
from fusion_search.search.records.provenance import package_versions, program_fingerprint
from fusion_search.search.records.task_code import task_code
from fusion_search.search.running.recorded_trial import SearchStoppedError
from fusion_search.search.tasks.base import TaskError
from fusion_search.search.tasks.current_folder import Carried, Importable
from fusion_search.search.tasks.opened import OpenedTask

# What a trial's numbers depend on. The driver alone uses the others, and sends its own code.
TRIAL_PACKAGES: Final = ("torch", "torchaudio", "numpy", "pyarrow")
_ANSWER_SECONDS: Final = 120.0  # a node may first have to fetch the code
_INSTALL_SECONDS: Final = 1800.0  # ... and what the task needs

_checked: set[str] = set()  # what this process has found in order, by ``Expectation.token``


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What the driver has, and every process that runs a trial must find.

    Attributes:
        storage: the search's folder.
        token: of the driver's status file there.
        versions: package -> version, without local labels such as ``+cu128``.
        code: fingerprint of this program's source files.
        task: the name of the search's task.
        task_code: fingerprint of its own code; None of a built-in task.
        importable: what can be imported here; unpickled, it can be there.
        data: fingerprint of the examples.
        node: id of the driver's own, whose processes have all but the examples of themselves.
    """

    storage: Storage
    token: str
    versions: dict[str, str]
    code: str
    task: str
    task_code: str | None
    importable: Importable
    data: str
    node: str = ""


def expectation(
    storage: Storage, token: str, task: str, opened: OpenedTask, node: str = ""
) -> Expectation:
    """Of the driver that runs here, in the folder of its command."""
    return Expectation(
        storage=storage,
        token=token,
        versions=_versions(),
        code=program_fingerprint(),
        task=task,
        task_code=task_code(task).fingerprint,
        importable=Importable(Path.cwd()),
        data=opened.first.fingerprint,
        node=node,
    )


def check_nodes(expected: Expectation, opened: OpenedTask, resources: Resources) -> None:
    """Ask every machine but the driver's own that can run a trial.

    Where the data do not travel, each also opens them.

    Raises:
        SearchStoppedError: names the first machine that cannot, why, and the remedy.
    """
    by_path = None if opened.first.shared else Carried(opened, Path.cwd())
    troubles = ask_nodes(
        _machine_trouble,
        expected,
        by_path,
        cpus=resources.cpus_per_trial,
        gpus=resources.gpus_per_trial,
        # The driver's own has to install the same.
        but="" if resources.requirements else expected.node,
        seconds=_INSTALL_SECONDS if resources.requirements else _ANSWER_SECONDS,
    )
    for name, trouble in troubles:
        if trouble:
            raise SearchStoppedError(f"node {name} {trouble}")


def ask_nodes(
    question: Callable[..., str | None],
    *arguments: object,
    cpus: float = 0.0,
    gpus: float = 0.0,
    but: str = "",
    seconds: float = _ANSWER_SECONDS,
) -> list[tuple[str, str | None]]:
    """What is wrong with each machine that has so many cores and GPUs, all asked at once.

    Args:
        question: what runs there, with ``arguments``; its answer is empty when nothing is wrong.
        cpus, gpus: of the machines to ask.
        but: the id of one not to ask.
        seconds: how long each may take to answer.
    """
    ask = ray.remote(num_cpus=0, max_retries=0)(question)
    asked = [
        (
            _name(node),
            ask.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(*arguments),
        )
        for node in ray.nodes()
        if node["Alive"]
        and node["NodeID"] != but
        and node["Resources"].get("CPU", 0) >= cpus
        and node["Resources"].get("GPU", 0) >= gpus
    ]
    answers: list[tuple[str, str | None]] = []
    for name, answer in asked:
        try:
            answers.append((name, ray.get(answer, timeout=seconds)))
        except RuntimeEnvSetupError as error:
            answers.append((name, f"could not be given what the trials need: {last_words(error)}"))
        except (RayError, TimeoutError) as error:
            answers.append((name, f"gives no answer ({' '.join(str(error).split())[-200:]})"))
    return answers


def check_process(expected: Expectation, opened: OpenedTask) -> None:
    """Once per process, before its first trial: also of machines that joined later.

    Raises:
        SearchStoppedError: names this machine, why it cannot run trials, and the remedy.
    """
    if expected.token in _checked:
        return
    own = ray.get_runtime_context().get_node_id()
    check = code_trouble if own == expected.node else node_trouble
    trouble = check(expected) or opening_trouble(expected, opened)
    if trouble:
        name = next((_name(node) for node in ray.nodes() if node["NodeID"] == own), own)
        raise SearchStoppedError(f"node {name} {trouble}")
    _checked.add(expected.token)


def node_trouble(expected: Expectation) -> str | None:
    """What keeps this process from running trials, after the words "node NAME"; None is best."""
    versions = _versions()
    for package, wanted in expected.versions.items():
        if versions[package] != wanted:
            return (
                f"has {package} {versions[package]} and the driver has {wanted}; install the same "
                "version there"
            )
    own = program_fingerprint()
    if own != expected.code:
        return (
            f"imports other source files of fusion-search than the driver (fingerprint {own}, the "
            f"driver's is {expected.code}), though they were sent there; "
            "leave it out of PYTHONPATH there, or install the same commit"
        )
    if trouble := code_trouble(expected):
        return trouble
    try:
        driver = read_driver_file(expected.storage)
    except OSError as error:
        return f"cannot reach the storage: {error}"
    if driver is None or driver["started_at"] != expected.token:
        return (
            f"does not see what the driver writes to {expected.storage.named(DRIVER_FILE)}; give "
            "--storage a folder that all machines mount, or a URI such as s3://bucket/results"
        )
    return None


def _machine_trouble(expected: Expectation, by_path: OpenedTask | None) -> str | None:
    trouble = node_trouble(expected)
    if trouble or by_path is None:
        return trouble
    return opening_trouble(expected, by_path)


def code_trouble(expected: Expectation) -> str | None:
    """The same of the code of the search's task, as it would be imported here."""
    try:
        found = task_code(expected.task).fingerprint
    except TaskError as error:
        return f"cannot run its trials: {error}; install the task's package there"
    if found == expected.task_code:
        return None
    return (
        f"has other code of task {expected.task} than the search (fingerprint {found}, the "
        f"search's is {expected.task_code}); do not change it while the search runs, or install "
        "the same version there"
    )


def opening_trouble(expected: Expectation, opened: OpenedTask) -> str | None:
    """The same of the data that this process opens, or was sent."""
    try:
        data = opened.first
    except Exception as error:  # whatever the code of the task raises
        words = " ".join(str(error).split())
        return (
            f"cannot open the data ({type(error).__name__}: {words}); put them there under the "
            "same path, or into a folder that all machines mount"
        )
    return data_trouble(expected, data)


def data_trouble(expected: Expectation, data: Data) -> str | None:
    """The same of the data as they are here; those that were sent are read once for it."""
    content = getattr(data.train, "content_fingerprint", None)
    arrived = content() if content else data.fingerprint
    if arrived == expected.data:
        return None
    if not content:
        return (
            f"has other data than the search (fingerprint {arrived}, the search's is "
            f"{expected.data}); give it the same files"
        )
    return (
        f"has other data than the search (fingerprint {arrived}, the search's is {expected.data}), "
        "though they came from the driver; look for a fault of its memory, and leave it out"
    )


def last_words(error: BaseException) -> str:
    """Of what Ray tells about a process that it could not start: where pip, say, gave up."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return " ".join(errors or lines[-1:])[-300:]


def _versions() -> dict[str, str]:
    found = package_versions(TRIAL_PACKAGES)
    return {package: version.partition("+")[0] for package, version in found.items()}


def _name(node: dict[str, Any]) -> str:
    """As its owner named it, else its host, with its address."""
    address = node["NodeManagerAddress"]
    given = node.get("NodeName") or address
    return f"{node['NodeManagerHostname'] if given == address else given} ({address})"
