"""The paper's full width on this machine: size, a few training steps, and what the data cost.

Run with ``make test-slow``; ``-s`` prints the table.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
import torch

from fusion_search.datasets.digits.data import DigitData, DigitsSettings, load_digits
from fusion_search.search.tasks.digits.task import Digits, DigitsNetwork, digit_splits
from fusion_search.search.trials.cost import peak_memory_bytes, reset_peak_memory
from fusion_search.search.trials.results import Tally
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.training import TrialTraining

STEPS = 3


@dataclass(frozen=True)
class Cost:
    parameters: int
    step_seconds: float
    data_share: float
    peak_memory_bytes: int


def paper_trial(depth: int) -> TrialSpecification:
    return TrialSpecification(
        task="digits",
        network=DigitsNetwork(fusion_depth=depth),
        data=DigitsSettings(source="builtin"),  # sizes are the real data's: 42 frames, 28 x 28
        train={"audio_snr": 0.5, "visual_snr": 0.25},
        training=TrainingSettings(examples=STEPS * 32 + 32, device="cpu"),
        evaluation=EvaluationSettings(validation_examples=1, test_examples=1),
    )


def measure(depth: int, data: DigitData) -> Cost:
    device = torch.device("cpu")
    reset_peak_memory(device)
    run = TrialTraining(paper_trial(depth).for_task(Digits()), digit_splits(data), device)
    batches, tally = run.batches(), Tally(run.task.metrics)

    def step() -> float:
        numbers, presentations = next(batches)
        return run.step(run.loaded(numbers, presentations), presentations, tally)

    step()  # warm-up
    before = run.data_clock.seconds
    start = time.perf_counter()
    for _ in range(STEPS):
        assert step() < 10
    seconds = time.perf_counter() - start
    return Cost(
        parameters=sum(one.numel() for one in run.network.parameters()),
        step_seconds=seconds / STEPS,
        data_share=(run.data_clock.seconds - before) / seconds,
        peak_memory_bytes=peak_memory_bytes(device),
    )


@pytest.mark.slow
def test_data_cost_under_a_tenth_of_a_full_width_initial_fusion_step() -> None:
    data = load_digits(paper_trial(0).data)
    costs = {depth: measure(depth, data) for depth in (0, 1, 2)}
    print(f"\n{'depth':>5} {'parameters':>10} {'s/step':>7} {'data':>6} {'peak MiB':>9}")
    for depth, cost in costs.items():
        print(
            f"{depth:5} {cost.parameters:10,} {cost.step_seconds:7.2f} {cost.data_share:6.1%} "
            f"{cost.peak_memory_bytes / 2**20:9,.0f}"
        )
    assert [cost.parameters for cost in costs.values()] == [899_466, 783_370, 550_218]
    assert costs[0].data_share < 0.1
    assert costs[1].data_share < 0.1
