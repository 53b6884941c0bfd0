"""Loading under seeded generators: the same examples whoever loads them, and however many at once.

Every example is loaded with torch's, NumPy's and Python's global generators seeded by (seed,
presentation), so that a data set's own random augmentation gives the same with any number of
loading workers, after a resume, and in another batch size. The generators are given back as they
were: dropout does not notice that data are loaded.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from fusion_search.datasets.batch import Batch, Part, as_batch
from fusion_search.datasets.errors import DataError
from fusion_search.datasets.noise import uniform

_LOADING_STREAM: Final = (1 << 20) - 1  # before those of drawn train conditions
_DEATH: Final = "DataLoader worker"  # as its message begins


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
def seeded_loading(seed: int, shown: Sequence[int]) -> Iterator[Iterator[None]]:
    """Give what seeds all global generators, at each step for the next of these presentations.

    They are given back as they were.
    """
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()

    def begin() -> Iterator[None]:
        for draw in uniform(seed, _LOADING_STREAM, torch.tensor(shown)).tolist():
            word = int(draw * 2**32)
            # Not torch.manual_seed: it would set the generators of all GPUs, too.
            torch.default_generator.manual_seed(word)
            np.random.seed(word)
            random.seed(word)
            yield

    try:
        yield begin()
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])


class Loaders:
    """Loads batches of presentations, ahead by worker processes where these are asked for.

    The workers begin with the first batch, and are kept from one epoch to the next: starting them
    takes longer than many an epoch. ``with`` ends them.

    Args:
        datasets: those that workers load; others are loaded in this process.
        workers: how many; 0 to load everything in this process.
    """

    def __init__(self, datasets: Sequence[Dataset[Any]] = (), workers: int = 0) -> None:
        self._datasets = list(datasets)
        self._workers = workers
        self._jobs: list[_Job] = []
        self._loader: DataLoader[Any] | None = None
        self._ahead: Iterator[Any] = iter(())
        self._places = torch.zeros(max(workers, 1), 3, dtype=torch.int64)
        self._turn = 0

    def __enter__(self) -> Loaders:
        return self

    def __exit__(self, *_: object) -> None:
        # DataLoader has no method for this: workers end with the iterator.
        self._loader, self._ahead = None, iter(())

    def load(
        self, dataset: Dataset[Any], batches: Sequence[Sequence[Presentation]], *, seed: int
    ) -> Iterator[tuple[Batch, Tensor]]:
        """Load batches; see :func:`load`.

        Raises:
            DataError: an example cannot be loaded, or a worker died of one.
            RuntimeError: another loading by the same workers has begun before this one ended.
        """
        which = next((at for at, one in enumerate(self._datasets) if one is dataset), None)
        if not self._workers or which is None or hasattr(dataset, "batch"):
            yield from load(dataset, batches, seed=seed)
            return
        self._jobs[:] = [_Job(which, seed, list(one)) for one in batches]
        self._turn += 1
        turn, self._ahead = self._turn, iter(self._started())
        for _ in batches:
            if turn != self._turn:
                raise RuntimeError("another loading has begun before this one ended")
            try:
                found = next(self._ahead)
            except RuntimeError as error:
                if _DEATH not in str(error):
                    raise
                raise DataError(self._died(str(error))) from error
            if isinstance(found, _Failure):
                raise found.error()
            yield found

    def _started(self) -> DataLoader[Any]:
        if self._loader is None:
            self._places.share_memory_()
            self._loader = DataLoader(
                _Jobs(self._datasets, self._places),
                batch_sampler=_Single(self._jobs),
                collate_fn=_as_it_is,
                num_workers=self._workers,
                persistent_workers=True,
                # Of its own: DataLoader draws its workers' seed from the global one otherwise.
                generator=torch.Generator(),
            )
        return self._loader

    def _died(self, words: str) -> str:
        """What is known of a worker that died, from DataLoader's words and what it loaded last."""
        dead = {int(one) for one in re.findall(r"\d+", words)}
        at = [
            f" while it loaded {_named(self._datasets[which], number)}"
            for process, which, number in self._places.tolist()
            if process in dead
        ]
        return (
            f"a loading worker died{at[0] if at else ''} ({' '.join(words.split())}); where memory "
            "is short, lower training.loader_workers"
        )


@dataclass(frozen=True)
class _Job:
    """A batch that a worker is to load."""

    dataset: int
    seed: int
    presentations: list[Presentation]


@dataclass(frozen=True)
class _Failure:
    """Why a worker could not load a batch: exceptions themselves may not be pickled."""

    words: str
    traceback: str

    def error(self) -> DataError:
        found = DataError(self.words)
        found.add_note(self.traceback)
        return found


class _Jobs(Dataset[Any]):
    """What workers load."""

    def __init__(self, datasets: Sequence[Dataset[Any]], places: Tensor) -> None:
        self.datasets, self.places = datasets, places

    def __getitem__(self, job: _Job) -> tuple[Batch, Tensor] | _Failure:
        info = torch.utils.data.get_worker_info()
        assert info is not None
        place = self.places[info.id].numpy()

        def note(number: int) -> None:
            place[:] = os.getpid(), job.dataset, number

        try:
            return _loaded(self.datasets[job.dataset], job.presentations, job.seed, note)
        except Exception as error:  # whatever the code of the data set raises
            words = str(error) if isinstance(error, DataError) else _said(error)
            return _Failure(words, traceback.format_exc())


class _Single:
    """Batches of one job each; the list may change between two passes."""

    def __init__(self, jobs: list[_Job]) -> None:
        self.jobs = jobs

    def __iter__(self) -> Iterator[list[_Job]]:
        return ([one] for one in self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)


def _as_it_is(loaded: list[Any]) -> Any:
    return loaded[0]


def _loaded(
    dataset: Dataset[Any],
    presentations: Sequence[Presentation],
    seed: int,
    note: Callable[[int], None] = lambda number: None,
) -> tuple[Batch, Tensor]:
    """A whole batch, so that what a collate draws is seeded as well."""
    collate = getattr(dataset, "collate", default_collate)
    set_epoch = getattr(dataset, "set_epoch", None)
    shown = [one.shown for one in presentations]
    with seeded_loading(seed, shown) as begin:
        items = []
        for one in presentations:
            next(begin)
            if set_epoch is not None:
                set_epoch(one.epoch)
            note(one.number)
            try:
                items.append(dataset[one.number])
            except Exception as error:  # whatever the code of the data set raises
                words = f"{_named(dataset, one.number)} cannot be loaded: {_said(error)}"
                raise DataError(words) from error
        batch = as_batch(collate(items))
    return batch, torch.tensor(shown)


def _named(dataset: Dataset[Any], number: int) -> str:
    """An example, by its number in the data set that a user knows."""
    while isinstance(dataset, Part):
        number = int(dataset.numbers[number])
        dataset = dataset.dataset
    return f"example {number} of {type(dataset).__name__}"


def _said(error: Exception) -> str:
    """In one line: a sentence of ours as it is, others with their type."""
    words = " ".join(str(error).split())
    return words if isinstance(error, DataError) else f"{type(error).__name__}: {words}"


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
    dataset: Dataset[Any], batches: Sequence[Sequence[Presentation]], *, seed: int
) -> Iterator[tuple[Batch, Tensor]]:
    """Load batches of presentations in this process.

    Args:
        dataset: may have ``collate``, ``set_epoch`` or ``batch``; see ``datasets.batch.Data``.
        batches: in the order in which they are shown.
        seed: of the generators.

    Yields:
        The batch, and which presentations it holds: [B] int64 on the CPU.

    Raises:
        DataError: an example cannot be loaded.
    """
    for one in batches:
        if hasattr(dataset, "batch"):
            numbers = torch.tensor([each.number for each in one])
            shown = torch.tensor([each.shown for each in one])
            yield dataset.batch(numbers, shown), shown
        else:
            yield _loaded(dataset, one, seed)
