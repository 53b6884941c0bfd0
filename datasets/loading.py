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
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from fusion_search.datasets.batch import Batch, as_batch
from fusion_search.datasets.noise import uniform

_LOADING_STREAM: Final = (1 << 20) - 1  # before those of drawn train conditions


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
            batch = as_batch(collate(items))
        return batch, torch.tensor([one.shown for one in presentations])


def _as_it_is(loaded: Any) -> Any:
    return loaded


def passes(
    dataset: Dataset[Any], numbers: Tensor, size: int, *, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless passes over examples of a data set, each in a new order.

    Args:
        dataset: its own ``order(generator)``, as a balanced one has, is taken instead of a random
            one when all its examples are passed over.
        numbers: [N] int64, of the examples.
        size: of a batch; a last batch of one joins the one before, which batch normalisation
            needs, unless the data set makes whole batches itself.
        seed: of the orders.

    Yields:
        Numbers [B] and presentations [B], int64 on the CPU, of a batch.

    Raises:
        ValueError: the data set has an order of its own, and some of its examples are left out.
    """
    own = getattr(dataset, "order", None)
    if own is not None and len(numbers) < len(dataset):  # type: ignore[arg-type]
        raise ValueError(
            f"examples is {len(numbers):,}, but the train data have an order of their own; "
            "allowed: 0 (all)"
        )
    generator = torch.Generator().manual_seed(seed)
    shown = 0
    while True:
        if own is None:
            order = numbers[torch.randperm(len(numbers), generator=generator)]
        else:
            order = torch.as_tensor(own(generator))
        for chunk in chunks(len(order), size, join_single=not hasattr(dataset, "batch")):
            batch = order[chunk]
            yield batch, torch.arange(shown, shown + len(batch))
            shown += len(batch)


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
    batches: Sequence[Sequence[Presentation]],
    *,
    seed: int,
    workers: int = 0,
) -> Iterator[tuple[Batch, Tensor]]:
    """Load batches of presentations.

    Args:
        dataset: may have ``collate``, ``set_epoch`` or ``batch``; see ``datasets.batch.Data``.
        batches: in the order in which they are shown.
        seed: of the generators.
        workers: processes that load ahead; 0 to load in this one.

    Yields:
        The batch, and which presentations it holds: [B] int64 on the CPU.
    """
    if hasattr(dataset, "batch"):
        for chunk in batches:
            numbers = torch.tensor([one.number for one in chunk])
            shown = torch.tensor([one.shown for one in chunk])
            yield dataset.batch(numbers, shown), shown
        return
    seeded = _Seeded(dataset, seed)
    # A generator of its own: DataLoader draws its workers' seed from the global one otherwise.
    yield from DataLoader(
        seeded,
        batch_sampler=[list(one) for one in batches],
        collate_fn=_as_it_is,
        num_workers=workers,
        generator=torch.Generator(),
    )
