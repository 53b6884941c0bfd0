"""The early-fusion digit network at any fusion depth.

Barnum, Talukder, Yue: "On the Benefits of Early Fusion in Multimodal Representation Learning".
With L = 2 levels, fusion depth 0 is the paper's initial-layer fusion, 1 its second-layer fusion,
2 its fully-connected fusion; deeper networks follow the same rule.

Shapes: B examples, T time steps, S image side, F spectrogram bins, U units.

    images [B, 1, S, S] ------- d levels of convolution + pooling --\\
                                                                     C-LSTM levels d+1 ... L -- head
    spectrograms [B, T, F] ---- d levels of LSTM -------------------/

At d = L the last image maps (flattened) and the last LSTM output are concatenated instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from models.convlstm import ConvLSTM
from models.streams import AudioLevel, ImageLevel, State

MODALITIES: Final = ("both", "visual", "audio")
POOL: Final = 2


@dataclass(frozen=True, kw_only=True)
class EarlyFusionSettings:
    """Architecture of one network. The defaults are the paper's.

    Attributes:
        levels: number of levels L, 1 to 6.
        fusion_depth: levels d the streams run apart, 0 (initial) to L (fully connected).
        units: channels of every convolution, LSTM and C-LSTM.
        kernel: odd side of every convolution.
        padding: zero-pad the input convolutions (a choice; the paper does not say).
        dense_units: width of the dense layer before the classes.
        modality: both, or visual / audio alone with the other input set to zero.

    Raises:
        ValueError: a field is outside its range, or the map shrinks to nothing.
    """

    levels: int = 2
    fusion_depth: int = 0
    units: int = 64
    kernel: int = 3
    padding: bool = True
    dense_units: int = 128
    modality: str = "both"
    image_size: int = 28
    bins: int = 201
    classes: int = 10

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= 6:
            raise ValueError(f"levels is {self.levels}; allowed: 1 to 6")
        if not 0 <= self.fusion_depth <= self.levels:
            raise ValueError(
                f"fusion_depth is {self.fusion_depth}; allowed: 0 to levels ({self.levels})"
            )
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel}; allowed: an odd number from 1")
        for name in ("units", "dense_units", "image_size", "bins", "classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        if self.modality not in MODALITIES:
            raise ValueError(f"modality is {self.modality!r}; allowed: {', '.join(MODALITIES)}")
        self.map_sizes()

    def map_sizes(self) -> list[int]:
        """Side of the maps after 0, 1, ... L levels. A map of side 1 is no longer pooled."""
        sizes = [self.image_size]
        for level in range(1, self.levels + 1):
            size = sizes[-1] if self.padding else sizes[-1] - self.kernel + 1
            if size < 1:
                raise ValueError(
                    f"levels is {self.levels}, but without padding the map is used up before "
                    f"level {level}; allowed: fewer levels, or padding: true"
                )
            sizes.append(size // self.pool_of(size))
        return sizes

    @staticmethod
    def pool_of(size: int) -> int:
        """Pooling after a level whose maps have this side."""
        return POOL if size >= POOL else 1


class EarlyFusionNetwork(nn.Module):
    """See the module. Inputs images [B, 1, S, S] and spectrograms [B, T, F], T at least 1."""

    def __init__(self, settings: EarlyFusionSettings) -> None:
        super().__init__()
        self.settings = settings
        depth, units = settings.fusion_depth, settings.units
        sizes = settings.map_sizes()
        image_channels = [1] + [units] * depth
        audio_channels = [settings.bins] + [units] * depth
        self.image_levels = nn.ModuleList(
            ImageLevel(image_channels[level], units, **self._map_options(sizes[level]))
            for level in range(depth)
        )
        self.audio_levels = nn.ModuleList(
            AudioLevel(audio_channels[level], units) for level in range(depth)
        )
        self.joint_levels = nn.ModuleList(
            ConvLSTM(
                image_channels[depth] if level == depth else units,
                units,
                vector_size=audio_channels[depth] if level == depth else 0,
                **self._map_options(sizes[level]),
            )
            for level in range(depth, settings.levels)
        )
        flat = units * sizes[-1] ** 2 + (0 if self.joint_levels else audio_channels[depth])
        self.head = nn.Sequential(
            nn.Linear(flat, settings.dense_units),
            nn.ReLU(),
            nn.Linear(settings.dense_units, settings.classes),
        )

    def forward(self, images: Tensor, spectrograms: Tensor) -> Tensor:
        """Logits [B, classes] after the last time step."""
        return self.resume(self.image_features(images), spectrograms)[0]

    def outputs_over_time(self, images: Tensor, spectrograms: Tensor) -> Tensor:
        """Logits [B, T, classes] that the network would give if the clip ended at each step."""
        features, _ = self._features(self.image_features(images), spectrograms, None)
        logits: Tensor = self.head(features)
        return logits

    def image_features(self, images: Tensor) -> Tensor:
        """What the image stream gives where the streams meet, [B, C, H, W]."""
        if self.settings.modality == "audio":
            images = torch.zeros_like(images)
        for level in self.image_levels:
            images = level(images)
        return images

    def resume(
        self, maps: Tensor, spectrograms: Tensor, states: list[State] | None = None
    ) -> tuple[Tensor, list[State]]:
        """Run on from ``states`` over the given time steps.

        A clip may so be split anywhere in time: the zero frames before its onset depend on the
        image alone, and serve every recording paired with that image.

        Args:
            maps: from :meth:`image_features`, [B, C, H, W].
            spectrograms: the next time steps, [B, T, F].
            states: what an earlier call returned; None at the start of the clip.

        Returns:
            Logits [B, classes] after the last step, and the states there: one (h, c) per audio
            level, each [1, B, U], then one per C-LSTM level, each [B, U, H', W'].
        """
        features, states = self._features(maps, spectrograms, states)
        logits: Tensor = self.head(features[:, -1])
        return logits, states

    def _features(
        self, maps: Tensor, spectrograms: Tensor, states: list[State] | None
    ) -> tuple[Tensor, list[State]]:
        """The head's input [B, T, N] at every time step, and the states after the last."""
        if self.settings.modality == "visual":
            spectrograms = torch.zeros_like(spectrograms)
        earlier: list[State | None] = [None] * self.settings.levels
        if states is not None:
            earlier = list(states)
        later: list[State] = []
        sequence = spectrograms
        for audio_level, before in zip(self.audio_levels, earlier, strict=False):
            sequence, after = audio_level(sequence, before)
            later.append(after)
        if not self.joint_levels:
            flat = maps.flatten(1)[:, None].expand(-1, sequence.shape[1], -1)
            return torch.cat([flat, sequence], dim=2), later
        joint = maps
        vectors: Tensor | None = sequence
        for joint_level, before in zip(self.joint_levels, earlier[len(later) :], strict=True):
            joint, after = joint_level(joint, vectors, before)
            vectors = None
            later.append(after)
        return joint.flatten(2), later

    def _map_options(self, size: int) -> dict[str, Any]:
        """Kernel, padding and pooling of a level whose input maps have this side."""
        settings = self.settings
        grown = size if settings.padding else size - settings.kernel + 1
        return {
            "kernel": settings.kernel,
            "padding": settings.padding,
            "pool": settings.pool_of(grown),
        }


def count_parameters(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
