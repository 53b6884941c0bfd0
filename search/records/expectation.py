"""What a search's driver has and all that run its trials must find, and what machines answer.

A machine says what keeps it from running trials, and what may change some numbers there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from fusion_search.analysis.records.secrets import sentence
from fusion_search.analysis.records.storage import Storage
from fusion_search.datasets.batch import Data
from fusion_search.search.records.driver_file import DRIVER_FILE, read_driver_file
from fusion_search.search.records.provenance import package_versions, program_fingerprint
from fusion_search.search.records.task_code import task_code
from fusion_search.search.tasks.base import TaskError
from fusion_search.search.tasks.current_folder import Importable
from fusion_search.search.tasks.opened import OpenedTask

# What a trial's numbers depend on. The driver alone uses the others, and sends its own code.
TRIAL_PACKAGES: Final = ("torch", "torchaudio", "numpy", "pyarrow")
# What some tasks' numbers depend on: how a table is read, an encoder of images.
SOME_TRIALS_PACKAGES: Final = ("torch", "pandas", "torchvision", "scikit-learn")
_STORAGE_SECONDS: Final = 10.0  # for which a node tries again


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What the driver has, and every process that runs a trial must find.

    Attributes:
        storage: the search's folder.
        token: of the driver's status file there.
        versions: package -> version, without local labels such as ``+cu128``; of Python, 3.12.
        builds: package -> version with such labels; where they differ, that is only told.
        code: fingerprint of this program's source files.
        task: the name of the search's task.
        task_code: fingerprint of its own code; None of a built-in task.
        importable: what can be imported here; unpickled, it can be there.
        data: fingerprint of the examples.
        gpus: that a trial computes on; 0 where it computes on the CPU.
        node: id of the driver's own, whose processes have all but examples and GPUs of themselves.
        asked: ids of the nodes that were asked before the first trial.
    """

    storage: Storage
    token: str
    versions: dict[str, str]
    builds: dict[str, str]
    code: str
    task: str
    task_code: str | None
    importable: Importable
    data: str
    gpus: float = 0.0
    node: str = ""
    asked: frozenset[str] = frozenset()


def expectation(
    storage: Storage, token: str, task: str, opened: OpenedTask, node: str = "", gpus: float = 0.0
) -> Expectation:
    """Of the driver that runs here, in the folder of its command."""
    return Expectation(
        # A node that does not see it is to say so while people wait for its word.
        storage=storage.patient(min(storage.patience_seconds, _STORAGE_SECONDS)),
        token=token,
        versions=_versions(),
        builds=package_versions(SOME_TRIALS_PACKAGES),
        code=program_fingerprint(),
        task=task,
        task_code=task_code(task).fingerprint,
        importable=Importable(Path.cwd()),
        data=opened.first.fingerprint,
        gpus=gpus,
        node=node,
    )


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


def node_differences(expected: Expectation) -> tuple[str, ...]:
    """What may change some numbers, though trials run here; each after the words "node NAME"."""
    builds = package_versions(tuple(expected.builds.keys() - {"python"}))
    return tuple(
        f"has {package} {builds[package]} and the driver has {wanted}"
        for package, wanted in expected.builds.items()
        if package != "python" and builds[package] != wanted
    )


def code_trouble(expected: Expectation) -> str | None:
    """As :func:`node_trouble`, of the code of the search's task, as it would be imported here."""
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


def gpu_trouble() -> str | None:
    """The same of the GPU that was reserved for this process, and that torch is to compute on."""
    try:
        torch.cuda.init()
        torch.zeros(1, device="cuda").add_(1).item()
    except (RuntimeError, AssertionError) as error:
        words = sentence(error)
        if "out of memory" in words.lower():
            return None  # others use it: the trial may find room
        return (
            f"has a GPU by what its Ray says, but torch {torch.__version__} cannot compute on it "
            f"({words[:200]}); install a torch for its GPU and driver there, repair the driver, or "
            "let the trials use CPUs by resources.gpus_per_trial: 0 or training.device: cpu"
        )
    return None


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


def _versions() -> dict[str, str]:
    found = package_versions(TRIAL_PACKAGES)
    return {package: _release(package, version) for package, version in found.items()}


def _release(package: str, version: str) -> str:
    if package == "python":
        return ".".join(version.split(".")[:2])
    return version.partition("+")[0]


@dataclass(frozen=True)
class Answer:
    """What a machine says of itself.

    Attributes:
        trouble: why it cannot run trials, after the words "node NAME"; None is best.
        differences: what may change some numbers there, after the same words.
        processor: what its trials compute on; "" where that was not asked.
    """

    trouble: str | None = None
    differences: tuple[str, ...] = ()
    processor: str = ""


def joined(answers: Iterable[Answer]) -> Answer:
    """One machine's answers to several questions."""
    whole = Answer()
    for one in answers:
        whole = Answer(
            whole.trouble or one.trouble,
            (*whole.differences, *one.differences),
            one.processor or whole.processor,
        )
    return whole


def notes(answers: Iterable[tuple[str, Answer]]) -> list[str]:
    """What may change numbers, in words, each once for all machines that it is true of.

    Args:
        answers: with the names of the machines.
    """
    having: dict[str, list[str]] = defaultdict(list)
    computing: dict[str, list[str]] = defaultdict(list)
    for name, answer in answers:
        for difference in answer.differences:
            having[difference].append(name)
        if answer.processor:
            computing[answer.processor].append(name)
    told = [difference_note(names, difference) for difference, names in having.items()]
    if len(computing) > 1:
        products = (f"{product} ({', '.join(names)})" for product, names in computing.items())
        told.append(
            "note: trials run on different processors, between which the last digits of numbers "
            f"differ; each record names its own as device_name: {'; '.join(products)}"
        )
    return told


def difference_note(names: Sequence[str], difference: str) -> str:
    """A sentence on what may change numbers on machines of these names."""
    which = "node" if len(names) == 1 else "each of the nodes"
    return (
        f"note: {which} {', '.join(names)} {difference}; numbers may differ there, and each record "
        "has the versions it was made with"
    )
