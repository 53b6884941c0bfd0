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
the streams where they join: see ``placement.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion_search.models.cases import Sounds, Stream, last_outputs, meet
from fusion_search.models.convlstm import ConvLSTM
from fusion_search.models.early_fusion_layout import early_fusion_layout
from fusion_search.models.layout import Layout
from fusion_search.models.placement import (
    CONCATENATION,
    PLAIN,
    EarlyFusionPlacement,
    GatedEnd,
    InsertionPoint,
)
from fusion_search.models.streams import AudioLevel, ImageLevel

MODALITIES: Final = ("both", "visual", "audio")
POOL: Final = 2
POOLINGS: Final = ("full", "literal")
MOST_LEVELS: Final = 6


@dataclass(frozen=True, kw_only=True)
class EarlyFusionSettings:
    """Architecture of one network. The defaults are the paper's.

    Attributes:
        levels: number of levels L, 1 to 6.
        fusion_depth: levels d the streams run apart, 0 (initial) to L (fully connected).
        units: channels of every convolution, LSTM and C-LSTM.
        kernel: odd side of every convolution.
        padding: zero-pad the input convolutions (a choice; the paper does not say).
        pooling: "full" pools after every level, so that all fusion depths see maps of one size (a
            choice); "literal" after the C-LSTM levels alone, as the paper prints the late models.
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
    pooling: str = "full"
    placement: EarlyFusionPlacement = PLAIN
    dropout: float = 0.0
    image_size: int = 28
    bins: int = 201
    classes: int = 10

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= MOST_LEVELS:
            raise ValueError(f"levels is {self.levels}; allowed: 1 to {MOST_LEVELS}")
        if not 0 <= self.fusion_depth <= self.levels:
            raise ValueError(
                f"fusion_depth is {self.fusion_depth}; allowed: 0 to levels ({self.levels})"
            )
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel}; allowed: an odd number from 1")
        for name in ("units", "dense_units", "image_size", "bins", "classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling is {self.pooling!r}; allowed: {', '.join(POOLINGS)}")
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
        return EarlyFusionSettings(**{**plain, "placement": EarlyFusionPlacement(**placement)})

    @property
    def layout(self) -> Layout:
        """Where the streams of such a network may be coupled."""
        return early_fusion_layout(
            sizes=self.map_sizes(),
            units=self.units,
            bins=self.bins,
            fusion_depth=self.fusion_depth,
        )

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
            sizes.append(size // self.pool_at(level, size))
        return sizes

    def pool_at(self, level: int, size: int) -> int:
        """Pooling after a level, from 1 on, whose maps have this side."""
        if self.pooling == "literal" and level <= self.fusion_depth:
            return 1
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
            ImageLevel(image_channels[level], units, **self._map_options(level, sizes[level]))
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
                **self._map_options(level, sizes[level]),
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

    @property
    def layout(self) -> Layout:
        """Where its streams may be coupled."""
        return self.settings.layout

    @property
    def exchanges(self) -> nn.ModuleList:
        """The couplings and connections, by insertion point."""
        return self.insertion_points

    def forward(self, images: Tensor, spectrograms: Tensor) -> Tensor:
        """Logits [B, classes] after the last time step."""
        return self._classify(self._features(images, spectrograms)[:, -1])

    def outputs_over_time(self, images: Tensor, spectrograms: Tensor) -> Tensor:
        """Logits [B, T, classes] that the network would give if the clip ended at each step."""
        if self.settings.placement.coupled:
            # Couplings look at the whole sound, so every end is a clip of its own.
            ends = range(1, spectrograms.shape[1] + 1)
            return torch.stack([self(images, spectrograms[:, :end]) for end in ends], dim=1)
        return self._classify(self._features(images, spectrograms))

    def hear(self, spectrograms: Tensor, silent: Tensor | None = None) -> Sounds:
        """Run the audio levels as far as no image has a say: once per sound, for all its cases.

        Args:
            spectrograms: [R, T, F].
            silent: [R] int64, leading time steps that are exactly zero, where known.
        """
        if silent is None:
            silent = torch.zeros(len(spectrograms), dtype=torch.int64, device=spectrograms.device)
        if self.settings.modality == "visual":
            spectrograms = torch.zeros_like(spectrograms)
            silent = torch.full_like(silent, spectrograms.shape[1])
        sequence, levels = spectrograms, []
        for level, point in zip(self.audio_levels, self.insertion_points, strict=True):
            sequence = level(sequence)
            levels.append(sequence)
            if not point.keeps_audio:
                break
        return Sounds(spectrograms, tuple(levels), silent)

    def answer(
        self, images: Tensor, image_rows: Tensor, sounds: Sounds, sound_rows: Tensor, batch: int
    ) -> Tensor:
        """Logits [N, classes] of many cases, in evaluation; nothing is computed twice.

        Equal to calling the network case by case but for rounding.

        Args:
            images: [R, 1, S, S], each different one once.
            image_rows: [N] int64, the image of each case; every image has one.
            sounds: from :meth:`hear`, each different one once.
            sound_rows: [N] int64, the sound of each case.
            batch: cases that are run through the C-LSTM levels at once.
        """
        maps, sequence = self._apart(Stream(images, image_rows), sounds, sound_rows)
        if not self.joint_levels:
            return self._of_both(maps, sequence.apply(_last))
        silent = sounds.silent[sound_rows]
        if self.settings.placement.coupled:
            # Couplings look at the whole sound: no two cases are the same for a while.
            silent = torch.zeros_like(silent)
        levels = [level for level in self.joint_levels if isinstance(level, ConvLSTM)]
        outputs = last_outputs(
            levels, maps, sequence, images=image_rows, silent=silent, batch=batch
        )
        return self._classify(outputs.flatten(1))

    def _apart(
        self, images: Stream, sounds: Sounds, sound_rows: Tensor | None = None
    ) -> tuple[Stream, Stream]:
        """Both streams at the end of the separate levels."""
        if self.settings.modality == "audio":
            images = images.apply(torch.zeros_like)
        maps = images
        spectrograms = sequence = Stream(sounds.spectrograms, sound_rows)
        levels = zip(self.image_levels, self.audio_levels, self.insertion_points, strict=True)
        for number, (image_level, audio_level, point) in enumerate(levels):
            maps = maps.apply(image_level)
            if number < len(sounds.levels):
                sequence = Stream(sounds.levels[number], sound_rows)
            else:
                sequence = sequence.apply(audio_level)
            maps, sequence = point(maps, sequence, images, spectrograms)
        return (maps, sequence) if self.gate is None else self.gate(maps, sequence)

    def _features(self, images: Tensor, spectrograms: Tensor) -> Tensor:
        """The head's input [B, T, N] at every time step."""
        maps, sequence = self._apart(Stream(images), self.hear(spectrograms))
        joint = maps.values
        if not self.joint_levels:
            if joint.dim() == 4:
                joint = joint[:, None].expand(-1, sequence.values.shape[1], -1, -1, -1)
            return torch.cat([joint.flatten(2), sequence.values], dim=2)
        vectors: Tensor | None = sequence.values
        for level in self.joint_levels:
            joint, _ = level(joint, vectors)
            vectors = None
        return joint.flatten(2)

    def _of_both(self, maps: Stream, vectors: Stream) -> Tensor:
        """At d = L, in evaluation: the dense layer over both is a sum of parts over either."""
        dense = self.head[0]
        assert isinstance(dense, nn.Linear)
        size = vectors.values.shape[-1]
        if maps.values.dim() == 5:
            maps = maps.apply(_last)
        parts = (
            maps.apply(lambda own: functional.linear(own.flatten(1), dense.weight[:, :-size])),
            vectors.apply(lambda own: functional.linear(own, dense.weight[:, -size:], dense.bias)),
        )
        logits: Tensor = self.head[1:](meet(torch.add, *parts).by_case())
        return logits

    def _classify(self, features: Tensor) -> Tensor:
        """Logits [..., classes] of the last features [..., N]."""
        logits: Tensor = self.head(self.dropout(features))
        return logits

    def _map_options(self, level: int, size: int) -> dict[str, Any]:
        """Kernel, padding and pooling of a level, from 0 on, whose input maps have this side."""
        settings = self.settings
        grown = size if settings.padding else size - settings.kernel + 1
        return {
            "kernel": settings.kernel,
            "padding": settings.padding,
            "pool": settings.pool_at(level + 1, grown),
        }


def _last(over_time: Tensor) -> Tensor:
    """[R, T, ...] after the last time step."""
    return over_time[:, -1]
