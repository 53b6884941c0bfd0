"""Fold rungs: whether a sample that was trained in its first folds is trained in the next one.

The rule is that of asynchronous successive halving (Li et al., 2020, arXiv:1810.05934, as Ray stops
trials by it), with folds in the place of epochs. At the end of a sample's fold k its mean of the
objective over folds 1 to k is set against the means, over the same k folds, of all samples about
which was decided there before. Of n samples, itself among them, it is kept when fewer than
n / reduction are better: when it is among the best n / reduction, rounded up. Equal ones are not
better. Since all means at a rung are over the same folds, a difficult fold is difficult for all.

Nobody waits for anybody: the first sample at a rung is kept, whatever it is worth, and later ones
meet more. So a decision depends on those made before it, and on nothing else that a resume would
not know: it is written into the plan before anything follows from it, and never made twice.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from fusion_search.search.spaces.objectives import MAXIMIZE
from fusion_search.search.spaces.parameters import Sample
from fusion_search.search.trials.specification import TrialSpecification


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided about a sample between two of its folds.

    Attributes:
        sample: the sample.
        folds: in how many it had been trained.
        value: the objective's mean over its trials in these.
        better: how many of the samples here before it were better.
        of: how many came here so far, itself among them.
        kept: whether it is trained in the next fold.
    """

    sample: Sample
    folds: int
    value: float
    better: int
    of: int
    kept: bool


@dataclass(frozen=True)
class FoldRungs:
    """The rule; see the module.

    Attributes:
        reduction: one in so many is kept.
        direction: of the objective, maximize or minimize.
    """

    reduction: int
    direction: str

    def decide(
        self, earlier: Sequence[Decision], sample: Sample, folds: int, value: float
    ) -> Decision:
        """About a sample after so many folds, given all decisions so far."""
        sign = 1 if self.direction == MAXIMIZE else -1
        others = [one.value for one in earlier if one.folds == folds]
        better = sum(sign * other > sign * value for other in others)
        of = len(others) + 1
        kept = better * self.reduction < of
        return Decision(sample=sample, folds=folds, value=value, better=better, of=of, kept=kept)


def folds_ended(trials: Sequence[TrialSpecification], ended: Collection[str]) -> int | None:
    """In how many folds a sample has been trained, where it stands between two of them.

    Args:
        trials: all of the sample, fold by fold.
        ended: ids of those that finished.

    Returns:
        None within a fold, before the first and after the last.
    """
    first, rest = trials[: len(ended)], trials[len(ended) :]
    if {one.trial_id for one in first} != set(ended):
        return None  # a record was lost: it runs again, and what comes after it is there
    if not first or not rest or first[-1].fold == rest[0].fold:
        return None
    return len({one.fold for one in first})


def parse_decision(plain: Any) -> Decision:
    """The inverse of ``dataclasses.asdict``.

    Raises:
        ValueError: it is not the text of a decision.
    """
    kinds: Mapping[str, type] = {"sample": dict, "value": float, "kept": bool}
    names = [one.name for one in fields(Decision)]
    if not isinstance(plain, dict) or sorted(plain) != sorted(names):
        raise ValueError("a decision has other fields")
    if any(type(plain[name]) is not kinds.get(name, int) for name in names):
        raise ValueError("a field of a decision is of another type")
    if not math.isfinite(plain["value"]) or plain["folds"] < 1:
        raise ValueError("a decision is about no sample")
    return Decision(**plain)
