"""The digit network: sizes counted by hand, unimodal inputs, time, every fusion depth."""

from __future__ import annotations

import pytest
import torch

from fusion_search.models.early_fusion import EarlyFusionNetwork, EarlyFusionSettings
from fusion_search.search.trials.cost import count_parameters

SMALL = {"units": 3, "dense_units": 5}


def network(**fields: object) -> EarlyFusionNetwork:
    torch.manual_seed(0)
    return EarlyFusionNetwork(EarlyFusionSettings(**{**SMALL, **fields})).eval()


def inputs(steps: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.rand(2, 1, 28, 28, generator=generator),
        torch.rand(2, steps, 201, generator=generator),
    )


def test_parameters_of_the_papers_three_models_counted_by_hand() -> None:
    """64 units, 3x3, padded: 28 -> 14 -> 7. Four gates; an nn.LSTM has two biases per gate."""
    head = (7 * 7 * 64) * 128 + 128 + 128 * 10 + 10
    c_lstm_image_audio = 4 * 64 * (9 * 1 + 201 + 9 * 64 + 1)
    c_lstm_maps = 4 * 64 * (9 * 64 + 9 * 64 + 1)
    initial = c_lstm_image_audio + c_lstm_maps + head

    convolution_1 = 64 * (9 * 1 + 1)
    lstm_1 = 4 * 64 * (201 + 64 + 2)
    c_lstm_second = 4 * 64 * (9 * 64 + 64 + 9 * 64 + 1)
    second = convolution_1 + lstm_1 + c_lstm_second + head

    convolution_2 = 64 * (9 * 64 + 1)
    lstm_2 = 4 * 64 * (64 + 64 + 2)
    wide_head = (7 * 7 * 64 + 64) * 128 + 128 + 128 * 10 + 10
    fully_connected = convolution_1 + convolution_2 + lstm_1 + lstm_2 + wide_head

    for depth, expected in enumerate((initial, second, fully_connected)):
        model = EarlyFusionNetwork(EarlyFusionSettings(fusion_depth=depth))
        assert count_parameters(model) == expected
    assert (initial, second, fully_connected) == (899_466, 783_370, 550_218)


def test_the_late_models_pool_as_the_paper_prints_them() -> None:
    """Second-layer fusion once, fully-connected fusion not at all."""
    literal = [EarlyFusionSettings(fusion_depth=depth, pooling="literal") for depth in (0, 1, 2)]
    assert [one.map_sizes() for one in literal] == [[28, 14, 7], [28, 28, 14], [28, 28, 28]]
    initial, second, fully_connected = (
        count_parameters(EarlyFusionNetwork(one)) for one in literal
    )
    assert initial == 899_466
    # Of the full model, but for a dense layer over 14 x 14 maps instead of 7 x 7.
    assert second == 783_370 + (14 * 14 - 7 * 7) * 64 * 128
    # By layer: two convolutions, two LSTMs with two biases, the dense layer, the classes.
    convolutions = 64 * 9 + 64 + 64 * 64 * 9 + 64
    lstms = 4 * 64 * (201 + 64 + 2) + 4 * 64 * (64 + 64 + 2)
    assert fully_connected == convolutions + lstms + (28 * 28 * 64 + 64) * 128 + 128 + 1290
    with pytest.raises(ValueError, match="pooling is 'none'; allowed: full, literal"):
        EarlyFusionSettings(pooling="none")


@pytest.mark.parametrize("depth", [1, 2])
def test_maps_that_are_not_pooled_are_those_of_the_convolution(depth: int) -> None:
    torch.manual_seed(0)
    settings = EarlyFusionSettings(fusion_depth=depth, pooling="literal", units=3, dense_units=4)
    network = EarlyFusionNetwork(settings).eval()
    images = torch.rand(2, 1, 28, 28)
    convolution = network.image_levels[0].layers[0]
    expected = torch.nn.functional.conv2d(
        images, convolution.weight, convolution.bias, padding=1
    ).relu()
    with torch.no_grad():
        torch.testing.assert_close(network.image_levels[0](images), expected)
        assert network(images, torch.rand(2, 6, 201)).shape == (2, 10)


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 5])
def test_every_fusion_depth_runs_and_reaches_every_parameter(levels: int) -> None:
    for depth in range(levels + 1):
        model = network(levels=levels, fusion_depth=depth)
        logits = model(*inputs())
        assert logits.shape == (2, 10)
        logits.square().sum().backward()
        assert all(one.grad is not None for one in model.parameters())


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_modality_alone_ignores_the_other_sense(depth: int) -> None:
    images, sounds = inputs()
    visual = network(levels=3, fusion_depth=depth, modality="visual")
    assert torch.equal(visual(images, sounds), visual(images, sounds + 1))
    assert not torch.equal(visual(images, sounds), visual(images + 1, sounds))
    audio = network(levels=3, fusion_depth=depth, modality="audio")
    assert torch.equal(audio(images, sounds), audio(images + 1, sounds))
    assert not torch.equal(audio(images, sounds), audio(images, sounds + 1))
    both = network(levels=3, fusion_depth=depth)
    both.load_state_dict(visual.state_dict())
    assert torch.equal(visual(images, sounds), both(images, torch.zeros_like(sounds)))


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_output_at_a_step_is_that_of_the_clip_cut_there(depth: int) -> None:
    model = network(fusion_depth=depth)
    images, sounds = inputs(steps=6)
    over_time = model.outputs_over_time(images, sounds)
    assert over_time.shape == (2, 6, 10)
    for step in range(6):
        cut = model(images, sounds[:, : step + 1])
        torch.testing.assert_close(over_time[:, step], cut, atol=1e-6, rtol=0)


def test_before_the_audio_starts_the_output_depends_on_the_image_alone() -> None:
    """The paper's reported finding 6."""
    images, sounds = inputs(steps=6)
    sounds[:, :3] = 0
    other = sounds.clone()
    other[:, 3:] = torch.rand(2, 3, 201, generator=torch.Generator().manual_seed(2))
    for depth in range(3):
        model = network(fusion_depth=depth)
        first = model.outputs_over_time(images, sounds)
        second = model.outputs_over_time(images, other)
        assert torch.equal(first[:, :3], second[:, :3])
        assert not torch.equal(first[:, 3:], second[:, 3:])


def test_map_sizes() -> None:
    assert EarlyFusionSettings(levels=5).map_sizes() == [28, 14, 7, 3, 1, 1]
    assert EarlyFusionSettings(levels=2, padding=False).map_sizes() == [28, 13, 5]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fusion_depth": 3}, "fusion_depth is 3; allowed: 0 to levels"),
        ({"levels": 0}, "levels is 0"),
        ({"kernel": 4}, "kernel is 4; allowed: an odd number"),
        ({"units": 0}, "units is 0"),
        ({"modality": "smell"}, "modality is 'smell'; allowed: both, visual, audio"),
        ({"levels": 4, "padding": False}, "padding: true"),
    ],
)
def test_wrong_settings_name_the_field(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EarlyFusionSettings(**fields)
