"""The C-LSTM: an LSTM at every position of a convolution.

Shapes: B examples, T time steps, C input channels, V vector size, U units, H x W input map,
H' x W' output map (equal to H x W when padded).

Equations (Barnum, Talukder, Yue, "On the Benefits of Early Fusion in Multimodal Representation
Learning"; * is a convolution, weights shared over positions, state kept per position):

    f, i, o = logistic(W_x * x_t + W_h * h_(t-1) + W_a a_t + b)     one set of weights per gate
    g       = tanh(same form)
    c_t     = f c_(t-1) + i g
    h_t     = o tanh(c_t)

with h_0 = c_0 = 0. The vector a_t is given to every position alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

State = tuple[Tensor, Tensor]
"""Hidden state h and cell state c."""


class ConvLSTMCell(nn.Module):
    """One time step: the recurrent convolution and the gate arithmetic.

    Args:
        units: channels U of the state.
        kernel: odd side of the recurrent neighbourhood. The recurrent convolution is always
            zero-padded, because the state must keep its size over time.

    Inputs:
        inputs: what the gates take from outside, [B, 4U, H', W'], gates in the order f, i, o, g.
        state: (h, c), each [B, U, H', W'].

    Output: the new (h, c).
    """

    def __init__(self, units: int, kernel: int) -> None:
        super().__init__()
        self.recurrent = nn.Conv2d(units, 4 * units, kernel, padding=kernel // 2, bias=False)

    def forward(self, inputs: Tensor, state: State) -> State:
        """Advance one step."""
        hidden, cell = state
        gates = inputs + self.recurrent(hidden)
        units = cell.shape[1]
        forget, write, output = torch.sigmoid(gates[:, : 3 * units]).chunk(3, dim=1)
        cell = forget * cell + write * torch.tanh(gates[:, 3 * units :])
        return output * torch.tanh(cell), cell


class ConvLSTM(nn.Module):
    """A C-LSTM layer over a sequence, followed by optional max pooling of every h_t.

    Whatever does not depend on h_(t-1) is computed before the loop over time: the convolution of
    the maps (once if they do not change over time) and the projection of the vectors.

    Args:
        channels: channels C of the input maps.
        units: channels U of the state.
        vector_size: size V of the vector input; 0 for none.
        kernel: odd side of both neighbourhoods.
        padding: zero-pad the input convolution so that the map keeps its size.
        pool: side of the max pooling; 1 for none.

    Inputs:
        maps: [B, C, H, W], the same at every time step, or [B, T, C, H, W].
        vectors: [B, T, V], required exactly when ``vector_size`` is not 0.
        state: (h, c) to continue from, each [B, U, H', W']; zeros when None.

    Output: pooled h_t for all t, [B, T, U, H' // pool, W' // pool], and the last (h, c).

    The forget gate's bias starts at 1, so that a fresh network remembers (a choice; the paper
    does not say).
    """

    def __init__(
        self,
        channels: int,
        units: int,
        *,
        vector_size: int = 0,
        kernel: int = 3,
        padding: bool = True,
        pool: int = 1,
    ) -> None:
        super().__init__()
        self.units = units
        self.pool = pool
        self.from_maps = nn.Conv2d(
            channels, 4 * units, kernel, padding=kernel // 2 if padding else 0
        )
        self.from_vectors = nn.Linear(vector_size, 4 * units, bias=False) if vector_size else None
        self.cell = ConvLSTMCell(units, kernel)
        assert self.from_maps.bias is not None
        nn.init.ones_(self.from_maps.bias[:units])

    def forward(
        self, maps: Tensor, vectors: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Run over all time steps."""
        steps, projected = self._gate_inputs(maps, vectors)
        if state is None:
            zeros = steps[0].new_zeros(steps[0].shape[0], self.units, *steps[0].shape[2:])
            state = (zeros, zeros)
        outputs = []
        for step, inputs in enumerate(steps):
            # Summed here, not before: for all steps at once the sum would be the network's
            # largest tensor.
            state = self.cell(inputs if projected is None else inputs + projected[step], state)
            hidden = state[0]
            outputs.append(functional.max_pool2d(hidden, self.pool) if self.pool > 1 else hidden)
        return torch.stack(outputs, dim=1), state

    def _gate_inputs(
        self, maps: Tensor, vectors: Tensor | None
    ) -> tuple[Sequence[Tensor], Sequence[Tensor] | None]:
        """Per time step: convolved maps [B, 4U, H', W'] and projected vectors [B, 4U, 1, 1]."""
        if (vectors is None) != (self.from_vectors is None):
            raise ValueError("vectors must be given exactly when vector_size is not 0")
        projected = None
        if self.from_vectors is not None and vectors is not None:
            projected = self.from_vectors(vectors)[..., None, None].unbind(1)
        if maps.dim() == 5:
            convolved = self.from_maps(maps.flatten(0, 1))
            return convolved.unflatten(0, maps.shape[:2]).unbind(1), projected
        if projected is None:
            raise ValueError("maps [B, C, H, W] without vectors do not say how many time steps")
        return [self.from_maps(maps)] * len(projected), projected
