"""Axes along which inputs are impaired, and the conditions of training and testing on them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from fusion_search.datasets.batch import Batch, Tree
from fusion_search.datasets.noise import uniform, with_noise

ORIGINAL: Final = math.inf
"""No noise, as a ratio or in dB."""

ABSENT: Final = -math.inf
"""The input is zero, as a ratio or in dB."""

_TRAIN_STREAM: Final = 1 << 20  # of the draws; noise has a stream for every axis from 0 on


@dataclass(frozen=True)
class Axis:
    """One input, impaired to a signal-to-noise ratio.

    Attributes:
        name: in YAML, records and figures.
        input: a stream, or one tensor of a stream ("text.embeddings"); a float tensor.
        test: SNRs of the grid. ABSENT is tested beside it and belongs to no mean.
        decibel: whether SNRs are in dB; else they are amplitude (RMS) ratios.
        where: batch -> [B, ...] bool, True where the input holds something and is not padding; of
            the input's shape, or of its leading dimensions; None for everywhere.
        single: whether all examples of a batch meet one SNR, so that none is drawn in training.

    Raises:
        ValueError: a test SNR is none, or is there twice.
    """

    name: str
    input: str
    test: tuple[float, ...]
    decibel: bool = False
    where: Callable[[Batch], Tensor] | None = None
    single: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "test", tuple(float(one) for one in self.test))
        if not self.name.isidentifier():
            raise ValueError(f"axis name is {self.name!r}; allowed: letters, digits and _")
        for one in self.test:
            self.check(one)
        if len(set(self.test)) < len(self.test):
            raise ValueError(f"axis {self.name} tests one SNR twice: {self.test}")

    def check(self, snr: float) -> None:
        """Raise ``ValueError`` when this is no SNR of the axis."""
        if snr in (ORIGINAL, ABSENT) or (self.decibel and math.isfinite(snr)) or snr > 0:
            return
        allowed = "a number of dB" if self.decibel else "above 0"
        raise ValueError(f"{self.name} is {snr}; allowed: {allowed}, original or absent")


@dataclass(frozen=True)
class Range:
    """A train condition that is drawn uniformly for every example, in dB or as a ratio."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low is {self.low}, high is {self.high}; allowed: low below high")
        for name in ("low", "high"):  # whole numbers would be written otherwise
            object.__setattr__(self, name, float(getattr(self, name)))


TrainCondition = float | Range | tuple[float | Range, ...]
"""Of one axis: an SNR, a range, or a choice of them that is drawn for every example."""


def check_train(axis: Axis, condition: TrainCondition) -> None:
    """Raise ``ValueError`` when networks cannot be trained so on an axis."""
    if axis.single and isinstance(condition, Range | tuple):
        raise ValueError(f"{axis.name} is to be drawn for every example; allowed: one SNR for all")
    for one in condition if isinstance(condition, tuple) else (condition,):
        for snr in (one.low, one.high) if isinstance(one, Range) else (one,):
            axis.check(snr)


def grid(axes: Sequence[Axis]) -> list[dict[str, float]]:
    """The product of all test SNRs, without those that are ABSENT; [{}] without axes."""
    present = [[snr for snr in axis.test if snr != ABSENT] or [ORIGINAL] for axis in axes]
    names = [axis.name for axis in axes]
    return [dict(zip(names, snrs, strict=True)) for snrs in itertools.product(*present)]


def absent(axes: Sequence[Axis]) -> list[dict[str, float]]:
    """Where one input is absent and the others meet their test SNRs."""
    found = []
    for missing in axes:
        if ABSENT in missing.test:
            for one in grid([axis for axis in axes if axis is not missing]):
                found.append({axis.name: one.get(axis.name, ABSENT) for axis in axes})
    return found


def drawn(
    train: Mapping[str, TrainCondition], presentations: Tensor, *, seed: int
) -> dict[str, Tensor]:
    """The SNR of every example on every axis.

    Args:
        train: axis -> its train condition.
        presentations: [B] int64, equal numbers draw equal SNRs.
        seed: of the draws.

    Returns:
        axis -> [B] float64.
    """
    return {
        name: _draw(one, presentations, seed, _TRAIN_STREAM + 2 * number)
        for number, (name, one) in enumerate(sorted(train.items()))
    }


def _draw(one: TrainCondition, presentations: Tensor, seed: int, stream: int) -> Tensor:
    if isinstance(one, tuple):
        which = (uniform(seed, stream, presentations) * len(one)).long()
        # A range among the choices draws from a stream of its own.
        options = torch.stack([_draw(each, presentations, seed, stream + 1) for each in one])
        return options.gather(0, which[None])[0]
    if isinstance(one, Range):
        share = uniform(seed, stream, presentations)
        return one.low + share * (one.high - one.low)
    return torch.full((len(presentations),), float(one), dtype=torch.float64)


def impaired(
    batch: Batch,
    axes: Sequence[Axis],
    condition: Mapping[str, Tensor],
    keys: Tensor,
    *,
    seed: int,
) -> Batch:
    """The batch with white noise on the inputs of all axes.

    Args:
        batch: clean.
        axes: each has noise of its own.
        condition: axis -> [B] SNRs; axes that are not named keep their input.
        keys: [B] int64 on the CPU; equal keys give equal noise at every SNR.
        seed: of the noise.

    Raises:
        ValueError: an axis names an input that is not there or not a float tensor.
    """
    inputs = dict(batch.inputs)
    for stream, axis in enumerate(axes):
        if axis.name not in condition:
            continue
        name, _, part = axis.input.partition(".")
        clean = _float_tensor(inputs, axis)
        where = axis.where(batch) if axis.where else None
        ratio = condition[axis.name].to(clean.device)
        ratio = torch.where(ratio.isfinite() & axis.decibel, 10 ** (ratio / 20), ratio)
        noisy = with_noise(clean, ratio, keys, seed=seed, stream=stream, where=where)
        inputs[name] = {**inputs[name], part: noisy} if part else noisy
    return replace(batch, inputs=inputs)


def _float_tensor(inputs: Mapping[str, Tree], axis: Axis) -> Tensor:
    name, _, part = axis.input.partition(".")
    found = inputs.get(name)
    if part and isinstance(found, Mapping):
        found = found.get(part)
    if not isinstance(found, Tensor) or not found.is_floating_point():
        kind = f"{found.dtype} tensor" if isinstance(found, Tensor) else type(found).__name__
        whole = isinstance(found, Tensor)
        raise ValueError(
            f"axis {axis.name} impairs input {axis.input!r}, which is a {kind}; allowed: a float "
            f"tensor among the streams {', '.join(inputs)}"
            + ("; numbers of tokens have no SNR: give their embeddings, or override impair" * whole)
        )
    return found
