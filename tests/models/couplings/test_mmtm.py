"""MMTM and its variants against the equations written as loops over examples and positions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fusion_search.models.couplings.mmtm import (
    MMTM,
    ConvolutionalMMTM,
    SqueezeExcitation,
    joint_size,
)

Array = NDArray[np.float64]
CLASSES = [MMTM, SqueezeExcitation, ConvolutionalMMTM]
CHANNELS = [6, 4, 5, 3]
SHAPES = [(2, 6), (2, 4, 7), (2, 5, 3, 4), (2, 3, 2, 3, 2)]
"""Streams of 0, 1, 2 and 3 spatial dimensions."""


def streams_of(shapes: list[tuple[int, ...]], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]


def built(kind: type[nn.Module], *args: Any, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return kind(*args, **options).double()


def numbers(layer: Any) -> tuple[list[list[float]], list[float]]:
    """Weights and biases of a linear layer; no bias is zero."""
    weight = layer.weight.detach().tolist()
    return weight, [0.0] * len(weight) if layer.bias is None else layer.bias.detach().tolist()


def linear(layer: Any, values: list[float]) -> list[float]:
    weight, bias = numbers(layer)
    return [
        sum(w * v for w, v in zip(row, values, strict=True)) + b
        for row, b in zip(weight, bias, strict=True)
    ]


def rectified(values: list[float], relu: bool) -> list[float]:
    return [max(0.0, value) for value in values] if relu else values


def gate(excitation: float) -> float:
    return 2 / (1 + math.exp(-excitation))


def averages(features: Array) -> list[float]:
    """Average of every channel of one example [C, *spatial]."""
    result = []
    for channel in features:
        values = [channel[position] for position in np.ndindex(channel.shape)]
        result.append(float(sum(values)) / len(values))
    return result


def gated_by(features: Array, excitation: list[float]) -> Array:
    result = np.empty_like(features)
    for channel, value in enumerate(excitation):
        for position in np.ndindex(features.shape[1:]):
            result[(channel, *position)] = features[(channel, *position)] * gate(value)
    return result


def plain_mmtm(module: Any, example: list[Array], relu: bool) -> list[Array]:
    squeezed = [value for features in example for value in averages(features)]
    joint = rectified(linear(module.joint, squeezed), relu)
    return [
        gated_by(features, linear(layer, joint))
        for features, layer in zip(example, module.excitations, strict=True)
    ]


def plain_squeeze_excitation(module: Any, example: list[Array], relu: bool) -> list[Array]:
    outputs = []
    for features, first, second in zip(example, module.joints, module.excitations, strict=True):
        joint = rectified(linear(first, averages(features)), relu)
        outputs.append(gated_by(features, linear(second, joint)))
    return outputs


def plain_convolutional(module: Any, example: list[Array], relu: bool) -> list[Array]:
    outputs = []
    for m, features in enumerate(example):
        result = np.empty_like(features)
        for position in np.ndindex(features.shape[1:]):
            joint = [0.0] * len(module.joints[m][m].bias)
            for n, other in enumerate(example):
                same = other.shape[1:] == features.shape[1:]
                seen = [float(c[position]) for c in other] if same else averages(other)
                part = linear(module.joints[m][n], seen)
                joint = [total + one for total, one in zip(joint, part, strict=True)]
            excitation = linear(module.excitations[m], rectified(joint, relu))
            for channel, value in enumerate(excitation):
                old = features[(channel, *position)]
                new = old * gate(value) if module.combine == "gate" else old + value
                result[(channel, *position)] = new
        outputs.append(result)
    return outputs


def assert_equals_plain(module: nn.Module, plain: Any, streams: list[Tensor], relu: bool) -> None:
    with torch.no_grad():
        outputs = module(*streams)
    for example in range(len(streams[0])):
        expected = plain(module, [stream[example].numpy() for stream in streams], relu)
        for output, wanted in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(output[example].numpy(), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("picked", [(0,), (2,), (0, 1), (1, 2), (2, 2), (0, 1, 3), (0, 1, 2, 3)])
def test_mmtm_equals_the_equations(picked: tuple[int, ...], relu: bool) -> None:
    module = built(MMTM, [CHANNELS[m] for m in picked], ratio=2, relu=relu)
    assert_equals_plain(module, plain_mmtm, streams_of([SHAPES[m] for m in picked]), relu)


@pytest.mark.parametrize("relu", [True, False])
def test_squeeze_excitation_equals_the_equations(relu: bool) -> None:
    module = built(SqueezeExcitation, CHANNELS, ratio=2, relu=relu)
    assert_equals_plain(module, plain_squeeze_excitation, streams_of(SHAPES), relu)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("combine", ["gate", "sum"])
@pytest.mark.parametrize(
    "shapes",
    [
        SHAPES,
        # Two maps with the same positions, and vectors.
        [(2, 6, 3, 2), (2, 4, 3, 2), (2, 5)],
        # As many positions, but not the same shape; and as many dimensions, but not the same size.
        [(2, 6, 3, 2), (2, 4, 2, 3), (2, 5, 6)],
        [(2, 6), (2, 4)],
    ],
)
def test_convolutional_mmtm_equals_the_equations(
    shapes: list[tuple[int, ...]], combine: str, relu: bool
) -> None:
    channels = [shape[1] for shape in shapes]
    module = built(ConvolutionalMMTM, channels, ratio=2, relu=relu, combine=combine)
    assert_equals_plain(module, plain_convolutional, streams_of(shapes), relu)


def test_convolutional_mmtm_is_a_pair_of_convolutions_on_equal_maps() -> None:
    module: Any = built(ConvolutionalMMTM, [3, 2], ratio=1)
    a, b = streams_of([(2, 3, 4, 5), (2, 2, 4, 5)])
    weight = torch.cat([layer.weight for layer in module.joints[0]], dim=1)[..., None, None]
    joint = nn.functional.conv2d(torch.cat([a, b], 1), weight, module.joints[0][0].bias).relu()
    second = module.excitations[0]
    excited = nn.functional.conv2d(joint, second.weight[..., None, None], second.bias)
    torch.testing.assert_close(module(a, b)[0], a * 2 * torch.sigmoid(excited), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("kind", "options"),
    [*((kind, {}) for kind in CLASSES), (ConvolutionalMMTM, {"combine": "sum"})],
)
def test_a_fresh_identity_module_changes_nothing(
    kind: type[nn.Module], options: dict[str, str]
) -> None:
    streams = streams_of(SHAPES)
    module = built(kind, CHANNELS, ratio=1, identity=True, **options)
    for output, stream in zip(module(*streams), streams, strict=True):
        assert torch.equal(output, stream)
    sum(output.pow(2).sum() for output in module(*streams)).backward()
    excitations: Any = module.excitations
    assert all(layer.weight.grad.any() for layer in excitations), "it can leave the identity"


@pytest.mark.parametrize("kind", CLASSES)
def test_gates_lie_between_0_and_2(kind: type[nn.Module]) -> None:
    module = built(kind, CHANNELS)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(50)
    ones = [torch.ones(shape, dtype=torch.float64) for shape in SHAPES]
    for output in module(*ones):
        assert output.min() >= 0
        assert output.max() <= 2


@pytest.mark.parametrize("kind", [MMTM, ConvolutionalMMTM])
def test_a_stream_can_be_read_without_being_gated(kind: type[nn.Module]) -> None:
    module: Any = built(kind, [6, 4, 5], gated=[True, False, True], ratio=2)
    image, sound, other = streams_of([(2, 6, 3, 4), (2, 4, 7), (2, 5)])
    outputs = module(image, sound, other)
    assert torch.equal(outputs[1], sound)
    changed = module(image, sound + 1, other)
    assert not torch.equal(changed[0], outputs[0])
    assert not torch.equal(changed[2], outputs[2])
    assert [layer.out_features for layer in module.excitations] == [6, 5]


def test_squeeze_excitation_does_not_exchange() -> None:
    module: Any = built(SqueezeExcitation, [6, 4], gated=[True, True], ratio=2)
    image, sound = streams_of([(2, 6, 3, 4), (2, 4, 7)])
    assert torch.equal(module(image, sound)[0], module(image, sound + 1)[0])
    half: Any = built(SqueezeExcitation, [6, 4], gated=[False, True], ratio=2)
    assert torch.equal(half(image, sound)[0], image)
    assert {layer.in_features for layer in half.joints} == {4}


def test_mmtm_of_one_stream_is_squeeze_excitation() -> None:
    alone: Any = built(MMTM, [6], ratio=2)
    other: Any = built(SqueezeExcitation, [6], ratio=2)
    other.joints[0].load_state_dict(alone.joint.state_dict())
    other.excitations[0].load_state_dict(alone.excitations[0].state_dict())
    (maps,) = streams_of([(2, 6, 3, 4)])
    assert torch.equal(alone(maps)[0], other(maps)[0])


def test_the_joint_is_a_quarter_of_all_channels() -> None:
    assert joint_size([64, 64], 4) == 32
    assert joint_size([64, 30, 7], 4) == 25
    assert joint_size([1], 4) == 1
    assert MMTM([64, 64]).joint.out_features == 32
    weights = sum(parameter.numel() for parameter in MMTM([64, 64]).parameters())
    assert weights == (128 * 32 + 32) + 2 * (32 * 64 + 64)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        ([], {}, "channels is empty"),
        ([4, 0], {}, "channels"),
        ([4, 3], {"ratio": 0}, "ratio is 0"),
        ([4, 3], {"gated": [True]}, "gated has 1"),
        ([4, 3], {"gated": [False, False]}, "at least one gated"),
    ],
)
def test_wrong_settings_are_named(
    kind: type[nn.Module], channels: list[int], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind(channels, **options)


def test_an_unknown_combination_is_named() -> None:
    with pytest.raises(ValueError, match="combine is 'product'"):
        ConvolutionalMMTM([4, 3], combine="product")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", CLASSES)
def test_streams_must_fit_the_channels(kind: type[nn.Module]) -> None:
    module = kind([4, 3])
    with pytest.raises(ValueError, match="number of streams is 1; expected 2"):
        module(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"stream 1 has shape.*expected 3 channels"):
        module(torch.zeros(2, 4), torch.zeros(2, 5, 6))
    with pytest.raises(ValueError, match="stream 0"):
        module(torch.zeros(4), torch.zeros(2, 3))
