"""Packed networks against each network alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fusion_search.models.early_fusion import EarlyFusionNetwork, EarlyFusionSettings
from fusion_search.models.packed import PackedNetwork, can_pack
from fusion_search.models.placement import EarlyFusionPlacement

SMALL = {"units": 3, "dense_units": 5, "image_size": 12, "bins": 7, "classes": 4}
NETWORKS, BATCH, STEPS = 3, 2, 5

SHAPES = [
    pytest.param({"fusion_depth": depth, "modality": modality}, id=f"{modality}-{depth}")
    for depth in (0, 1, 2)
    for modality in ("both", "visual", "audio")
] + [
    pytest.param({"levels": 3, "fusion_depth": 1, "kernel": 5}, id="three-levels"),
    # The maps shrink to side 1, which is no longer pooled.
    pytest.param({"levels": 3, "fusion_depth": 2, "image_size": 2}, id="to-a-point"),
    pytest.param({"fusion_depth": 0, "padding": False}, id="unpadded"),
    pytest.param({"fusion_depth": 1, "pooling": "literal"}, id="literal"),
]


def settings(**fields: object) -> EarlyFusionSettings:
    return EarlyFusionSettings(**{**SMALL, **fields})  # type: ignore[arg-type]


def networks(shape: EarlyFusionSettings) -> list[EarlyFusionNetwork]:
    torch.manual_seed(3)
    return [EarlyFusionNetwork(shape).double() for _ in range(NETWORKS)]


def inputs(shape: EarlyFusionSettings) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(4)
    size = shape.image_size
    images = torch.randn(NETWORKS, BATCH, 1, size, size, dtype=torch.float64)
    sounds = torch.randn(NETWORKS, BATCH, STEPS, shape.bins, dtype=torch.float64)
    return images, sounds, torch.randint(shape.classes, (NETWORKS, BATCH))


@pytest.mark.parametrize("fields", SHAPES)
def test_logits_and_gradients_are_those_of_each_network_alone(fields: dict[str, object]) -> None:
    shape = settings(**fields)
    together, alone = networks(shape), networks(shape)
    images, sounds, labels = inputs(shape)

    logits = PackedNetwork(together)(images, sounds)
    assert logits.shape == (NETWORKS, BATCH, shape.classes)
    # The sum of the mean losses: what one network contributes does not touch the others.
    losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    losses.unflatten(0, (NETWORKS, BATCH)).mean(1).sum().backward()

    for number, network in enumerate(alone):
        expected = network(images[number], sounds[number])
        torch.testing.assert_close(logits[number], expected, rtol=0, atol=1e-10)
        functional.cross_entropy(expected, labels[number]).backward()
        packed = dict(together[number].named_parameters())
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(
                packed[name].grad, parameter.grad, rtol=0, atol=1e-10, msg=name
            )


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_bfloat16_by_autocast_gives_each_networks_logits_to_its_precision(depth: int) -> None:
    shape = settings(fusion_depth=depth)
    several = [one.float() for one in networks(shape)]
    images, sounds, _ = inputs(shape)
    exact = torch.stack(
        [one(images[n].float(), sounds[n].float()) for n, one in enumerate(several)]
    )
    with torch.autocast("cpu", torch.bfloat16):
        logits = PackedNetwork(several)(images.float(), sounds.float())
    assert logits.dtype == torch.bfloat16
    # Eight bits of mantissa, and a few dozen roundings on the way.
    torch.testing.assert_close(logits.float(), exact, rtol=0, atol=0.02)
    logits.float().sum().backward()
    assert all(value.grad is not None for one in several for value in one.parameters())


def test_what_cannot_be_packed_is_refused() -> None:
    coupled = settings(fusion_depth=1, placement=EarlyFusionPlacement(couplings=("mmtm",)))
    gated = settings(fusion_depth=1, placement=EarlyFusionPlacement(fusion="gate_audio"))
    for shape in (coupled, gated, settings(dropout=0.1)):
        assert not can_pack(shape)
        with pytest.raises(ValueError, match="without couplings, gate and dropout"):
            PackedNetwork([EarlyFusionNetwork(shape)])
    assert can_pack(settings())
    with pytest.raises(ValueError, match="equal settings"):
        PackedNetwork([EarlyFusionNetwork(settings(fusion_depth=d)) for d in (0, 1)])
