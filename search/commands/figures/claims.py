"""``draw early-fusion``: the claims of the early-fusion paper, from a campaign's records."""

from __future__ import annotations

import argparse

from fusion_search.analysis.early_fusion.accuracies import read_accuracies
from fusion_search.analysis.early_fusion.text import claims_text, compute_claims
from fusion_search.analysis.figures.folds.claims import draw_claims
from fusion_search.search.commands.figures.drawing_options import (
    data_caption,
    finished_words,
    open_all,
    save,
    write_text,
)


def early_fusion(options: argparse.Namespace) -> int:
    """``draw early-fusion``: every claim with its numbers and verdict."""
    search = open_all(options)
    found = read_accuracies(search)
    table = compute_claims(found)
    name = f"{search.name}-claims"
    caption = data_caption(search)
    write_text(options, claims_text(search.name, table, [finished_words(search), caption]), name)
    figure = draw_claims(
        table,
        found.metric,
        title=f"{search.name}: claims of the early-fusion paper",
        caption=caption,
    )
    save(options, figure, table, name)
    return 0
