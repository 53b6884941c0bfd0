"""What a trial costs: time by part, and peak memory."""

from __future__ import annotations

import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fusion_search.models.couplings.spreading import as_the_equation


def count_parameters(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def multiply_accumulates(network: nn.Module, call: Callable[[], object]) -> int:
    """Of one forward pass, as torch counts them: half its floating-point operations.

    Counted are the products of matrix products and convolutions, LSTMs included; element-wise
    work, pooling and biases are not, as is usual.

    Args:
        network: put into evaluation mode for it.
        call: runs it.
    """
    training = network.training
    counter = FlopCounterMode(display=False)
    try:
        network.eval()
        # The LSTMs of oneDNN and cuDNN are one operation each, which the counter does not know;
        # torch warns of Intel's GPUs when oneDNN is switched.
        with (
            warnings.catch_warnings(action="ignore"),
            torch.inference_mode(),
            torch.backends.mkldnn.flags(enabled=False),
            torch.backends.cudnn.flags(enabled=False),
            as_the_equation(),
            counter,
        ):
            call()
    finally:
        network.train(training)
    return int(counter.get_total_flops()) // 2


def milliseconds_per_example(
    network: nn.Module, call: Callable[[], object], examples: int, device: torch.device
) -> float:
    """Of a forward pass: the fastest of five, after one to warm up.

    The fastest, because other trials on the machine can only add to it.

    Args:
        network: put into evaluation mode.
        call: runs it on a batch.
        examples: of the batch.
        device: of the network.
    """
    seconds = []
    network.eval()
    with torch.inference_mode():
        for _ in range(6):
            started = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - started)
    return 1000 * min(seconds[1:]) / examples


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
