"""Which figures a search names at its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from xflow_records import xflow_description

from fusion_search.search.running.summary import _figures

FOLDS = ("draw", "folds")
GRIDS, ALONE, XFLOW = (("draw", one) for one in ("grids", "unimodal", "xflow"))


@pytest.mark.parametrize(
    ("folds", "streams", "searched", "figures"),
    [
        ([0, 0], [[], []], False, [XFLOW, GRIDS]),
        ([0, 1], [[], []], False, [XFLOW, GRIDS, FOLDS]),
        ([0, 1], [[], ["audio"]], False, [XFLOW, GRIDS, ALONE, FOLDS]),
        ([0, 0], [[], []], True, [("report",)]),
        ([0, 1], [[], []], True, [("report",), FOLDS]),
        ([], [], False, []),
    ],
)
def test_networks_over_several_folds_are_compared_by_draw_folds(
    folds: list[int], streams: list[list[str]], searched: bool, figures: list[tuple[str, ...]]
) -> None:
    search: Any = SimpleNamespace(searched=searched)
    finished = pd.DataFrame({"fold": folds, "streams": streams})
    assert _figures(search, finished, xflow_description()) == figures
