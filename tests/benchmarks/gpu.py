"""What a GPU gives the digit task: ``make bench-gpu``. Without one it says so and measures nothing.

Training and the test grid in examples a second, training's share of the GPU's bfloat16 peak (that
of a large matrix product, measured first), what packing brings, and the hours of the paper's sweep.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from fusion_search.datasets.digits.data import DigitsSettings
from fusion_search.search.tasks.digits.task import Digits, DigitsNetwork
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.packing import Member, PackTraining
from fusion_search.search.trials.results import Tally
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.training import TrialTraining
from fusion_search.search.trials.trial import choose_device, device_name, seeded

FRAMES, BATCH, GRID_PAIRS = 42, 32, 100
PAPER_MODELS, PAPER_EXAMPLES = 16, 87_516
SHEET = tuple(itertools.product((2.0, 1.0, 0.5, 0.25), (1.0, 0.5, 0.25, 0.125)))


def trial(units: int, **network: object) -> TrialSpecification:
    """Initial fusion at the paper's main train pair, on the built-in digits."""
    return TrialSpecification(
        task="digits",
        network=DigitsNetwork(units=units, gates="compiled", **network),  # type: ignore[arg-type]
        data=DigitsSettings(source="builtin", frames=FRAMES),
        train={"audio_snr": 0.5, "visual_snr": 0.25},
        training=TrainingSettings(batch_size=BATCH, precision="bfloat16"),
        evaluation=EvaluationSettings(validation_examples=1, test_examples=GRID_PAIRS),
    )


def seconds(call: Callable[[], object], rounds: int, warm_up: int = 6) -> float:
    """Of one call, the mean over ``rounds``, with the GPU's work done."""
    for _ in range(warm_up):
        call()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(rounds):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / rounds


def peak(device: torch.device) -> float:
    """FLOP a second of a bfloat16 matrix product."""
    a, b = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / seconds(lambda: a @ b, 10)


def training(one: TrialSpecification, opened: OpenedTask, device: torch.device) -> TrialTraining:
    """Ready for its steps."""
    return TrialTraining(one.for_task(opened.task), opened.data(one.data, 0).on(device), device)


def measured(units: int, batch: int, opened: OpenedTask, device: torch.device, top: float) -> float:
    """Print a line of training and one of the grid; returns the hours of a model of the paper."""
    one = trial(units)
    one = replace(one, training=replace(one.training, batch_size=batch))
    with seeded(0, device):
        run = training(one, opened, device)
        batches, tally = run.batches(), Tally(run.task.metrics)
        run.network.train()

        def step() -> None:
            numbers, presentations = next(batches)
            run.step(run.loaded(numbers, presentations), presentations, tally)

        step_seconds = seconds(step, 20)
        operations = 3 * 2 * run.measure()[0]  # the way back is two more products for each
        grid_seconds = seconds(run.evaluate, 1, 1)
    rate, cases = batch / step_seconds, len(run.trial.test_conditions()) * GRID_PAIRS
    print(
        f"{units} units, batches of {batch}: training {rate:,.0f} examples/s "
        f"({1000 * step_seconds:.1f} ms a step, of which {run.engine}; "
        f"{100 * rate * operations / top:.1f} % of the peak), grid {cases / grid_seconds:,.0f} "
        f"cases/s, {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB",
        flush=True,
    )
    return (PAPER_EXAMPLES / rate + 3000 / GRID_PAIRS * grid_seconds) / 3600


def packed(count: int, units: int, opened: OpenedTask, device: torch.device) -> float:
    """Seconds of a step of so many trials together, by trial."""
    conditions = [{"audio_snr": audio, "visual_snr": visual} for audio, visual in SHEET[:count]]
    members = [Member(replace(trial(units), train=one), opened, device) for one in conditions]
    pack = PackTraining(members)
    for member in members:
        member.run.network.train()

    def step() -> None:
        for member in members:
            member.tally = Tally(member.run.task.metrics)
        pack.step(BATCH)

    return seconds(step, 10) / count


def main() -> None:
    """Print what it measures as it goes."""
    if not torch.cuda.is_available():
        sys.exit("bench-gpu measures a CUDA GPU, and this process sees none: nothing was measured")
    device = choose_device("cuda")
    top = peak(device)
    print(
        f"{device_name('cuda')}, torch {torch.__version__}: {top / 1e12:.0f} TFLOP/s in bfloat16; "
        f"initial fusion, {FRAMES} frames, {PAPER_EXAMPLES:,} examples a model of the paper",
        flush=True,
    )
    opened = OpenedTask(Digits(), trial(16).data)
    hours = {}
    for units, batch in ((16, BATCH), (64, BATCH), (64, 256)):
        hours[units, batch] = measured(units, batch, opened, device, top)
    for count in (4, 16):
        together = packed(count, 16, opened, device)
        print(f"{count} x 16 units packed: {1000 * together:.1f} ms a step and trial", flush=True)
    for (units, batch), one in hours.items():
        print(
            f"the paper's {PAPER_MODELS} models at {units} units, batches of {batch}, 3,000 test "
            f"pairs, one after another: {PAPER_MODELS * one:.2f} hours"
        )


if __name__ == "__main__":
    main()
