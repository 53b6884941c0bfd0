"""Tables over folds, to be read: as Markdown."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.conditions import train_label
from fusion_search.analysis.folds.comparison import BASELINE
from fusion_search.analysis.folds.runs import FoldMeasure
from fusion_search.analysis.paired import difference_text, ends_text, p_words
from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.description import MetricDescription
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.selection import Search

DASH: Final = "-"
INTERVALS: Final = (
    "Values are means over folds with their 95 % t interval, which takes folds for independent; "
    "differences are over the folds that both networks have, with the 95 % interval of the "
    "corrected resampled t-test (Nadeau and Bengio 2003), which allows for the train examples "
    "that folds share."
)
_TESTS: Final[Mapping[str, str]] = {
    "p_paired_t": "the paired t-test over folds (takes their differences for independent and "
    "normal)",
    "p_corrected_t": "the corrected resampled t-test (normal, correlated as shared train examples "
    "let expect)",
    "p_repeated_t": "the corrected repeated k-fold test over folds and seeds (Bouckaert and Frank "
    "2004; runs of one fold count as no more alike than those of two)",
    "p_max_t": "sign flips over folds, max-T over the networks (independent folds, symmetry alone)",
}
_DECISION: Final = (
    "The decision is by the corrected resampled t-test, as the interval of the difference; "
    '"not after Holm" where Holm\'s correction over the networks of a table does not leave it. '
    "With fewer than six folds nothing is decided."
)


def tests_words(columns: Collection[str]) -> str:
    """What the p-values of a table are, and what decides.

    Args:
        columns: of them, those that the table shows.
    """
    *others, last = (words for name, words in _TESTS.items() if name in columns)
    return f"p of {', of '.join(others)} and of {last}. {_DECISION}"


TESTS: Final = tests_words(_TESTS)
UNPAIRED: Final = (
    '"Unpaired": trained in other folds than the network that they are compared with, so that no '
    "result is paired with another. The difference is that of the two means over folds, its "
    "interval and p corrected are of Welch's t-test with (1/n + n_test / n_train) s² as the "
    "variance of either mean; the other tests are not there. Networks share folds where the "
    "same examples train, validate and test them; here the data differ"
)
NO_SHARE: Final = (
    "The corrected tests are not there: how many examples a trial was trained on is known only "
    "where the records of its epochs and grid are there and an epoch was one pass "
    "(epoch_examples 0)."
)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, its columns of one width."""
    cells = [[printable(one).replace("|", "\\|") for one in row] for row in (header, *rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(header))]
    lines = [
        "| " + " | ".join(one.ljust(width) for one, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def value_text(row: Mapping[str, Any], metric: MetricDescription) -> str:
    """A mean with its interval: "74.0 % (70.1 to 77.9)"."""
    said = metric.text(row["mean"])
    if math.isnan(row["low"]):
        return said
    low, high = (metric.text(row[end]).removesuffix(" %") for end in ("low", "high"))
    return f"{said} ({low} to {high})"


def difference_words(row: Mapping[str, Any], metric: MetricDescription) -> str:
    """A difference with its interval: "+1.2 points (-0.3 to +2.7)"; a dash where there is none."""
    if math.isnan(row["difference"]):
        return DASH
    said = difference_text(row["difference"], metric)
    if math.isnan(row["difference_low"]):
        return said
    return f"{said} ({ends_text(row['difference_low'], row['difference_high'], metric)})"


def p_text(p: float) -> str:
    """A p-value in a cell; a dash where there is none."""
    return DASH if math.isnan(p) else p_words(p).removeprefix("= ")


def count_text(row: Mapping[str, Any]) -> str:
    """Of how many folds and runs a value is: "10", or "10 (50 runs)"."""
    folds, runs = int(row["folds"]), int(row["runs"])
    return str(folds) if runs == folds else f"{folds} ({runs} runs)"


def whole_text(count: Any) -> str:
    """A number of parameters; a dash where there is none."""
    return DASH if pd.isna(count) else f"{int(count):,}"


def folds_text(
    table: pd.DataFrame,
    measures: Sequence[FoldMeasure],
    search: Search,
    notes: Sequence[str],
) -> str:
    """What :func:`analysis.folds.comparison.compute_folds` gives, as Markdown.

    Args:
        table, measures: as it gives them.
        search: that it was given.
        notes: sentences for the end.
    """
    description, metric = search.description, search.description.metric
    parts = [
        f"# {metric.words.capitalize()} over folds",
        f"Compared with: {printable(table[BASELINE][0])}.",
    ]
    networks = rows_of(table.drop_duplicates("number").sort_values("number"))
    parts.append("\n".join(f"{row['number']}. {_network_words(row)}" for row in networks))
    header = ["network", "folds", metric.words, "difference"]
    header += ["p paired t", "p corrected", "p repeated", "p sign flips", "decision"]
    for measure in measures:
        own = table[table["measure"] == measure.column]
        conditions: Any = own.groupby(list(description.train_columns), sort=False)
        groups = conditions if description.axes else [((), own)]
        for condition, part in groups:
            at = f", trained at {train_label(condition, description)}" if condition else ""
            rows = [_fold_cells(row, metric) for row in rows_of(part)]
            parts += [f"## {measure.words}{at}", markdown_table(header, rows)]
            parts += _compared_otherwise(part, search)
    said = [
        INTERVALS,
        TESTS,
        *_unpaired(table),
        *([NO_SHARE] if table["test_share"].isna().any() else []),
        *notes,
    ]
    return "\n\n".join([*parts, *said]) + "\n"


def _compared_otherwise(rows: pd.DataFrame, search: Search) -> list[str]:
    """What compares networks of one table of which the baseline is none; nothing of a single one.

    Nor of networks without a value, which no other baseline would give them.
    """
    valued = rows[rows["folds"] > 0].sort_values("number", kind="stable")
    if len(valued) < 2 or (valued["network"] == valued[BASELINE]).any():
        return []
    first = rows_of(valued)[0]
    storage = search.storage.parent.location
    words = ("draw", "folds", search.name, "--baseline", str(first["number"]))
    again = command(*words, storage=storage)
    other = printable(f"{first['number']}. {first['network']}")
    return [f"The baseline has no value here; `{again}` compares these with {other}."]


def _unpaired(table: pd.DataFrame) -> list[str]:
    """A sentence where networks share no folds with the baseline, and why they do not."""
    reasons = list(dict.fromkeys(table["unpaired"].dropna()))
    return [f"{UNPAIRED}: {printable('; '.join(reasons))}."] if reasons else []


def _network_words(row: Mapping[str, Any]) -> str:
    return f"{printable(row['network'])} ({whole_text(row['parameters'])} parameters)"


def _fold_cells(row: Mapping[str, Any], metric: MetricDescription) -> list[str]:
    given = [str(row["number"]), count_text(row)]
    tests = ("p_paired_t", "p_corrected_t", "p_repeated_t", "p_max_t")
    told = [p_text(row[one]) for one in tests]
    decision = row["decision"] if isinstance(row["decision"], str) else BASELINE
    decision += ", unpaired" if isinstance(row["unpaired"], str) else ""
    return [*given, value_text(row, metric), difference_words(row, metric), *told, decision]
