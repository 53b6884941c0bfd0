"""A transposed convolution as products of matrices, against PyTorch's own."""

from __future__ import annotations

import itertools
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fusion_search.models.couplings.cross_connections import VectorToMap
from fusion_search.models.couplings.spreading import Spreading, as_the_equation, spread
from fusion_search.models.layout import Placement
from fusion_search.models.xflow.recurrent import RecurrentXFlow
from fusion_search.search.trials.cost import multiply_accumulates


@pytest.mark.parametrize(
    ("height", "width", "channels", "kernel"),
    # Fewer and more rows than the kernel has, one of them alone, and blocks that do not divide it.
    [(5, 3, 2, 8), (12, 9, 3, 8), (1, 1, 1, 9), (14, 4, 2, 3), (2, 11, 4, 16)],
)
def test_values_and_gradients_are_pytorchs(
    height: int, width: int, channels: int, kernel: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 1, height, width), (1, channels, kernel, kernel), (channels,))
    given = [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in shapes
    ]
    ours, theirs = spread(*given), functional.conv_transpose2d(*given)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    back = torch.randn(theirs.shape, generator=generator, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(ours, given, back),
        torch.autograd.grad(theirs, given, back),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_a_large_kernel_is_spread_and_a_small_one_left_to_pytorch() -> None:
    for kernel, products in ((8, True), (7, False)):
        layer = Spreading(2, kernel)
        maps = torch.randn(1, 1, 4, 3)
        wanted = functional.conv_transpose2d(maps, layer.weight, layer.bias)
        found = layer(maps)
        torch.testing.assert_close(found, wanted)
        assert found.is_contiguous() is not products  # its channels are last
        with as_the_equation():
            assert torch.equal(layer(maps), wanted)


def test_operations_are_those_of_the_transposed_convolution() -> None:
    network = VectorToMap(3, 12, 10, 2, kernel=8, batch_norm=False)
    vectors = torch.randn(1, 3)
    expected = 3 * 15 + 15 * 2 * 8**2
    assert multiply_accumulates(network, lambda: network(vectors)) == expected


def test_training_is_that_of_the_plain_layer() -> None:
    """The whole LSTM network at the paper's sizes: losses of four steps."""
    generator = torch.Generator().manual_seed(0)
    there = torch.tensor([[True, True], [True, False]])
    clips = {
        "image": {"frames": torch.rand(2, 2, 80, 60, generator=generator), "there": there},
        "audio": {"coefficients": torch.randn(2, 2, 26, generator=generator), "there": there},
    }
    sites = {
        level: {"image>audio": "residual", "audio>image": "residual"}
        for level in ("level1", "level2")
    }

    def losses(plain: bool) -> list[float]:
        torch.manual_seed(0)
        network = RecurrentXFlow(clips, 3, Placement(sites))
        assert isinstance(network.head.dropout, torch.nn.Dropout)
        network.head.dropout.p = 0.0
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
        found = []
        for _ in range(4):
            with as_the_equation() if plain else nullcontext():
                logits: Tensor = network(**clips)
            loss = functional.cross_entropy(logits, torch.tensor([0, 2]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            found.append(float(loss.detach()))
        return found

    ours, theirs = losses(plain=False), losses(plain=True)
    assert all(after < before for before, after in itertools.pairwise(theirs))
    assert ours == pytest.approx(theirs, rel=1e-4)
