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

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fusion_search.models import gates
from fusion_search.models.recurrence import Recurrence, infer, pooled

State = tuple[Tensor, Tensor]
"""Hidden state h and cell state c."""


class RecurrentWeights(nn.Module):
    """W_h of all gates, [4U, U, K, K], in the order f, i, o, g."""

    def __init__(self, units: int, kernel: int) -> None:
        super().__init__()
        self.recurrent = nn.Conv2d(units, 4 * units, kernel, padding=kernel // 2, bias=False)


class ConvLSTM(nn.Module):
    """A C-LSTM layer over a sequence, followed by optional max pooling of every h_t.

    Whatever does not depend on h_(t-1) is computed before the loop over time: the convolution of
    the maps (once if they do not change over time) and the projection of the vectors.

    Args:
        channels: channels C of the input maps.
        units: channels U of the state.
        vector_size: size V of the vector input; 0 for none.
        kernel: odd side of both neighbourhoods. The recurrent convolution is always zero-padded,
            because the state must keep its size over time.
        padding: zero-pad the input convolution so that the map keeps its size.
        pool: side of the max pooling; 1 for none.

    Inputs:
        maps: [B, C, H, W], the same at every time step, or [B, T, C, H, W].
        vectors: [B, T, V], required exactly when ``vector_size`` is not 0.
        state: (h, c) to continue from, each [B, U, H', W']; zeros when None.

    Output: pooled h_t for all t, [B, T, U, H' // pool, W' // pool], and the last (h, c). Under
    autocast h has its precision, c has float32.

    The forget gate's bias starts at 1, so that a fresh network remembers (a choice; the paper
    does not say). How the steps are computed is set by :func:`set_engine`.
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
        self.cell = RecurrentWeights(units, kernel)
        self.arithmetic = gates.EAGER
        self.checkpoint_frames = 0
        assert self.from_maps.bias is not None
        nn.init.ones_(self.from_maps.bias[:units])

    def forward(
        self, maps: Tensor, vectors: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Run over all time steps."""
        if (vectors is None) != (self.from_vectors is None):
            raise ValueError("vectors must be given exactly when vector_size is not 0")
        constant = None
        if maps.dim() == 4:
            if vectors is None:
                raise ValueError("maps [B, C, H, W] without vectors do not say how many time steps")
            constant = self.convolve(maps)[None]
        steps = maps.shape[1] if vectors is None else vectors.shape[1]
        again = torch.is_grad_enabled() and 0 < self.checkpoint_frames < steps
        outputs = []
        for start in range(0, steps, self.checkpoint_frames if again else steps):
            part = slice(start, start + self.checkpoint_frames if again else steps)
            given = (
                constant,
                maps[:, part] if constant is None else None,
                None if vectors is None else vectors[:, part],
                state,
            )
            if again:
                some, state = checkpoint(
                    self._part, *given, use_reentrant=False, preserve_rng_state=False
                )
            else:
                some, state = self._part(*given)
            outputs.append(some)
        assert state is not None
        whole = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return whole.transpose(0, 1), state

    def _part(
        self,
        constant: Tensor | None,
        maps: Tensor | None,
        vectors: Tensor | None,
        state: State | None,
    ) -> tuple[Tensor, State]:
        """Some time steps; what is computed here need not be kept for the way back."""
        inputs = constant
        if inputs is None:
            assert maps is not None
            over_time = maps.transpose(0, 1)
            inputs = self.convolve(over_time.flatten(0, 1)).unflatten(0, over_time.shape[:2])
        projected = None if vectors is None else self.project(vectors)
        earlier = None if state is None else (_channels_last(state[0]), _channels_last(state[1]))
        outputs, (hidden, cell) = self.advance(inputs, projected, earlier)
        return outputs, (hidden.permute(0, 3, 1, 2), cell.permute(0, 3, 1, 2))

    def convolve(self, maps: Tensor) -> Tensor:
        """What maps [N, C, H, W] give to the gates, [N, H', W', 4U]."""
        return _channels_last(self.from_maps(maps.contiguous(memory_format=torch.channels_last)))

    def project(self, vectors: Tensor) -> Tensor:
        """What vectors [B, T, V] give to the gates, [T, B, 4U]."""
        assert self.from_vectors is not None
        projected: Tensor = self.from_vectors(vectors).transpose(0, 1).contiguous()
        return projected

    def advance(
        self, inputs: Tensor, projected: Tensor | None, state: State | None
    ) -> tuple[Tensor, State]:
        """The time loop over what :meth:`convolve` and :meth:`project` gave.

        Args:
            inputs: [T, B, H', W', 4U], or [1, B, H', W', 4U], the same at every step.
            projected: [T, B, 4U]; may be None in a layer without vectors.
            state: each [B, H', W', U]; zeros when None.

        Returns:
            Pooled h_t for all t, [T, B, U, H' // pool, W' // pool], and the last state.
        """
        batch, *size = inputs.shape[1:4]
        steps = len(inputs) if projected is None else len(projected)
        if state is None:
            shape = (batch, *size, self.units)
            exact = torch.promote_types(inputs.dtype, torch.float32)
            state = (inputs.new_zeros(shape), inputs.new_zeros(shape, dtype=exact))
        weight = self.cell.recurrent.weight.to(inputs.dtype)
        weight = weight.contiguous(memory_format=torch.channels_last)
        hidden, cell = state[0].to(inputs.dtype).flatten(1, 2), state[1].flatten(1, 2)
        inputs = inputs.flatten(2, 3)
        # The precisions are settled: autocast has nothing more to say.
        with torch.autocast(inputs.device.type, enabled=False):
            given = (inputs, projected, weight, hidden, cell, steps, tuple(size), self.arithmetic)
            if torch.is_grad_enabled():
                cell, *hiddens = Recurrence.apply(*given)  # type: ignore[no-untyped-call]
                hidden = hiddens[-1]
                outputs = torch.stack([pooled(one, size, self.pool) for one in hiddens])
            else:
                outputs, hidden, cell = infer(*given, self.pool)
        return outputs, (hidden.unflatten(1, size), cell.unflatten(1, size))


def set_engine(
    network: nn.Module, *, arithmetic: gates.Arithmetic, checkpoint_frames: int = 0
) -> None:
    """Choose how every C-LSTM of a network computes; the numbers differ by rounding alone.

    Args:
        network: any module.
        arithmetic: of the gates.
        checkpoint_frames: when training, keep only the state of every so many time steps and
            compute the steps between once more on the way back; 0 keeps everything.
    """
    for module in network.modules():
        if isinstance(module, ConvLSTM):
            module.arithmetic = arithmetic
            module.checkpoint_frames = checkpoint_frames


def _channels_last(maps: Tensor) -> Tensor:
    """[N, C, H, W] as [N, H, W, C]."""
    return maps.permute(0, 2, 3, 1).contiguous()
