"""Streams of many cases that share their inputs, so that nothing is computed twice.

A case is one image (with its noise) heard with one sound (with its noise). When 10 noisy versions
of an image meet 10 of a sound there are 100 cases, but only 10 images and 10 sounds: a stream
holds what is different once, as a row, and knows the row of every case. A layer is applied to
rows; where two streams meet, their rows are brought to one per case. So it follows from the
network itself how far rows can be shared.

Shapes: N cases, R rows, T time steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusion_search.models.convlstm import ConvLSTM, State


@dataclass(frozen=True)
class Stream:
    """Features of one modality, or of both once they have met.

    Attributes:
        values: [R, ...].
        rows: [N] int64, the row of each case; None when row i is case i.
    """

    values: Tensor
    rows: Tensor | None = None

    def apply(self, layer: Callable[[Tensor], Tensor]) -> Stream:
        """A layer applied to every row."""
        return Stream(layer(self.values), self.rows)

    def by_case(self, cases: Tensor | None = None) -> Tensor:
        """The values of every case, or of some [n]: [N or n, ...]."""
        if cases is None:
            return self.values if self.rows is None else self.values[self.rows]
        if self.rows is not None:
            return self.values[self.rows[cases]]
        # Maps over time are large: neighbours are looked at, not copied.
        first = int(cases[0]) if len(cases) else 0
        neighbours = torch.arange(first, first + len(cases), device=cases.device)
        if torch.equal(cases, neighbours):
            return self.values[first : first + len(cases)]
        return self.values[cases]


@dataclass(frozen=True)
class Sounds:
    """Sounds as far as no image has a say.

    Attributes:
        spectrograms: [R, T, F].
        levels: [R, T, U] after each of the leading audio levels that know nothing of the image.
        silent: [R] int64, leading time steps that are exactly zero; 0 when that is not known.
    """

    spectrograms: Tensor
    levels: tuple[Tensor, ...]
    silent: Tensor

    @staticmethod
    def join(parts: Sequence[Sounds]) -> Sounds:
        """One after the other."""
        levels = zip(*(part.levels for part in parts), strict=True)
        return Sounds(
            torch.cat([part.spectrograms for part in parts]),
            tuple(torch.cat(level) for level in levels),
            torch.cat([part.silent for part in parts]),
        )

    def pick(self, rows: Tensor) -> Sounds:
        """Some of them."""
        levels = tuple(level[rows] for level in self.levels)
        return Sounds(self.spectrograms[rows], levels, self.silent[rows])


def meet(function: Callable[[Tensor, Tensor], Tensor], first: Stream, second: Stream) -> Stream:
    """A function of two streams, computed for every case, or row by row when rows are the same."""
    if first.rows is second.rows:
        return Stream(function(first.values, second.values), first.rows)
    return Stream(function(first.by_case(), second.by_case()))


def last_outputs(
    levels: Sequence[ConvLSTM],
    maps: Stream,
    sequence: Stream,
    *,
    images: Tensor,
    silent: Tensor,
    batch: int,
) -> Tensor:
    """The last pooled h of C-LSTM levels for every case.

    While a sound is silent, the state depends on the image alone. It is computed once per image,
    and every case goes on from there when its sound begins: the cases are taken in that order,
    and before each batch the images still needed are run through silence up to its beginning.

    Args:
        levels: one after another; the first takes ``maps`` and ``sequence``.
        maps: [R, C, H, W], or [R, T, C, H, W].
        sequence: [R, T, V].
        images: [N] int64 from 0 up without gaps, the image of each case.
        silent: [N] int64, the leading time steps in which cases of one image are the same.
        batch: cases run at once.

    Returns:
        [N, U, H', W'].
    """
    first = levels[0]
    maps = maps.apply(first.convolve) if maps.values.dim() == 4 else maps.apply(_over_time(first))
    sound = sequence.apply(lambda vectors: first.project(vectors).transpose(0, 1))
    onsets = silent.clamp(max=sequence.values.shape[1] - 1)
    order = torch.argsort(onsets, stable=True)
    # For each image the case that is silent the longest. Of several values scatter_ keeps any, on a
    # GPU.
    places = torch.arange(len(order), device=order.device)
    last = torch.zeros_like(images[: int(images.max()) + 1])
    longest = order[last.scatter_reduce_(0, images[order], places, "amax")]
    kept = torch.arange(len(longest), device=images.device)
    states: list[State] | None = None
    outputs: list[Tensor] = []
    position = 0
    for cases in order.split(batch):
        start = int(onsets[cases[0]])
        if start > position:
            still = onsets[longest[kept]] >= start
            kept, states = kept[still], _pick(states, still)
            states = _through_silence(
                levels, maps, sound, longest[kept], range(position, start), states, batch
            )
            position = start
        begun = _pick(states, torch.searchsorted(kept, images[cases]))
        rest = range(start, sequence.values.shape[1])
        outputs.append(_run(levels, maps, sound, cases, rest, begun)[0])
    together = torch.cat(outputs)
    return torch.empty_like(together).index_copy_(0, order, together)


def _over_time(level: ConvLSTM) -> Callable[[Tensor], Tensor]:
    """The level's convolution of maps that change, [R, T, C, H, W]."""
    return lambda maps: level.convolve(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])


def _through_silence(
    levels: Sequence[ConvLSTM],
    maps: Stream,
    sound: Stream,
    cases: Tensor,
    steps: range,
    states: list[State] | None,
    batch: int,
) -> list[State]:
    """The states of some cases after some more steps."""
    parts = []
    for some in torch.arange(len(cases), device=cases.device).split(batch):
        parts.append(_run(levels, maps, sound, cases[some], steps, _pick(states, some))[1])
    return [
        (
            torch.cat([part[level][0] for part in parts]),
            torch.cat([part[level][1] for part in parts]),
        )
        for level in range(len(levels))
    ]


def _run(
    levels: Sequence[ConvLSTM],
    maps: Stream,
    sound: Stream,
    cases: Tensor,
    steps: range,
    states: list[State] | None,
) -> tuple[Tensor, list[State]]:
    """Last outputs [n, U, H', W'] and states of some cases [n] after some time steps.

    ``maps`` [R, H, W, 4U] or [R, T, H, W, 4U] and ``sound`` [R, T, 4U] are what these give to the
    gates.
    """
    part = slice(steps.start, steps.stop)
    given = maps.by_case(cases)
    inputs = given[None] if given.dim() == 4 else given[:, part].transpose(0, 1)
    projected: Tensor | None = sound.by_case(cases)[:, part].transpose(0, 1)
    later = []
    for number, level in enumerate(levels):
        outputs, state = level.advance(inputs, projected, states[number] if states else None)
        later.append(state)
        if number + 1 < len(levels):
            inputs = _over_time(levels[number + 1])(outputs)
            projected = None
    return outputs[-1], later


def _pick(states: list[State] | None, rows: Tensor) -> list[State] | None:
    return None if states is None else [(hidden[rows], cell[rows]) for hidden, cell in states]
