"""``draw early-fusion``: the claims of the early-fusion paper, from a campaign's records."""

from __future__ import annotations

import argparse

from fusion_search.analysis.early_fusion.accuracies import read_accuracies
from fusion_search.analysis.early_fusion.text import claims_text, compute_claims
from fusion_search.analysis.figures.folds.claims import draw_claims
from fusion_search.analysis.records.secrets import printable
from fusion_search.search.commands.figures.drawing_options import (
    data_caption,
    open_all,
    save,
    write,
)


def early_fusion(options: argparse.Namespace) -> int:
    """``draw early-fusion``: every claim with its numbers and verdict."""
    search = open_all(options)
    found = read_accuracies(search)
    table = compute_claims(found)
    name = f"{search.name}-claims"
    count = f"Of {len(search.finished)} finished trials of {len(search.planned)} planned."
    caption = data_caption(search)
    text = claims_text(search.name, table, [count, caption])
    write(options, text.encode(), f"{name}.md")
    for line in text.splitlines():
        print(printable(line))
    figure = draw_claims(
        table,
        found.metric,
        title=f"{search.name}: claims of the early-fusion paper",
        caption=caption,
    )
    save(options, figure, table, name)
    return 0
