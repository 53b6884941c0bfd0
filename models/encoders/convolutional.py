"""A small convolutional network with batch normalisation, trained from scratch.

Level l has widths[l - 1] channels and halves height and width:

    x = relu(batch_norm(conv3(x, stride 2, zeros around)))

What is missing of the input, as in depth maps, is zero, and the network is told where: the mask is
one more channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fusion_search.models.encoders.small import level_names


class ConvolutionalNetwork(nn.Module):
    """Levels of convolutions, then the average over all positions.

    Args:
        channels: of the input, the mask not counted.
        masked: whether a mask comes with it.
        widths: channels of the levels.

    Input: [B, C, H, W], and a mask [B, 1, H, W], True where there is something. Output: [B,
    channels].

    Attributes:
        names: of the levels, level1 to levelL, behind which sites may lie.
        channels: of its end.
    """

    def __init__(self, channels: int, masked: bool, widths: Sequence[int]) -> None:
        super().__init__()
        self.names, self.masked = level_names(len(widths)), masked
        channels += masked
        for name, width in zip(self.names, widths, strict=True):
            layers = nn.Sequential(
                nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            )
            self.add_module(name, layers)
            channels = width
        self.channels = channels

    def forward(self, values: Tensor, measured: Tensor | None = None) -> Tensor:
        """Images, or depth and where it was measured, to features."""
        if measured is not None:
            values = torch.cat([values * measured, measured.to(values.dtype)], dim=1)
        for name in self.names:
            values = self.get_submodule(name)(values)
        return values.mean((2, 3))
