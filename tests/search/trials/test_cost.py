"""Multiply-accumulates, layer by layer, against what the equations say."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from fusion_search.search.trials.cost import milliseconds_per_example, multiply_accumulates

CPU = torch.device("cpu")


class Both(nn.Module):
    """An LSTM over 7 steps of 5 to 3 units, and a transposed convolution of 2 to 4 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 3, batch_first=True)
        self.grown = nn.ConvTranspose2d(2, 4, 3)

    def forward(self, sound: Tensor, image: Tensor) -> Tensor:
        last: Tensor = self.lstm(sound)[0][:, -1].sum(1)
        return last + self.grown(image).mean((1, 2, 3))


@pytest.mark.parametrize(
    ("network", "inputs", "expected"),
    [
        (nn.Linear(6, 4), (torch.rand(1, 6),), 6 * 4),
        (nn.Conv2d(2, 3, 3, padding=1), (torch.rand(1, 2, 8, 8),), 8 * 8 * 3 * 2 * 9),
        (nn.Conv1d(4, 6, 3, groups=2), (torch.rand(1, 4, 10),), 8 * 6 * 2 * 3),
        # Four gates from input and state at every step; a window for every pixel that comes in.
        (
            Both(),
            (torch.rand(1, 7, 5), torch.rand(1, 2, 6, 6)),
            7 * 4 * 3 * (5 + 3) + 6 * 6 * 2 * 4 * 9,
        ),
    ],
)
def test_operations_are_those_of_the_equations(
    network: nn.Module, inputs: tuple[Tensor, ...], expected: int
) -> None:
    network.train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert multiply_accumulates(network, lambda: network(*inputs)) == expected
    assert network.training


def test_milliseconds_are_those_of_an_example() -> None:
    calls: list[int] = []
    found = milliseconds_per_example(nn.Linear(2, 2), lambda: calls.append(1), 10, CPU)
    assert len(calls) == 6
    assert 0 < found < 1
