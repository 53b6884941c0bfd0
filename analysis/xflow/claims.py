"""Whether the paper's claims (a) and (b) hold, by a rule that was written before the numbers.

(a) XFlow beats its baseline: XFlow, its variant chosen in every fold on the validation persons,
    minus the network without connections, is above 0.
(b) Residual connections alone are as good as both kinds: residuals only minus both is above -2
    points. Removing the residuals costs most: both minus crosses only, and residuals only minus
    crosses only, are above 0.

All are of the accuracy on test persons without noise, the epoch chosen on validation persons, as
the mean over folds of the mean over a fold's seeds. A difference is above its bound where its 95 %
interval by the corrected resampled t-test over folds lies above it; then it is held. Otherwise it
is refuted where the interval lies below the bound + 2 points: what is left of the claim is less
than the margin. Else it is undecided at this budget, as it is with fewer than six folds. A claim of
several parts is held when all are, and refuted when one is. The claims are few and were named
beforehand, so no p-value is corrected for their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.folds.runs import by_fold, test_share
from fusion_search.analysis.paired import difference_text, ends_text, p_words
from fusion_search.analysis.records.description import MetricDescription
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.statistics import MeanTest, corrected_t_test, undecided
from fusion_search.analysis.verdicts import HELD, REFUTED, whole
from fusion_search.analysis.xflow.paper import BASELINE, BOTH, CROSS, RESIDUAL
from fusion_search.analysis.xflow.tables import CHOSEN, with_chosen
from fusion_search.analysis.xflow.variants import Group

MARGIN: Final = 0.02  # of a share: 2 points
UNDECIDED: Final = "undecided at this budget"
RULE: Final = (
    "Rule: a part of a claim is held where the 95 % interval of its difference (corrected "
    "resampled t-test over folds, epoch and variant chosen on validation persons) lies above its "
    f"bound, else refuted where it lies below the bound + {100 * MARGIN:g} points, else undecided; "
    "with fewer than six folds it is undecided. A claim is held when all its parts are, refuted "
    "when one is."
)


@dataclass(frozen=True)
class Part:
    """One difference: ``one`` minus ``other`` is claimed to be above ``bound``."""

    one: str
    other: str
    bound: float = 0.0


CLAIMS: Final[dict[str, tuple[Part, ...]]] = {
    "(a) XFlow beats its baseline": (Part(CHOSEN, BASELINE),),
    "(b) residual connections alone are as good as both kinds": (Part(RESIDUAL, BOTH, -MARGIN),),
    "(b) removing the residual connections costs most": (Part(BOTH, CROSS), Part(RESIDUAL, CROSS)),
}


def verdict(test: MeanTest, folds: int, bound: float) -> str:
    """Held, refuted or undecided: of a difference that is claimed to be above a bound."""
    if undecided(folds) or math.isnan(test.low):
        return UNDECIDED
    if test.low > bound:
        return HELD
    return REFUTED if test.high < bound + MARGIN else UNDECIDED


def compute_claims(group: Group, metric: MetricDescription) -> pd.DataFrame:
    """The verdict on every claim, from one group of trials.

    Returns:
        A row per part of a claim: ``group``, ``claim``, ``one``, ``other``, ``bound``, ``folds``
        (that both have), ``difference``, ``low``, ``high``, ``p`` (corrected resampled t-test
        against 0), ``part`` (its verdict), ``missing`` (which of the two is not there),
        ``verdict`` (the claim's) and ``sentence`` (likewise).
    """
    values = by_fold(with_chosen(group, f"train_condition_{metric.name}", metric), metric)
    share = test_share(group.trials)
    rows = []
    for claim, parts in CLAIMS.items():
        found = [_part(values, one, share) for one in parts]
        said = whole([one["part"] for one in found])
        details = "; ".join(_details(one, metric) for one in found)
        sentence = f"{claim}, {group.words}: {said} ({details})."
        rows += [
            {"group": group.words, "claim": claim, **one, "verdict": said, "sentence": sentence}
            for one in found
        ]
    return pd.DataFrame(rows)


def _part(values: pd.DataFrame, part: Part, share: float) -> dict[str, Any]:
    missing = [one for one in (part.one, part.other) if one not in values.index]
    both = values.reindex([part.one, part.other]).dropna(axis=1)
    differences = (both.iloc[0] - both.iloc[1]).to_numpy(dtype=float)
    test = corrected_t_test(differences, share)
    return {
        **{"one": part.one, "other": part.other, "bound": part.bound, "folds": len(differences)},
        **{"difference": test.mean, "low": test.low, "high": test.high, "p": test.p},
        **{"part": verdict(test, len(differences), part.bound), "missing": ", ".join(missing)},
    }


def _details(row: dict[str, Any], metric: MetricDescription) -> str:
    """The numbers behind a verdict, or why there are none."""
    what = f"{row['one']} minus {row['other']}"
    folds = row["folds"]
    if row["missing"]:
        return f"{what}: not there yet: {row['missing']}"
    if not folds:
        return f"{what}: there is no fold that both have"
    said = f"{what}: {difference_text(row['difference'], metric)}"
    if not math.isnan(row["low"]):
        ends = ends_text(row["low"], row["high"], metric)
        said += f", 95 % interval {ends}, p {p_words(row['p'])}"
    return f"{said}, {undecided(folds, unit='fold') or count_label(folds, 'fold')}"
