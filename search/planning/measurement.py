"""What trials cost on this machine, from a few steps, validation and test examples of each kind.

As many processes measure at once as trials would run: they share cores, caches and memory as the
trials do. Trials with one thread on a CPU are measured in CPU seconds, which programs that share
the machine do not lengthen. No Ray here.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from fusion_search.search.planning.timing import measure_line, timed
from fusion_search.search.tasks.current_folder import Carried
from fusion_search.search.tasks.evaluation import each_epoch
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.cost import peak_memory_bytes, reset_peak_memory
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.packing import FAILURES, Member, PackTraining
from fusion_search.search.trials.results import Tally
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.training import TrialTraining
from fusion_search.search.trials.trial import choose_device, seeded

# Of the seconds spent on a kind: most of a trial is steps, then the grid.
_SHARES: Final = {"step": 0.5, "validation": 0.15, "grid": 0.35}
_ALONE_SECONDS: Final = 1.0
_ENDING_SECONDS: Final = 5.0  # until a process that does not end is killed


@dataclass(frozen=True)
class Kind:
    """Work that costs the same, whichever trials do it: ``packed`` trials like ``trial``."""

    trial: TrialSpecification
    packed: int = 1


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a kind, in seconds, all its packed trials together.

    Attributes:
        build: network, optimiser and numbers of the examples.
        step: a whole batch, forward and back.
        validation: after an epoch; and testing, where every epoch is tested.
        grid: all test conditions.
        warm_up: what the first of the kind in a process took beyond, compiling above all.
        memory_bytes: peak, as ``peak_memory_bytes`` counts it.
        share: of a whole batch, and of the grid's examples, the largest part that was run.
        processor: CPU seconds per second of a step.
        train_examples: of the data.
    """

    build: float
    step: float
    validation: float
    grid: float
    warm_up: float
    memory_bytes: float
    share: float
    processor: float
    train_examples: float

    def scaled(self, factor: float) -> Cost:
        """Of a kind whose network needs ``factor`` times the work; the rest as it is."""
        return replace(
            self,
            step=self.step * factor,
            validation=self.validation * factor,
            grid=self.grid * factor,
        )


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was measured.

    Attributes:
        costs: by kind, with others measuring at once.
        alone: how many times faster a process is that has the machine for itself.
        idle: share of the time that the processes had a processor; 1 when that is not known.
    """

    costs: Mapping[Kind, Cost]
    alone: float
    idle: float


def measure_kinds(
    kinds: Sequence[Kind],
    opened: OpenedTask,
    *,
    processes: int,
    threads: int,
    seconds: float,
    on_measured: Callable[[], object] = lambda: None,
) -> Calibration:
    """Measure every kind in every process, all processes at once.

    Args:
        kinds, opened: what to measure, and their task with its data.
        processes: how many at once.
        threads: of each.
        seconds: for a kind, warming up not counted.
        on_measured: called whenever a process has measured a kind.

    Raises:
        ValueError: a trial cannot run as it is declared, or a process died.
    """
    context = multiprocessing.get_context("spawn")
    workers, connections = [], []
    try:
        for number in range(processes):
            ours, theirs = context.Pipe()
            # In another order each, so that trials of all kinds run beside each other.
            first = number * len(kinds) // processes
            order = [*range(first, len(kinds)), *range(first)]
            asked = Carried([(one, kinds[one]) for one in order], Path.cwd())
            arguments = (theirs, asked, opened, threads, seconds)
            workers.append(context.Process(target=_measure, args=arguments, daemon=True))
            connections.append(ours)
            workers[-1].start()
            theirs.close()
        found: list[list[Cost]] = [[] for _ in kinds]
        for _ in range(processes * len(kinds)):
            (ready, *_) = wait(connections)
            assert isinstance(ready, Connection)
            number, cost = _receive(ready)
            found[number].append(cost)
            on_measured()
        together, alone = _compare(connections)
    finally:
        # Told by the end of its pipe, a process gives back what its compiler took.
        for one in connections:
            one.close()
        until = time.monotonic() + _ENDING_SECONDS
        for worker in workers:
            worker.join(max(0.0, until - time.monotonic()))
            worker.kill()
            worker.join()
    costs = {kind: _mean(each) for kind, each in zip(kinds, found, strict=True)}
    idle = 1.0
    if all(by_processor(kind, threads) for kind in kinds):
        idle = min(1.0, float(np.mean([cost.processor for cost in costs.values()])))
    # Not faster than all processes together.
    faster = min(max(1.0, together / alone), processes)
    return Calibration(costs=costs, alone=faster, idle=idle)


def by_processor(kind: Kind, threads: int) -> bool:
    """Whether CPU seconds tell what a trial takes."""
    return threads == 1 and choose_device(kind.trial.training.device).type == "cpu"


def _receive(connection: Connection) -> Any:
    try:
        news = connection.recv()
    except EOFError as error:
        raise ConfigurationError(
            "a process that measured a trial died, perhaps for want of memory; lower "
            "training.batch_size, or raise resources.cpus_per_trial so that fewer run at once"
        ) from error
    if isinstance(news, str):
        raise ConfigurationError(f"a trial cannot run as declared: {news}")
    return news


def _compare(connections: Sequence[Connection]) -> tuple[float, float]:
    """Seconds of the first process's last kind of step: beside the others, and alone."""
    for one in connections:
        one.send("together")
    together, *_ = [_receive(one) for one in connections]
    if len(connections) == 1:
        return together, together
    connections[0].send("alone")
    return together, _receive(connections[0])


def _mean(costs: Sequence[Cost]) -> Cost:
    names = [field.name for field in fields(Cost)]
    return Cost(**{name: float(np.mean([getattr(one, name) for one in costs])) for name in names})


def _measure(
    connection: Connection,
    kinds: Sequence[tuple[int, Kind]],
    opened: OpenedTask,
    threads: int,
    seconds: float,
) -> None:
    """A measuring process."""
    torch.set_num_threads(threads)
    try:
        for number, kind in kinds:
            cpu = by_processor(kind, threads)
            work, cost = measure_kind(kind, opened, seconds, cpu)
            connection.send((number, cost))
        # The others may not be done: keep them company.
        batch = work.sizes["step"] if cost.step < seconds else 2
        while not connection.poll():
            work.step(batch)
        while connection.recv():
            times: list[tuple[float, float]] = []
            while sum(waited for _, waited in times) < _ALONE_SECONDS:
                times.append(timed(lambda: work.step(batch), by_processor=cpu))
            connection.send(float(np.mean(times, axis=0)[0]))
    except (KeyboardInterrupt, BrokenPipeError, EOFError):
        return
    except FAILURES as error:
        connection.send(" ".join(f"{error}".split()) or type(error).__name__)


def measure_kind(kind: Kind, opened: OpenedTask, seconds: float, cpu: bool) -> tuple[_Work, Cost]:
    """Measure one kind in this process; returns also what was measured, to go on with.

    Args:
        kind, opened: what to measure, and its task with its data.
        seconds: to spend.
        cpu: count CPU seconds.
    """
    device = choose_device(kind.trial.training.device)
    reset_peak_memory(device)
    with seeded(kind.trial.seed, device):
        first, _ = timed(lambda: _Work(kind, opened, device), by_processor=cpu)
        work = _Work(kind, opened, device)
        build, _ = timed(lambda: _Work(kind, opened, device), by_processor=cpu)
        lines = {
            part: measure_line(
                call, work.sizes[part], share * seconds, by_processor=cpu, warm=part == "grid"
            )
            for (part, share), call in zip(
                _SHARES.items(), (work.step, work.validate, work.grid), strict=True
            )
        }
    tested = work.sizes["grid"] if kind.trial.evaluation.each_epoch else 0
    judged = 1 + tested / work.sizes["validation"]
    return work, Cost(
        build=build,
        step=lines["step"].seconds,
        validation=kind.packed * judged * lines["validation"].seconds,
        grid=kind.packed * lines["grid"].seconds,
        warm_up=max(0.0, first - build) + sum(one.warm_up for one in lines.values()),
        memory_bytes=peak_memory_bytes(device),
        share=min(lines["step"].share, lines["grid"].share),
        processor=lines["step"].processor,
        train_examples=work.train_examples,
    )


class _Work:
    """The parts of a trial, or of a pack, on any number of examples.

    Attributes:
        sizes: part -> how many examples it has in a trial.
        train_examples: of the data.
    """

    def __init__(self, kind: Kind, opened: OpenedTask, device: torch.device) -> None:
        trial = kind.trial
        self._pack: PackTraining | None = None
        if kind.packed == 1:
            data = opened.data(trial.data, trial.fold).on(device)
            self._run = TrialTraining(trial.for_task(opened.task), data, device)
        else:
            # In seed alone: trials of a seed would share the work of making examples.
            trials = [replace(trial, seed=seed) for seed in range(kind.packed)]
            self._pack = PackTraining([Member(one, opened, device) for one in trials])
            self._run = self._pack.members[0].run
        self._batches = self._run.batches()
        # Data sets may be sorted, and the first examples unlike the others.
        self._numbers = {use: _shuffled(one) for use, one in self._run.numbers.items()}
        self.sizes = {
            "step": min(trial.training.batch_size, len(self._numbers["train"])),
            "validation": len(self._numbers["validation"]),
            "grid": len(self._numbers["grid"]),
        }
        self.train_examples = len(self._run.data.train)  # type: ignore[arg-type]

    def step(self, examples: int) -> None:
        """An optimiser step."""
        self._run.network.train()
        if self._pack is not None:
            self._pack.step(examples)
            return
        numbers, presentations = (one[:examples] for one in next(self._batches))
        with self._run.data_clock:
            batch = self._run.loaded(numbers, presentations)
        self._run.step(batch, presentations, Tally(self._run.task.metrics))

    def validate(self, examples: int) -> None:
        """Validation at the train condition, of one trial."""
        metrics = each_epoch(self._run.task.metrics)
        numbers = self._numbers["validation"][:examples]
        self._run.judge("validation", numbers, [self._run.trial.train], metrics)

    def grid(self, examples: int) -> None:
        """All test conditions, of one trial."""
        trial = self._run.trial
        numbers = self._numbers["grid"][:examples]
        self._run.judge(trial.evaluation.split, numbers, trial.test_conditions())


def _shuffled(numbers: Tensor) -> Tensor:
    return numbers[torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))]
