"""``draw rgbd``: RGB-D records beside the modality gate's paper, and what the gate does."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.conditions import repetition_words
from fusion_search.analysis.figures.folds.imbalance import draw_imbalance
from fusion_search.analysis.figures.folds.intervals import draw_folds
from fusion_search.analysis.figures.probed.gates import draw_gates, pictures_of
from fusion_search.analysis.figures.timeline import (
    has_weights,
    how_to_probe,
    is_probed,
    read_activations,
)
from fusion_search.analysis.folds.runs import fold_measures
from fusion_search.analysis.records.description import ORIGINAL
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import AnalysisError, Search, count_label
from fusion_search.analysis.rgbd.gates import compute_gates, depth_weights, extreme_examples
from fusion_search.analysis.rgbd.imbalance import compute_gains, compute_imbalance
from fusion_search.analysis.rgbd.tables import compute_flattery, compute_rgbd
from fusion_search.analysis.rgbd.text import gates_text, rgbd_text
from fusion_search.analysis.rgbd.variants import TASK, gate_of, told_apart
from fusion_search.search.commands.figures.deciding import more_folds, other_sizes
from fusion_search.search.commands.figures.drawing_options import (
    data_caption,
    finished_words,
    open_all,
    save,
    save_numbers,
    say,
    write_text,
)

_EXAMPLES: Final = 4  # at either end
_AT: Final = (("original", "original"), ("original", "4"), ("4", "original"), ("4", "4"))


def rgbd(options: argparse.Namespace) -> int:
    """``draw rgbd``: tables, the hypothesis, random folds against folds by instance, and gates."""
    search = open_all(options)
    metric, name = search.description.metric, f"{search.name}-rgbd"
    gated = _gated(search)
    try:
        table, groups = compute_rgbd(search)
    except AnalysisError as error:
        if not any(is_probed(search, row["trial_id"]) for row in gated):
            raise
        say(f"probed gates alone, without tables: {error}")
        _gates(options, search, gated)
        return 0
    grid = search.read_grids()
    gains = {one.words: compute_gains(one, grid, search.description) for one in groups}
    gains = {words: own for words, own in gains.items() if len(own)}
    judged = [
        compute_imbalance(one, gains[one.words], metric) for one in groups if one.words in gains
    ]
    imbalance = pd.concat(judged, ignore_index=True) if judged else pd.DataFrame()
    flattery = compute_flattery(groups, metric)
    common, apart = told_apart(groups)
    kept = pd.concat([one.trials for one in groups], ignore_index=True)
    labels = [
        ", ".join(filter(None, [row["variant"], apart[row["group"]]])) for row in rows_of(table)
    ]
    figure = draw_folds(
        table.assign(network=labels),
        [
            one
            for one in fold_measures(search.finished, search.description)
            if one.column in set(table["measure"])
        ],
        metric,
        classes=search.description.classes,
        title=f"{search.name}: {common or 'RGB-D'}",
        caption=data_caption(kept),
    )
    save(options, figure, table, name)
    if len(flattery):
        save_numbers(options, flattery, f"{name}-folds")
    if judged:
        figure = draw_imbalance(
            {apart[words]: own for words, own in gains.items()},
            imbalance.replace({"group": apart}),
            metric,
            title=f"{search.name}: what a gate gains under unequal noise, {common}".strip(", "),
            caption=data_caption(pd.concat([one.trials for one in groups if one.words in gains])),
        )
        save(options, figure, imbalance, f"{name}-imbalance")
    judged_by = [*table["decision"], *(imbalance["sentence"] if judged else ())]
    notes = [
        *more_folds(search, judged_by),
        *other_sizes(search, judged_by),
        *(finished_words(search), *_left_out(len(search.finished) - len(kept))),
        *(data_caption(kept), *filter(None, [repetition_words(kept)])),
    ]
    text = rgbd_text(search.name, table, groups, imbalance, flattery, metric, notes)
    write_text(options, text, name)
    _gates(options, search, gated)
    return 0


def _gated(search: Search) -> list[dict[str, Any]]:
    """The finished trials whose streams end in a gate, searched ones with couplings, too."""
    if search.description.task != TASK:
        return []
    return [row for row in rows_of(search.finished) if gate_of(row) is not None]


def _left_out(count: int) -> list[str]:
    """A sentence on trials that are of no variant."""
    if not count:
        return []
    trials = count_label(count, "trial")
    return [f"Left out: {trials} with couplings or connections, of which the paper has none."]


def _gates(options: argparse.Namespace, search: Search, gated: Sequence[Mapping[str, Any]]) -> None:
    """What the gates of probed trials do; where none was probed, how one is."""
    probed = [row for row in gated if is_probed(search, row["trial_id"])]
    for row in probed:
        _gate(options, search, row)
    if gated and not probed:
        say(f"no gate was probed; {probing(search, [row['trial_id'] for row in gated])}")


def probing(search: Search, trials: Iterable[str]) -> str:
    """How a gate is probed, of the first of trials whose weights are there, if any are."""
    ids = list(trials)
    there = next((one for one in ids if has_weights(search, one)), None)
    conditions = [word for pair in _met(search) for word in ("--condition", *pair)]
    words = ("--per-class", "2", "--array", "gate", "--array", "input", *conditions)
    said = how_to_probe(search, there or ids[0], *words)
    return f"to see what one does, {said}" if there else f"of trial {ids[0]}, {said}"


def _met(search: Search) -> list[tuple[str, str]]:
    """The test conditions that a probe may have: what a frozen network read meets no noise."""
    quiet = [axis.test == (ORIGINAL,) for axis in search.description.axes]
    return [
        pair
        for pair in _AT
        if not any(one != "original" and without for one, without in zip(pair, quiet, strict=True))
    ]


def _gate(options: argparse.Namespace, search: Search, row: Mapping[str, Any]) -> None:
    activations = read_activations(search, row["trial_id"])
    gate = str(gate_of(row))
    weights = depth_weights(activations, gate, search.description)
    if weights.empty:
        say(f"the probe of {row['trial_name']} kept no gate; probe with --array gate, or without")
        return
    table = compute_gates(weights, search.description)
    examples = extreme_examples(weights, search.description, _EXAMPLES)
    name = f"{search.name}-gate-{row['trial_id']}"
    figure = draw_gates(
        table,
        examples,
        pictures_of(activations, examples),
        search.description,
        title=f"{search.name}: weight of depth, {gate}",
        caption=f"Trial {row['trial_name']}. {data_caption(pd.DataFrame([row]))}",
    )
    save(options, figure, table, name)
    write_text(options, gates_text(table, examples, row["trial_name"], search.description), name)
