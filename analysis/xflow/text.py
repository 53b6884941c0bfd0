"""The paper's Tables III to VI beside a search's, to be read: as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.folds.text import (
    DASH,
    INTERVALS,
    NO_SHARE,
    TESTS,
    count_text,
    difference_words,
    markdown_table,
    p_text,
    value_text,
    whole_text,
)
from fusion_search.analysis.records.description import MetricDescription
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.xflow.claims import RULE
from fusion_search.analysis.xflow.paper import BASELINE, VARIANTS, WIDENED, XFLOW
from fusion_search.analysis.xflow.tables import BEST, CHOSEN
from fusion_search.analysis.xflow.variants import Group

HONEST: Final = "epoch chosen on validation persons"
OPTIMISTIC: Final = "optimistic: best test epoch"
OPTIMISM: Final = (
    "The paper's accuracies are optimistic: of every fold the highest test accuracy over all "
    "epochs (on AVletters and Digits of five runs), and for XFlow the best of three variants on "
    "the test persons. Columns called optimistic are made likewise, and prove nothing."
)
NO_OPTIMISTIC: Final = (
    "Optimistic columns are not there: they need the test metrics of every epoch, which trials "
    "record with `evaluation.each_epoch: true`."
)
NOT_JUDGED: Final = "The paper's claims are not judged: it prints nothing on {group}."

_Row = dict[str, Any]


def xflow_text(
    name: str,
    table: pd.DataFrame,
    groups: Sequence[Group],
    claims: pd.DataFrame,
    metric: MetricDescription,
    notes: Sequence[str],
) -> str:
    """All tables and claims.

    Args:
        name: of the search.
        table, groups: as :func:`analysis.xflow.tables.compute_xflow` gives them.
        claims: of all groups, as :func:`analysis.xflow.claims.compute_claims` gives them.
        metric: that the values are of.
        notes: sentences for the end.
    """
    parts = [f"# {name} beside XFlow's Tables III to VI"]
    for group in groups:
        own = table[table["group"] == group.words]
        parts += [f"## {group.words}", *_sections(own, group, metric)]
        parts += ["### Claims", *claim_sentences(group, claims)]
    optimistic = OPTIMISM if table["optimistic"].any() else f"{OPTIMISM} {NO_OPTIMISTIC}"
    missing = [NO_SHARE] if table["test_share"].isna().any() else []
    return (
        "\n\n".join([*parts, "## Notes", RULE, optimistic, INTERVALS, TESTS, *missing, *notes])
        + "\n"
    )


def claim_sentences(group: Group, claims: pd.DataFrame) -> list[str]:
    """On every claim one; of what the paper is silent on, that."""
    if group.printed is None:
        return [NOT_JUDGED.format(group=group.words)]
    return list(claims.loc[claims["group"] == group.words, "sentence"].unique())


def _sections(table: pd.DataFrame, group: Group, metric: MetricDescription) -> list[str]:
    honest, optimistic = (
        {row["variant"]: row for row in rows_of(table[table["optimistic"] == which])}
        for which in (False, True)
    )
    return [
        "### Parameters",
        _parameters(honest or optimistic),
        f"### {metric.words.capitalize()} over folds",
        _accuracies(honest, optimistic, group, metric),
        *_chosen(honest, optimistic),
        "### p-values of XFlow against its baseline",
        _p_values(honest, optimistic, metric),
        "### Ablation",
        _ablation(honest, optimistic, metric),
    ]


def _parameters(rows: dict[str, _Row]) -> str:
    cells = [
        [name, whole_text(rows[name]["parameters"]), whole_text(rows[name]["paper_parameters"])]
        for name in VARIANTS
        if name in rows
    ]
    return markdown_table(["network", "parameters", "paper"], cells)


def _value(row: _Row | None, metric: MetricDescription) -> str:
    return DASH if row is None else value_text(row, metric)


def _paper(row: _Row | None, metric: MetricDescription) -> str:
    return DASH if row is None or pd.isna(row["paper"]) else metric.text(row["paper"])


def _accuracies(
    honest: dict[str, _Row], optimistic: dict[str, _Row], group: Group, metric: MetricDescription
) -> str:
    rows = []
    for label, one, other in (
        (BASELINE, honest.get(BASELINE), optimistic.get(BASELINE)),
        ("XFlow", honest.get(CHOSEN), optimistic.get(BEST)),
    ):
        known = one or other
        folds = DASH if known is None else count_text(known)
        rows.append(
            [label, folds, _value(one, metric), _value(other, metric), _paper(known, metric)]
        )
    for name, accuracy in (group.printed.rivals if group.printed else {}).items():
        rows.append([f"{name} (the paper's)", DASH, DASH, DASH, metric.text(accuracy / 100)])
    ours = [f"{HONEST}, and the variant", f"{OPTIMISTIC} and variant"]
    return markdown_table(["network", "folds", *ours, "paper"], rows)


def _chosen(honest: dict[str, _Row], optimistic: dict[str, _Row]) -> list[str]:
    """Which variant stands for XFlow."""
    said = []
    if CHOSEN in honest:
        said.append(f"Validation persons choose, folds: {honest[CHOSEN]['chosen']}.")
    if BEST in optimistic:
        said.append(f"Best on the test persons: {optimistic[BEST]['chosen']}.")
    return [" ".join(said)] if said else []


def _p_values(
    honest: dict[str, _Row], optimistic: dict[str, _Row], metric: MetricDescription
) -> str:
    tests = ("p_paired_t", "p_corrected_t", "p_repeated_t", "p_max_t")
    rows = []
    for label, row in ((HONEST, honest.get(CHOSEN)), (OPTIMISTIC, optimistic.get(BEST))):
        if row is not None:
            told = [difference_words(row, metric), *(p_text(row[one]) for one in tests)]
            printed = DASH if pd.isna(row["paper_p"]) else f"{row['paper_p']:g}"
            rows.append([label, *told, str(row["decision"]), printed])
    header = ["", "difference", "paired t", "corrected", "repeated", "sign flips", "decision"]
    return markdown_table([*header, "paper (paired t)"], rows)


def _ablation(
    honest: dict[str, _Row], optimistic: dict[str, _Row], metric: MetricDescription
) -> str:
    rows = []
    for name in (BASELINE, *XFLOW, WIDENED):
        one, other = honest.get(name), optimistic.get(name)
        known = one or other
        if known is None:
            continue
        against = DASH if name == BASELINE else difference_words(known, metric)
        told = [count_text(known), _value(one, metric), against, _value(other, metric)]
        rows.append([name, *told, _paper(known, metric)])
    header = ["network", "folds", HONEST, "difference to the baseline", OPTIMISTIC, "paper"]
    return markdown_table(header, rows)
