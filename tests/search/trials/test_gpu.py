"""Trials on a GPU, where there is one: against the processor, and each shortcut against none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from small_trials import small_trial
from torch import Tensor

from fusion_search.datasets.batch import Batch
from fusion_search.search.tasks import captured
from fusion_search.search.tasks.base import TrialError
from fusion_search.search.tasks.digits.task import Digits
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.packing import run_pack
from fusion_search.search.trials.results import Epoch
from fusion_search.search.trials.training import settle_products
from fusion_search.search.trials.trial import Continuation, TrialResult, device_name, run_trial

GPU = torch.device("cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

# 72 examples an epoch: four batches of 16, which is more than are computed before the capture, and
# one of 8.
DEPTHS: Any = pytest.mark.parametrize("depth", [0, 1, 2])
BUDGET: dict[str, Any] = {"examples": 144, "epoch_examples": 72, "gates": "eager"}


@pytest.fixture(scope="module")
def opened() -> OpenedTask:
    return OpenedTask(Digits(), small_trial().data)


@pytest.fixture
def exact() -> Iterator[None]:
    yield
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def replays(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Fills up with one entry for each batch that is replayed."""
    shapes: list[Any] = []
    before = torch.cuda.CUDAGraph.replay

    class Counted(torch.cuda.CUDAGraph):
        def replay(self) -> None:
            shapes.append(self)
            before(self)

    monkeypatch.setattr(captured.torch.cuda, "CUDAGraph", Counted)
    return shapes


def same(one: TrialResult, other: TrialResult, tolerance: float) -> None:
    for mine, theirs in zip(one.epochs, other.epochs, strict=True):
        assert mine.train_loss == pytest.approx(theirs.train_loss, rel=tolerance)
        assert mine.validation_loss == pytest.approx(theirs.validation_loss, rel=tolerance)
    assert one.grid is not None
    assert other.grid is not None
    for mine, theirs in zip(one.grid.evaluations, other.grid.evaluations, strict=True):
        assert mine.condition == theirs.condition
        assert mine.loss == pytest.approx(theirs.loss, rel=10 * tolerance)


@needs_gpu
@DEPTHS
def test_a_gpu_gives_what_the_processor_gives(depth: int, opened: OpenedTask) -> None:
    here = run_trial(small_trial(**BUDGET, fusion_depth=depth), opened)
    there = run_trial(small_trial(**BUDGET, fusion_depth=depth, device="cuda"), opened)
    assert (there.device, there.engine) == ("cuda", "eager, captured")
    same(there, here, 1e-4)


@needs_gpu
@DEPTHS
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_replayed_step_gives_what_a_computed_one_gives(
    depth: int, precision: str, opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = small_trial(**BUDGET, fusion_depth=depth, device="cuda", precision=precision)
    counted = replays(monkeypatch)
    replayed = run_trial(trial, opened)
    assert len(counted) == 2 * 4 - 3
    monkeypatch.setattr(captured, "_EAGER_STEPS", 1000)
    computed = run_trial(trial, opened)
    assert [one.train_loss for one in replayed.epochs] == [
        one.train_loss for one in computed.epochs
    ]
    for name, value in computed.state.items():
        torch.testing.assert_close(replayed.state[name], value, rtol=0, atol=0)


@needs_gpu
def test_a_trial_goes_on_on_a_gpu_as_if_it_had_not_stopped(opened: OpenedTask) -> None:
    trial = small_trial(**BUDGET, fusion_depth=0, device="cuda")
    saved: list[bytes] = []
    whole = run_trial(trial, opened, continuation=Continuation(save=saved.append))
    gone_on = run_trial(trial, opened, continuation=Continuation(saved=saved[0]))
    same(gone_on, whole, 1e-6)


@needs_gpu
@DEPTHS
def test_a_pack_on_a_gpu_gives_what_each_trial_gives(depth: int, opened: OpenedTask) -> None:
    trials = [
        small_trial(**BUDGET, fusion_depth=depth, device="cuda", seed=0),
        small_trial(**BUDGET, fusion_depth=depth, device="cuda", seed=1, learning_rate=0.01),
        small_trial(**BUDGET, fusion_depth=depth, device="cuda", seed=1, train_audio_snr=2.0),
    ]
    ends = {
        one.trial_id: what for one, what in run_pack(trials, opened) if not isinstance(what, Epoch)
    }
    for one in trials:
        packed = ends[one.trial_id]
        assert isinstance(packed, TrialResult), packed
        same(packed, run_trial(one, opened), 1e-4)


@needs_gpu
def test_products_are_exact_unless_tf32_is_asked_for(exact: None) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(8, 64, 14, 14, generator=generator)
    weight = torch.randn(64, 64, 3, 3, generator=generator)
    flat = maps.flatten(0, 1).flatten(1)
    products = {
        "convolution": lambda a, w, m: torch.nn.functional.conv2d(a, w),
        "matrix": lambda a, w, m: m.T @ m,
    }

    def error(product: Any) -> float:
        true = product(*(one.double() for one in (maps, weight, flat)))
        found = product(*(one.to(GPU) for one in (maps, weight, flat))).cpu().double()
        return float((found - true).norm() / true.norm())

    for product in products.values():
        settle_products("float32", GPU)
        assert error(product) < 1e-6
        settle_products("tf32", GPU)
        assert 1e-5 < error(product) < 2e-3


@needs_gpu
def test_a_batch_comes_to_the_gpu_as_it_was() -> None:
    batch = Batch({"a": torch.arange(12.0).view(3, 4)}, torch.tensor([1, 2, 3]), {"words": "x"})
    there = batch.to(GPU)
    tensors: list[tuple[Tensor, Tensor]] = [
        (there.inputs["a"], batch.inputs["a"]),
        (there.targets, batch.targets),
    ]
    for moved, own in tensors:
        assert moved.is_cuda
        assert torch.equal(moved.cpu(), own)
    assert there.extra == batch.extra


def test_what_is_replayed_is_said_where_it_is() -> None:
    task, kept = Digits(), small_trial(checkpoint_frames=2).network
    told = [
        captured.with_capture("eager", task, settings, torch.device(device))
        for settings, device in (
            (small_trial().network, "cuda"),
            (small_trial().network, "cpu"),
            (kept, "cuda"),
        )
    ]
    assert told == ["eager, captured", "eager", "eager"]


@needs_gpu
def test_a_gpu_has_a_name() -> None:
    assert device_name("cuda") == torch.cuda.get_device_name()


def test_a_processor_has_no_tf32(opened: OpenedTask) -> None:
    with pytest.raises(
        TrialError, match=r"precision is tf32.*cpu; allowed there: float32, bfloat16"
    ):
        run_trial(small_trial(precision="tf32"), opened)
