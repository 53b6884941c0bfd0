"""Loading under seeded generators: the same examples whoever loads them, and however many at once.

Every example is loaded with torch's, NumPy's and Python's global generators seeded by (seed,
presentation), so that a data set's own random augmentation gives the same with any number of
loading workers, after a resume, and in another batch size. The generators are given back as they
were: dropout does not notice that data are loaded.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from fusion_search.datasets.batch import Batch, as_batch
from fusion_search.datasets.noise import uniform

_ORDER_STREAM = (1 << 20) - 1  # before those of drawn train conditions
_LOADING_STREAM = (1 << 20) - 2


@dataclass(frozen=True)
class Presentation:
    """One example shown once.

    Attributes:
        number: of the example in its data set.
        shown: how many were shown before it; equal ones meet equal augmentation and noise.
        epoch: the data set is told.
    """

    number: int
    shown: int
    epoch: int = 0


@contextmanager
def seeded_loading(seed: int) -> Iterator[Callable[[int], None]]:
    """Give a function that seeds all global generators for a presentation; restore them after."""
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()

    def begin(shown: int) -> None:
        draw = uniform(seed, _LOADING_STREAM, torch.tensor([shown]))
        word = int(draw.item() * 2**32)
        # Not torch.manual_seed: it would set the generators of all GPUs, too.
        torch.default_generator.manual_seed(word)
        np.random.seed(word)
        random.seed(word)

    try:
        yield begin
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])


class _Seeded(Dataset[Any]):
    """A data set of presentations."""

    def __init__(self, dataset: Dataset[Any], seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitems__(self, presentations: Sequence[Presentation]) -> tuple[Batch, Tensor]:
        """A whole batch, so that what a collate draws is seeded as well."""
        collate = getattr(self.dataset, "collate", default_collate)
        with seeded_loading(self.seed) as begin:
            items = []
            for one in presentations:
                begin(one.shown)
                if hasattr(self.dataset, "set_epoch"):
                    self.dataset.set_epoch(one.epoch)
                items.append(self.dataset[one.number])
            begin(presentations[0].shown)
            batch = as_batch(collate(items))
        return batch, torch.tensor([one.shown for one in presentations])


def _as_it_is(loaded: Any) -> Any:
    return loaded


def epoch_order(dataset: Dataset[Any], epoch: int, *, seed: int) -> list[int]:
    """The numbers of an epoch's examples in their order.

    The data set's own ``order(generator)``, as a balanced one has, or all in a random order.
    """
    word = uniform(seed, _ORDER_STREAM, torch.tensor([epoch]))
    generator = torch.Generator().manual_seed(int(word.item() * 2**53))
    if hasattr(dataset, "order"):
        return torch.as_tensor(dataset.order(generator)).tolist()
    return torch.randperm(len(dataset), generator=generator).tolist()  # type: ignore[arg-type]


def chunks(count: int, size: int, *, join_single: bool = False) -> list[slice]:
    """Cut ``count`` examples into batches of ``size``.

    Args:
        count: how many there are.
        size: of a batch.
        join_single: a last batch of one joins the one before, which batch normalisation needs.
    """
    starts = list(range(0, count, size))
    if join_single and size > 1 and len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return [slice(first, end) for first, end in itertools.pairwise([*starts, count])]


def load(
    dataset: Dataset[Any],
    presentations: Sequence[Presentation],
    size: int,
    *,
    seed: int,
    workers: int = 0,
    join_single: bool = False,
) -> Iterator[tuple[Batch, Tensor]]:
    """Load presentations, batch by batch.

    Args:
        dataset: may have ``collate``, ``set_epoch`` or ``batch``; see ``datasets.batch.Data``.
        presentations: in the order in which they are shown.
        size: of a batch.
        seed: of the generators.
        workers: processes that load ahead; 0 to load in this one.
        join_single: see :func:`chunks`.

    Yields:
        The batch, and which presentations it holds: [B] int64 on the CPU.
    """
    cuts = chunks(len(presentations), size, join_single=join_single)
    cut = [list(presentations[one]) for one in cuts]
    if hasattr(dataset, "batch"):
        for chunk in cut:
            numbers = torch.tensor([one.number for one in chunk])
            shown = torch.tensor([one.shown for one in chunk])
            yield dataset.batch(numbers, shown), shown
        return
    seeded = _Seeded(dataset, seed)
    # A generator of its own: DataLoader draws its workers' seed from the global one otherwise.
    yield from DataLoader(
        seeded,
        batch_sampler=cut,
        collate_fn=_as_it_is,
        num_workers=workers,
        generator=torch.Generator(),
    )
