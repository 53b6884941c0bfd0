"""XFlow's connections against loops over positions, and the sizes that the paper states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fusion_search.models.couplings.cross_connections import (
    ElementPReLU,
    MapToVector,
    ResidualMapToVector,
    VectorToMap,
    default_kernel,
)

Array = NDArray[np.float64]


def array(tensor: Any) -> Array:
    return np.array(tensor.detach().tolist())


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def scrambled(module: nn.Module) -> Any:
    """The module in float64 with every parameter and running statistic away from its default."""
    generator = torch.Generator().manual_seed(1)
    module.double()
    with torch.no_grad():
        for value in [*module.parameters(), *module.buffers()]:
            if value.is_floating_point():
                value.copy_(0.2 + torch.rand(value.shape, generator=generator))
                value.mul_(torch.where(torch.rand(value.shape, generator=generator) < 0.5, -1, 1))
        for name, value in module.named_buffers():
            if name.endswith("running_var"):
                value.abs_()
    return module.eval()


def prelu(values: Array, slopes: Array) -> Array:
    result = values.copy()
    for position in np.ndindex(values.shape):
        if values[position] < 0:
            result[position] = slopes[position] * values[position]
    return result


def normalised(values: Array, norm: Any) -> Array:
    """Batch normalisation of one example in evaluation mode; features first."""
    result = np.empty_like(values)
    scale, shift = array(norm.weight), array(norm.bias)
    mean, variance = array(norm.running_mean), array(norm.running_var)
    for k in range(len(values)):
        result[k] = (values[k] - mean[k]) / np.sqrt(variance[k] + norm.eps) * scale[k] + shift[k]
    return result


def dense(values: list[float], layer: Any) -> Array:
    weight, bias = array(layer.weight), array(layer.bias)
    return np.array([sum(w * v for w, v in zip(row, values, strict=True)) for row in weight] + bias)


def flat(maps: Array) -> list[float]:
    """Channel by channel, row by row."""
    return [float(value) for channel in maps for row in channel for value in row]


def pooled(maps: Array, sides: tuple[int, int], steps: tuple[int, int]) -> Array:
    channels, height, width = maps.shape
    rows = len(range(0, height - sides[0] + 1, steps[0]))
    result = np.empty((channels, rows, len(range(0, width - sides[1] + 1, steps[1]))))
    for c, y, x in np.ndindex(result.shape):
        result[c, y, x] = max(
            maps[c, y * steps[0] + dy, x * steps[1] + dx]
            for dy in range(sides[0])
            for dx in range(sides[1])
        )
    return result


def spread(grid: Array, weight: Array, bias: Array) -> Array:
    """Transposed convolution: every element of the grid adds its multiple of the kernel."""
    channels, kernel = weight.shape[0], weight.shape[1]
    height, width = grid.shape
    result = np.empty((channels, height + kernel - 1, width + kernel - 1))
    for channel in range(channels):
        result[channel] = bias[channel]
    for c, y, x, dy, dx in np.ndindex(channels, height, width, kernel, kernel):
        result[c, y + dy, x + dx] += grid[y, x] * weight[c, dy, dx]
    return result


def test_prelu_learns_one_slope_per_element() -> None:
    prelu_layer = ElementPReLU((2, 3, 4))
    assert prelu_layer.slopes.shape == (2, 3, 4)
    values = random(5, 2, 3, 4).float()
    # With the fresh, equal slopes it is PyTorch's.
    torch.testing.assert_close(
        prelu_layer(values), nn.functional.prelu(values, torch.tensor([0.25]))
    )
    scrambled(prelu_layer)
    output = prelu_layer(values.double())
    for example in range(5):
        expected = prelu(array(values[example]), array(prelu_layer.slopes))
        np.testing.assert_allclose(array(output[example]), expected, rtol=1e-12)


def test_prelu_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match=r"shape \[3, 1\]; expected \[3, 2\]"):
        ElementPReLU((3, 2))(torch.zeros(4, 3, 1))


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("hidden", [None, 2])
def test_map_to_vector_equals_the_equations(hidden: int | None, batch_norm: bool) -> None:
    module = scrambled(MapToVector(3, 4, 2, 5, hidden_channels=hidden, batch_norm=batch_norm))
    convolution, first, norm, _, layer, last = module.layers
    maps = random(2, 3, 4, 2)
    output = module(maps)
    assert output.shape == (2, 5)
    weight = array(convolution.weight)[:, :, 0, 0]
    for example in range(2):
        convolved = np.empty((hidden or 3, 4, 2))
        for y, x in np.ndindex(4, 2):
            convolved[:, y, x] = weight @ array(maps[example])[:, y, x] + array(convolution.bias)
        hidden_maps = prelu(convolved, array(first.slopes))
        if batch_norm:
            hidden_maps = normalised(hidden_maps, norm)
        expected = prelu(dense(flat(hidden_maps), layer), array(last.slopes))
        np.testing.assert_allclose(array(output[example]), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_vector_to_map_equals_the_equations(kernel: int, final: bool, batch_norm: bool) -> None:
    module = scrambled(
        VectorToMap(4, 5, 3, 2, kernel=kernel, batch_norm=batch_norm, final_batch_norm=final)
    )
    layer, first, norm, _, _, transposed, second, last = module.layers
    vectors = random(2, 4)
    output = module(vectors)
    assert output.shape == (2, 2, 5, 3)
    for example in range(2):
        values = prelu(dense(vectors[example].tolist(), layer), array(first.slopes))
        if batch_norm:
            values = normalised(values, norm)
        width = 3 - kernel + 1
        grid = np.array(
            [[values[y * width + x] for x in range(width)] for y in range(5 - kernel + 1)]
        )
        maps = spread(grid, array(transposed.weight)[0], array(transposed.bias))
        expected = prelu(maps, array(second.slopes))
        if final:
            expected = normalised(expected, last)
        np.testing.assert_allclose(array(output[example]), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("pool", "stride"),
    [((1, 1), None), ((2, 2), None), ((3, 3), None), ((2, 3), None), ((3, 2), (2, 1))],
)
def test_residual_map_to_vector_equals_the_equations(
    pool: tuple[int, int], stride: tuple[int, int] | None
) -> None:
    module = scrambled(ResidualMapToVector(2, 7, 5, 3, pool=pool, stride=stride))
    layer, last = module.layers[3:]
    images = random(2, 2, 7, 5)
    output = module(images)
    assert output.shape == (2, 3)
    for example in range(2):
        values = flat(pooled(array(images[example]), pool, stride or pool))
        expected = prelu(dense(values, layer), array(last.slopes))
        np.testing.assert_allclose(array(output[example]), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("height", "width", "kernel", "count"),
    [
        # CNN x MLP, frames 80 x 60 after one and two poolings.
        (40, 30, 8, 759),
        (20, 15, 4, 204),
        # Its recurrent relative, frames 80 x 60.
        (40, 30, 16, 375),
        (20, 15, 8, 104),
        # Frames 90 x 120.
        (45, 60, 32, 406),
        (22, 30, 16, 105),
    ],
)
def test_the_papers_sizes(height: int, width: int, kernel: int, count: int) -> None:
    module: Any = VectorToMap(128, height, width, 16, kernel=kernel, batch_norm=False)
    assert module.layers[0].out_features == count
    assert module(torch.zeros(2, 128)).shape == (2, 16, height, width)


def test_the_default_kernel_is_the_papers_on_its_smaller_frames() -> None:
    frames = torch.zeros(1, 1, 80, 60)
    once = nn.functional.max_pool2d(frames, 2)
    twice = nn.functional.max_pool2d(once, 2)
    assert once.shape[2:] == (40, 30)
    assert default_kernel(*once.shape[2:]) == 8
    assert default_kernel(*twice.shape[2:]) == 4
    module: Any = VectorToMap(128, 40, 30, 16)
    assert module.layers[0].out_features == 759
    for side in range(1, 40):
        kernel = default_kernel(side, 40)
        assert kernel == 1 or abs(kernel - side / 4) <= 0.5
        assert 1 <= kernel <= side


@pytest.mark.parametrize(
    ("image", "pool", "stride", "count"),
    [
        ((11, 80, 60), (4, 4), None, 3300),
        ((11, 80, 60), (8, 8), (8, 4), 1540),
        ((6, 90, 120), (4, 4), None, 3960),
        ((6, 90, 120), (8, 8), (8, 4), 1914),
    ],
)
def test_the_papers_pooled_images(
    image: tuple[int, int, int],
    pool: tuple[int, int],
    stride: tuple[int, int] | None,
    count: int,
) -> None:
    module: Any = ResidualMapToVector(*image, 128, pool=pool, stride=stride)
    assert module.layers[3].in_features == count
    assert module.eval()(torch.zeros(2, *image)).shape == (2, 128)


def test_slopes_start_where_they_are_told() -> None:
    for module in (
        MapToVector(2, 4, 3, 5, slope=0.0),
        VectorToMap(5, 4, 3, 2, slope=0.0),
        ResidualMapToVector(2, 4, 4, 5, slope=0.0),
    ):
        slopes = [one for one in module.modules() if isinstance(one, ElementPReLU)]
        assert slopes
        assert not any(one.slopes.any() for one in slopes)


def test_trainable_parameters_of_the_papers_connections() -> None:
    """Level 1 on 80 x 60 frames of 11 channels, counted by hand; slopes are one per element."""

    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    maps = 16 * 40 * 30
    to_vector = (16 * 16 + 16) + maps + 2 * 16 + (maps * 64 + 64) + 64
    assert count(MapToVector(16, 40, 30, 64)) == to_vector
    to_map = (128 * 759 + 759) + 759 + 2 * 759 + (16 * 8 * 8 + 16) + maps
    assert count(VectorToMap(128, 40, 30, 16)) == to_map
    residual_to_map = to_map + (286 - 128) * 759 + 2 * 16
    assert count(VectorToMap(286, 40, 30, 16, final_batch_norm=True)) == residual_to_map
    residual_to_vector = (11 * 20 * 15 * 128 + 128) + 128
    assert count(ResidualMapToVector(11, 80, 60, 128)) == residual_to_vector


def test_dropout_is_on_only_in_training() -> None:
    torch.manual_seed(0)
    to_map = VectorToMap(4, 6, 6, 2, batch_norm=False)
    to_vector = ResidualMapToVector(1, 8, 8, 3, pool=(2, 2))
    for module, given in ((to_map, torch.ones(1, 4)), (to_vector, torch.ones(1, 1, 8, 8))):
        assert not torch.equal(module(given), module(given))
        module.eval()
        assert torch.equal(module(given), module(given))
    plain = VectorToMap(4, 6, 6, 2, batch_norm=False, dropout=0)
    assert torch.equal(plain(torch.ones(1, 4)), plain(torch.ones(1, 4)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: VectorToMap(4, 6, 5, 2, kernel=6), r"kernel is 6, larger than the map \(6 x 5\)"),
        (lambda: VectorToMap(4, 6, 5, 2, kernel=0), "kernel is 0"),
        (lambda: VectorToMap(0, 6, 5, 2), "size is 0"),
        (lambda: VectorToMap(4, 6, 5, 2, dropout=1.0), "dropout is 1.0"),
        (lambda: ResidualMapToVector(1, 8, 3, 4), r"pool is 4 x 4, larger than the image \(8 x 3"),
        (lambda: ResidualMapToVector(1, 8, 8, 4, pool=(1, 0)), "pool is 0"),
        (lambda: ResidualMapToVector(1, 8, 8, 4, stride=(0, 2)), "stride is 0"),
        (lambda: ResidualMapToVector(1, 8, 8, 4, dropout=-0.1), "dropout is -0.1"),
        (lambda: MapToVector(2, 0, 4, 3), "height is 0"),
        (lambda: MapToVector(2, 4, 4, 3, hidden_channels=0), "hidden_channels is 0"),
    ],
)
def test_wrong_settings_are_named(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_maps_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        MapToVector(2, 4, 4, 3)(torch.zeros(1, 2, 4, 5))
