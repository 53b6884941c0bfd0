"""The network of a table: an encoder per stream, sites between their levels, one dense layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from fusion_search.datasets.batch import Tree
from fusion_search.datasets.tables.examples import Scale
from fusion_search.datasets.tables.settings import PADDED, Input
from fusion_search.models.coupled.heads import Concatenate
from fusion_search.models.coupled.network import CoupledNetwork
from fusion_search.models.couplings.contract import Features
from fusion_search.models.encoders.backbones import (
    LEVELS,
    Backbone,
    clip_view,
    map_sizes,
    weights_file,
)
from fusion_search.models.encoders.small import (
    ConvolutionalEncoder,
    DenseEncoder,
    level_names,
    padded_view,
)
from fusion_search.models.encoders.units import InUnits
from fusion_search.models.layout import Placement, Site, View


@dataclass(frozen=True, kw_only=True)
class TableNetwork:
    """Settings of the network; which encoder a stream has is said with its input.

    Attributes:
        levels: L, 1 to 6, and with a backbone 1 to 4: level1 to levelL are the sites. The small
            encoders have L levels, of a backbone they are its last L stages.
        width: channels of the first level of the small encoders; each further one has twice as
            many.
        dropout: of what every encoder gives, 0 to below 1.

    Raises:
        ValueError: a field is outside its range.
    """

    layout_fields: ClassVar = ("levels",)

    levels: int = 3
    width: int = 16
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= 6:
            raise ValueError(f"levels is {self.levels}; allowed: 1 to 6")
        if not 1 <= self.width <= 1024:
            raise ValueError(f"width is {self.width}; allowed: 1 to 1,024")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; allowed: 0 to below 1")


def build_network(
    settings: TableNetwork,
    streams: Mapping[str, Input],
    example: Mapping[str, Tree],
    placement: Placement,
    *,
    classes: int,
    target_scale: Scale | None,
    folder: Path,
) -> CoupledNetwork:
    """Build it.

    Args:
        settings: of the network.
        streams: what each takes.
        example: two examples.
        placement: what couples the streams.
        classes: logits that it gives; 0 for one number.
        target_scale: of that number.
        folder: what files of weights are relative to.

    Raises:
        ValueError: a backbone cannot be had, or has fewer levels.
    """
    built, levels, views = {}, {}, {}
    for name, one in streams.items():
        # All streams are made, those that a placement drops too: then it changes no weights.
        built[name], levels[name], views[name] = _encoder(settings, one, example[name], folder)
    sites = [
        Site(
            site,
            {name: own[number] for name, own in levels.items()},
            {name: own[number] for name, own in views.items()},
        )
        for number, site in enumerate(level_names(settings.levels))
    ]

    def head(ends: Features) -> nn.Module:
        dense = Concatenate(ends, classes or 1)
        if target_scale is None:
            return dense
        return InUnits(dense, float(target_scale.mean), float(target_scale.deviation))

    return CoupledNetwork(built, sites, head, example, placement)


def _encoder(
    settings: TableNetwork, one: Input, given: Tree, folder: Path
) -> tuple[nn.Module, tuple[str, ...], list[View]]:
    """The encoder of a stream, submodules that sites lie behind, and their views."""
    values = given if isinstance(given, Tensor) else given["values"]
    names, width, dropout = level_names(settings.levels), settings.width, settings.dropout
    if one.encoder != "small":
        return _backbone(settings, one, values.shape[2], folder)
    if values.dim() == 2:
        dense = DenseEncoder(values.shape[1], width, settings.levels, dropout)
        return dense, names, [View()] * len(names)
    convolutional = ConvolutionalEncoder(
        values.shape[1], values.dim() - 2, width, settings.levels, dropout
    )
    padded = one.kind in PADDED
    views = [padded_view(number) if padded else View() for number in range(1, len(names) + 1)]
    return convolutional, names, views


def _backbone(
    settings: TableNetwork, one: Input, count: int, folder: Path
) -> tuple[nn.Module, tuple[str, ...], list[View]]:
    stages = LEVELS[one.encoder]
    if settings.levels > len(stages):
        raise ValueError(
            f"levels is {settings.levels}, and {one.encoder} has {len(stages)} stages; allowed: 1 "
            f"to {len(stages)}"
        )
    weights = weights_file(one.encoder, one.weights, folder)
    backbone = Backbone(one.encoder, weights, one.frozen, settings.dropout)
    chosen = stages[-settings.levels :]
    named = tuple(f"network.{stage}" for stage in chosen)
    if one.kind == "image":
        return backbone, named, [View()] * len(named)
    sizes = map_sizes(backbone, chosen, one.size)
    return backbone, named, [clip_view(count, sizes[stage]) for stage in chosen]
