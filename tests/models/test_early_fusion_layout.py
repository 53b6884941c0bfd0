"""Early fusion's insertion points as a layout: what it offers is what its networks build."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from torch import Tensor, nn

from fusion_search.models.early_fusion import EarlyFusionNetwork, EarlyFusionSettings
from fusion_search.models.early_fusion_layout import (
    early_fusion_placement,
    modality_of,
    placement_of,
)
from fusion_search.models.layout import Placement
from fusion_search.models.placement import CONNECTIONS, COUPLINGS, FUSIONS, EarlyFusionPlacement

SMALL = {"levels": 3, "units": 4, "dense_units": 8}


def drawn(depth: int, generator: random.Random) -> EarlyFusionPlacement:
    def kinds(allowed: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(generator.choice(allowed) for _ in range(depth))

    return EarlyFusionPlacement(
        couplings=kinds(COUPLINGS),
        to_audio=kinds(CONNECTIONS),
        to_image=kinds(CONNECTIONS),
        fusion=generator.choice(FUSIONS) if depth else FUSIONS[0],
    )


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_placements_go_there_and_back(depth: int) -> None:
    generator = random.Random(depth)
    network = EarlyFusionNetwork(EarlyFusionSettings(fusion_depth=depth, **SMALL))
    for _ in range(50):
        early = drawn(depth, generator).canonical(4)
        placement = placement_of(early)
        network.layout.check(placement)
        assert early_fusion_placement(placement, depth).canonical(4) == early
    assert network.layout.streams == ("image", "audio")


def test_a_subset_of_streams_is_a_modality() -> None:
    plain = EarlyFusionPlacement()
    for modality, streams in (("both", ()), ("visual", ("image",)), ("audio", ("audio",))):
        assert placement_of(plain, modality) == Placement(streams=streams)
        assert modality_of(streams) == modality
    assert modality_of(("audio", "image")) == "both"


def test_every_option_is_one_that_a_network_builds() -> None:
    settings = EarlyFusionSettings(fusion_depth=2, **SMALL)
    layout = EarlyFusionNetwork(settings).layout
    assert list(layout.options()) == [
        f"level{level}.{name}"
        for level, name in itertools.product((1, 2), ("coupling", "image>audio", "audio>image"))
    ]
    for option, kinds in layout.options().items():
        site, _, name = option.partition(".")
        for kind in kinds:
            placed = Placement({site: {name: kind}})
            own = early_fusion_placement(placed, 2)
            built = EarlyFusionNetwork(EarlyFusionSettings(fusion_depth=2, placement=own, **SMALL))
            coupled = sum(one.numel() for one in built.exchanges.parameters())
            assert (coupled > 0) == (kind != "none"), (option, kind)


def test_features_at_a_site_are_those_that_come_there() -> None:
    network = EarlyFusionNetwork(EarlyFusionSettings(fusion_depth=3, **SMALL)).eval()
    seen: dict[str, list[Tensor]] = {"image": [], "audio": []}

    def note(stream: str, level: nn.Module) -> None:
        level.register_forward_hook(lambda module, given, out: seen[stream].append(out))

    for level in network.image_levels:
        note("image", level)
    for level in network.audio_levels:
        note("audio", level)
    with torch.inference_mode():
        network(torch.rand(2, 1, 28, 28), torch.rand(2, 5, 201))
    for number, (_, features) in enumerate(network.layout.sites):
        image, audio = seen["image"][number], seen["audio"][number]
        assert image.shape == (2, features["image"].channels, *features["image"].size)
        assert audio.shape == (2, 5, features["audio"].channels)  # time comes before channels
        assert features["audio"].size == (None,)
    assert network.layout.inputs["image"].size == (28, 28)
