"""Many trials on one device: trials of one architecture trained together, each as if alone.

Every trial keeps its own examples, order, noise, initial weights, loss and optimiser settings; only
the kernels are shared. Validation and the grid are each trial's own.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion_search.datasets.batch import Batch
from fusion_search.datasets.errors import count_label
from fusion_search.search.tasks.base import TrialError
from fusion_search.search.tasks.captured import pass_on
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.tasks.run import Stopwatch
from fusion_search.search.trials.cost import count_parameters, reset_peak_memory
from fusion_search.search.trials.results import Epoch, Tally
from fusion_search.search.trials.settings import TrainingSettings
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.training import TrialTraining
from fusion_search.search.trials.trial import TrialResult, choose_device, seeded

_BUDGET: Final = (*("epochs", "epoch_examples", "batch_size", "examples", "precision", "device"),)
FREE_SETTINGS: Final[dict[str, Any]] = {"learning_rate": 1.0, "weight_decay": 0.0}
"""What the trials of a pack may differ in, beside seed and train condition; the values stand for
any."""


def pack_like(trial: TrialSpecification) -> TrialSpecification:
    """The trial that stands for all that can be trained together with this one."""
    free = replace(trial.training, **FREE_SETTINGS)
    return replace(trial, training=free, train={}, seed=0)


def can_pack(trial: TrialSpecification) -> bool:
    """Whether it can be trained with others: by AdamW alone, and its network allows it.

    Adam without weight decay is AdamW without.
    """
    packs_with = getattr(trial.network, "packs", None)
    plain = TrainingSettings(
        **{name: getattr(trial.training, name) for name in (*FREE_SETTINGS, *_BUDGET)}
    )
    own = trial.training
    if own.optimizer == "adam" and own.weight_decay == 0:
        own = replace(own, optimizer="adamw")
    return packs_with is not None and plain == own and packs_with(trial.placement)


def packs(
    trials: Sequence[TrialSpecification], at_most: int
) -> list[tuple[TrialSpecification, ...]]:
    """The trials in packs of at most so many that can be trained together.

    A pack stands where its first trial stood. Trials that cannot be packed are packs of their own.
    """
    found: list[list[TrialSpecification]] = []
    growing: dict[TrialSpecification, list[TrialSpecification]] = {}
    for trial in trials:
        alike = pack_like(trial)
        pack = growing.get(alike) if can_pack(trial) else None
        if pack is None or len(pack) == at_most:
            pack = []
            found.append(pack)
            if can_pack(trial):
                growing[alike] = pack
        pack.append(trial)
    return [tuple(pack) for pack in found]


def packing_sentence(
    trials: Sequence[TrialSpecification], at_most: int, gpus_per_trial: float
) -> str:
    """What packing makes of the trials, for the console."""
    sizes = [len(pack) for pack in packs(trials, at_most)]
    together = [size for size in sizes if size > 1]
    packed = f"{count_label(sum(together), 'trial')} in {count_label(len(together), 'pack')}"
    text = f"packing: {packed} of up to {at_most}"
    if len(together) < len(sizes):
        text += (
            f", {sizes.count(1)} alone (couplings, gate, dropout or checkpointing, or none like "
            "them)"
        )
    if gpus_per_trial == 0 or all(one.training.device == "cpu" for one in trials):
        text += (
            "; these trials run on a CPU (device: cpu, or resources.gpus_per_trial: 0), where "
            "packing was measured to bring nothing"
        )
    return text


class Member:
    """One trial of a pack, and the sums over the epoch under way."""

    def __init__(self, trial: TrialSpecification, opened: OpenedTask, device: torch.device) -> None:
        self.trial = trial
        data = opened.data(trial.data, trial.fold).on(device)
        with seeded(trial.seed, device):
            self.run = TrialTraining(trial.for_task(opened.task), data, device)
        self.result = TrialResult(
            device.type,
            self.run.task.metrics[0],
            self.run.engine,
            count_parameters(self.run.network),
        )
        self.batches = self.run.batches()
        self.tally = Tally(self.run.task.metrics)

    def end_epoch(self, number: int, seen: int, clock: float) -> Epoch:
        """Validate; see ``TrialTraining.end_epoch``."""
        epoch = self.run.end_epoch(number, seen, self.tally, clock)
        self.result.keep(epoch, self.run.network)
        self.tally = Tally(self.run.task.metrics)
        return epoch


class PackTraining:
    """Optimiser steps of several trials at once.

    Args:
        members: trials that :func:`packs` puts together.

    Attributes:
        members: those still in training.
        data_clock: seconds spent on the examples.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)
        self.data_clock = Stopwatch()
        # One group for all trials with the same settings: their parameters are then updated by
        # the same few kernels. AdamW knows no sums over parameters, so each is updated as alone.
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for one in members:
            settings = (one.trial.training.learning_rate, one.trial.training.weight_decay)
            groups.setdefault(settings, []).extend(one.run.network.parameters())
        first = members[0].run
        every = itertools.chain.from_iterable(groups.values())
        self._pass = pass_on(every, self._computed, first.task, first.trial.network, first.device)
        self._optimizer = torch.optim.AdamW(
            [
                {"params": parameters, "lr": rate, "weight_decay": decay}
                for (rate, decay), parameters in groups.items()
            ]
        )

    def step(self, left: int) -> tuple[int, list[tuple[Member, float]]]:
        """One optimiser step of every member on its next batch.

        Args:
            left: examples until the epoch ends.

        Returns:
            Examples of the batch, and the members whose loss is not finite, with this loss; these
            are in training no more.
        """
        batches = self._batches(left)
        self._optimizer.zero_grad()
        losses, packed, finite = self._together(batches)
        outputs = list(packed)
        if not finite:
            # Done again without packing: a kernel for all could carry what is not a number from
            # one trial to another (0 x infinity), and only alone can one tell whose it was.
            self._optimizer.zero_grad()
            losses, outputs = self._one_by_one(batches)
        self._optimizer.step()
        for member, loss, own, batch in zip(self.members, losses, outputs, batches, strict=True):
            member.tally.add(loss, own, batch)
        outcomes = list(zip(self.members, losses, strict=True))
        self.members = [member for member, loss in outcomes if math.isfinite(loss)]
        diverged = [(member, loss) for member, loss in outcomes if not math.isfinite(loss)]
        return len(batches[0]), diverged

    def _batches(self, left: int) -> list[Batch]:
        """Every member's next batch at its train condition."""
        # Examples, their order and their noise depend on the seed alone: only the SNRs differ.
        made: dict[int, Batch] = {}
        met = []
        with self.data_clock:
            for member in self.members:
                numbers, presentations = (one[:left] for one in next(member.batches))
                seed = member.trial.seed
                if seed not in made:
                    made[seed] = member.run.loaded(numbers, presentations)
                met.append(member.run.met(made[seed], presentations))
        return met

    def _together(self, batches: list[Batch]) -> tuple[list[float], Tensor, bool]:
        """Gradients in one pass; mean losses, outputs [N, B, ...], and whether all is finite."""
        stacked = {
            name: torch.stack([one.inputs[name] for one in batches]) for name in batches[0].inputs
        }
        labels = torch.stack([one.targets for one in batches])
        losses, logits = self._pass(Batch(stacked, labels))
        networks = [one.run.network for one in self.members]
        gradients = [one.grad for network in networks for one in network.parameters()]
        size = torch.nn.utils.get_total_norm([one for one in gradients if one is not None])
        # In one transfer: every other one would wait for the device again.
        values: list[float] = torch.cat([losses.detach().double(), size.double()[None]]).tolist()
        return values[:-1], logits, all(map(math.isfinite, values))

    def _computed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean losses [N] of the members, and outputs [N, B, ...]."""
        run = self.members[0].run.run
        packed = run.task.pack([one.run.network for one in self.members])
        assert packed is not None
        logits: Tensor = run(packed, batch)
        labels = batch.targets
        each = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        losses = each.view(labels.shape).mean(1)
        # The sum: a trial's gradients are those of its own mean loss.
        losses.sum().backward()
        return losses, logits

    def _one_by_one(self, batches: list[Batch]) -> tuple[list[float], list[Tensor]]:
        """The same gradients, losses and outputs, each network by itself."""
        losses, outputs = [], []
        for member, batch in zip(self.members, batches, strict=True):
            logits: Tensor = member.run.run(member.run.network, batch)
            loss = member.run.task.loss(logits, batch).mean()
            loss.backward()
            losses.append(loss.item())
            outputs.append(logits)
        return losses, outputs


FAILURES: Final = (Exception, SystemExit)
"""What a trial's code may raise that is its own failure: a search outlives its ``sys.exit``."""

News = Epoch | TrialResult | BaseException
"""What becomes of a trial: its epochs, then its result, or why it failed."""


def run_pack(
    trials: Sequence[TrialSpecification], opened: OpenedTask
) -> Iterator[tuple[TrialSpecification, News]]:
    """Train trials together, as ``run_trial`` would each: the same numbers.

    A trial whose loss is not finite, or whose evaluation fails, fails alone. In a result,
    ``train_seconds``, ``data_seconds`` and ``peak_memory_bytes`` are those of the whole pack.

    Args:
        trials: that :func:`packs` puts together.
        opened: their task with its data.

    Raises:
        TrialError: the device is missing, or the examples do not suffice.
    """
    first = trials[0]
    device = choose_device(first.training.device)
    reset_peak_memory(device)
    clock = time.perf_counter()
    pack = PackTraining([Member(trial, opened, device) for trial in trials])
    seen = 0
    epoch_examples = pack.members[0].run.epoch_examples
    for number in range(1, first.training.epochs + 1):
        count = 0
        for member in pack.members:
            member.run.network.train()
        while pack.members and count < epoch_examples:
            batch, diverged = pack.step(epoch_examples - count)
            count += batch
            for member, loss in diverged:
                try:
                    raise member.run.diverged(loss, number, seen + count)
                except TrialError as error:  # with a traceback, as when the trial runs alone
                    yield member.trial, error
        seen += count
        for member in pack.members:
            yield member.trial, member.end_epoch(number, seen, clock)
    train_seconds = time.perf_counter() - clock
    for member in pack.members:
        member.result.train_seconds = train_seconds
        member.result.data_seconds = pack.data_clock.seconds
        try:
            member.result.finish(member.run)
        except FAILURES as error:
            yield member.trial, error
        else:
            yield member.trial, member.result
