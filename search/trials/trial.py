"""One trial as a plain function: build, train, validate, evaluate the grid. No Ray here.

``run_task_trial`` runs a trial of a task at hand, ``run_trial`` one from its specification.
"""

from __future__ import annotations

import contextlib
import io
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusion_search.analysis.records.torch_file import load_torch
from fusion_search.datasets.batch import Data
from fusion_search.datasets.metrics import Metric
from fusion_search.search.tasks.base import TrialError
from fusion_search.search.tasks.named import find_task
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.cost import count_parameters, peak_memory_bytes, reset_peak_memory
from fusion_search.search.trials.results import Epoch, Grid
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.task_trial import TaskTrial
from fusion_search.search.trials.training import TrialTraining

Schedule = list[tuple[int, dict[str, float]]]
"""(first epoch, hyperparameters from there on)."""


@dataclass
class TrialResult:
    """What a trial gave, kept up to date while it runs; ``metric`` chooses the best epoch."""

    device: str
    metric: Metric
    engine: str = ""
    parameters: int = 0
    multiply_accumulates: int = 0
    milliseconds_per_example: float = 0.0
    epochs: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    state: dict[str, Tensor] = field(default_factory=dict)
    schedule: Schedule = field(default_factory=list)
    grid: Grid | None = None
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    absent_seconds: float = 0.0
    data_seconds: float = 0.0
    peak_memory_bytes: int = 0

    def keep(self, epoch: Epoch, network: nn.Module) -> None:
        """Add an epoch that has just ended; the best one's state is copied."""
        self.epochs.append(epoch)
        if self.best is None or rank(epoch, self.metric) > rank(self.best, self.metric):
            self.best = epoch
            self.state = {
                name: value.detach().to("cpu", copy=True)
                for name, value in network.state_dict().items()
            }

    def finish(self, run: TrialTraining) -> None:
        """Test the best epoch's network on the grid, and measure what it costs."""
        clock = time.perf_counter()
        run.network.load_state_dict(self.state)
        self.grid = run.evaluate()
        self.multiply_accumulates, self.milliseconds_per_example = run.measure()
        self.evaluation_seconds = time.perf_counter() - clock
        if run.trial.evaluation.absent:
            clock = time.perf_counter()
            self.grid.absent.extend(run.evaluate_absent())
            self.absent_seconds = time.perf_counter() - clock
        self.data_seconds += run.data_clock.seconds
        self.peak_memory_bytes = peak_memory_bytes(run.device)


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """For a trial that is interrupted and goes on, perhaps from another's weights.

    Attributes:
        saved: what ``save`` was given by an earlier run of a trial with the same network.
        hyperparameters: learning_rate, weight_decay or dropout from here on, where they differ
            from the specification.
        save: called after an epoch, before ``on_epoch``, with all that is needed to go on.
        save_seconds: after the first epoch that ends so long after the start or the last saving.
    """

    saved: bytes | None = None
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    save: Callable[[bytes], None] = lambda state: None
    save_seconds: float = 0.0


def run_trial(
    specification: TrialSpecification,
    opened: OpenedTask | None = None,
    *,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    continuation: Continuation | None = None,
) -> TrialResult:
    """Train one network at one train condition, keep the best epoch, and test it on the grid.

    Args:
        specification: all there is to know about the trial.
        opened: the task with its data, to be shared by trials; found and opened when None.
        on_epoch: called after every epoch of this run.
        continuation: of a trial that may go on from an earlier run.

    Raises:
        TrialError: the device is missing, the examples do not suffice, or the loss is not finite.
    """
    device = choose_device(specification.training.device)
    if opened is None:
        opened = OpenedTask(find_task(specification.task), specification.data, specification.fold)
    data = opened.data(specification.data, specification.fold)
    return run_task_trial(
        specification.for_task(opened.task),
        data.on(device),
        device,
        on_epoch=on_epoch,
        continuation=continuation,
    )


def run_task_trial(
    trial: TaskTrial,
    data: Data,
    device: torch.device,
    *,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    continuation: Continuation | None = None,
) -> TrialResult:
    """Train one network, keep the best epoch, and test it at every condition.

    The best epoch has the best first metric on the validation split at the train condition, then
    the lowest loss.

    Args:
        trial: all there is to know.
        data: of the trial's fold, opened.
        device: where the network is trained.
        on_epoch: called after every epoch of this run.
        continuation: of a trial that may go on from an earlier run.

    Raises:
        TrialError: the examples do not suffice, or the loss is not finite.
    """
    with seeded(trial.seed, device):
        return _run(trial, data, device, on_epoch, continuation, tested=True)


def train_task_trial(
    trial: TaskTrial, data: Data, device: torch.device, continuation: Continuation
) -> list[Epoch]:
    """The epochs of :func:`run_task_trial`, after which nothing is tested or measured."""
    with seeded(trial.seed, device):
        return _run(trial, data, device, lambda _: None, continuation, tested=False).epochs


def _run(
    trial: TaskTrial,
    data: Data,
    device: torch.device,
    on_epoch: Callable[[Epoch], None],
    continuation: Continuation | None,
    *,
    tested: bool,
) -> TrialResult:
    reset_peak_memory(device)
    clock = time.perf_counter()
    run = TrialTraining(trial, data, device)
    with run.loaders:
        result = _trained(run, clock, on_epoch, continuation)
        if tested:
            result.finish(run)
    return result


def _trained(
    run: TrialTraining,
    clock: float,
    on_epoch: Callable[[Epoch], None],
    continuation: Continuation | None,
) -> TrialResult:
    """Train what is ready for it; ``clock`` is when the trial began (perf_counter)."""
    result = TrialResult(device=run.device.type, metric=run.task.metrics[0])
    result.engine = run.engine
    result.parameters = count_parameters(run.network)
    if continuation is not None:
        _go_on(run, result, continuation)
    saved_at = time.perf_counter()
    if result.epochs:
        clock -= result.epochs[-1].seconds
    for epoch in run.epochs(clock, done=len(result.epochs)):
        result.keep(epoch, run.network)
        if continuation and time.perf_counter() - saved_at >= continuation.save_seconds:
            continuation.save(_saved(run, result))
            saved_at = time.perf_counter()
        on_epoch(epoch)
    result.train_seconds = time.perf_counter() - clock
    return result


def _go_on(run: TrialTraining, result: TrialResult, continuation: Continuation) -> None:
    """Take over an earlier run, and note from when on which hyperparameters hold."""
    if continuation.saved is not None:
        saved = _load(continuation.saved)
        run.load_state(saved["training"])
        result.epochs = _epochs(saved)
        result.best = max(result.epochs, key=lambda one: rank(one, result.metric))
        result.state = saved["best"]
        result.schedule = [(first, dict(values)) for first, values in saved["schedule"]]
    if continuation.hyperparameters:
        run.set_hyperparameters(continuation.hyperparameters)
        values = dict(continuation.hyperparameters)
        if not result.schedule or result.schedule[-1][1] != values:
            result.schedule.append((len(result.epochs) + 1, values))


def saved_epochs(saved: bytes) -> list[Epoch]:
    """The epochs that a saved state has behind it."""
    return _epochs(_load(saved))


def _load(saved: bytes) -> dict[str, Any]:
    content: dict[str, Any] = load_torch(saved)
    return content


def _epochs(saved: Mapping[str, Any]) -> list[Epoch]:
    return [
        Epoch(**{**one, "ended_at": datetime.fromisoformat(one["ended_at"])})
        for one in saved["epochs"]
    ]


def _saved(run: TrialTraining, result: TrialResult) -> bytes:
    buffer = io.BytesIO()
    names = [one.name for one in fields(Epoch)]
    epochs = [
        {name: getattr(one, name) for name in names} | {"ended_at": one.ended_at.isoformat()}
        for one in result.epochs
    ]
    content: dict[str, Any] = {
        "specification": run.trial.specification,
        "data_fingerprint": run.data.fingerprint,
        "training": run.state(),
        "epochs": epochs,
        "best": result.state,
        "schedule": result.schedule,
    }
    torch.save(content, buffer)
    return buffer.getvalue()


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Initial weights and dropout draw from torch's global generators.

    They are set here, and given back as they were.
    """
    with torch.random.fork_rng(
        devices=[torch.cuda.current_device()] if device.type == "cuda" else []
    ):
        torch.manual_seed(seed)
        yield


def choose_device(name: str) -> torch.device:
    """The device a setting means on this machine. Raises ``TrialError`` when it is missing."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise TrialError(
            "device is cuda but this process sees no CUDA GPU; set device: auto or cpu, or in a "
            "search resources.gpus_per_trial above 0 on machines that have one"
        )
    if name == "auto":
        name = "cuda" if available else "cpu"
    if name == "cuda":
        # The same seed must give the same numbers.
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return torch.device(name)


@cache
def device_name(device: str) -> str:
    """What ``cpu`` or ``cuda`` is here: the product, of a processor with its vector instructions.

    The last digits of trained numbers differ between these.
    """
    if device == "cuda":
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # Linux alone has it
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        model = next(names, model)
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}"


def rank(epoch: Epoch, metric: Metric) -> tuple[float, float]:
    """The greater, the better the epoch."""
    return metric.score(epoch.validation[metric.name]), -epoch.validation_loss
