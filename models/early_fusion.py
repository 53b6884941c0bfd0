"""The early-fusion digit network at any fusion depth.

Barnum, Talukder, Yue: "On the Benefits of Early Fusion in Multimodal Representation Learning".
With L = 2 levels, fusion depth 0 is the paper's initial-layer fusion, 1 its second-layer fusion,
2 its fully-connected fusion; deeper networks follow the same rule.

Shapes: B examples, T time steps, S image side, F spectrogram bins, U units.

    images [B, 1, S, S] ------- d levels of convolution + pooling --\\
                                                                     C-LSTM levels d+1 ... L -- head
    spectrograms [B, T, F] ---- d levels of LSTM -------------------/

At d = L the last image maps (flattened) and the last LSTM output are concatenated instead.
Between the separate levels, couplings may sit at insertion points, and a modality gate may weigh
the streams where they join: see ``models.placement``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from models.convlstm import ConvLSTM
from models.placement import CONCATENATION, PLAIN, GatedEnd, InsertionPoint, Placement
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
        placement: couplings between the separate levels, and how these end.
        dropout: before the dense layers, 0 to below 1.

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
    placement: Placement = PLAIN
    dropout: float = 0.0
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
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; allowed: 0 to below 1")
        self.placement.check_depth(self.fusion_depth)
        self.map_sizes()

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> EarlyFusionSettings:
        """The inverse of ``dataclasses.asdict``; checkpoints hold settings so."""
        placement: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in plain.get("placement", {}).items()
        }
        return EarlyFusionSettings(**{**plain, "placement": Placement(**placement)})

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
        points = [
            InsertionPoint(
                level,
                settings.placement,
                units=units,
                size=sizes[level],
                image_size=settings.image_size,
                bins=settings.bins,
            )
            for level in range(1, depth + 1)
        ]
        self.insertion_points = nn.ModuleList(points)
        image_channels = [1] + [point.image_channels for point in points]
        audio_channels = [settings.bins] + [point.audio_channels for point in points]
        self.image_levels = nn.ModuleList(
            ImageLevel(image_channels[level], units, **self._map_options(sizes[level]))
            for level in range(depth)
        )
        self.audio_levels = nn.ModuleList(
            AudioLevel(audio_channels[level], units) for level in range(depth)
        )
        self.gate: GatedEnd | None = None
        if settings.placement.fusion != CONCATENATION:
            self.gate = GatedEnd(
                settings.placement.fusion,
                image_channels=image_channels[depth],
                audio_channels=audio_channels[depth],
                units=units,
                size=sizes[depth],
            )
            image_channels[depth] = audio_channels[depth] = units
        self.joint_levels = nn.ModuleList(
            ConvLSTM(
                image_channels[depth] if level == depth else units,
                units,
                vector_size=audio_channels[depth] if level == depth else 0,
                **self._map_options(sizes[level]),
            )
            for level in range(depth, settings.levels)
        )
        flat = (
            units * sizes[-1] ** 2
            if self.joint_levels
            else image_channels[depth] * sizes[-1] ** 2 + audio_channels[depth]
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Sequential(
            nn.Linear(flat, settings.dense_units),
            nn.ReLU(),
            nn.Linear(settings.dense_units, settings.classes),
        )

    def forward(self, images: Tensor, spectrograms: Tensor) -> Tensor:
        """Logits [B, classes] after the last time step."""
        if not self.settings.placement.coupled:
            return self.resume(self.image_features(images), spectrograms)[0]
        if self.settings.modality == "audio":
            images = torch.zeros_like(images)
        if self.settings.modality == "visual":
            spectrograms = torch.zeros_like(spectrograms)
        maps, sequence, states = self._coupled(images, spectrograms)
        features, _ = self._joined(maps, sequence, [None] * self.settings.levels, states)
        logits: Tensor = self.head(self.dropout(features[:, -1]))
        return logits

    def outputs_over_time(self, images: Tensor, spectrograms: Tensor) -> Tensor:
        """Logits [B, T, classes] that the network would give if the clip ended at each step."""
        if self.settings.placement.coupled:
            # Couplings look at the whole sound, so every end is a clip of its own.
            ends = range(1, spectrograms.shape[1] + 1)
            return torch.stack([self(images, spectrograms[:, :end]) for end in ends], dim=1)
        features, _ = self._features(self.image_features(images), spectrograms, None)
        logits: Tensor = self.head(self.dropout(features))
        return logits

    def image_features(self, images: Tensor) -> Tensor:
        """What the image stream, left to itself, gives at the end of the separate levels.

        [B, C, H, W]; for :meth:`resume`.
        """
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

        Raises:
            ValueError: couplings tie the streams together, so that time cannot be split.
        """
        if self.settings.placement.coupled:
            raise ValueError("a network with couplings cannot be run in parts; call it whole")
        features, states = self._features(maps, spectrograms, states)
        logits: Tensor = self.head(self.dropout(features[:, -1]))
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
        return self._joined(maps, sequence, earlier, later)

    def _coupled(self, images: Tensor, spectrograms: Tensor) -> tuple[Tensor, Tensor, list[State]]:
        """Both streams at the end of the separate levels, and the audio levels' states."""
        maps, sequence = images, spectrograms
        states = []
        levels = zip(self.image_levels, self.audio_levels, self.insertion_points, strict=True)
        for image_level, audio_level, point in levels:
            maps = image_level(maps)
            sequence, state = audio_level(sequence)
            states.append(state)
            maps, sequence = point(maps, sequence, images, spectrograms)
        return maps, sequence, states

    def _joined(
        self,
        maps: Tensor,
        sequence: Tensor,
        earlier: list[State | None],
        later: list[State],
    ) -> tuple[Tensor, list[State]]:
        """From the end of the separate levels on; ``later`` holds the audio levels' states."""
        if self.gate is not None:
            maps, sequence = self.gate(maps, sequence)
        if not self.joint_levels:
            if maps.dim() == 4:
                maps = maps[:, None].expand(-1, sequence.shape[1], -1, -1, -1)
            return torch.cat([maps.flatten(2), sequence], dim=2), later
        joint = maps
        vectors: Tensor | None = sequence
        for joint_level, before in zip(self.joint_levels, earlier[len(later) :], strict=True):
            joint, after = joint_level(joint, vectors, before)
            vectors = None
            later = [*later, after]
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
