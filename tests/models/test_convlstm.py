"""The C-LSTM against a plain LSTM run position by position."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from fusion_search.models import gates
from fusion_search.models.convlstm import ConvLSTM, set_engine

ARITHMETIC = {"eager": gates.EAGER, "compiled": gates.compiled()}


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


@pytest.mark.parametrize(
    ("engine", "constant", "checkpoint_frames"),
    [
        *(("eager", constant, frames) for constant in (True, False) for frames in (0, 2)),
        # Compiling takes long; below, what is compiled is set against PyTorch's own gradients.
        pytest.param("compiled", True, 0, marks=pytest.mark.slow),
        pytest.param("compiled", False, 2, marks=pytest.mark.slow),
        pytest.param("compiled", True, 2, marks=pytest.mark.slow),
        pytest.param("compiled", False, 0, marks=pytest.mark.slow),
    ],
)
def test_gradients_match_finite_differences(
    engine: str, constant: bool, checkpoint_frames: int
) -> None:
    """Of both inputs, all weights and the state to start from, for every way to compute them."""
    torch.manual_seed(0)
    layer = ConvLSTM(1, 2, vector_size=2 if constant else 0, pool=2).double()
    set_engine(layer, arithmetic=ARITHMETIC[engine], checkpoint_frames=checkpoint_frames)
    steps = () if constant else (3,)
    maps = torch.randn(2, *steps, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    vectors = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True) if constant else None
    state = [torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def run(maps: Tensor, hidden: Tensor, cell: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        outputs, (last_hidden, last_cell) = layer(maps, vectors, (hidden, cell))
        return outputs, last_hidden, last_cell

    others = (*layer.parameters(), *([] if vectors is None else [vectors]))
    assert gradcheck(run, (maps, *state, *others))


def automatic(layer: ConvLSTM, maps: Tensor, vectors: Tensor) -> Tensor:
    """The loop over time as the equations say it, differentiated by PyTorch; [B, T, U, H, W]."""
    shape = (len(maps), layer.units, *maps.shape[2:])
    hidden, cell = maps.new_zeros(shape), maps.new_zeros(shape)
    outputs = []
    for step in range(vectors.shape[1]):
        z = layer.from_maps(maps) + layer.cell.recurrent(hidden)
        z = z + layer.from_vectors(vectors[:, step])[..., None, None]
        forget, write, output, candidate = z.chunk(4, dim=1)
        cell = forget.sigmoid() * cell + write.sigmoid() * candidate.tanh()
        hidden = output.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6), (torch.bfloat16, 0.03)]
)
def test_every_engine_equals_the_loop_that_pytorch_differentiates(
    engine: str, dtype: torch.dtype, tolerance: float
) -> None:
    """Outputs and all gradients, relative to the largest; bfloat16 is autocast over float32."""
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    torch.manual_seed(0)
    layer = ConvLSTM(2, 8, vector_size=5).to(exact)
    set_engine(layer, arithmetic=ARITHMETIC[engine])
    maps, vectors = torch.randn(3, 2, 9, 8, dtype=exact), torch.randn(3, 12, 5, dtype=exact)
    weights = torch.randn(3, 12, 8, 9, 8, dtype=exact)
    results = []
    for run in (lambda: layer(maps, vectors)[0], lambda: automatic(layer, maps, vectors)):
        low = dtype == torch.bfloat16 and not results
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            outputs = run()
        assert outputs.dtype == (torch.bfloat16 if low else exact)
        layer.zero_grad()
        (outputs.to(exact) * weights).sum().backward()
        results.append([outputs, *(one.grad for one in layer.parameters())])
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            torch.testing.assert_close(run(), outputs, atol=1e-6, rtol=0)
    for ours, expected in zip(*results, strict=True):
        scale = expected.abs().max()
        assert ((ours - expected).abs().max() / scale).item() < tolerance


def test_checkpointing_keeps_the_state_of_few_steps_alone() -> None:
    """What is saved for the way back, in bytes, and the same gradients."""
    torch.manual_seed(0)
    layer = ConvLSTM(1, 8, vector_size=3, pool=2)
    maps, vectors = torch.randn(2, 1, 12, 12), torch.randn(2, 24, 3)
    saved, gradients = [], []
    for frames in (0, 4):
        set_engine(layer, arithmetic=ARITHMETIC["eager"], checkpoint_frames=frames)
        kept: dict[int, int] = {}

        def keep(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs, _ = layer(maps, vectors)
        layer.zero_grad()
        outputs.square().sum().backward()
        saved.append(sum(kept.values()))
        gradients.append([one.grad.clone() for one in layer.parameters()])
    assert saved[1] < saved[0] / 4
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


def test_vectors_must_fit_the_layer() -> None:
    with pytest.raises(ValueError, match="vector_size"):
        ConvLSTM(1, 2, vector_size=3)(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="time steps"):
        ConvLSTM(1, 2)(torch.zeros(1, 1, 4, 4))
