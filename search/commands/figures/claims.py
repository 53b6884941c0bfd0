"""``draw early-fusion``: the claims of the early-fusion paper, from a campaign's records."""

from __future__ import annotations

import argparse

import pandas as pd

from fusion_search.analysis.conditions import at_train
from fusion_search.analysis.early_fusion.accuracies import LITERAL, TESTS, read_accuracies
from fusion_search.analysis.early_fusion.late import MAIN
from fusion_search.analysis.early_fusion.onset import PAIRS, SEED, claim_6
from fusion_search.analysis.early_fusion.parts import NOT_THERE, Part
from fusion_search.analysis.early_fusion.text import claims_text, compute_claims
from fusion_search.analysis.figures.arrays import Array, onset_of
from fusion_search.analysis.figures.folds.claims import draw_claims
from fusion_search.analysis.figures.timeline import is_probed, read_activations
from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.selection import DEPTH, Search
from fusion_search.search.commands.figures.drawing_options import (
    data_caption,
    finished_words,
    open_all,
    save,
    write_text,
)
from fusion_search.search.commands.options import storage_of


def early_fusion(options: argparse.Namespace) -> int:
    """``draw early-fusion``: every claim with its numbers and verdict."""
    search = open_all(options)
    found = read_accuracies(search)
    table = compute_claims(found, before_sound(search, storage_of(options)))
    name = f"{search.name}-claims"
    caption = data_caption(search)
    write_text(options, claims_text(search.name, table, [finished_words(search), caption]), name)
    figure = draw_claims(
        table,
        found.metric,
        title=f"{search.name}: claims of the early-fusion paper",
        caption=f"{caption} Of the differences that decide claim 7 the first is drawn: with audio "
        "above its train SNR.",
    )
    save(options, figure, table, name)
    return 0


def before_sound(search: Search, storage: str) -> Part:
    """Claim 6, of the probe of one network; how to make that, where it is not there."""
    rows = at_train(search.finished, MAIN, search.description)
    own = rows[(rows[DEPTH] == 0) & (rows["seed"] == SEED) & (rows["pooling"] != LITERAL)]
    if own.empty:
        return claim_6([], NOT_THERE)
    trial_id = str(own.iloc[0]["trial_id"])
    logits: list[Array] = []
    if is_probed(search, trial_id):
        logits = _logits_before_sound(read_activations(search, trial_id))
    again = command(
        *("probe", search.name, "--trial", trial_id, "--tested", str(PAIRS), "--condition"),
        *(f"{MAIN[0]:g}", f"{MAIN[1]:g}", "--array", "output", "--array", "input.audio"),
        storage=storage,
    )
    return claim_6(logits, f"{len(logits)} pairs of {PAIRS} were probed; run `{again}`")


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
