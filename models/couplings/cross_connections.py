"""XFlow's cross-connections: learned transfer between a stream of maps and a stream of vectors.

Cangea, Velickovic, Lio: "XFlow: Cross-modal Deep Neural Networks for Audiovisual Classification".

Shapes: B examples, C channels, H x W map. Every module takes one tensor and gives one; the caller
concatenates (cross-connection) or adds (residual cross-connection) it to the other stream.

    cross-connection 2D -> 1D    MapToVector           pooled maps of the level -> vector
    cross-connection 1D -> 2D    VectorToMap           vector of the level -> maps
    residual 2D -> 1D            ResidualMapToVector   input image -> vector
    residual 1D -> 2D            VectorToMap           input vector -> maps

The paper's recurrent model is ``batch_norm=False`` and ``dropout=0`` throughout. Batch
normalisation cannot train on a batch of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion_search.models.couplings.spreading import LEAST, Spreading

SLOPE: Final = 0.25
Sides = tuple[int, int]
"""Height and width."""


class ElementPReLU(nn.Module):
    """PReLU with one slope per element of the activation, not per channel.

    Args:
        shape: the activation of one example.
        slope: what slopes start at. 0.25 is PyTorch's own; the released code of XFlow has 0, and
            the paper does not say.
        spread: the activation is what ``spread`` gives, with its channels last.

    Input and output: [B, *shape].

    Raises:
        ValueError: the input has another shape.
    """

    def __init__(self, shape: Sequence[int], slope: float = SLOPE, *, spread: bool = False) -> None:
        super().__init__()
        self.spread = spread
        self.slopes = nn.Parameter(torch.full(tuple(shape), slope))

    def forward(self, activation: Tensor) -> Tensor:
        """Scale what is negative."""
        if activation.shape[1:] != self.slopes.shape:
            raise ValueError(
                f"the activation of one example has shape {list(activation.shape[1:])}; "
                f"expected {list(self.slopes.shape)}"
            )
        last = activation.movedim(1, -1)
        # Another dtype is one that PyTorch's own refuses.
        if self.spread and last.is_contiguous() and activation.dtype == self.slopes.dtype:
            # To PyTorch an element is a channel, in the order in which they lie.
            flat = functional.prelu(last.flatten(1), self.slopes.movedim(0, -1).flatten())
            return flat.view(last.shape).movedim(-1, 1)
        return torch.where(activation >= 0, activation, activation * self.slopes)


class MapToVector(nn.Module):
    """Cross-connection 2D -> 1D: convolution 1 x 1, PReLU, BN, flatten, dense, PReLU.

    Args:
        channels: channels C of the maps.
        height: H of the maps.
        width: W of the maps.
        size: size of the vector.
        hidden_channels: channels of the convolution; as many as the maps have when None.
        batch_norm: normalise after the convolution.
        slope: what slopes of PReLU start at, see ``ElementPReLU``.

    Input [B, C, H, W], output [B, size].

    Raises:
        ValueError: a size is below 1, or the maps do not fit.
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        size: int,
        *,
        hidden_channels: int | None = None,
        batch_norm: bool = True,
        slope: float = SLOPE,
    ) -> None:
        super().__init__()
        hidden = channels if hidden_channels is None else hidden_channels
        _check_positive(
            channels=channels, height=height, width=width, size=size, hidden_channels=hidden
        )
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            ElementPReLU((hidden, height, width), slope),
            nn.BatchNorm2d(hidden) if batch_norm else nn.Identity(),
            nn.Flatten(),
            nn.Linear(hidden * height * width, size),
            ElementPReLU((size,), slope),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Transfer."""
        result: Tensor = self.layers(maps)
        return result


def default_kernel(height: int, width: int) -> int:
    """Side of the transposed convolution to a map: the nearest to a quarter of its shorter side.

    The paper's on 80 x 60 frames: 8 to the 40 x 30 maps of level 1, 4 to the 20 x 15 of level 2.
    """
    return max(1, (min(height, width) + 2) // 4)


class VectorToMap(nn.Module):
    """Cross-connection, or residual, 1D -> 2D.

    Dense n, PReLU, BN, dropout, reshape to one map, transposed convolution, PReLU, where
    n = (H - kernel + 1) (W - kernel + 1) makes the unpadded transposed convolution land on H x W.

    Args:
        size: size of the vector.
        height: H of the maps.
        width: W of the maps.
        channels: channels C of the maps.
        kernel: side of the transposed convolution; when None the nearest to a quarter of the
            map's shorter side.
        batch_norm: normalise after the dense layer.
        dropout: probability to drop an element of the map before the transposed convolution.
        final_batch_norm: normalise the result too (the paper's residual of level 1).
        slope: what slopes of PReLU start at, see ``ElementPReLU``.

    Input [B, size], output [B, C, H, W].

    Raises:
        ValueError: a size is below 1, the kernel is larger than the map, or dropout is no
            probability.
    """

    def __init__(
        self,
        size: int,
        height: int,
        width: int,
        channels: int,
        *,
        kernel: int | None = None,
        batch_norm: bool = True,
        dropout: float = 0.5,
        final_batch_norm: bool = False,
        slope: float = SLOPE,
    ) -> None:
        super().__init__()
        kernel = default_kernel(height, width) if kernel is None else kernel
        _check_positive(size=size, height=height, width=width, channels=channels, kernel=kernel)
        _check_dropout(dropout)
        if kernel > min(height, width):
            raise ValueError(
                f"kernel is {kernel}, larger than the map ({height} x {width}); "
                f"allowed: at most {min(height, width)}"
            )
        grid = (1, height - kernel + 1, width - kernel + 1)
        count = grid[1] * grid[2]
        self.layers = nn.Sequential(
            nn.Linear(size, count),
            ElementPReLU((count,), slope),
            nn.BatchNorm1d(count) if batch_norm else nn.Identity(),
            nn.Dropout(dropout),
            nn.Unflatten(1, grid),
            Spreading(channels, kernel),
            ElementPReLU((channels, height, width), slope, spread=kernel >= LEAST),
            nn.BatchNorm2d(channels) if final_batch_norm else nn.Identity(),
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """Transfer."""
        result: Tensor = self.layers(vectors)
        return result


class ResidualMapToVector(nn.Module):
    """Residual 2D -> 1D: max pool, dropout, flatten, dense, PReLU.

    Args:
        channels: channels C of the image.
        height: H of the image.
        width: W of the image.
        size: size of the vector.
        pool: height and width of the max pooling, which rounds down.
        stride: of the max pooling, likewise; its height and width when None.
        dropout: probability to drop an element of the pooled image.
        slope: what slopes of PReLU start at, see ``ElementPReLU``.

    Input [B, C, H, W], output [B, size].

    Raises:
        ValueError: a size is below 1, the pooling is larger than the image, or dropout is no
            probability.
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        size: int,
        *,
        pool: Sides = (4, 4),
        stride: Sides | None = None,
        dropout: float = 0.25,
        slope: float = SLOPE,
    ) -> None:
        super().__init__()
        steps = pool if stride is None else stride
        _check_positive(channels=channels, height=height, width=width, size=size)
        _check_positive(pool=min(pool), stride=min(steps))
        _check_dropout(dropout)
        if pool[0] > height or pool[1] > width:
            raise ValueError(
                f"pool is {pool[0]} x {pool[1]}, larger than the image ({height} x {width}); "
                f"allowed: at most {height} x {width}"
            )
        rows = (height - pool[0]) // steps[0] + 1
        columns = (width - pool[1]) // steps[1] + 1
        self.layers = nn.Sequential(
            nn.MaxPool2d(pool, steps),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(channels * rows * columns, size),
            ElementPReLU((size,), slope),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Transfer."""
        result: Tensor = self.layers(images)
        return result


def _check_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; allowed: 1 or more")


def _check_dropout(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; allowed: from 0 to below 1")
