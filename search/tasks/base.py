"""A task: data, network with named places where streams may be coupled, loss, metrics, conditions.

Spaces, searchers, trials, records, figures and clusters know tasks through this class alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from fusion_search.datasets.batch import Batch, Data, Tree
from fusion_search.datasets.conditions import Axis, TrainCondition, drawn, impaired
from fusion_search.datasets.loading import Presentation, chunks
from fusion_search.datasets.metrics import Metric
from fusion_search.models.coupled.observed import observed
from fusion_search.models.layout import Layout, Placement
from fusion_search.search.tasks.run import Run

Condition = Mapping[str, TrainCondition]
"""Axis -> SNR, or what every example's is drawn from."""


class Answer(NamedTuple):
    """What a network gave for a batch at a condition; ``numbers`` [B] of its examples."""

    condition: Condition
    outputs: Tree
    batch: Batch
    numbers: Tensor


class TrialError(ValueError):
    """The trial cannot go on; the message is one sentence for the record."""


class TaskError(ValueError):
    """A task breaks the contract; the message is one sentence for who wrote it."""


@dataclass(frozen=True)
class Nothing:
    """Settings of a network or of data that have none."""


class Task:
    """Subclass it: ``open``, ``build`` and ``loss`` at the least.

    Attributes:
        network, data: frozen dataclasses of settings, which check themselves; every field is a
            dimension that a search may ask for.
        metrics: the first one chooses: the best epoch, and among trials.
        axes: of the conditions that networks are tested at.
        data_folder: where the command line says that real data lie; None where it does not.

    The settings of a network may have, beside their fields,

    * ``layout_fields``, names of those on which its sites depend (all, where it has no such),
    * ``coupling_fields``, names of those that mean something only where streams are coupled,
    * ``canonical(placement) -> (settings, placement)``, equal for all that build one network,
    * ``packs(placement) -> bool``, whether such networks can be trained as one by ``pack``.
    """

    network: ClassVar[type] = Nothing
    data: ClassVar[type] = Nothing
    metrics: tuple[Metric, ...] = ()
    axes: tuple[Axis, ...] = ()
    data_folder: Path | None = None

    def open(self, data: Any, fold: int = 0) -> Data:
        """The data sets of a fold: an index, for it is asked for by the driver and every worker.

        Args:
            data: an instance of ``self.data``.
            fold: which persons or objects are held out, from 0 on.
        """
        raise TaskError(f"{type(self).__name__} has no open(data, fold)")

    def read(self, path: Path, data: Any, fold: int = 0) -> Dataset[Any]:
        """Examples in a file, of the same form as those of ``open(data, fold)``.

        A trained network is evaluated on them. A task whose examples come in files may have it.

        Args:
            path: of the file.
            data: an instance of ``self.data``, that of the trial.
            fold: of the trial.

        Raises:
            TaskError: the task reads no such file.
        """
        raise TaskError(f"{type(self).__name__} reads no files; give it a data set")

    def build(self, network: Any, data: Data, placement: Placement) -> nn.Module:
        """A network that has ``.layout`` and takes every stream's input by name.

        Args:
            network: an instance of ``self.network``.
            data: as ``open`` gave it, with ``inputs``.
            placement: one of the layout's.
        """
        raise TaskError(f"{type(self).__name__} has no build(network, data, placement)")

    def layout(self, network: Any, data: Callable[[], Data]) -> Layout:
        """What such a network offers to placements.

        Args:
            network: an instance of ``self.network``.
            data: opens them, when they are needed.

        Raises:
            TaskError: the network has no layout.
        """
        with torch.random.fork_rng(devices=[]):
            layout = getattr(self.build(network, data(), Placement()), "layout", None)
        if not isinstance(layout, Layout):
            raise TaskError(f"a network of {type(self).__name__} has no layout; give it one")
        return layout

    def loss(self, outputs: Tree, batch: Batch) -> Tensor:
        """Of each example, [B], or their mean."""
        raise TaskError(f"{type(self).__name__} has no loss(outputs, batch)")

    def impair(
        self, batch: Batch, condition: Mapping[str, Tensor], keys: Tensor, seed: int
    ) -> Batch:
        """A clean batch at a condition: white noise on the inputs that the axes name.

        Args:
            batch: clean, as loaded; it is not to be changed.
            condition: axis -> [B] SNRs.
            keys: [B] int64 on the CPU; equal ones meet equal noise.
            seed: of the noise.
        """
        return impaired(batch, self.axes, condition, keys, seed=seed)

    def predict(self, network: nn.Module, batch: Batch) -> Tree:
        """What loss and metrics judge; where windows or masks are made whole again."""
        return network(**batch.inputs)

    def probe(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """What figures show of a network on a single example, by name.

        Here what it gives and, of a coupled network, what every connection gives, as
        ``SITE.FROM>TO.KIND``. Its inputs are shown beside it as ``input.STREAM`` or
        ``input.STREAM.NAME``; what is given here by such a name stands in their place.

        Args:
            network: in evaluation mode.
            batch: of one example.

        Returns:
            name -> values [1, C], maps [1, C, H, W], or either over time, [1, T, C] and
            [1, T, C, H, W].
        """
        with observed(network) as found:
            outputs = self.predict(network, batch)
        given = dict(outputs) if isinstance(outputs, Mapping) else {"output": outputs}
        return {**given, **found}

    def answers(
        self,
        network: nn.Module,
        dataset: Dataset[Any],
        numbers: Sequence[int],
        conditions: Sequence[Condition],
        run: Run,
        *,
        seed: int,
        size: int,
    ) -> Iterator[Answer]:
        """What the network gives for examples of a split at every condition.

        Every batch is loaded once, clean, and met at every condition. A task may override this to
        compute nothing twice; the answers are to be equal but for rounding.

        Args:
            network: in evaluation mode.
            dataset: of the split.
            numbers: of the examples.
            conditions: none names an axis that the task does not have.
            run: gives a network's outputs for a batch, says on which device, and loads.
            seed: of the noise.
            size: examples in a batch.
        """
        shown = [Presentation(number, number) for number in numbers]
        cut = [shown[one] for one in chunks(len(shown), size)]
        loaded = run.loaders.load(dataset, cut, seed=seed)
        while True:
            with run.data_clock:
                batch, keys = next(loaded, (None, torch.empty(0)))
                clean = batch and batch.to(run.device)
            if clean is None:
                return
            for condition in conditions:
                with run.data_clock:
                    met = self.impair(clean, drawn(condition, keys, seed=seed), keys, seed)
                yield Answer(condition, run(network, met), met, keys)

    def engine(self, settings: Any, steps: float, device: torch.device) -> str:
        """The name that ``prepare`` will give, before there is a network."""
        return "eager"

    def prepare(self, network: nn.Module, settings: Any, steps: float, device: torch.device) -> str:
        """Choose what computes the network, before it is trained; its name for the record.

        Args:
            network: on its device.
            settings: an instance of ``self.network``.
            steps: of the optimiser, that the trial will take.
            device: of the network.

        Raises:
            TrialError: what the settings ask for cannot be had here.
        """
        return self.engine(settings, steps, device)

    def captures(self, settings: Any) -> bool:
        """Whether a GPU may replay a training step of such a network as one CUDA graph.

        Then ``predict`` and ``loss`` run the same kernels for all batches of one shape, and look at
        nothing but their inputs and targets.
        """
        return False

    def pack(self, networks: Sequence[nn.Module]) -> nn.Module | None:
        """One module for networks of one architecture; None where there is none.

        It takes every input stacked, [N, B, ...], and gives outputs stacked.
        """
        return None


class Classification(Task):
    """Logits [B, classes] and targets [B] int64: cross-entropy and accuracy."""

    metrics = (
        Metric("accuracy", lambda outputs, batch: outputs.argmax(1) == batch.targets, share=True),
    )

    def loss(self, outputs: Tree, batch: Batch) -> Tensor:
        """Cross-entropy of each example, [B]."""
        _check_kind(batch.targets)
        return functional.cross_entropy(outputs, batch.targets, reduction="none")


def _check_kind(targets: Tensor) -> None:
    """Refuse what is no class of each example."""
    if targets.dim() != 1 or targets.dtype not in (torch.int64, torch.uint8):
        kind = str(targets.dtype).removeprefix("torch.")
        raise TaskError(
            f"targets of a batch are {kind} of shape {list(targets.shape)}; a classification takes "
            "the class of each example, [B] int64, such as targets.long() gives"
        )


class Regression(Task):
    """Outputs and targets [B] or [B, values]: squared error, and mean absolute error as metric."""

    metrics = (
        Metric(
            "mean_absolute_error",
            lambda outputs, batch: (
                (outputs - batch.targets).abs().flatten(1).mean(1)
                if outputs.dim() > 1
                else (outputs - batch.targets).abs()
            ),
            direction="minimize",
        ),
    )

    def loss(self, outputs: Tree, batch: Batch) -> Tensor:
        """Mean squared error of each example, [B]."""
        if outputs.shape != batch.targets.shape:
            raise TaskError(
                f"outputs have shape {list(outputs.shape)}, targets {list(batch.targets.shape)}; "
                f"a regression needs them equal{_remedy(outputs, batch.targets)}"
            )
        error = functional.mse_loss(outputs, batch.targets, reduction="none")
        return error.flatten(1).mean(1) if error.dim() > 1 else error


def _remedy(outputs: Tensor, targets: Tensor) -> str:
    if outputs.shape == (len(targets), 1) and targets.dim() == 1:
        return (
            "; let an example's target be [1] (target[None]), or squeeze the outputs (squeeze(1))"
        )
    if targets.shape == (len(outputs), 1) and outputs.dim() == 1:
        return "; let an example's target be [] (target[0]), or give outputs[:, None]"
    return ""


def settings_fields(task: Task, group: str) -> tuple[str, ...]:
    """Names of a task's settings.

    Args:
        task: any.
        group: "network" or "data".

    Raises:
        TaskError: they are no frozen dataclass.
    """
    kind = getattr(task, group)
    if not (isinstance(kind, type) and is_dataclass(kind) and _is_frozen(kind)):
        named = getattr(kind, "__name__", repr(kind))
        raise TaskError(
            f"{group} of {type(task).__name__} is {named}; allowed: a class of settings below "
            "@dataclass(frozen=True)"
        )
    return tuple(one.name for one in fields(kind))


def check_kind(task: Task, group: str, settings: object) -> None:
    """Raise ``TaskError`` for settings that are not of the task's own kind.

    Args:
        task: any.
        group: "network" or "data".
        settings: that were given for it.
    """
    kind = getattr(task, group)
    # By names, for a class of an author's own file may have been imported twice.
    found = {one.name for one in fields(settings)} if is_dataclass(settings) else None
    if found is None or not found >= {one.name for one in fields(kind)}:
        raise TaskError(
            f"{group} is of type {type(settings).__name__}; allowed: {kind.__name__}, the settings "
            f"of {type(task).__name__}"
        )


def _is_frozen(kind: Any) -> bool:
    return bool(kind.__dataclass_params__.frozen)
