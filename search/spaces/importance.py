"""How much every choice of a search mattered, by functional analysis of variance (fANOVA)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution
from optuna.importance import FanovaImportanceEvaluator

from fusion_search.analysis.records.samples import FEWEST_SAMPLES
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.records.tables import FINISHED
from fusion_search.search.spaces.parameters import Parameter, Range, Scalar
from fusion_search.search.spaces.searchers.base import Observation
from fusion_search.search.spaces.searchers.optuna_searchers import distribution
from fusion_search.search.spaces.space import Space

ABSENT: Final = "absent"
_BINS: Final = 4


def compute_importance(
    space: Space, history: Sequence[Observation], *, seed: int = 0
) -> pd.DataFrame:
    """Each parameter's share of the variance of the first objective, over finished samples.

    fANOVA wants every parameter in every trial: one that a sample does not have gets the value
    "absent" there, and a range that can be absent is cut into quartiles first.

    Returns:
        ``parameter``, ``importance`` (summing to 1), most important first, and ``samples`` (how
        many finished). Parameters that never varied are not listed.

    Raises:
        ValueError: there are too few finished samples, or they are all equally good.
    """
    finished = [one for one in history if one.state == FINISHED]
    values = np.array([one.values[0] for one in finished])
    if len(finished) < FEWEST_SAMPLES:
        count = count_label(len(finished), "finished sample")
        raise ValueError(f"{count}; importance needs {FEWEST_SAMPLES} or more")
    if np.ptp(values) == 0:
        raise ValueError("all finished samples are equally good; no choice mattered")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    columns = {
        name: _column(parameter, [one.sample.get(name) for one in finished])
        for name, parameter in space.parameters().items()
    }
    varied = {name: one for name, one in columns.items() if len(set(one[0])) > 1}
    if not varied:
        raise ValueError("no parameter varied over the finished samples")
    study.add_trials(
        optuna.trial.create_trial(
            params={name: column[row] for name, (column, _) in varied.items()},
            distributions={name: kind for name, (_, kind) in varied.items()},
            value=float(value),
        )
        for row, value in enumerate(values)
    )
    found = optuna.importance.get_param_importances(
        study, evaluator=FanovaImportanceEvaluator(seed=seed)
    )
    return pd.DataFrame(
        {"parameter": list(found), "importance": list(found.values()), "samples": len(finished)}
    )


def _column(
    parameter: Parameter, values: list[Scalar | None]
) -> tuple[list[Scalar], optuna.distributions.BaseDistribution]:
    """One parameter in all samples, none of them missing, and what it may be."""
    if isinstance(parameter, Range):
        if None not in values:
            return [one for one in values if one is not None], distribution(parameter)
        there = [float(one) for one in values if one is not None]
        edges = np.quantile(there, np.linspace(0, 1, _BINS + 1)[1:-1]) if there else np.array([])
        values = [
            None if one is None else f"bin {int(np.searchsorted(edges, float(one)))}"
            for one in values
        ]
    column = [ABSENT if one is None else one for one in values]
    return column, CategoricalDistribution(sorted(set(column), key=str))
