"""``draw early-fusion``: the claims of the early-fusion paper, from a campaign's records."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import Final

import pandas as pd

from fusion_search.analysis.conditions import at_train
from fusion_search.analysis.early_fusion.accuracies import LITERAL, TESTS, read_accuracies
from fusion_search.analysis.early_fusion.late import MAIN
from fusion_search.analysis.early_fusion.onset import PAIRS, SEED, claim_6
from fusion_search.analysis.early_fusion.parts import NOT_THERE, Part
from fusion_search.analysis.early_fusion.text import claims_text, compute_claims
from fusion_search.analysis.figures.arrays import Array, onset_of
from fusion_search.analysis.figures.folds.claims import draw_claims
from fusion_search.analysis.figures.timeline import how_to_probe, is_probed, read_activations
from fusion_search.analysis.records.selection import DEPTH, AnalysisError, Search
from fusion_search.search.commands.figures.draw import draw_timelines, fusion, grids, unimodal
from fusion_search.search.commands.figures.drawing_options import (
    data_caption,
    finished_words,
    open_all,
    save,
    say,
    write_text,
)

TIMELINES: Final = 2  # of the pairs that were probed


def early_fusion(options: argparse.Namespace) -> int:
    """``draw early-fusion``: every claim with its numbers and verdict, and their figures."""
    search = open_all(options)
    found = read_accuracies(search)
    trial = main_network(search)
    probed = probe_of(search, trial)
    table = compute_claims(found, before_sound(search, trial, probed))
    name = f"{search.name}-claims"
    caption = data_caption(search.finished)
    write_text(options, claims_text(search.name, table, [finished_words(search), caption]), name)
    with _said_if_not_drawn():  # as after the sheet, which is described
        figure = draw_claims(
            table,
            found.metric,
            title=f"{search.name}: claims of the early-fusion paper",
            caption=f"{caption} Of the differences that decide claim 7 the first is drawn: with "
            "audio above its train SNR.",
        )
        save(options, figure, table, name)
    _draw_evidence(options, search)
    if trial is not None and probed is not None:
        there = sorted(probed.loc[probed["split"] == "test", "number"].unique())
        draw_timelines(options, search, trial, probed[probed["number"].isin(there[:TIMELINES])])
    return 0


def _draw_evidence(options: argparse.Namespace, search: Search) -> None:
    """The sheet and its dependence numbers, maps by fusion depth, one sense alone."""
    every = {"trial": None, "train": None}
    for draw, own in ((grids, {**every, "depths": [0]}), (fusion, every), (unimodal, {})):
        with _said_if_not_drawn():
            draw(argparse.Namespace(**{**vars(options), **own}))


@contextlib.contextmanager
def _said_if_not_drawn() -> Iterator[None]:
    try:
        yield
    except AnalysisError as error:
        say(f"not drawn: {error}")


def main_network(search: Search) -> pd.Series | None:
    """The row of the initial-fusion network that claim 6 is judged by; None before it has ended."""
    rows = at_train(search.finished, MAIN, search.description)
    own = rows[(rows[DEPTH] == 0) & (rows["seed"] == SEED) & (rows["pooling"] != LITERAL)]
    return None if own.empty else own.iloc[0]


def probe_of(search: Search, trial: pd.Series | None) -> pd.DataFrame | None:
    """What a probe kept of a network; None where it was not probed."""
    if trial is None or not is_probed(search, trial["trial_id"]):
        return None
    return read_activations(search, trial["trial_id"])


def before_sound(search: Search, trial: pd.Series | None, probed: pd.DataFrame | None) -> Part:
    """Claim 6, of the probe of one network; how to make that, where it is not there."""
    if trial is None:
        return claim_6([], NOT_THERE)
    logits = [] if probed is None else _logits_before_sound(probed)
    trial_id = str(trial["trial_id"])
    again = how_to_probe(
        *(search, trial_id, "--tested", str(PAIRS), "--condition"),
        *(f"{MAIN[0]:g}", f"{MAIN[1]:g}", "--array", "output", "--array", "input.audio"),
    )
    return claim_6(logits, f"{len(logits)} of {PAIRS} pairs were probed; {again}")


def _logits_before_sound(activations: pd.DataFrame) -> list[Array]:
    """Of every test pair at the main condition, [C] at the last step that is exactly silent."""
    at = (activations[TESTS[0]] == MAIN[0]) & (activations[TESTS[1]] == MAIN[1])
    found = []
    for _, pair in activations[at & (activations["split"] == "test")].groupby("number"):
        arrays = dict(zip(pair["name"], pair["values"], strict=True))
        if {"output", "input.audio"} <= arrays.keys():
            onset = onset_of(arrays["input.audio"])
            if 0 < onset < len(arrays["output"]):
                found.append(arrays["output"][onset - 1])
    return found
