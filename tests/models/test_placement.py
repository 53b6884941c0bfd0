"""Couplings inside the digit network: identities, canonical form, operations counted."""

from __future__ import annotations

import itertools
from dataclasses import asdict, replace

import pytest
import torch

from fusion_search.models.early_fusion import EarlyFusionNetwork, EarlyFusionSettings
from fusion_search.models.placement import (
    COUPLINGS,
    PLAIN,
    EarlyFusionPlacement,
)

SMALL = EarlyFusionSettings(levels=2, fusion_depth=2, units=3, dense_units=5, image_size=12, bins=7)


def build(settings: EarlyFusionSettings, seed: int = 0) -> EarlyFusionNetwork:
    torch.manual_seed(seed)
    return EarlyFusionNetwork(settings).eval()


def inputs(settings: EarlyFusionSettings = SMALL) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    size = settings.image_size
    images = torch.rand(2, 1, size, size, generator=generator)
    return images, torch.rand(2, 5, settings.bins, generator=generator)


def placed(depth: int, **fields: object) -> EarlyFusionSettings:
    placement = EarlyFusionPlacement(**fields)  # type: ignore[arg-type]
    return replace(SMALL, fusion_depth=depth, placement=placement)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_connections_none_equal_the_plain_network(depth: int) -> None:
    nothing = ("none",) * depth
    plain = build(replace(SMALL, fusion_depth=depth))
    same = build(placed(depth, couplings=nothing, to_audio=nothing, to_image=nothing))
    assert torch.equal(plain(*inputs()), same(*inputs()))


@pytest.mark.parametrize("kind", COUPLINGS[1:])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_coupling_that_starts_as_identity_equals_the_plain_network(kind: str, depth: int) -> None:
    plain = build(replace(SMALL, fusion_depth=depth))
    coupled = build(placed(depth, couplings=(kind,) * depth, mmtm_identity=True))
    coupled.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(coupled(*inputs()), plain(*inputs()))
    other = build(placed(depth, couplings=(kind,) * depth))
    other.load_state_dict(plain.state_dict(), strict=False)
    assert not torch.allclose(other(*inputs()), plain(*inputs()))


def reference(
    network: EarlyFusionNetwork, images: torch.Tensor, sound: torch.Tensor
) -> torch.Tensor:
    """MMTM after level 1, both cross-connections and both residuals after level 2, audio gate,
    d = L = 2: written out by hand from the module's parts."""
    one, two = network.insertion_points
    maps, sequence = network.image_levels[0](images), network.audio_levels[0](sound)
    weights = one.coupling.state_dict()
    squeezed = torch.cat([maps.mean(dim=(2, 3)), sequence.mean(dim=1)], dim=1)
    joint = torch.relu(squeezed @ weights["joint.weight"].T + weights["joint.bias"])
    gates = [
        2 * torch.sigmoid(joint @ weights[f"{one}.weight"].T + weights[f"{one}.bias"])
        for one in ("excitations.0", "excitations.1")
    ]
    maps, sequence = maps * gates[0][:, :, None, None], sequence * gates[1][:, None]
    maps, sequence = network.image_levels[1](maps), network.audio_levels[1](sequence)
    to_audio, to_image = two.cross_to_audio(maps), two.cross_to_image(sequence[:, -1])
    sequence = sequence + two.residual_to_audio(images)[:, None]
    maps = maps + two.residual_to_image(sound.mean(dim=1))
    sequence = torch.cat([sequence, to_audio[:, None].expand(-1, 5, -1)], dim=2)
    maps = torch.cat([maps, to_image], dim=1)
    assert network.gate is not None
    maps = network.gate.narrow_maps(maps)
    last = network.gate.narrow_sequence(sequence)[:, -1]
    weight, bias = network.gate.gate.state_dict().values()
    gate = torch.sigmoid(last @ weight.T + bias)
    fused = torch.cat([(maps * (1 - gate)[:, :, None, None]).flatten(1), last * gate], dim=1)
    result: torch.Tensor = network.head(fused)
    return result


def test_everything_together_equals_the_equations_written_out() -> None:
    network = build(
        placed(
            2,
            couplings=("mmtm", "none"),
            to_audio=("none", "both"),
            to_image=("none", "both"),
            fusion="gate_audio",
        )
    )
    torch.testing.assert_close(network(*inputs()), reference(network, *inputs()))


def test_the_gate_from_the_image_weighs_every_time_step_alike() -> None:
    network = build(placed(1, fusion="gate_image"))
    images, sound = inputs()
    maps = network.image_levels[0](images)
    sequence = network.audio_levels[0](sound)
    assert network.gate is not None
    weight, bias = network.gate.gate.state_dict().values()
    gate = torch.sigmoid(maps.flatten(1) @ weight.T + bias)
    weighed = maps * (1 - gate)[:, :, None, None], sequence * gate[:, None]
    joint, _ = network.joint_levels[0](*weighed)
    torch.testing.assert_close(network(images, sound), network.head(joint[:, -1].flatten(1)))


def test_a_coupled_network_over_time_is_the_network_on_every_beginning() -> None:
    network = build(placed(2, couplings=("none", "mmtm")))
    images, sound = inputs()
    over_time = network.outputs_over_time(images, sound)
    for end in range(1, sound.shape[1] + 1):
        torch.testing.assert_close(over_time[:, end - 1], network(images, sound[:, :end]))


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
def test_any_level_of_any_depth_can_be_coupled(levels: int) -> None:
    for depth in range(1, levels + 1):
        both = ("both",) * depth
        settings = EarlyFusionSettings(
            levels=levels,
            fusion_depth=depth,
            units=2,
            dense_units=4,
            placement=EarlyFusionPlacement(
                couplings=("convolutional",) * depth,
                to_audio=both,
                to_image=both,
                fusion="gate_audio",
            ),
        )
        network = EarlyFusionNetwork(settings)
        logits = network(torch.rand(2, 1, 28, 28), torch.rand(2, 4, 201))
        assert logits.shape == (2, 10)
        logits.sum().backward()
        assert all(one.grad is not None for one in network.parameters())


def test_placements_that_build_the_same_network_are_equal() -> None:
    assert EarlyFusionPlacement(couplings=("none", "none"), mmtm_ratio=8).canonical(4) == PLAIN
    joint_of_two = [
        EarlyFusionPlacement(couplings=("mmtm",), mmtm_ratio=r).canonical(8) for r in (6, 7, 8)
    ]
    # 16 channels over 6, 7 and 8 are 2 each; over 5 they are 3.
    assert {one.mmtm_ratio for one in joint_of_two} == {6}
    assert EarlyFusionPlacement(couplings=("mmtm",), mmtm_ratio=5).canonical(8).mmtm_ratio == 5
    assert EarlyFusionPlacement(to_audio=("cross",)).canonical(8).to_audio == ("cross",)


def test_equal_canonical_placements_build_equal_networks() -> None:
    shapes: dict[EarlyFusionPlacement, set[tuple[object, ...]]] = {}
    for coupling, ratio, relu in itertools.product(COUPLINGS, range(1, 12), (True, False)):
        placement = EarlyFusionPlacement(
            couplings=("none", coupling), mmtm_ratio=ratio, mmtm_relu=relu
        )
        network = build(replace(SMALL, placement=placement))
        built = tuple((name, tuple(one.shape)) for name, one in network.state_dict().items())
        shapes.setdefault(placement.canonical(SMALL.units), set()).add(built)
    assert all(len(built) == 1 for built in shapes.values())
    by_shape = {(next(iter(built)), one.mmtm_relu, one.couplings) for one, built in shapes.items()}
    assert len(by_shape) == len(shapes)


@pytest.mark.parametrize(
    ("fields", "depth", "message"),
    [
        ({"couplings": ("mmtm",)}, 2, "couplings has 1 insertion points; allowed: 2"),
        ({"couplings": ("mmtn",)}, 1, "couplings holds 'mmtn'; allowed: none, mmtm"),
        ({"to_audio": ("gate",)}, 1, "to_audio holds 'gate'; allowed: none, cross"),
        ({"fusion": "gate_audio"}, 0, "fusion is 'gate_audio' at fusion_depth 0"),
        ({"fusion": "gate"}, 1, "allowed: concatenation, gate_audio, gate_image"),
        ({"mmtm_ratio": 0}, 1, "mmtm_ratio is 0; allowed: 1 or more"),
    ],
)
def test_a_wrong_placement_names_the_field(
    fields: dict[str, object], depth: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        placed(depth, **fields)


def test_settings_come_back_from_plain_values() -> None:
    settings = placed(2, couplings=("none", "sum"), fusion="gate_image")
    assert EarlyFusionSettings.from_plain(asdict(settings)) == settings
    assert EarlyFusionSettings.from_plain({"levels": 2, "fusion_depth": 1}).placement == PLAIN
