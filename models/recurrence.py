"""The time loop of a C-LSTM, with its own backward pass.

Shapes: T time steps, B examples, U units, H x W map, P = H W positions. Everything lies in memory
channels last, so that maps [B, U, H, W] are a matrix [B, P, U]; the gates are [B, P, 4U] in the
order f, i, o, g.

Forward and backward are written out: so the gate arithmetic of a step is one pass over memory
when compiled, of a step only h_t, c_t and the gates before the logistic function are kept, and
what is constant over time gets its gradient without a copy per step. Nothing larger than a step is
made at once: memory of that size is used again by the next step, larger is fetched anew from the
operating system, which costs more than the arithmetic. With z_t the gates before the logistic
function, and dX the gradient of X:

    dc_t  = dc_t + dh_t o (1 - tanh(c_t)^2)
    dz_t  = [dc_t c_(t-1) f(1 - f),  dc_t g i(1 - i),  dh_t tanh(c_t) o(1 - o),  dc_t i (1 - g^2)]
    dc_(t-1) = dc_t f
    dh_(t-1) = dz_t convolved with W_h transposed
    dW_h  = sum over t of dz_t correlated with h_(t-1)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fusion_search.models.gates import Arithmetic


class Recurrence(torch.autograd.Function):
    """All time steps.

    Inputs:
        inputs: [T, B, P, 4U], or [1, B, P, 4U] when the maps do not change over time.
        projected: [T, B, 4U], or None without vectors.
        weight: [4U, U, K, K].
        hidden, cell: [B, P, U] to start from; the cell is float32 at least.
        steps: T.
        size: of the maps.
        arithmetic: of the gates.

    Output: the last cell, then h_t for all t, each [B, P, U].
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        projected: Tensor | None,
        weight: Tensor,
        hidden: Tensor,
        cell: Tensor,
        steps: int,
        size: Sequence[int],
        arithmetic: Arithmetic,
    ) -> tuple[Tensor, ...]:
        """Keep of every step what the way back needs."""
        hiddens, cells, gates = [hidden], [cell], []
        for step in range(steps):
            z = _convolve(hidden, weight, size)
            hidden, cell = arithmetic.advance(z, *_step_inputs(inputs, projected, step), cell)
            hiddens.append(hidden)
            cells.append(cell)
            gates.append(z)
        ctx.save_for_backward(weight, *hiddens, *cells, *gates)
        ctx.set_materialize_grads(False)
        ctx.steps, ctx.size, ctx.arithmetic = steps, size, arithmetic
        ctx.constant, ctx.projected = len(inputs) == 1, projected is not None
        return (cell, *hiddens[1:])

    @staticmethod
    def backward(ctx: Any, d_cell: Tensor | None, *d_hiddens: Tensor | None) -> Any:
        """See the module."""
        steps, size = ctx.steps, ctx.size
        weight, *saved = ctx.saved_tensors
        hiddens, cells, gates = saved[:steps], saved[steps + 1 :][: steps + 1], saved[-steps:]
        exact = cells[0].dtype
        d_weight = torch.zeros_like(weight, dtype=exact)
        d_inputs: list[Tensor] = []
        d_projected: list[Tensor] = []
        d_hidden = torch.zeros_like(hiddens[0])
        d_cell = torch.zeros_like(cells[0]) if d_cell is None else d_cell
        for step in reversed(range(steps)):
            dz, d_cell = ctx.arithmetic.retreat(
                gates[step], cells[step], cells[step + 1], d_hidden, d_hiddens[step], d_cell
            )
            d_hidden, d_of_step = _convolution_gradients(dz, hiddens[step], weight, size)
            d_weight += d_of_step
            if ctx.projected:
                d_projected.insert(0, dz.sum(1))
            if not ctx.constant:
                d_inputs.insert(0, dz)
            elif d_inputs:
                d_inputs[0] += dz
            else:
                d_inputs.append(dz.to(exact, copy=True))
        return (
            torch.stack(d_inputs).to(gates[0].dtype),
            torch.stack(d_projected) if ctx.projected else None,
            d_weight.to(weight.dtype), d_hidden, d_cell, None, None, None,
        )  # fmt: skip


def infer(
    inputs: Tensor,
    projected: Tensor | None,
    weight: Tensor,
    hidden: Tensor,
    cell: Tensor,
    steps: int,
    size: Sequence[int],
    arithmetic: Arithmetic,
    pool: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """As :class:`Recurrence`, but with nothing kept, and every h_t pooled at once.

    Returns:
        Pooled h_t for all t, [T, B, U, H // pool, W // pool], the last h and the last cell.
    """
    outputs = []
    for step in range(steps):
        z = _convolve(hidden, weight, size)
        hidden, cell = arithmetic.advance(z, *_step_inputs(inputs, projected, step), cell)
        outputs.append(pooled(hidden, size, pool))
    return torch.stack(outputs), hidden, cell


def pooled(hidden: Tensor, size: Sequence[int], pool: int) -> Tensor:
    """[N, P, U] as maps [N, U, H // pool, W // pool]."""
    maps = _as_maps(hidden, size)
    if pool > 1:
        maps = functional.max_pool2d(maps, pool)
    return maps


def _step_inputs(
    inputs: Tensor, projected: Tensor | None, step: int
) -> tuple[Tensor, Tensor | None]:
    """What the gates of one step take from outside."""
    maps = inputs[step if len(inputs) > 1 else 0]
    return maps, None if projected is None else projected[step]


def _convolve(hidden: Tensor, weight: Tensor, size: Sequence[int]) -> Tensor:
    """The recurrent convolution of [B, P, U]: a new tensor [B, P, 4U]."""
    maps = functional.conv2d(_as_maps(hidden, size), weight, padding=weight.shape[2] // 2)
    return _as_positions(maps)


def _as_maps(positions: Tensor, size: Sequence[int]) -> Tensor:
    """[N, P, C] seen as [N, C, H, W]."""
    maps: Tensor = positions.unflatten(1, tuple(size)).permute(0, 3, 1, 2)
    return maps


def _as_positions(maps: Tensor) -> Tensor:
    """[N, C, H, W] as [N, P, C], seen where the maps lie channels last and copied where not."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def _convolution_gradients(
    dz: Tensor, hidden: Tensor, weight: Tensor, size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Of h [B, P, U], and of the weights."""
    padding = [weight.shape[2] // 2] * 2
    d_hidden, d_weight, _ = torch.ops.aten.convolution_backward(
        _as_maps(dz, size), _as_maps(hidden, size), weight, None,
        [1, 1], padding, [1, 1], False, [0, 0], 1, [True, True, False],
    )  # fmt: skip
    return _as_positions(d_hidden), d_weight
