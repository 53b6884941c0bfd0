"""The gate arithmetic of one C-LSTM step, as it is or compiled into one pass over memory.

Shapes: B examples, P positions, U units; gates [B, P, 4U] lie in the order f, i, o, g. Gates and h
have the precision of the convolutions, c is float32 at least: it adds up over all steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor


def advance(
    gates: Tensor, inputs: Tensor, projected: Tensor | None, cell: Tensor
) -> tuple[Tensor, Tensor]:
    """One step forward.

    Args:
        gates: [B, P, 4U], the recurrent convolution; becomes z, the gates before the logistic
            function.
        inputs: [B, P, 4U], what the maps give.
        projected: [B, 4U], what the vectors give, to every position alike.
        cell: [B, P, U], c_(t-1).

    Returns:
        h_t and c_t, both [B, P, U].
    """
    gates += inputs
    if projected is not None:
        gates += projected[:, None]
    forget, write, output, candidate = _opened(gates, cell)
    after = forget * cell + write * candidate
    return (output * torch.tanh(after)).to(gates.dtype), after


def retreat(
    gates: Tensor,
    cell: Tensor,
    after: Tensor,
    d_hidden: Tensor,
    d_output: Tensor | None,
    d_cell: Tensor,
) -> tuple[Tensor, Tensor]:
    """One step back.

    Args:
        gates: z as :func:`advance` left it.
        cell, after: c_(t-1) and c_t.
        d_hidden, d_output: [B, P, U], gradient of h_t from the next step, and from outside.
        d_cell: [B, P, U], gradient of c_t.

    Returns:
        Gradient of z [B, P, 4U], and of c_(t-1) [B, P, U].
    """
    forget, write, output, candidate = _opened(gates, cell)
    shown = torch.tanh(after)
    d_hidden = d_hidden.to(cell.dtype)
    if d_output is not None:
        d_hidden = d_hidden + d_output
    d_cell = d_cell + _through_tanh(d_hidden * output, shown)
    parts = (
        _through_logistic(d_cell * cell, forget),
        _through_logistic(d_cell * candidate, write),
        _through_logistic(d_hidden * shown, output),
        _through_tanh(d_cell * write, candidate),
    )
    return torch.cat([part.to(gates.dtype) for part in parts], dim=2), d_cell * forget


def _opened(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """f, i, o and g in the cell's precision, each [B, P, U]."""
    units = cell.shape[2]
    opened = torch.sigmoid(gates[..., : 3 * units].to(cell.dtype))
    forget, write, output = opened.split(units, dim=2)
    return forget, write, output, torch.tanh(gates[..., 3 * units :].to(cell.dtype))


# One pass over memory each, also where nothing is compiled.
_through_logistic = torch.ops.aten.sigmoid_backward
_through_tanh = torch.ops.aten.tanh_backward


@dataclass(frozen=True)
class Arithmetic:
    """The two functions above, or what they were compiled to."""

    name: str
    advance: Callable[[Tensor, Tensor, Tensor | None, Tensor], tuple[Tensor, Tensor]] = advance
    retreat: Callable[
        [Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor], tuple[Tensor, Tensor]
    ] = retreat


EAGER: Final = Arithmetic("eager")


@functools.cache
def compiled() -> Arithmetic:
    """Compiled at their first use, for every number of examples and positions at once.

    Without a compiler that first use raises; :func:`probe` finds out beforehand.
    """
    # A worker meets every combination of precision, training, evaluation and layer with or
    # without vectors; past the limit of 8 PyTorch would quietly stop compiling.
    torch._dynamo.config.recompile_limit = 128
    return Arithmetic(
        "compiled", torch.compile(advance, dynamic=True), torch.compile(retreat, dynamic=True)
    )


@functools.cache
def probe(device: str) -> str:
    """Compile for a device and run once: "" when that works, else why not, in one line."""
    gates = torch.zeros(2, 2, 8, device=device)
    state = torch.zeros(2, 2, 2, device=device)
    try:
        with torch.no_grad():
            compiled().advance(gates, gates.clone(), None, state)
    except Exception as error:  # whatever a missing or broken compiler makes of it
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return ""
