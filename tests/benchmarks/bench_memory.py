"""Activation memory of a training step: every frame's state kept, or every tenth."""

from __future__ import annotations

import multiprocessing
import statistics
import time

import torch
from torch.nn import functional

from fusion_search.datasets.digits.spectrogram import BINS
from fusion_search.models import gates
from fusion_search.models.convlstm import set_engine
from fusion_search.models.early_fusion import EarlyFusionNetwork, EarlyFusionSettings
from fusion_search.search.trials.cost import peak_memory_bytes, reset_peak_memory
from fusion_search.search.trials.trial import choose_device
from tests.benchmarks.table import Measurement

EVERY = 10


def step(
    units: int, frames: int, batch: int, precision: str, every: int, rounds: int
) -> tuple[float, float, float]:
    """Median seconds and peak GiB beyond the network of forward and backward, and the loss."""
    device = choose_device("auto")
    torch.manual_seed(0)
    network = EarlyFusionNetwork(EarlyFusionSettings(units=units, fusion_depth=0)).to(device)
    problem = gates.probe(device.type)
    arithmetic = gates.EAGER if problem else gates.compiled()
    set_engine(network, arithmetic=arithmetic, checkpoint_frames=every)
    images = torch.rand(batch, 1, 28, 28, device=device)
    sounds = torch.rand(batch, frames, BINS, device=device)
    labels = torch.arange(batch, device=device) % 10
    loss = torch.zeros(())

    def run(count: int) -> None:
        nonlocal loss
        network.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = network(images[:count], sounds[:count])
        loss = functional.cross_entropy(logits.float(), labels[:count])
        loss.backward()
        loss = loss.detach().cpu()

    run(2)  # to compile
    reset_peak_memory(device)
    before = peak_memory_bytes(device)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run(batch)
        seconds.append(time.perf_counter() - start)
    peak = (peak_memory_bytes(device) - before) / 2**30
    return statistics.median(seconds), peak, float(loss)


def measure(
    units: int = 64, frames: int = 92, batch: int = 32, rounds: int = 3
) -> list[Measurement]:
    found = []
    for precision in ("float32", "bfloat16"):
        sides = []
        for every in (0, EVERY):
            # A process each: memory that one side has left would serve the other.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                arguments = (units, frames, batch, precision, every, rounds)
                sides.append(pool.apply(step, arguments))
        (plain_seconds, plain, loss), (seconds, ours, same) = sides
        assert abs(loss - same) < (1e-5 if precision == "float32" else 1e-2), (loss, same)
        found.append(
            Measurement(
                what=f"memory of a training step, {units} units, {frames} frames, {precision}",
                against="every frame's state kept",
                unit="GiB",
                baseline=plain,
                ours=ours,
                note=f"checkpoint_frames {EVERY}; {seconds:.1f} s instead of {plain_seconds:.1f}",
            )
        )
    return found
