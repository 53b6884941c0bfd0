"""The RGB-D task: what an object is, from its colours and its depth, under a modality gate.

Oyedotun, Aouada, Ottersten: "Learning to Fuse Latent Representations for Multimodal Data".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from fusion_search.datasets.batch import Batch, Data
from fusion_search.datasets.conditions import ABSENT, ORIGINAL, Axis
from fusion_search.datasets.rgbd.data import measured, open_rgbd
from fusion_search.models.coupled.network import CoupledNetwork
from fusion_search.models.encoders.backbones import check_weights, weights_file
from fusion_search.models.layout import Layout, Placement
from fusion_search.models.rgbd.head import DenseLayers, FusionHead
from fusion_search.models.rgbd.network import DEPTH, RGB, SMALL, Encoder, build_rgbd
from fusion_search.search.tasks.base import Classification, TaskError
from fusion_search.search.tasks.rgbd.features import use_features
from fusion_search.search.tasks.rgbd.settings import RgbdData, RgbdNetwork

DEPTH_SNR: Final = "depth_snr"
SNRS: Final = (ORIGINAL, 32.0, 16.0, 8.0, 4.0, 2.0)
GATE: Final = "gate"
"""Of a probe: G [1, fusion_size], how much of the source passes."""


@dataclass(frozen=True)
class FrozenAxis(Axis):
    """Of pixels that a frozen backbone has read before: they are as they are.

    Attributes:
        network: the backbone.
    """

    network: str = ""

    def check(self, snr: float) -> None:
        """Raise ``ValueError`` for any SNR but the original."""
        if snr != ORIGINAL:
            words = "absent" if snr == ABSENT else f"{snr:g}"
            raise ValueError(
                f"{self.name} is {words}; allowed: original, for features of the frozen "
                f"{self.network} are computed once, of pixels without noise; data.frozen: false "
                "computes them anew"
            )


@dataclass
class RgbdOpened(Data):
    """Data that know their settings, on which the network depends."""

    settings: RgbdData = field(default_factory=RgbdData)


class Rgbd(Classification):
    """Which object, of its colours and depth.

    Attributes:
        home: the folder of the command, which weights are relative to without --data.
    """

    network, data = RgbdNetwork, RgbdData

    def __init__(self) -> None:
        # Kept, for workers run elsewhere.
        self.home = Path.cwd()
        self._frozen: bool | None = None

    def open(self, data: RgbdData, fold: int = 0) -> Data:
        """The views of a fold; of a frozen backbone its features in place of colours.

        Raises:
            TaskError: other data of the same search are frozen, or these alone.
        """
        if self._frozen not in (None, data.frozen):
            raise TaskError(
                "frozen is true in some trials and false in others; allowed: one of them, for all "
                "trials of a search are tested at the same SNRs, and features have none"
            )
        self._frozen = data.frozen
        views = open_rgbd(data, self.data_folder, fold)
        values = {one.name: getattr(views, one.name) for one in fields(views)}
        opened = RgbdOpened(**values, settings=data)
        encoders = self._encoders(data)
        files = {name: one.weights for name, one in encoders.items() if one.weights is not None}
        opened.weights = {**opened.weights, **files}
        for name, one in encoders.items():
            if one.name != SMALL:
                random = " with random weights" if one.weights is None else ""
                frozen = ", frozen" if data.frozen and name == RGB else ""
                opened.note += f"; {name} through {one.name}{random}{frozen}"
        if data.frozen:
            use_features(opened, encoders[RGB])
        opened.axes = (
            FrozenAxis("rgb_snr", RGB, (ORIGINAL,), network=data.rgb_network)
            if data.frozen
            else Axis("rgb_snr", RGB, (*SNRS, ABSENT)),
            Axis(DEPTH_SNR, f"{DEPTH}.values", (*SNRS, ABSENT), where=measured),
        )
        return opened

    def build(self, network: RgbdNetwork, data: Data, placement: Placement) -> nn.Module:
        """Both encoders, what the placement puts between their levels, the gate, dense layers.

        Raises:
            ValueError: what is placed lies inside a frozen backbone.
        """
        settings = _settings(data)
        if settings.frozen and placement.sites:
            raise ValueError(f"site {next(iter(placement.sites))}: {_inside(settings)}")
        return _built(network, data, placement, self._encoders(settings))

    def layout(self, network: RgbdNetwork, data: Callable[[], Data]) -> Layout:
        """Sites behind the levels that both streams have; none within what is frozen.

        Raises:
            ValueError: a file does not hold the weights of its backbone.
        """
        opened = data()
        settings = _settings(opened)
        names = {RGB: settings.rgb_network, DEPTH: settings.depth_network}
        for one in self._encoders(settings).values():
            if one.weights is not None:
                check_weights(one.name, one.weights)
        # Shapes say all: hundreds of megabytes of weights are neither drawn nor held for them.
        with torch.device("meta"):
            encoders = {stream: Encoder(name=name) for stream, name in names.items()}
            found = _built(network, opened, Placement(), encoders).layout
        return replace(found, no_sites=_inside(settings) if settings.frozen else "")

    def impair(
        self, batch: Batch, condition: Mapping[str, Tensor], keys: Tensor, seed: int
    ) -> Batch:
        """Noise on pixels and on measured depth; pixels of a frozen backbone have none.

        Where depth is absent nothing of it was measured: its mask would still show the object.

        Raises:
            ValueError: such noise is asked for, by a search that has other trials with it.
        """
        for axis in self.axes:
            if isinstance(axis, FrozenAxis):
                for snr in condition.get(axis.name, torch.empty(0)).unique().tolist():
                    axis.check(snr)
        met = super().impair(batch, condition, keys, seed)
        if DEPTH_SNR not in condition:
            return met
        depth = met.inputs[DEPTH]
        there = (condition[DEPTH_SNR] != ABSENT).to(depth["measured"].device)
        depth = {**depth, "measured": depth["measured"] & there[:, None, None, None]}
        return replace(met, inputs={**met.inputs, DEPTH: depth})

    def probe(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Logits, what every connection gives, and, where there is one, the gate."""
        found: dict[str, Tensor] = {}
        head = network.head
        assert isinstance(head, FusionHead)

        def keep(_: nn.Module, __: object, values: Tensor) -> None:
            found[GATE] = torch.sigmoid(values)

        hook = head.gate.gate.register_forward_hook(keep) if head.gate is not None else None
        try:
            return {**super().probe(network, batch), **found}
        finally:
            if hook is not None:
                hook.remove()

    def _encoders(self, data: RgbdData) -> dict[str, Encoder]:
        return {
            RGB: self._encoder(data.rgb_network, data.rgb_weights),
            DEPTH: self._encoder(data.depth_network, data.depth_weights),
        }

    def _encoder(self, name: str, weights: str) -> Encoder:
        if name == SMALL:
            return Encoder()
        folder = self.data_folder.expanduser().absolute() if self.data_folder else self.home
        return Encoder(name=name, weights=weights_file(name, weights, folder))


def _built(
    network: RgbdNetwork, data: Data, placement: Placement, encoders: Mapping[str, Encoder]
) -> CoupledNetwork:
    return build_rgbd(
        encoders,
        data.inputs,
        placement,
        classes=data.classes,
        widths=network.widths,
        size=network.fusion_size,
        dense=DenseLayers(
            sizes=network.dense_sizes, dropout=network.dropout, batch_norm=network.batch_norm
        ),
    )


def _inside(settings: RgbdData) -> str:
    return (
        f"{settings.rgb_network} is frozen, and of its features, which are computed once, no level "
        "is left to couple; data.frozen: false has sites"
    )


def _settings(data: Data) -> RgbdData:
    if not isinstance(data, RgbdOpened):
        raise TaskError("these are not the data of the RGB-D task")
    return data.settings
