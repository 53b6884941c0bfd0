"""ASHA: whether a sample that was trained for some epochs is trained further.

The rule is asynchronous successive halving (Li et al., 2020, arXiv:1810.05934) as Ray Tune's
``ASHAScheduler`` has it. At a rung, after grace, grace * reduction, grace * reduction^2, ...
epochs, a sample's score is set against the scores of all samples that came to this rung before it:
below their quantile at 1 - 1 / reduction, interpolated linearly, it is stopped. The first one goes
on, whatever it is worth. Stopped ones count like those that go on.

Where one choice makes all samples slower or faster to learn, such as how early the streams fuse, a
race between them says little: ``within`` it, samples are set against their like alone, in rungs of
their own.

So a decision depends on those made before it and on nothing else, which is why it is ours to make:
Ray's rungs live in the memory of one driver, and a resume would begin with empty ones.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from fusion_search.search.spaces.parameters import Sample


@dataclass(frozen=True, kw_only=True)
class RungDecision:
    """What was decided about a sample at a rung.

    Attributes:
        sample_id: of the sample.
        epochs: for how many it had been trained, over all its trials.
        score: by which it was judged; the greater, the better.
        kept: whether it is trained further.
        group: of the samples that it was set against; "" where that is all of them.
    """

    sample_id: str
    epochs: int
    score: float
    kept: bool
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Asha:
    """The rule; see the module.

    Attributes:
        grace: epochs before the first rung.
        reduction: one in so many goes on.
        epochs: of a whole sample, after which nothing is decided.
        within: names of choices; samples are set against those alone that chose the same of them.
    """

    grace: int
    reduction: int
    epochs: int
    within: tuple[str, ...] = ()

    @cached_property
    def rungs(self) -> tuple[int, ...]:
        """After how many epochs it is decided."""
        powers = (self.grace * self.reduction**power for power in itertools.count())
        return tuple(itertools.takewhile(lambda rung: rung < self.epochs, powers))

    def group(self, sample: Sample) -> str:
        """Of the samples that this one is set against."""
        return json.dumps({name: sample.get(name) for name in self.within}) if self.within else ""

    def decide(
        self,
        earlier: Sequence[RungDecision],
        sample_id: str,
        epochs: int,
        score: float,
        group: str = "",
    ) -> RungDecision:
        """About a sample of a group at a rung, given all decisions so far, in any order."""
        others = [one.score for one in earlier if (one.epochs, one.group) == (epochs, group)]
        quantile = 100 * (1 - 1 / self.reduction)
        kept = not others or score >= float(np.percentile(others, quantile))
        return RungDecision(sample_id=sample_id, epochs=epochs, score=score, kept=kept, group=group)


def parse_rung_decision(plain: Any) -> RungDecision:
    """The inverse of ``dataclasses.asdict``.

    Raises:
        ValueError: it is not the text of a decision.
    """
    kinds = {"sample_id": str, "epochs": int, "score": float, "kept": bool, "group": str}
    if isinstance(plain, dict):
        plain = {"group": "", **plain}  # an older version knew none
    if not isinstance(plain, dict) or sorted(plain) != sorted(kinds):
        names = ", ".join(one.name for one in fields(RungDecision))
        raise ValueError(f"a decision has other fields than {names}")
    if any(type(plain[name]) is not kind for name, kind in kinds.items()):
        raise ValueError("a field of a decision is of another type")
    if not math.isfinite(plain["score"]) or plain["epochs"] < 1:
        raise ValueError("a decision is about no sample")
    return RungDecision(**plain)
