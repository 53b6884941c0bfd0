"""What computes the C-LSTM's gates: eager kernels, or compiled ones where that pays."""

from __future__ import annotations

from typing import Final, Literal, get_args

import torch

from fusion_search.models import gates
from fusion_search.search.tasks.base import TrialError

Engine = Literal["auto", "eager", "compiled"]
ENGINES: Final = get_args(Engine)

# Compiling takes a worker up to 12 s once; with 8 units it then saves 0.05 s a step of 24 frames.
_COMPILED_UNITS: Final = 8
_COMPILED_STEPS: Final = 500


def choose_engine(
    engine: str, *, recurrent: bool, units: int, steps: float, device: torch.device
) -> tuple[str, gates.Arithmetic]:
    """What computes the gates, for the record and itself.

    Args:
        engine: one of ``ENGINES``.
        recurrent: whether the network has a C-LSTM level at all.
        units: of it.
        steps: of the optimiser that the trial will take.
        device: of the network.

    Raises:
        TrialError: a compiled engine is asked for and cannot be had.
    """
    if engine == "auto":
        if not (recurrent and units >= _COMPILED_UNITS and steps >= _COMPILED_STEPS):
            return "eager", gates.EAGER
    elif engine == "eager":
        return "eager", gates.EAGER
    problem = gates.probe(device.type)
    if not problem:
        return "compiled", gates.compiled()
    if engine == "compiled":
        raise TrialError(
            f"gates is compiled but nothing can be compiled for {device.type} here ({problem}); "
            "install a C++ compiler or set gates: auto"
        )
    return f"eager, since nothing can be compiled: {problem}", gates.EAGER
