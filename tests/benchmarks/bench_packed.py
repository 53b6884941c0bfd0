"""Trials trained as one pack against one after another, on the device there is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from fusion_search.datasets.digits.data import DigitsSettings
from fusion_search.search.tasks.digits.task import Digits, DigitsNetwork
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.packing import Member, PackTraining
from fusion_search.search.trials.results import Tally
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.training import TrialTraining
from fusion_search.search.trials.trial import choose_device
from tests.benchmarks.table import Measurement, side_by_side

AIM_ON_GPU = 4.0  # at 16 units and 16 trials; on a CPU packing is not expected to help


def measure(
    *,
    units: int = 16,
    counts: Sequence[int] = (4, 16),
    depths: Sequence[int] = (0, 2),
    batch: int | None = None,
    frames: int = 42,
    rounds: int = 3,
) -> list[Measurement]:
    """Milliseconds of training per example (data, forward, backward, AdamW): sweeps of pairs.

    A batch is 32 examples on a GPU, and 8 on a CPU, where a step takes seconds.
    """
    batch = batch or (32 if choose_device("auto").type == "cuda" else 8)
    found = []
    for depth in depths:
        sweep = trials(max(counts), depth=depth, units=units, batch=batch, frames=frames)
        opened = OpenedTask(Digits(), sweep[0].data)
        found += [_measure(sweep[:count], opened, rounds) for count in counts]
    return found


def trials(
    count: int, *, depth: int, units: int, batch: int, frames: int
) -> list[TrialSpecification]:
    """Trials that differ in their train conditions alone, as those of a sweep."""
    conditions = itertools.product((2.0, 1.0, 0.5, 0.25), (1.0, 0.5, 0.25, 0.125))
    return [
        TrialSpecification(
            task="digits",
            network=DigitsNetwork(fusion_depth=depth, units=units),
            data=DigitsSettings(source="builtin", frames=frames),
            train={"audio_snr": audio, "visual_snr": visual},
            training=TrainingSettings(
                batch_size=batch, examples=8 * batch, epoch_examples=batch, epochs=1
            ),
            evaluation=EvaluationSettings(validation_examples=1, test_examples=1),
        )
        for audio, visual in itertools.islice(conditions, count)
    ]


def losses_per_step(
    sweep: Sequence[TrialSpecification], opened: OpenedTask
) -> tuple[Callable[[], list[float]], Callable[[], list[float]]]:
    """Two functions that train every trial one step: one after another, and packed."""
    device = choose_device("auto")
    alone = [Member(one, opened, device).run for one in sweep]
    steps: list[Iterator[tuple[Tensor, Tensor]]] = [run.batches() for run in alone]
    pack = PackTraining([Member(one, opened, device) for one in sweep])

    def step(run: TrialTraining, batches: Iterator[tuple[Tensor, Tensor]]) -> float:
        numbers, presentations = next(batches)
        clean = run.loaded(numbers, presentations)
        return run.step(clean, presentations, Tally(run.task.metrics))

    def one_after_another() -> list[float]:
        return [step(run, batches) for run, batches in zip(alone, steps, strict=True)]

    def packed() -> list[float]:
        for member in pack.members:
            member.tally = Tally(member.run.task.metrics)
        _, diverged = pack.step(sweep[0].training.batch_size)
        assert not diverged
        return [member.tally.loss / member.tally.n for member in pack.members]

    return one_after_another, packed


def _measure(sweep: Sequence[TrialSpecification], opened: OpenedTask, rounds: int) -> Measurement:
    one_after_another, packed = losses_per_step(sweep, opened)
    losses = zip(one_after_another(), packed(), strict=True)
    difference = max(abs(one - other) for one, other in losses)
    seconds = side_by_side(one_after_another, packed, rounds=rounds)
    examples = len(sweep) * sweep[0].training.batch_size
    baseline, ours = (1000 * one / examples for one in seconds)
    device = choose_device("auto").type
    trial = sweep[0]
    at_aim = device == "cuda" and len(sweep) == 16 and trial.network.units == 16
    return Measurement(
        what=f"training {len(sweep)} packed trials, depth {trial.network.fusion_depth}, "
        f"{trial.network.units} units, {trial.data.frames} frames, "
        f"batches of {trial.training.batch_size}, {device}",
        against="one after another",
        unit="ms/example",
        baseline=baseline,
        ours=ours,
        aim=AIM_ON_GPU if at_aim else None,
        note=f"{1000 / ours:.0f} examples/s; losses differ by at most {difference:.1e}",
    )
