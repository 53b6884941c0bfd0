"""The modality gate against its equation by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fusion_search.models.couplings.modality_gate import ModalityGate


def plain_gate(gate: ModalityGate, source: Tensor) -> list[list[float]]:
    """G = logistic(W source + theta), example by example and element by element."""
    weight, theta = gate.gate.weight.tolist(), gate.gate.bias.tolist()
    return [
        [
            1 / (1 + math.exp(-(sum(w * s for w, s in zip(row, one, strict=True)) + t)))
            for row, t in zip(weight, theta, strict=True)
        ]
        for one in source.tolist()
    ]


def test_by_hand() -> None:
    gate = ModalityGate(2, 2)
    with torch.no_grad():
        gate.gate.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, math.log(3)]]))
        gate.gate.bias.copy_(torch.tensor([0.0, math.log(3)]))
    # W source + theta is 0 and 2 log 3: G is 1/2 and 9/10.
    a, b = gate(torch.tensor([[4.0, 10.0]]), torch.tensor([[-2.0, 20.0]]), torch.tensor([[0.0, 1]]))
    torch.testing.assert_close(a, torch.tensor([[2.0, 1.0]]))
    torch.testing.assert_close(b, torch.tensor([[-1.0, 18.0]]))


@pytest.mark.parametrize("source_is_a", [True, False])
def test_either_stream_may_be_the_source(source_is_a: bool) -> None:
    torch.manual_seed(0)
    gate = ModalityGate(4, 4).double()
    a, b = torch.randn(2, 3, 4, dtype=torch.float64)
    source = a if source_is_a else b
    gated_a, gated_b = gate(a, b, source)
    for example, values in enumerate(plain_gate(gate, source)):
        for k, value in enumerate(values):
            assert gated_a[example, k].item() == pytest.approx(a[example, k].item() * (1 - value))
            assert gated_b[example, k].item() == pytest.approx(b[example, k].item() * value)


def test_one_gate_per_channel_holds_at_all_positions() -> None:
    torch.manual_seed(0)
    gate = ModalityGate(5, 3).double()
    image = torch.randn(2, 3, 4, 2, dtype=torch.float64)
    sound = torch.randn(2, 3, 7, dtype=torch.float64)
    source = torch.randn(2, 5, dtype=torch.float64)
    gated_image, gated_sound = gate(image, sound, source)
    values = plain_gate(gate, source)
    for example in range(2):
        for k in range(3):
            value = values[example][k]
            torch.testing.assert_close(gated_image[example, k], image[example, k] * (1 - value))
            torch.testing.assert_close(gated_sound[example, k], sound[example, k] * value)


def test_what_one_stream_loses_the_other_gains() -> None:
    torch.manual_seed(0)
    ones = torch.ones(2, 3)
    a, b = ModalityGate(4, 3)(ones, ones, torch.randn(2, 4))
    torch.testing.assert_close(a + b, ones)


def test_wrong_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="source_size is 0"):
        ModalityGate(0, 3)
    with pytest.raises(ValueError, match="size 0"):
        ModalityGate(3, 0)
    gate = ModalityGate(4, 3)
    fitting, source = torch.zeros(2, 3), torch.zeros(2, 4)
    with pytest.raises(ValueError, match=r"^a has shape"):
        gate(torch.zeros(2, 5), fitting, source)
    with pytest.raises(ValueError, match=r"^b has shape"):
        gate(fitting, torch.zeros(3), source)
    with pytest.raises(ValueError, match=r"^source has shape"):
        gate(fitting, fitting, fitting)
