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
from fusion_search.analysis.paired import difference_text
from fusion_search.analysis.records.description import MetricDescription
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.xflow.claims import RULE
from fusion_search.analysis.xflow.noise import NOISE_RULE, noise_sections
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

UNLIKE_FOLDS: Final = (
    "Not every network has every fold yet: values of two lines are means over different folds "
    "(where a line has two counts, the second is of the optimistic column). Differences are over "
    "the folds that both have."
)

_Row = dict[str, Any]


def xflow_text(
    name: str,
    table: pd.DataFrame,
    groups: Sequence[Group],
    claims: pd.DataFrame,
    noise: pd.DataFrame,
    metric: MetricDescription,
    notes: Sequence[str],
) -> str:
    """All tables, claims, and what is best under noise.

    Args:
        name: of the search.
        table: as :func:`analysis.xflow.tables.compute_xflow` gives it.
        groups: as :func:`analysis.xflow.noise.with_regions` gives them.
        claims: of all groups, as :func:`analysis.xflow.claims.compute_claims` gives them.
        noise: likewise of :func:`analysis.xflow.noise.compute_noise`.
        metric: that the values are of.
        notes: sentences for the end.
    """
    parts = [f"# {name} beside XFlow's Tables III to VI"]
    for group in groups:
        own = table[table["group"] == group.words]
        parts += [f"## {group.words}", *_sections(own, group, metric)]
        parts += ["### Claims", *claim_sentences(group, claims)]
        own = noise[noise["group"] == group.words]
        parts += ["### Under noise", *noise_sections(group, own, metric)]
    optimistic = OPTIMISM if table["optimistic"].any() else f"{OPTIMISM} {NO_OPTIMISTIC}"
    missing = [NO_SHARE] if table["test_share"].isna().any() else []
    if table["folds"].nunique() > 1:
        missing.append(UNLIKE_FOLDS)
    return (
        "\n\n".join(
            [*parts, "## Notes", RULE, NOISE_RULE, optimistic, INTERVALS, TESTS, *missing, *notes]
        )
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
        _p_values(honest, optimistic, group, metric),
        "### Ablation",
        _ablation(honest, optimistic, group, metric),
    ]


def _parameters(rows: dict[str, _Row]) -> str:
    cells = [
        [
            *(name, rows[name]["placement"]),
            *(whole_text(rows[name][one]) for one in ("parameters", "paper_parameters")),
        ]
        for name in VARIANTS
        if name in rows
    ]
    return markdown_table(["network", "elsewhere called", "parameters", "paper"], cells)


def _value(row: _Row | None, metric: MetricDescription) -> str:
    return DASH if row is None else value_text(row, metric)


def _folds(*rows: _Row | None) -> str:
    """Of how many folds values in one line are: "2", or where they differ "1, 2"."""
    counts = list(dict.fromkeys(count_text(row) for row in rows if row is not None))
    return ", ".join(counts) if counts else DASH


def _paper(per_cent: float | None, metric: MetricDescription) -> str:
    return DASH if per_cent is None else metric.text(per_cent / 100)


def _accuracies(
    honest: dict[str, _Row], optimistic: dict[str, _Row], group: Group, metric: MetricDescription
) -> str:
    printed = group.printed
    known = (printed.baseline, printed.xflow) if printed else (None, None)
    rows = []
    for label, one, other, paper in (
        (BASELINE, honest.get(BASELINE), optimistic.get(BASELINE), known[0]),
        ("XFlow", honest.get(CHOSEN), optimistic.get(BEST), known[1]),
    ):
        told = [_folds(one, other), _value(one, metric), _value(other, metric)]
        rows.append([label, *told, _paper(paper, metric)])
    for name, accuracy in (printed.rivals if printed else {}).items():
        rows.append([f"{name} (the paper's)", DASH, DASH, DASH, _paper(accuracy, metric)])
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
    honest: dict[str, _Row], optimistic: dict[str, _Row], group: Group, metric: MetricDescription
) -> str:
    tests = ("p_paired_t", "p_corrected_t", "p_repeated_t", "p_max_t")
    rows = []
    for label, row in ((HONEST, honest.get(CHOSEN)), (OPTIMISTIC, optimistic.get(BEST))):
        if row is not None:
            told = [difference_words(row, metric), *(p_text(row[one]) for one in tests)]
            rows.append([label, *told, str(row["decision"])])
    printed = group.printed
    if printed is not None and printed.p is not None:
        gain = difference_text((printed.xflow - printed.baseline) / 100, metric)
        rows.append(["the paper's", gain, f"{printed.p:g}", *[DASH] * 4])
    header = ["", "difference", "paired t", "corrected", "repeated", "sign flips", "decision"]
    return markdown_table(header, rows)


def _ablation(
    honest: dict[str, _Row], optimistic: dict[str, _Row], group: Group, metric: MetricDescription
) -> str:
    printed = group.printed
    known = {**printed.variants, BASELINE: printed.baseline} if printed else {}
    rows = []
    for name in (BASELINE, *XFLOW, WIDENED):
        one, other = honest.get(name), optimistic.get(name)
        if one is None and other is None and name not in known:
            continue
        against = DASH if one is None else difference_words(one, metric)
        told = [_folds(one, other), _value(one, metric), against, _value(other, metric)]
        rows.append([name, *told, _paper(known.get(name), metric)])
    header = ["network", "folds", HONEST, "difference to the baseline", OPTIMISTIC, "paper"]
    return markdown_table(header, rows)
