"""Claims 1, 2, 3 and 7: initial against late fusion at one train pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.early_fusion.accuracies import (
    FULL,
    LITERAL,
    Accuracies,
    Pair,
    at,
    levels,
)
from fusion_search.analysis.early_fusion.parts import (
    NOT_THERE,
    Part,
    compared,
    everywhere,
    judged,
    numbers,
)
from fusion_search.analysis.records.description import MetricDescription
from fusion_search.analysis.records.words.counts import count_label
from fusion_search.analysis.verdicts import HELD, UNDECIDED, whole

MAIN: Final[Pair] = (0.5, 0.25)
OTHERS: Final[tuple[Pair, ...]] = ((1.0, 0.5), (2.0, 0.25), (1.0, 0.25), (1.0, 0.125))
UNRESTRICTED: Final[Pair] = (1.0, 0.5)
AUDIO_ABOVE: Final = 1.0  # of the other pairs
FAR_BELOW: Final = 0.125  # audio at most, a quarter of the train SNR
RELATIVELY_CLEAN: Final = 0.5  # image at least, twice the train SNR

LATE: Final[Mapping[str, int]] = {"second-layer fusion": 1, "fully-connected fusion": 2}
SECOND, FULLY = LATE.values()


def initial_less(found: Accuracies, pair: Pair, depth: int, pooling: str = FULL) -> pd.DataFrame:
    """Accuracy of initial less late fusion [conditions, seeds], of the seeds that both have."""
    initial, late = found.of(pair, 0), found.of(pair, depth, pooling)
    seeds = initial.columns.intersection(late.columns)
    return initial[seeds] - late[seeds].reindex(initial.index)


def claim_1(found: Accuracies, pooling: str = FULL) -> Part:
    """At least as accurate as fully-connected fusion at all conditions."""
    verdict, said, lowest, seeds = everywhere(
        initial_less(found, MAIN, FULLY, pooling), found.metric
    )
    what = "initial fusion is at least as accurate as fully-connected fusion everywhere"
    return Part(1, what, verdict, seeds, said, low=lowest)


def claim_2(found: Accuracies, pooling: str = FULL) -> list[Part]:
    """More accurate than second-layer fusion at most conditions but the exception."""
    cells = initial_less(found, MAIN, SECOND, pooling)
    whats = (
        "initial fusion beats second-layer fusion at most conditions",
        "but not where audio is far below its train SNR and the image relatively clean",
    )
    if not cells.shape[1]:
        return [Part(2, what, UNDECIDED, 0, NOT_THERE) for what in whats]
    audio, visual = levels(cells, 0), levels(cells, 1)
    exception = at(
        cells,
        [one for one in audio if one <= FAR_BELOW],
        [one for one in visual if one >= RELATIVELY_CLEAN],
    )
    rest = cells.drop(exception.index)
    rows = compared({"rest": rest.mean(), "exception": -exception.mean()})
    wins = int((rest.mean(axis=1) > 0).sum())
    counted = f"; above 0 at {wins} of {len(rest)} conditions"
    most = judged(2, whats[0], rows["rest"], found.metric, counted)
    if most.verdict == HELD and wins <= len(rest) / 2:
        most = Part(2, whats[0], UNDECIDED, most.seeds, most.numbers, most.value)
    of = f"; second layer less initial, {count_label(len(exception), 'condition')}"
    return [most, judged(2, whats[1], rows["exception"], found.metric, of)]


def claim_3(found: Accuracies) -> list[Part]:
    """More accurate than fully-connected fusion at the other train pairs."""
    parts = []
    for pair in OTHERS:
        cells = initial_less(found, pair, FULLY)
        where = "everywhere" if pair == UNRESTRICTED else "for audio above 1"
        if pair != UNRESTRICTED and len(cells):
            above = [one for one in levels(cells, 0) if one > AUDIO_ABOVE]
            cells = at(cells, above, levels(cells, 1))
        what = f"trained at ({pair[0]:g}, {pair[1]:g}), initial beats fully connected {where}"
        if not cells.shape[1]:
            parts.append(Part(3, what, UNDECIDED, 0, NOT_THERE))
            continue
        mean = judged(3, what, compared({"mean": cells.mean()})["mean"], found.metric)
        verdict, said, *_ = everywhere(cells, found.metric)
        both = whole([mean.verdict, verdict])
        said = f"mean {mean.numbers}; {said.rpartition(';')[0]}"
        parts.append(Part(3, what, both, mean.seeds, said, mean.value, mean.low, mean.high, mean.p))
    return parts


def _losses(cells: pd.DataFrame) -> dict[str, pd.Series]:
    """Of one network: accuracy at the train pair less its mean over each region, by seed."""
    audio, visual = MAIN
    above = (
        [one for one in levels(cells, 0) if one > audio],
        [one for one in levels(cells, 1) if one > visual],
    )
    trained = at(cells, [audio], [visual]).mean()
    return {
        "audio above": trained - at(cells, above[0], [visual]).mean(),
        "visual above": trained - at(cells, [audio], above[1]).mean(),
        "both above": trained - at(cells, *above).mean(),
    }


def claim_7(found: Accuracies) -> list[Part]:
    """More robust than late fusion to SNRs above the train values, audio above all."""
    losses = {}
    for name, depth in {"initial": 0, **LATE}.items():
        cells = found.of(MAIN, depth)
        if not cells.shape[1]:
            what = "more robust than late fusion above the train SNRs"
            return [Part(7, what, UNDECIDED, 0, f"{name}: {NOT_THERE}")]
        losses[name] = _losses(cells)
    less = {
        f"{late}, {region}": own - losses["initial"][region]
        for late in LATE
        for region, own in losses[late].items()
    }
    rows = compared(less)
    parts = []
    for late in LATE:
        regions = {region: rows[f"{late}, {region}"] for region in losses[late]}
        deciding = [regions["audio above"], regions["both above"]]
        what = f"initial fusion loses less than {late} above the train SNRs"
        parts.append(_robust(what, deciding, regions, found.metric))
    apart = compared(
        {late: less[f"{late}, audio above"] - less[f"{late}, visual above"] for late in LATE}
    )
    what = "audio above all: the gain for audio less that for the image"
    return [*parts, _robust(what, list(apart.values()), apart, found.metric)]


def _robust(
    what: str,
    deciding: Sequence[Mapping[str, Any]],
    told: Mapping[str, Mapping[str, Any]],
    metric: MetricDescription,
) -> Part:
    """A part of claim 7 that is held when all deciding differences are; it tells some by name.

    Its value, interval and p are those of the first that decides.
    """
    found = [judged(7, what, row, metric) for row in deciding]
    said = "; ".join(f"{name}: {numbers(row, metric)}" for name, row in told.items())
    verdict = whole([one.verdict for one in found])
    return replace(found[0], verdict=verdict, numbers=said)


def literal(found: Accuracies) -> list[Part]:
    """Claims 1 and 2 against the late networks as printed, described alone."""
    parts = [claim_1(found, LITERAL), *claim_2(found, LITERAL)]
    return [
        Part(0, f"{one.what} (pooling literal)", "", one.seeds, one.numbers, one.value)
        for one in parts
    ]
