"""One contract for everything that couples streams."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from fusion_search.models.couplings.cross_connections import (
    MapToVector,
    ResidualMapToVector,
    VectorToMap,
)
from fusion_search.models.couplings.mmtm import MMTM, ConvolutionalMMTM, SqueezeExcitation
from fusion_search.models.couplings.modality_gate import ModalityGate


@dataclass(frozen=True)
class Case:
    """A module, and the shapes of one example that goes in and comes out."""

    build: Callable[[], nn.Module]
    inputs: Sequence[tuple[int, ...]]
    outputs: Sequence[tuple[int, ...]]


IMAGE, EQUAL, SOUND, VECTOR = (3, 2, 4), (2, 2, 4), (4, 3), (5,)
CHANNELS = [3, 2, 4, 5]
STREAMS = [IMAGE, EQUAL, SOUND, VECTOR]

CASES = {
    "mmtm": Case(lambda: MMTM(CHANNELS, ratio=1), STREAMS, STREAMS),
    "mmtm, one stream read only": Case(
        lambda: MMTM(CHANNELS, ratio=1, gated=[True, False, True, True]), STREAMS, STREAMS
    ),
    "squeeze-excitation": Case(lambda: SqueezeExcitation(CHANNELS, ratio=1), STREAMS, STREAMS),
    "convolutional": Case(lambda: ConvolutionalMMTM(CHANNELS, ratio=1), STREAMS, STREAMS),
    "sum": Case(lambda: ConvolutionalMMTM(CHANNELS, ratio=1, combine="sum"), STREAMS, STREAMS),
    "map to vector": Case(lambda: MapToVector(3, 2, 4, 6), [IMAGE], [(6,)]),
    "map to vector, plain": Case(
        lambda: MapToVector(3, 2, 4, 6, hidden_channels=2, batch_norm=False), [IMAGE], [(6,)]
    ),
    "vector to map": Case(
        lambda: VectorToMap(5, 2, 4, 3, kernel=2, final_batch_norm=True), [VECTOR], [IMAGE]
    ),
    "vector to map, plain": Case(
        lambda: VectorToMap(5, 2, 4, 3, kernel=2, batch_norm=False, dropout=0), [VECTOR], [IMAGE]
    ),
    "residual map to vector": Case(
        lambda: ResidualMapToVector(3, 2, 4, 6, pool=(2, 2)), [IMAGE], [(6,)]
    ),
    "gate": Case(lambda: ModalityGate(5, 4), [(4, 2, 3), (4, 6), VECTOR], [(4, 2, 3), (4, 6)]),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    torch.manual_seed(0)
    return CASES[request.param]


def inputs_of(case: Case, batch: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, *shape, dtype=dtype, generator=generator) for shape in case.inputs]


def outputs_of(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    outputs = module(*inputs)
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def shapes(tensors: Sequence[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in tensors]


def has_batch_norm(module: nn.Module) -> bool:
    return any(isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) for part in module.modules())


def test_shapes(case: Case) -> None:
    outputs = outputs_of(case.build(), inputs_of(case, 3))
    assert shapes(outputs) == [(3, *shape) for shape in case.outputs]


def test_inputs_are_left_alone(case: Case) -> None:
    inputs = inputs_of(case, 3)
    before = [tensor.clone() for tensor in inputs]
    case.build()(*inputs)
    assert all(torch.equal(now, then) for now, then in zip(inputs, before, strict=True))


def test_gradients_reach_every_parameter_and_input(case: Case) -> None:
    module = case.build()
    inputs = [tensor.requires_grad_() for tensor in inputs_of(case, 16)]
    sum(output.pow(3).sum() for output in outputs_of(module, inputs)).backward()
    for name, tensor in [*module.named_parameters(), *enumerate(inputs)]:
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.any(), name


def test_gradients_match_finite_differences(case: Case) -> None:
    # In evaluation mode: dropout would differ between evaluations.
    module = case.build().double().eval()
    inputs = tuple(tensor.requires_grad_() for tensor in inputs_of(case, 2, torch.float64))
    assert gradcheck(lambda *given: outputs_of(module, given), inputs)


def test_a_stored_state_gives_the_same_output(case: Case) -> None:
    trained, fresh = case.build(), case.build()
    inputs = inputs_of(case, 3)
    outputs_of(trained, inputs)  # moves the running statistics
    for parameter in trained.parameters():
        parameter.data.add_(0.1)
    fresh.load_state_dict(copy.deepcopy(trained.state_dict()))
    expected = outputs_of(trained.eval(), inputs)
    for output, wanted in zip(outputs_of(fresh.eval(), inputs), expected, strict=True):
        assert torch.equal(output, wanted)


def test_a_batch_of_one_is_as_in_a_batch(case: Case) -> None:
    module = case.build().double().eval()
    inputs = inputs_of(case, 3, torch.float64)
    together = outputs_of(module, inputs)
    for example in range(3):
        alone = outputs_of(module, [tensor[example : example + 1] for tensor in inputs])
        for output, wanted in zip(alone, together, strict=True):
            torch.testing.assert_close(output[0], wanted[example], atol=1e-12, rtol=0)


def test_a_batch_of_one_trains_without_batch_norm(case: Case) -> None:
    module = case.build()
    if has_batch_norm(module):
        pytest.skip("batch normalisation needs more than one example")
    outputs = outputs_of(module, inputs_of(case, 1))
    assert shapes(outputs) == [(1, *shape) for shape in case.outputs]
    sum(output.sum() for output in outputs).backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_keeps_the_shapes(case: Case, dtype: torch.dtype) -> None:
    module = case.build()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = outputs_of(module, [tensor.to(dtype) for tensor in inputs_of(case, 3)])
    assert shapes(outputs) == [(3, *shape) for shape in case.outputs]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same(case: Case) -> None:
    module = case.build().double().eval()
    inputs = inputs_of(case, 3, torch.float64)
    expected = outputs_of(module, inputs)
    outputs = outputs_of(module.cuda(), [tensor.cuda() for tensor in inputs])
    for output, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output.cpu(), wanted, atol=1e-10, rtol=0)
