"""What a trial costs: time by part, and peak memory."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor, nn


class Stopwatch:
    """Adds up the seconds spent inside ``with`` blocks."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds += time.perf_counter() - self._started


def milliseconds_per_example(network: nn.Module, *inputs: Tensor) -> float:
    """Of a forward pass over ``inputs`` [B, ...]: the fastest of five, after one to warm up.

    The fastest, because other trials on the machine can only add to it.
    """
    device = inputs[0].device
    seconds = []
    network.eval()
    with torch.inference_mode():
        for _ in range(6):
            started = time.perf_counter()
            network(*inputs)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - started)
    return 1000 * min(seconds[1:]) / len(inputs[0])


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring anew: a worker process runs many trials."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def peak_memory_bytes(device: torch.device) -> int:
    """Peak since the reset: of the GPU's allocations, or of this process's resident memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
