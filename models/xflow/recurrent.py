"""{CNN x MLP}-LSTM: every frame through one small CNN and MLP, then an LSTM over the clip.

Shapes on AVletters: B clips of up to T = 39 steps, N frames of theirs, one below the other.

    image [N, 1, 80, 60] -> level1 [N, 8, 40, 30] -> level2 [N, 16, 20, 15] -> dense [N, 64]
    audio [N, 26]        -> level1 [N, 32]        -> level2 [N, 32]
    both  [N, 96 or more] -> LSTM [B, 64]

Only steps that are there are computed: what a mask leaves out costs nothing, and leaves the LSTM's
state as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from fusion_search.models.coupled.network import CoupledNetwork
from fusion_search.models.couplings.contract import Features
from fusion_search.models.layout import Feature, Placement, Tree
from fusion_search.models.xflow.norm import StepNorm
from fusion_search.models.xflow.sites import AUDIO, IMAGE, connected, dense_of, xflow_sites
from fusion_search.models.xflow.widths import Widths

CROSS_SIZES = (32, 64)
UNITS: Final = 64
Dropouts = Literal["code", "paper"]
StepStatistics = Literal["valid", "all"]
DROPOUTS: Final = get_args(Dropouts)
STEP_STATISTICS: Final = get_args(StepStatistics)


class RecurrentXFlow(CoupledNetwork):
    """{CNN x MLP}-LSTM with the connections of a placement.

    Args:
        example: {"image": {"frames": [2, T, H, W], "there": [2, T]}, "audio": {"coefficients":
            [2, T, C], "there": [2, T]}}; a step that one of the streams lacks is left out.
        classes: how many.
        placement: see ``sites.py``.
        factor: all widths times this; 1 for the paper's.
        slope: what PReLU's slopes start at.
        momentum: of the running statistics of the steps' normalisations.
        dropouts: "code" (0.25 at the final merge of a network without connections, 0.5 with, none
            at the merging points before) or "paper" (0.5 at every merging point).
        step_statistics: of which steps the normalisations take them in training: "valid" ones, or
            "all", padded zeros included, as in the published model.

    Inputs: those of the example, with B clips. Output: logits [B, classes].
    """

    def __init__(
        self,
        example: Mapping[str, Any],
        classes: int,
        placement: Placement,
        *,
        factor: float = 1.0,
        slope: float = 0.0,
        momentum: float = 0.01,
        dropouts: Dropouts = "code",
        step_statistics: StepStatistics = "valid",
    ) -> None:
        width = Widths(factor)
        frames, coefficients = example[IMAGE]["frames"], example[AUDIO]["coefficients"]
        everywhere = dropouts == "paper"
        sides = (frames.shape[2], frames.shape[3])
        super().__init__(
            {
                IMAGE: {
                    "level1": lambda feature: _convolved(feature, width(8)),
                    "level2": lambda feature: _convolved(feature, width(16)),
                    "dense": lambda feature: dense_of(feature, width(64)),
                },
                AUDIO: {
                    "level1": lambda feature: dense_of(feature, width(32)),
                    "level2": lambda feature: dense_of(feature, width(32)),
                },
            },
            xflow_sites(
                "cnn_mlp_lstm",
                sides,
                CROSS_SIZES,
                _merged_with_dropout if everywhere else _merged,
                slope=slope,
            ),
            lambda ends: _Recurrent(
                ends,
                frames.shape[1],
                width(UNITS),
                classes,
                dropout=0.5 if everywhere or connected(placement) else 0.25,
                momentum=momentum,
            ),
            {IMAGE: frames[:, :1], AUDIO: coefficients[:, 0]},
            placement,
        )
        self.every_step = step_statistics == "all"
        self.norm = StepNorm(frames.shape[1], momentum) if IMAGE in self.names else None
        # Twice as fast on a CPU.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, **inputs: Tree) -> Tree:
        """Clips to logits."""
        there = torch.stack([inputs[name]["there"] for name in self.names]).all(0)
        taken = torch.ones_like(there) if self.every_step and self.training else there
        example, step = taken.nonzero(as_tuple=True)
        given = {}
        if self.norm is not None:
            chosen = inputs[IMAGE]["frames"][example, step]
            given[IMAGE] = self.norm(chosen, step)[:, None]
        if AUDIO in self.names:
            given[AUDIO] = inputs[AUDIO]["coefficients"][example, step]
        assert isinstance(self.head, _Recurrent)
        return self.head.over_time(super().forward(**given), example, step, there)


def _convolved(feature: Feature, channels: int) -> nn.Module:
    # The maximum before ReLU: the same, of a quarter of the values.
    return _InParts(
        nn.Conv2d(feature.channels, channels, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(inplace=True)
    )


class _InParts(nn.Sequential):
    """Layers of which frames know nothing of each other: some at a time, whose maps fit a cache."""

    def forward(self, frames: Tensor) -> Tensor:
        """[N, C, H, W] to what the layers give."""
        parts = list(frames.split(64))
        for number, part in enumerate(parts):
            for layer in self:
                part = layer(part)
            parts[number] = part
        return torch.cat(parts)


def _merged(level: int, stream: str, feature: Feature) -> nn.Module:
    return nn.Identity()


def _merged_with_dropout(level: int, stream: str, feature: Feature) -> nn.Module:
    # What the audio stream gets at level 2 meets the final merge's dropout.
    return nn.Identity() if (level, stream) == (2, AUDIO) else nn.Dropout(0.5)


class _Recurrent(nn.Module):
    """The final merge frame by frame, and then the LSTM and the classes."""

    def __init__(
        self,
        ends: Features,
        steps: int,
        units: int,
        classes: int,
        *,
        dropout: float,
        momentum: float,
    ) -> None:
        super().__init__()
        self.names = tuple(ends)
        self.norm, self.dropout = StepNorm(steps, momentum), nn.Dropout(dropout)
        self.lstm = nn.LSTM(sum(one.channels for one in ends.values()), units, batch_first=True)
        self.classes = nn.Linear(units, classes)
        _start(self.lstm)

    def forward(self, ends: Mapping[str, Tensor]) -> Tensor:
        """Frames' features [N, C], joined."""
        return torch.cat([ends[name] for name in self.names], 1)

    def over_time(self, joined: Tensor, example: Tensor, step: Tensor, there: Tensor) -> Tensor:
        """Logits [B, classes] of the state behind the last step that is there.

        Args:
            joined: [N, C].
            example, step: [N], where each frame belongs.
            there: [B, T]; frames elsewhere count in the statistics alone.
        """
        merged = self.dropout(self.norm(joined, step))
        counts = there.sum(1)
        # Steps that are there, moved together: the others leave the state as it is.
        place = there.cumsum(1) - 1
        kept = there[example, step]
        example, step = example[kept], step[kept]
        sequences = merged.new_zeros(len(there), int(counts.max()), merged.shape[1])
        sequences = sequences.index_put((example, place[example, step]), merged[kept])
        packed = pack_padded_sequence(
            sequences, counts.cpu(), batch_first=True, enforce_sorted=False
        )
        _, (last, _) = self.lstm(packed)
        logits: Tensor = self.classes(last[-1])
        return logits


def _start(lstm: nn.LSTM) -> None:
    """One bias per gate, 1 at the forget gate; Glorot-uniform and orthogonal weights."""
    units = lstm.hidden_size
    weights = dict(lstm.named_parameters())
    nn.init.xavier_uniform_(weights["weight_ih_l0"])
    nn.init.orthogonal_(weights["weight_hh_l0"])
    for name in ("bias_ih_l0", "bias_hh_l0"):
        nn.init.zeros_(weights[name])
    with torch.no_grad():
        # PyTorch's order: input, forget, cell, output.
        weights["bias_ih_l0"][units : 2 * units] = 1
    weights["bias_hh_l0"].requires_grad_(False)
