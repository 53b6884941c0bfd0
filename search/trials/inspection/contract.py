"""The contract of a task, tried in seconds: what a search relies on, clause by clause.

A clause is one sentence when it holds, and one that says what is wrong when it does not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from fusion_search.analysis.records.selection import count_label
from fusion_search.datasets.batch import SPLITS, Batch, Data
from fusion_search.datasets.conditions import ORIGINAL, drawn
from fusion_search.datasets.loading import Loaders, Presentation, load
from fusion_search.models.layout import COUPLING, NONE, Layout, Placement
from fusion_search.search.tasks.base import Answer, Condition, Task, TaskError
from fusion_search.search.tasks.evaluation import evaluate, example_losses
from fusion_search.search.tasks.run import Run
from fusion_search.search.trials.results import Epoch
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings
from fusion_search.search.trials.task_trial import TaskTrial
from fusion_search.search.trials.trial import (
    Continuation,
    run_task_trial,
    seeded,
    train_task_trial,
)

_CPU: Final = torch.device("cpu")
_EXAMPLES: Final = 12
_CLOSE: Final = 1e-4  # relative, of what another batch size rounds otherwise
_MOST_PLACEMENTS: Final = 24


@dataclass(frozen=True)
class Clause:
    """One thing a search relies on.

    Attributes:
        name: of the clause.
        words: what was found, or what is wrong and where.
        holds: whether it does.
    """

    name: str
    words: str
    holds: bool = True


class BrokenError(ValueError):
    """A clause does not hold; the message is one sentence."""


class Contract:
    """The clauses of one task.

    Args:
        task: whose data have been opened.
        network: settings of the network.
        data_settings: settings of the data.
        data: opened.
    """

    def __init__(self, task: Task, network: Any, data_settings: Any, data: Data) -> None:
        self.task, self.network, self.settings, self.data = task, network, data_settings, data

    def clauses(self) -> Iterator[Clause]:
        """Each as it was tried; after one that all others need, none follows."""
        for name, clause, needed in (
            ("data", self._data, True),
            ("network", self._network, True),
            ("loss and metrics", self._judged, True),
            ("loading", self._loading, False),
            ("batch size", self._batch_size, False),
            ("answers", self._answers, False),
            ("gradients", self._gradients, False),
            ("dropped streams", self._dropped, False),
            ("resume", self._resume, False),
        ):
            found = _tried(name, clause)
            yield found
            if needed and not found.holds:
                return

    def _data(self) -> str:
        sizes = ", ".join(f"{len(self.data.split(one)):,} {one}" for one in SPLITS)  # type: ignore[arg-type]
        streams = ", ".join(f"{name} {_shapes(one)}" for name, one in self.data.inputs.items())
        return f"{sizes}; two examples: {streams}"

    def _network(self) -> str:
        layout = self._layout
        missing = sorted(set(layout.streams) ^ set(self.data.inputs))
        if missing:
            raise BrokenError(
                f"the layout has streams {', '.join(layout.streams)}, the data give "
                f"{', '.join(self.data.inputs)}; give both the same names"
            )
        for axis in self.task.axes:
            stream = axis.input.partition(".")[0]
            if stream not in layout.streams:
                raise BrokenError(
                    f"axis {axis.name} is on input {axis.input!r}; streams: "
                    f"{', '.join(layout.streams)}"
                )
        count = math.prod(len(kinds) for kinds in layout.options().values())
        why = f" ({layout.no_sites})" if layout.no_sites else ""
        sites = ", ".join(site.name for site, _ in layout.sites) or f"none{why}"
        return (
            f"streams {', '.join(layout.streams)}; sites: {sites}; "
            f"{count_label(count, 'placement')}"
        )

    def _judged(self) -> str:
        outputs, batch = self._output(self._built(Placement()))
        losses = example_losses(self.task, outputs, batch)
        if not bool(losses.isfinite().all()):
            raise BrokenError("the loss of a fresh network is not finite")
        for metric in self.task.metrics:
            found = metric.of(outputs, batch)
            if found.dim() == 0 or len(found) != len(batch):
                raise BrokenError(
                    f"metric {metric.name} gave statistics of shape {list(found.shape)}; expected "
                    f"[{len(batch)}, ...], one row an example, which its `value` makes a number of"
                )
        evaluation = self._evaluated(self._built(Placement()), _EXAMPLES)
        words = ", ".join(f"{name} {value:.3g}" for name, value in evaluation.items())
        return f"outputs {_shapes(outputs)}; of a fresh network: {words}"

    def _loading(self) -> str:
        shown = [[Presentation(number % self._count("train"), number, 1) for number in range(4)]]
        first, again = (next(load(self.data.train, shown, seed=3))[0] for _ in range(2))
        with Loaders([self.data.train], 2) as workers:
            ahead = next(workers.load(self.data.train, shown, seed=3))[0]
        for other, what in ((again, "twice"), (ahead, "by loading workers")):
            if not _equal(first, other):
                raise BrokenError(
                    f"the same train examples loaded {what} differ; draw random augmentation from "
                    "torch's, NumPy's or Python's own generators, which are seeded for every "
                    "example, and from no generator of your own"
                )
        return "the same examples whoever loads them, and how often"

    def _batch_size(self) -> str:
        network = self._built(Placement())
        whole, parts = (self._evaluated(network, size) for size in (_EXAMPLES, 5))
        for name, value in whole.items():
            if not math.isclose(value, parts[name], rel_tol=_CLOSE, abs_tol=_CLOSE):
                raise BrokenError(
                    f"{name} is {value:.6g} with batches of {_EXAMPLES} and {parts[name]:.6g} with "
                    "batches of 5; an example's answer depends on its batch (padding that is not "
                    "masked, or statistics of a batch), or a metric averages over batches"
                )
        return "numbers do not depend on it"

    def _answers(self) -> str:
        if type(self.task).answers is Task.answers:
            return "of the plain loop"
        network = self._built(Placement())
        own = self._evaluated(network, _EXAMPLES)
        plain = self._evaluated(network, _EXAMPLES, plain=True)
        for name, value in own.items():
            if not math.isclose(value, plain[name], rel_tol=_CLOSE, abs_tol=_CLOSE):
                raise BrokenError(
                    f"{name} is {value:.6g} by the task's own answers and {plain[name]:.6g} by the "
                    "plain loop; they are to be equal but for rounding"
                )
        return "the task's own equal those of the plain loop"

    def _gradients(self) -> str:
        trained: set[str] = set()
        wanted: set[str] = set()
        for placement in self._placements():
            network = self._built(placement).train()
            outputs, batch = self._output(network, train=True)
            self.task.loss(outputs, batch).mean().backward()
            for name, one in network.named_parameters():
                if one.requires_grad:
                    wanted.add(name)
                    if one.grad is not None:
                        trained.add(name)
        dead = sorted(wanted - trained)
        if dead:
            raise BrokenError(
                f"no placement trains {', '.join(dead[:5])}"
                + (f" and {len(dead) - 5} more" if len(dead) > 5 else "")
                + "; a parameter without a gradient is dead weight"
            )
        return f"every one of {len(wanted)} tensors is trained under some placement"

    def _dropped(self) -> str:
        streams = self._layout.streams
        if len(streams) < 2:
            return "there is one stream"
        for kept in streams:
            network = self._built(Placement(streams=(kept,)))
            batch = self._batch()
            louder = {
                name: one if name == kept else _changed(one) for name, one in batch.inputs.items()
            }
            own, other = (
                self.task.predict(network.eval(), replace(batch, inputs=inputs))
                for inputs in (batch.inputs, louder)
            )
            if not _equal_trees(own, other):
                raise BrokenError(
                    f"with streams ({kept},) the answers depend on another stream's input; build "
                    "the network without it"
                )
        return f"each of {', '.join(streams)} alone hears nothing of the others"

    def _resume(self) -> str:
        saved: list[bytes] = []
        trial = self._small_trial()
        result = run_task_trial(
            trial, self.data, _CPU, continuation=Continuation(save=saved.append)
        )
        # Nothing is gained by testing it again, on a grid that may be large.
        never = Continuation(saved=saved[0], save_seconds=math.inf)
        epochs = train_task_trial(trial, self.data, _CPU, never)
        whole, again = _losses(result.epochs[-1]), _losses(epochs[-1])
        for name, value in whole.items():
            if value != again[name]:
                raise BrokenError(
                    f"after epoch 2 {name} is {value:.6g}, and {again[name]:.6g} when the trial "
                    "was interrupted after epoch 1; keep all that training depends on in the "
                    "network"
                )
        return "a trial that is interrupted ends with the numbers of one that is not"

    # What the clauses are made of.

    @cached_property
    def _layout(self) -> Layout:
        return self.task.layout(self.network, lambda: self.data)

    def _built(self, placement: Placement) -> nn.Module:
        with seeded(0, _CPU):
            return self.task.build(self.network, self.data, placement).eval()

    def _count(self, split: str) -> int:
        return len(self.data.split(split))  # type: ignore[arg-type]

    def _condition(self) -> Condition:
        return {axis.name: ORIGINAL for axis in self.task.axes}

    def _batch(self, *, train: bool = False) -> Batch:
        dataset = self.data.train if train else self.data.validation
        count = min(4, self._count("train" if train else "validation"))
        shown = [Presentation(number, number) for number in range(count)]
        batch, keys = next(load(dataset, [shown], seed=0))
        return self.task.impair(batch, drawn(self._condition(), keys, seed=0), keys, 0)

    def _output(self, network: nn.Module, *, train: bool = False) -> tuple[Any, Batch]:
        batch = self._batch(train=train)
        return self.task.predict(network, batch), batch

    def _evaluated(self, network: nn.Module, size: int, *, plain: bool = False) -> dict[str, float]:
        numbers = list(range(min(_EXAMPLES, self._count("validation"))))
        run = Run(self.task, _CPU)
        answers: Callable[..., Iterator[Answer]] = (
            (lambda *given, **more: Task.answers(self.task, *given, **more))
            if plain
            else self.task.answers
        )
        conditions = [self._condition()]
        with torch.inference_mode():
            given = answers(
                network, self.data.validation, numbers, conditions, run, seed=0, size=size
            )
            (one,) = evaluate(self.task, given, conditions)
        return {"loss": one.loss, **one.metrics}

    def _placements(self) -> Iterator[Placement]:
        """The plain one, and every kind at every site by itself."""
        yield Placement()
        options = [
            (site, name, kind)
            for site, offered in self._layout.choices.items()
            for name, kinds in offered.items()
            for kind in kinds
            if kind != NONE
        ]
        options.sort(key=lambda one: one[1] != COUPLING)
        for site, name, kind in itertools.islice(options, _MOST_PLACEMENTS):
            yield Placement({site: {name: kind}})

    def _small_trial(self) -> TaskTrial:
        few = min(8, self._count("train"))
        return TaskTrial(
            task=self.task,
            network=self.network,
            data=self.settings,
            training=TrainingSettings(
                epochs=2,
                batch_size=4,
                examples=0 if hasattr(self.data.train, "order") else few,
                epoch_examples=few,
                learning_rate=1e-3,
            ),
            evaluation=EvaluationSettings(
                validation_examples=min(4, self._count("validation")),
                test_examples=min(4, self._count("test")),
            ),
        )


def _losses(epoch: Epoch) -> dict[str, float]:
    return {"train loss": epoch.train_loss, "validation loss": epoch.validation_loss}


def _tried(name: str, clause: Callable[[], str]) -> Clause:
    try:
        return Clause(name, clause())
    except (BrokenError, TaskError) as error:
        return Clause(name, str(error), holds=False)
    except Exception as error:  # the task's own code may raise anything
        words = " ".join(str(error).split())[:400]
        return Clause(name, f"{type(error).__name__}: {words}", holds=False)


def _shapes(tree: Any) -> str:
    return " + ".join(str(list(one.shape)) for one in tree_leaves(tree) if isinstance(one, Tensor))


def _changed(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return tree + 1 if tree.is_floating_point() else tree
    return {name: _changed(one) for name, one in tree.items()}


def _equal(one: Batch, other: Batch) -> bool:
    return all(
        _equal_trees(mine, its)
        for mine, its in ((one.inputs, other.inputs), (one.targets, other.targets))
    )


def _equal_trees(one: Any, other: Any) -> bool:
    pairs: Sequence[tuple[Any, Any]] = list(zip(tree_leaves(one), tree_leaves(other), strict=True))
    return all(
        torch.equal(mine, its) if isinstance(mine, Tensor) else mine == its for mine, its in pairs
    )
