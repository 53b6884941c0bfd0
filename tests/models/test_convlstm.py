"""The C-LSTM against a plain LSTM run position by position."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from models.convlstm import ConvLSTM


def neighbourhood(maps: Tensor, row: int, column: int, kernel: int) -> Tensor:
    """The kernel x kernel surroundings of a position, zero outside the map; [C * kernel**2]."""
    reach = kernel // 2
    values = []
    for channel in range(maps.shape[0]):
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                y, x = row + dy, column + dx
                inside = 0 <= y < maps.shape[1] and 0 <= x < maps.shape[2]
                values.append(maps[channel, y, x] if inside else maps.new_zeros(()))
    return torch.stack(values)


def plain_lstm(layer: ConvLSTM, maps: Tensor, vectors: Tensor | None, kernel: int) -> Tensor:
    """h_t of one example at every position, written as the paper's equations; maps [T, C, H, W]."""
    units, steps = layer.units, maps.shape[0]
    height, width = maps.shape[2:]
    w_x = layer.from_maps.weight.flatten(1)
    w_h = layer.cell.recurrent.weight.flatten(1)
    hidden = maps.new_zeros(units, height, width)
    cell = maps.new_zeros(units, height, width)
    outputs = []
    for t in range(steps):
        new_hidden, new_cell = torch.zeros_like(hidden), torch.zeros_like(cell)
        for y in range(height):
            for x in range(width):
                z = w_x @ neighbourhood(maps[t], y, x, kernel) + layer.from_maps.bias
                z = z + w_h @ neighbourhood(hidden, y, x, kernel)
                if vectors is not None:
                    z = z + layer.from_vectors.weight @ vectors[t]
                f, i, o = (1 / (1 + torch.exp(-z[k * units : (k + 1) * units])) for k in range(3))
                new_cell[:, y, x] = f * cell[:, y, x] + i * torch.tanh(z[3 * units :])
                new_hidden[:, y, x] = o * torch.tanh(new_cell[:, y, x])
        hidden, cell = new_hidden, new_cell
        outputs.append(hidden)
    return torch.stack(outputs)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_static_image_with_audio_equals_plain_lstm(kernel: int) -> None:
    torch.manual_seed(kernel)
    layer = ConvLSTM(2, 3, vector_size=5, kernel=kernel).double()
    image = torch.randn(2, 2, 5, 4, dtype=torch.float64)
    audio = torch.randn(2, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        outputs, (hidden, _) = layer(image, audio)
        for example in range(2):
            repeated = image[example].expand(4, -1, -1, -1)
            expected = plain_lstm(layer, repeated, audio[example], kernel)
            torch.testing.assert_close(outputs[example], expected, atol=1e-12, rtol=0)
    assert torch.equal(outputs[:, -1], hidden)


def test_changing_maps_equal_plain_lstm() -> None:
    torch.manual_seed(0)
    layer = ConvLSTM(2, 3).double()
    maps = torch.randn(1, 4, 2, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        outputs, _ = layer(maps)
        expected = plain_lstm(layer, maps[0], None, 3)
    torch.testing.assert_close(outputs[0], expected, atol=1e-12, rtol=0)


def test_pooling_takes_the_largest_of_each_window() -> None:
    torch.manual_seed(0)
    pooled, plain = ConvLSTM(1, 2, vector_size=3, pool=2), ConvLSTM(1, 2, vector_size=3)
    plain.load_state_dict(pooled.state_dict())
    image, audio = torch.randn(1, 1, 6, 6), torch.randn(1, 2, 3)
    small, full = pooled(image, audio)[0], plain(image, audio)[0]
    windows = full.unfold(3, 2, 2).unfold(4, 2, 2).flatten(5)
    assert torch.equal(small, windows.amax(-1))


def test_splitting_the_clip_changes_nothing() -> None:
    torch.manual_seed(0)
    layer = ConvLSTM(1, 4, vector_size=3).double()
    image = torch.randn(2, 1, 6, 6, dtype=torch.float64)
    audio = torch.randn(2, 7, 3, dtype=torch.float64)
    whole, _ = layer(image, audio)
    first, state = layer(image, audio[:, :3])
    second, _ = layer(image, audio[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, atol=1e-13, rtol=0)


def test_without_padding_the_map_shrinks_by_the_kernel() -> None:
    outputs, _ = ConvLSTM(1, 2, vector_size=3, kernel=5, padding=False)(
        torch.zeros(1, 1, 9, 8), torch.zeros(1, 2, 3)
    )
    assert outputs.shape == (1, 2, 2, 5, 4)


def test_gradients_match_finite_differences() -> None:
    torch.manual_seed(0)
    layer = ConvLSTM(1, 2, vector_size=2, pool=1).double()
    image = torch.randn(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    audio = torch.randn(1, 3, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda v, a: layer(v, a)[0], (image, audio))


def test_vectors_must_fit_the_layer() -> None:
    with pytest.raises(ValueError, match="vector_size"):
        ConvLSTM(1, 2, vector_size=3)(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="time steps"):
        ConvLSTM(1, 2)(torch.zeros(1, 1, 4, 4))
