"""Where and how two streams couple while they still run apart, as data and as modules.

Shapes: B examples, T time steps, U units, H x W map.

A placement says for every insertion point k (after level k, k = 1 ... fusion depth d) which
coupling and which connections sit there, and how the streams join at the end of the separate
levels. At one insertion point the coupling comes first (MMTM and its variants), then the residual
connections are added, then the cross-connections are concatenated (XFlow's order).

The image does not change over time, the sound does. **Choices**: a coupling squeezes the whole
sound, time included, as MMTM averages over all dimensions but channels; a connection to the image
starts from the level's last time step, as fully-connected fusion does, or from the spectrogram's
mean over time (residual); a connection to the audio is given to every time step alike. Connections
have neither batch normalisation nor dropout inside, as in XFlow's recurrent model.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from fusion_search.models.cases import Stream, meet
from fusion_search.models.couplings.cross_connections import (
    MapToVector,
    ResidualMapToVector,
    VectorToMap,
)
from fusion_search.models.couplings.mmtm import (
    MMTM,
    ConvolutionalMMTM,
    SqueezeExcitation,
    joint_size,
)
from fusion_search.models.couplings.modality_gate import ModalityGate

NONE: Final = "none"
COUPLINGS: Final = (NONE, "mmtm", "squeeze_excitation", "convolutional", "sum")
CONNECTIONS: Final = (NONE, "cross", "residual", "both")
CONCATENATION: Final = "concatenation"
FUSIONS: Final = (CONCATENATION, "gate_audio", "gate_image")


@dataclass(frozen=True, kw_only=True)
class EarlyFusionPlacement:
    """What sits where.

    Attributes:
        couplings, to_audio, to_image: one of ``COUPLINGS`` or ``CONNECTIONS`` per insertion
            point; () for none at all. ``to_audio`` is XFlow's 2D->1D, ``to_image`` its 1D->2D.
        fusion: concatenation, or the modality gate with the named stream as its source.
        mmtm_ratio: the channels of a coupling's streams over the size of its joint.
        mmtm_relu: ReLU on the joint.
        mmtm_identity: a fresh coupling leaves the streams as they are.

    Raises:
        ValueError: a field is outside its range.
    """

    couplings: tuple[str, ...] = ()
    to_audio: tuple[str, ...] = ()
    to_image: tuple[str, ...] = ()
    fusion: str = CONCATENATION
    mmtm_ratio: int = 4
    mmtm_relu: bool = True
    mmtm_identity: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (
            ("couplings", COUPLINGS),
            ("to_audio", CONNECTIONS),
            ("to_image", CONNECTIONS),
        ):
            for one in getattr(self, name):
                if one not in allowed:
                    raise ValueError(f"{name} holds {one!r}; allowed: {', '.join(allowed)}")
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion is {self.fusion!r}; allowed: {', '.join(FUSIONS)}")
        if self.mmtm_ratio < 1:
            raise ValueError(f"mmtm_ratio is {self.mmtm_ratio}; allowed: 1 or more")

    def check_depth(self, fusion_depth: int) -> None:
        """Raise ``ValueError`` when the placement does not fit a network of this fusion depth."""
        for name in ("couplings", "to_audio", "to_image"):
            placed = getattr(self, name)
            if placed and len(placed) != fusion_depth:
                raise ValueError(
                    f"{name} has {len(placed)} insertion points; allowed: {fusion_depth} (one per "
                    "level at which the streams run apart, fusion_depth), or none"
                )
        if self.fusion != CONCATENATION and fusion_depth == 0:
            raise ValueError(
                f"fusion is {self.fusion!r} at fusion_depth 0; allowed: {CONCATENATION} (a gate "
                "needs levels at which the streams run apart)"
            )

    @property
    def coupled(self) -> bool:
        """Whether the streams exchange anything before they join."""
        everything = self.couplings + self.to_audio + self.to_image
        return any(one != NONE for one in everything)

    @property
    def uses_mmtm(self) -> bool:
        """Whether the ``mmtm_`` fields mean anything."""
        return any(one != NONE for one in self.couplings)

    def canonical(self, units: int) -> EarlyFusionPlacement:
        """The one placement that stands for all that build the same network.

        What is not used has its default, and the ratio is the smallest that gives the same joint.
        """

        def kept(placed: tuple[str, ...]) -> tuple[str, ...]:
            return placed if any(one != NONE for one in placed) else ()

        shared: dict[str, Any] = {
            "couplings": kept(self.couplings),
            "to_audio": kept(self.to_audio),
            "to_image": kept(self.to_image),
        }
        if not self.uses_mmtm:
            return EarlyFusionPlacement(**shared, fusion=self.fusion)
        # A larger ratio gives no larger joint, so those that give the same one are neighbours.
        joints = self._joints(self.mmtm_ratio, units)
        ratio = 1 + bisect.bisect_left(
            range(1, self.mmtm_ratio + 1), True, key=lambda one: self._joints(one, units) == joints
        )
        return EarlyFusionPlacement(
            **shared,
            fusion=self.fusion,
            mmtm_ratio=ratio,
            mmtm_relu=self.mmtm_relu,
            mmtm_identity=self.mmtm_identity,
        )

    def _joints(self, ratio: int, units: int) -> list[int]:
        """Size of the joint at every insertion point that has one."""
        return [
            joint_size([units] if kind == "squeeze_excitation" else [units, units], ratio)
            for kind in self.couplings
            if kind != NONE
        ]

    def at(self, level: int) -> tuple[str, str, str]:
        """Coupling, connection to the audio and connection to the image after a level (from 1)."""
        coupling, to_audio, to_image = (
            placed[level - 1] if placed else NONE
            for placed in (self.couplings, self.to_audio, self.to_image)
        )
        return coupling, to_audio, to_image


PLAIN: Final = EarlyFusionPlacement()


def make_coupling(kind: str, units: int, placement: EarlyFusionPlacement) -> nn.Module | None:
    """The module of one coupling between two streams of ``units`` channels each."""
    options: dict[str, Any] = {
        "ratio": placement.mmtm_ratio,
        "relu": placement.mmtm_relu,
        "identity": placement.mmtm_identity,
    }
    channels = [units, units]
    if kind == "mmtm":
        return MMTM(channels, **options)
    if kind == "squeeze_excitation":
        return SqueezeExcitation(channels, **options)
    if kind == "convolutional":
        return ConvolutionalMMTM(channels, **options)
    if kind == "sum":
        return ConvolutionalMMTM(channels, **options, combine="sum")
    return None


class InsertionPoint(nn.Module):
    """All that couples the streams after one level.

    Args:
        level: after which it sits, from 1.
        placement: what sits there.
        units: channels of both streams here.
        size: side of the maps here.
        image_size: side of the raw image.
        bins: of the raw spectrogram.

    Inputs, as streams: maps [R, U, size, size], sequence [R, T, U], raw images [R, 1, S, S], raw
    spectrograms [R, T, bins]. What meets the other modality comes out with a row per case.

    Output: maps [R, image_channels, size, size] and sequence [R, T, audio_channels]; these two
    attributes are U, or 2 U where a cross-connection was concatenated.

    Attributes:
        keeps_audio: the sequence passes untouched.
    """

    def __init__(
        self,
        level: int,
        placement: EarlyFusionPlacement,
        *,
        units: int,
        size: int,
        image_size: int,
        bins: int,
    ) -> None:
        super().__init__()
        coupling, to_audio, to_image = placement.at(level)
        self.keeps_audio = coupling == NONE and to_audio == NONE
        self.exchanges = coupling not in (NONE, "squeeze_excitation")
        cross, residual = ("cross", "both"), ("residual", "both")
        plain: dict[str, Any] = {"batch_norm": False, "dropout": 0.0}
        self.coupling = make_coupling(coupling, units, placement)
        self.cross_to_audio = (
            MapToVector(units, size, size, units, batch_norm=False) if to_audio in cross else None
        )
        self.cross_to_image = (
            VectorToMap(units, size, size, units, **plain) if to_image in cross else None
        )
        # XFlow pools the raw image by 4 for level 1, by 8 for level 2.
        pool = min(2 ** (level + 1), image_size)
        self.residual_to_audio = (
            ResidualMapToVector(1, image_size, image_size, units, pool=(pool, pool), dropout=0.0)
            if to_audio in residual
            else None
        )
        self.residual_to_image = (
            VectorToMap(bins, size, size, units, **plain) if to_image in residual else None
        )
        self.audio_channels = units * (2 if to_audio in cross else 1)
        self.image_channels = units * (2 if to_image in cross else 1)

    def forward(
        self, maps: Stream, sequence: Stream, images: Stream, spectrograms: Stream
    ) -> tuple[Stream, Stream]:
        """Exchange between the streams."""
        if self.coupling is not None:
            if self.exchanges and maps.rows is not sequence.rows:
                maps, sequence = Stream(maps.by_case()), Stream(sequence.by_case())
            weighed, sound = self.coupling(maps.values, sequence.values.transpose(1, 2))
            maps, sequence = (
                Stream(weighed, maps.rows),
                Stream(sound.transpose(1, 2), sequence.rows),
            )
        to_audio = None if self.cross_to_audio is None else maps.apply(self.cross_to_audio)
        to_image = None
        if self.cross_to_image is not None:
            to_image = sequence.apply(lambda sound: sound[:, -1]).apply(self.cross_to_image)
        if self.residual_to_audio is not None:
            sequence = meet(_add_to_all, sequence, images.apply(self.residual_to_audio))
        if self.residual_to_image is not None:
            mean = spectrograms.apply(lambda sound: sound.mean(dim=1))
            maps = meet(torch.add, maps, mean.apply(self.residual_to_image))
        if to_audio is not None:
            sequence = meet(_append_to_all, sequence, to_audio)
        if to_image is not None:
            maps = meet(lambda own, other: torch.cat([own, other], dim=1), maps, to_image)
        return maps, sequence


def _add_to_all(sequence: Tensor, vectors: Tensor) -> Tensor:
    """Vectors [R, U] added at every time step of [R, T, U]."""
    return sequence + vectors[:, None]


def _append_to_all(sequence: Tensor, vectors: Tensor) -> Tensor:
    """Vectors [R, U] beside every time step of [R, T, U]."""
    return torch.cat([sequence, vectors[:, None].expand(-1, sequence.shape[1], -1)], dim=2)


class GatedEnd(nn.Module):
    """The modality gate at the end of the separate levels, one gate per channel.

    The gate wants features of one size: a stream that a cross-connection has widened is first
    brought back to U channels, position by position. With the audio as source there is a gate for
    every time step, so the output before the sound depends on the image alone.

    Inputs, as streams: maps [R, C, H, W], sequence [R, T, A].

    Output: maps [R, U, H, W] (source image) or [R, T, U, H, W] (source audio), sequence [R, T, U];
    what the other stream gates has a row per case.
    """

    def __init__(
        self, source: str, *, image_channels: int, audio_channels: int, units: int, size: int
    ) -> None:
        super().__init__()
        self.from_audio = source == "gate_audio"
        self.narrow_maps = (
            nn.Identity() if image_channels == units else nn.Conv2d(image_channels, units, 1)
        )
        self.narrow_sequence = (
            nn.Identity() if audio_channels == units else nn.Linear(audio_channels, units)
        )
        self.gate = ModalityGate(units if self.from_audio else units * size**2, units)

    def forward(self, maps: Stream, sequence: Stream) -> tuple[Stream, Stream]:
        """Weigh the streams against each other."""
        maps, sequence = maps.apply(self.narrow_maps), sequence.apply(self.narrow_sequence)
        if self.from_audio:
            gate = sequence.apply(self.gate.weights)
            maps = maps.apply(lambda own: own[:, None])
            maps = meet(lambda own, weights: own * (1 - weights[..., None, None]), maps, gate)
            return maps, meet(torch.mul, sequence, gate)
        gate = maps.apply(lambda own: self.gate.weights(own.flatten(1)))
        maps = meet(lambda own, weights: own * (1 - weights[..., None, None]), maps, gate)
        return maps, meet(lambda sound, weights: sound * weights[:, None], sequence, gate)
