"""Evaluation at 100 test conditions against the plain loop over conditions of the same engine.

Both sides make the noise once per pair and scale it to every SNR. The plain loop runs the network
on every (pair, condition) in batches of the same size.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from fusion_search.datasets.conditions import grid
from fusion_search.datasets.digits.data import DigitData, DigitsSettings, load_digits
from fusion_search.models.early_fusion import EarlyFusionNetwork, EarlyFusionSettings
from fusion_search.models.placement import PLAIN, EarlyFusionPlacement
from fusion_search.search.tasks.digits.task import Digits, digit_splits
from fusion_search.search.tasks.evaluation import Evaluation, evaluate
from fusion_search.search.tasks.run import Run
from tests.benchmarks.table import Measurement, side_by_side

BATCH = 32
CONDITIONS = grid(Digits.axes)


@dataclass(frozen=True, kw_only=True)
class Setting:
    what: str
    depth: int
    frames: int
    images: int
    recordings: int = 1  # per image
    aim: float | None = None
    placement: EarlyFusionPlacement = PLAIN


SETTINGS = [
    Setting(what="initial fusion, 92 frames", depth=0, frames=92, images=12, aim=3.3),
    Setting(what="8 recordings per image", depth=0, frames=92, images=3, recordings=8, aim=4.2),
    Setting(what="initial fusion, 42 frames", depth=0, frames=42, images=12, aim=2),
    Setting(what="second-layer fusion", depth=1, frames=42, images=24),
    Setting(what="fully-connected fusion", depth=2, frames=42, images=60, aim=8),
    Setting(
        what="MMTM and gate by audio",
        depth=1,
        frames=42,
        images=6,
        placement=EarlyFusionPlacement(couplings=("mmtm",), fusion="gate_audio"),
    ),
]


def choose_pairs(data: DigitData, images: int, recordings: int) -> Tensor:
    """Test pairs of so many images, each with so many recordings, both as they come."""
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.randperm(len(data.splits["test"]), generator=generator)[:50_000]
    image_numbers, recording_numbers, _ = data.splits["test"].lookup(shuffled)
    if recordings == 1:
        seen: set[int] = set()
        chosen = [
            position
            for position, recording in enumerate(recording_numbers.tolist())
            if recording not in seen and not seen.add(recording)  # type: ignore[func-returns-value]
        ]
        return shuffled[chosen[:images]]
    counts = image_numbers.bincount()
    parts = [shuffled[image_numbers == image] for image in counts.argsort(descending=True)[:images]]
    return torch.cat([part[:recordings] for part in parts])


def plain_loop(network: EarlyFusionNetwork, data: DigitData, pairs: Tensor) -> list[Tensor]:
    """Logits [N, classes] of every condition, each run by itself."""
    network.eval()
    logits = []
    with torch.inference_mode():
        batches = [data.examples("test", part, noise_seed=0) for part in pairs.split(BATCH)]
        for snrs in CONDITIONS:
            parts = [
                network(one.visual(snrs["visual_snr"]), one.audio(snrs["audio_snr"]))
                for one in batches
            ]
            logits.append(torch.cat(parts))
    return logits


def ours(network: EarlyFusionNetwork, data: DigitData, pairs: Tensor) -> list[Evaluation]:
    """As a trial evaluates its grid."""
    task = Digits()
    with torch.inference_mode():
        answers = task.answers(
            network.eval(),
            digit_splits(data).test,
            pairs.tolist(),
            CONDITIONS,
            Run(task, torch.device("cpu")),
            seed=0,
            size=BATCH,
        )
        return evaluate(task, answers, CONDITIONS)


def compare(setting: Setting, data: DigitData, units: int, rounds: int) -> Measurement:
    """Time both, and look at the largest difference of their losses per example."""
    torch.manual_seed(0)
    network = EarlyFusionNetwork(
        EarlyFusionSettings(fusion_depth=setting.depth, units=units, placement=setting.placement)
    )
    pairs = choose_pairs(data, setting.images, setting.recordings)
    _, _, labels = data.splits["test"].lookup(pairs)
    difference = max(
        abs(functional.cross_entropy(logits, labels).item() - cell.loss)
        for logits, cell in zip(
            plain_loop(network, data, pairs), ours(network, data, pairs), strict=True
        )
    )
    assert difference < 1e-5, difference
    baseline, seconds = side_by_side(
        lambda: plain_loop(network, data, pairs),
        lambda: ours(network, data, pairs),
        rounds=rounds,
    )
    return Measurement(
        what=f"grid of 100 conditions: {setting.what}",
        against="condition by condition",
        unit="ms/pair",
        baseline=1000 * baseline / len(pairs),
        ours=1000 * seconds / len(pairs),
        aim=setting.aim,
        note=f"loss differs by {difference:.0e}, {units} units, d={setting.depth}",
    )


def measure(
    units: int = 16, rounds: int = 2, settings: list[Setting] = SETTINGS
) -> list[Measurement]:
    """On real digits where there are any: how long clips are silent decides."""
    folder = os.environ.get("FUSION_SEARCH_DATA")
    source = "digits" if folder else "builtin"
    results = []
    for setting in settings:
        options = DigitsSettings(source=source, frames=setting.frames)
        data = load_digits(options, Path(folder) if folder else None)
        results.append(compare(setting, data, units, rounds))
        print(f"  {results[-1].what}: {results[-1].ratio:.2f}", flush=True)
    return results
