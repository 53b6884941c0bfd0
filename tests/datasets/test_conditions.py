"""Noise at an SNR on any float tensor, absent inputs, train conditions drawn for every example."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fusion_search.datasets.batch import Batch
from fusion_search.datasets.conditions import (
    ABSENT,
    ORIGINAL,
    Axis,
    Range,
    absent,
    drawn,
    grid,
    impaired,
)
from fusion_search.datasets.noise import uniform, with_noise

KEYS = torch.arange(5)


def signals(*shape: int) -> Tensor:
    return torch.randn(5, *shape, generator=torch.Generator().manual_seed(3))


def measured(clean: Tensor, noisy: Tensor, mask: Tensor | None = None) -> list[float]:
    """RMS of the signal over RMS of the noise, example by example, in NumPy."""
    found = []
    for number in range(len(clean)):
        one, other = clean[number].numpy(), noisy[number].numpy()
        held = np.ones(one.shape, bool)
        if mask is not None:
            wide = mask[number].numpy()
            held = np.broadcast_to(
                wide.reshape(wide.shape + (1,) * (one.ndim - wide.ndim)), one.shape
            )
        noise = (other.astype(float) - one)[held]
        found.append(float(np.sqrt(np.mean(one[held].astype(float) ** 2) / np.mean(noise**2))))
    return found


@pytest.mark.parametrize("shape", [(7,), (2, 9), (3, 4, 5), (2, 3, 4, 5)])
def test_the_ratio_is_one_of_amplitudes_whatever_the_shape(shape: tuple[int, ...]) -> None:
    clean = signals(*shape)
    snr = torch.tensor([0.25, 1.0, 4.0, ORIGINAL, ABSENT])
    noisy = with_noise(clean, snr, KEYS, seed=1, stream=0)
    assert measured(clean[:3], noisy[:3]) == pytest.approx([0.25, 1.0, 4.0], rel=1e-5)
    assert torch.equal(noisy[3], clean[3])
    assert not noisy[4].any()


def test_decibels_are_twenty_logarithms_of_the_ratio_of_amplitudes() -> None:
    batch = Batch({"x": signals(50)}, torch.zeros(5))
    axis = Axis("x_snr", "x", (0.0,), decibel=True)
    snr = torch.tensor([-6.0, 0.0, 20.0, ORIGINAL, ABSENT])
    noisy = impaired(batch, [axis], {"x_snr": snr}, KEYS, seed=1).inputs["x"]
    found = [20 * math.log10(one) for one in measured(batch.inputs["x"][:3], noisy[:3])]
    assert found == pytest.approx([-6, 0, 20], abs=1e-4)
    assert torch.equal(noisy[3], batch.inputs["x"][3])
    assert not noisy[4].any()


def test_equal_keys_meet_equal_noise_in_any_batch_and_at_any_ratio() -> None:
    clean = signals(2, 9)
    whole = with_noise(clean, torch.full((5,), 1.0), KEYS, seed=1, stream=0)
    part = with_noise(clean[3:], torch.full((2,), 1.0), KEYS[3:], seed=1, stream=0)
    assert torch.equal(part, whole[3:])
    louder = with_noise(clean, torch.full((5,), 0.5), KEYS, seed=1, stream=0)
    torch.testing.assert_close(louder - clean, 2 * (whole - clean))
    for seed, stream in ((2, 0), (1, 1)):
        other = with_noise(clean, torch.full((5,), 1.0), KEYS, seed=seed, stream=stream)
        assert not torch.isclose(other, whole).any()


@pytest.mark.parametrize("channels_first", [True, False])
def test_padding_gets_no_noise_and_changes_none(channels_first: bool) -> None:
    lengths = torch.tensor([3, 6, 1, 0, 6])
    mask = torch.arange(6) < lengths[:, None]
    clean = signals(6, 4) * mask[:, :, None]
    where = mask
    if channels_first:
        clean, where = clean.movedim(2, 1), mask[:, None].expand(5, 4, 6)
    snr = torch.full((5,), 0.5)
    noisy = with_noise(clean, snr, KEYS, seed=1, stream=0, where=where)
    time = 2 if channels_first else 1
    assert torch.equal(noisy[3], clean[3])
    for number in (0, 1, 2, 4):
        held = clean[[number]].narrow(time, 0, int(lengths[number]))
        alone = with_noise(held, snr[:1], KEYS[[number]], seed=1, stream=0)
        shown = noisy[[number]].narrow(time, 0, int(lengths[number]))
        torch.testing.assert_close(shown, alone)
        assert measured(held, shown) == pytest.approx([0.5], rel=1e-5)
        rest = noisy[[number]].narrow(time, int(lengths[number]), 6 - int(lengths[number]))
        assert not rest.any()


def test_half_precision_inputs_keep_their_type() -> None:
    clean = signals(40).bfloat16()
    noisy = with_noise(clean, torch.full((5,), 1.0), KEYS, seed=1, stream=0)
    assert noisy.dtype == torch.bfloat16
    assert measured(clean.float(), noisy.float()) == pytest.approx([1.0] * 5, rel=0.02)


def test_a_train_condition_is_a_value_a_range_or_a_choice_of_them() -> None:
    shown = torch.arange(40_000)
    found = drawn(
        {"value": 2.0, "range": Range(0, 20), "choice": (1.0, ABSENT, Range(4, 8))}, shown, seed=5
    )
    assert found["value"].unique().tolist() == [2.0]
    in_range = found["range"].double()
    assert in_range.min() >= 0
    assert in_range.max() < 20
    # Of a uniform distribution: mean 10 and variance 400 / 12, each within four standard errors.
    assert float(in_range.mean()) == pytest.approx(10, abs=4 * 20 / 12**0.5 / 200)
    assert float(in_range.var()) == pytest.approx(400 / 12, rel=0.03)
    choice = found["choice"]
    ranged = choice[(choice != 1) & (choice != ABSENT)]
    for count in ((choice == 1).sum(), (choice == ABSENT).sum(), len(ranged)):
        assert int(count) == pytest.approx(40_000 / 3, abs=4 * (40_000 * 2 / 9) ** 0.5)
    assert 4 <= ranged.min() <= ranged.max() < 8
    # Which one is chosen says nothing of where in a range it lies.
    assert float(ranged.mean()) == pytest.approx(6, abs=0.05)
    assert abs(np.corrcoef(in_range.numpy(), choice.clamp(min=0).numpy())[0, 1]) < 0.02


def test_equal_presentations_draw_equal_conditions() -> None:
    train = {"a": Range(0, 1), "b": (1.0, 2.0)}
    whole = drawn(train, torch.arange(20), seed=5)
    for name in train:
        assert torch.equal(drawn(train, torch.arange(7, 12), seed=5)[name], whole[name][7:12])
        assert not torch.equal(drawn(train, torch.arange(20), seed=6)[name], whole[name])


def test_uniform_draws_are_even_and_differ_between_streams() -> None:
    draws = uniform(1, 2, torch.arange(100_000))
    counts = np.histogram(draws.numpy(), bins=20, range=(0, 1))[0]
    assert ((counts - 5_000) ** 2 / 5_000).sum() < 43.8  # chi-squared of 19, p = 0.001
    assert (
        abs(np.corrcoef(draws.numpy(), uniform(1, 3, torch.arange(100_000)).numpy())[0, 1]) < 0.01
    )


def test_the_grid_is_the_product_without_absent_which_has_its_own() -> None:
    a = Axis("a", "a", (ORIGINAL, 1, ABSENT))
    b = Axis("b", "b", (ORIGINAL, 2, 4))
    c = Axis("c", "c", (1, ABSENT))
    assert grid([]) == [{}]
    assert grid([a, b]) == [{"a": x, "b": y} for x in (ORIGINAL, 1.0) for y in (ORIGINAL, 2.0, 4.0)]
    assert absent([a, b]) == [{"a": ABSENT, "b": y} for y in (ORIGINAL, 2.0, 4.0)]
    assert absent([a, c]) == [
        {"a": ABSENT, "c": 1.0},
        {"a": ORIGINAL, "c": ABSENT},
        {"a": 1.0, "c": ABSENT},
    ]


def test_what_cannot_be_impaired_is_named() -> None:
    batch = Batch({"x": torch.zeros(5, 3, dtype=torch.int64)}, torch.zeros(5))
    condition = {"a": torch.ones(5)}
    with pytest.raises(
        ValueError, match=r"axis a impairs input 'x', which is a torch\.int64 tensor"
    ):
        impaired(batch, [Axis("a", "x", (1,))], condition, KEYS, seed=0)
    with pytest.raises(ValueError, match="impairs input 'y', which is a NoneType"):
        impaired(batch, [Axis("a", "y", (1,))], condition, KEYS, seed=0)
    with pytest.raises(ValueError, match="snr must be above 0"):
        with_noise(signals(3), torch.zeros(5), KEYS, seed=0, stream=0)
    with pytest.raises(ValueError, match=r"a is -1\.0; allowed: above 0, original or absent"):
        Axis("a", "x", (-1,))
    with pytest.raises(ValueError, match="tests one SNR twice"):
        Axis("a", "x", (1, 1.0))
    with pytest.raises(ValueError, match="low is 2, high is 2"):
        Range(2, 2)
