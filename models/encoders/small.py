"""Small networks of one stream: dense layers for vectors, convolutions for all that has positions.

Shapes: B examples, C channels, and positions of any number of dimensions, time first where there
is time: [B, C, T], [B, C, H, W], [B, C, T, M], [B, C, T, H, W]. Level l of L has width * 2**(l - 1)
channels and, but in a network of dense layers, halves every size:

    x = relu(norm(conv3(x, stride 2, zeros around)))

Pixels are told their place: two channels more hold height and width from -1 to 1, since the average
over all positions would else forget where something is.

The normalisation is over the channels of each position by itself, and what is padded in time is set
to zero in front of every level: an example gives the same, to rounding, however far it is padded.

Liu et al.: "An Intriguing Failing of Convolutional Neural Networks and the CoordConv Solution". Ba,
Kiros, Hinton: "Layer Normalization". **Choice**: over channels alone, for that reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from fusion_search.models.couplings.mmtm import squeeze
from fusion_search.models.layout import View

VALUES: Final = "values"
LENGTHS: Final = "lengths"
"""Keys of a padded input: [B, C, T, ...], and how many steps of T are there, [B] int64."""

_PLACES: Final = (-2, -1)
"""Dimensions of height and width."""

_CONVOLUTIONS: Final[Mapping[int, Any]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def level_names(levels: int) -> tuple[str, ...]:
    """``level1`` to ``levelL``: submodules of every encoder here."""
    return tuple(f"level{number}" for number in range(1, levels + 1))


class DenseEncoder(nn.Module):
    """Dense layers.

    Args:
        values: D.
        width: of the first level.
        levels: L.
        dropout: of what it gives.

    Input: [B, D]. Output: [B, channels].

    Attributes:
        channels: of its end.
    """

    def __init__(self, values: int, width: int, levels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.names = level_names(levels)
        for number, name in enumerate(self.names):
            wide = width << number
            layer = nn.Sequential(nn.Linear(values, wide), nn.LayerNorm(wide), nn.ReLU())
            self.add_module(name, layer)
            values = wide
        self.channels = values
        self.dropout = nn.Dropout(dropout)

    def forward(self, vector: Tensor) -> Tensor:
        """Vectors to features."""
        for name in self.names:
            vector = self.get_submodule(name)(vector)
        found: Tensor = self.dropout(vector)
        return found


class ConvolutionalEncoder(nn.Module):
    """Convolutions, then the average over all positions that are there.

    Args:
        channels: of the input.
        dimensions: of its positions, 1 to 3.
        width: of the first level.
        levels: L.
        dropout: of what it gives.

    Input: [B, C, *size], or [B, C, T, ...] with lengths [B] of T. Output: [B, channels].

    Attributes:
        channels: of its end.
    """

    def __init__(
        self, channels: int, dimensions: int, width: int, levels: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.names, self.has_places = level_names(levels), dimensions > 1
        channels += len(_PLACES) * self.has_places
        for number, name in enumerate(self.names):
            wide = width << number
            layer = nn.Sequential(
                _CONVOLUTIONS[dimensions](channels, wide, 3, stride=2, padding=1),
                ChannelNorm(wide),
                nn.ReLU(),
            )
            self.add_module(name, layer)
            channels = wide
        self.channels = channels
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What a stream takes to features; ``lengths`` are those of a padded one."""
        mask: Tensor | None = None
        if self.has_places:
            values = with_places(values)
            if lengths is not None:
                values = values * time_mask(lengths, values.shape[2:])[:, None]
        for name in self.names:
            values = self.get_submodule(name)(values)
            if lengths is not None:
                lengths = halved(lengths)
                mask = time_mask(lengths, values.shape[2:])
                values = values * mask[:, None]
        found: Tensor = self.dropout(squeeze(values, mask))
        return found


def with_places(values: Tensor) -> Tensor:
    """[B, C, ..., H, W] to [B, C + 2, ..., H, W]: how high and how far to the right, -1 to 1."""
    shape = (len(values), 1, *values.shape[2:])
    found = [values]
    for dimension in _PLACES:
        size = [1] * values.dim()
        size[dimension] = values.shape[dimension]
        place = torch.linspace(-1, 1, values.shape[dimension], device=values.device)
        found.append(place.to(values.dtype).reshape(size).expand(shape))
    return torch.cat(found, dim=1)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation of [B, C, *size] over the channels of each position."""

    def forward(self, values: Tensor) -> Tensor:
        """The same shape."""
        return super().forward(values.movedim(1, -1)).movedim(-1, 1)


def halved(lengths: Tensor) -> Tensor:
    """Steps behind a convolution of stride 2 that is padded by one."""
    return (lengths + 1) // 2


def time_mask(lengths: Tensor, sizes: Sequence[int]) -> Tensor:
    """Which positions of [B, C, T, ...] are there.

    Args:
        lengths: [B] int64.
        sizes: (T, ...).

    Returns:
        [B, T, ...] bool.
    """
    there = torch.arange(sizes[0], device=lengths.device) < lengths[:, None]
    return there.reshape(len(there), -1, *[1] * (len(sizes) - 1)).expand(len(there), *sizes)


class LevelMask:
    """The mask behind a level of a ``ConvolutionalEncoder``, from its padded input.

    Args:
        level: from 1 on.
    """

    def __init__(self, level: int) -> None:
        self.level = level

    def __call__(self, given: Mapping[str, Tensor]) -> Tensor:
        """[B, *size behind the level] bool."""
        lengths, sizes = given[LENGTHS], given[VALUES].shape[2:]
        for _ in range(self.level):
            lengths = halved(lengths)
            sizes = torch.Size((size + 1) // 2 for size in sizes)
        return time_mask(lengths, sizes)


def padded_view(level: int) -> View:
    """How couplings see a level of a padded stream."""
    return View(mask=LevelMask(level))
