"""Claims 4 and 8, and the check without an input: numbers without a verdict."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from fusion_search.analysis.dependence import spread
from fusion_search.analysis.early_fusion.accuracies import TESTS, Accuracies, Pair, at, levels
from fusion_search.analysis.early_fusion.late import LATE, MAIN
from fusion_search.analysis.early_fusion.parts import NOT_THERE, Part, with_ends
from fusion_search.analysis.records.description import ABSENT, MetricDescription
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.statistics import interval

_LOUD, _QUIET = (2.0, 1.0), (0.5, 0.25)  # train audio SNRs
_CLEAR, _DIM = (1.0, 0.5), (0.25, 0.125)  # train visual SNRs
_RANGES: Final = ("audio range", "visual range")
_QUADRANTS: Final = (
    ("depends on the image", _QUIET, _CLEAR, _RANGES),
    ("depends increasingly on the sound", _LOUD, _DIM, _RANGES),
    ("good at or above the train pair", _LOUD, _CLEAR, ("worst at or above",)),
    ("poor away from the train pair", _QUIET, _DIM, ("at the train pair", "elsewhere")),
)


def ranges(cells: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """How far accuracy moves along audio and along the image alone, a value per column.

    Args:
        cells: [test conditions, maps or seeds].
    """
    audio, visual = TESTS
    return spread(cells, [visual]), spread(cells, [audio])


def _map_numbers(cells: pd.Series, pair: Pair) -> dict[str, float]:
    """Of one map [test conditions]."""
    table = cells.to_frame()
    audio, visual = levels(table, 0), levels(table, 1)
    above = at(
        table, [one for one in audio if one >= pair[0]], [one for one in visual if one >= pair[1]]
    )
    trained = at(table, [pair[0]], [pair[1]])
    moved = [float(one.iloc[0]) for one in ranges(table)]
    return {
        **dict(zip(_RANGES, moved, strict=True)),
        "worst at or above": float(above.min().iloc[0]),
        "at the train pair": float(trained.mean().iloc[0]),
        "elsewhere": float(table.drop(trained.index).mean().iloc[0]),
    }


def _with_interval(values: list[float], metric: MetricDescription) -> str:
    mean, low, high = interval(np.array(values), share=True)
    said = metric.text(mean)
    return said if np.isnan(low) else f"{said} ({metric.text(low)} to {metric.text(high)})"


def claim_4(found: Accuracies) -> list[Part]:
    """The sheet by quadrants: mean over maps, each the mean over its seeds."""
    sheet = {pair: found.of(pair, 0) for pair in found.pairs(0)}
    told = {pair: _map_numbers(one.mean(axis=1), pair) for pair, one in sheet.items()}
    parts = []
    for what, audio, visual, names in _QUADRANTS:
        pairs = [one for one in told if one[0] in audio and one[1] in visual]
        where = f"train audio {audio[0]:g}, {audio[1]:g} with visual {visual[0]:g}, {visual[1]:g}"
        said = NOT_THERE
        if pairs:
            said = ", ".join(
                f"{name} {_with_interval([told[one][name] for one in pairs], found.metric)}"
                for name in names
            )
            said += f"; {count_label(len(pairs), 'map')} of 4"
        seeds = min((sheet[one].shape[1] for one in pairs), default=0)
        parts.append(Part(4, f"{where}: {what}", "", seeds, said))
    return parts


def claim_8(found: Accuracies) -> list[Part]:
    """Audio range less visual range; where the main pair stands among all."""
    what = "(0.5, 0.25): both senses contribute alike"
    apart = {}
    for pair in found.pairs(0):
        audio, visual = ranges(found.of(pair, 0).mean(axis=1).to_frame())
        apart[pair] = float(audio.iloc[0] - visual.iloc[0])
    if MAIN not in apart:
        return [Part(8, what, "", 0, NOT_THERE)]
    cells = found.of(MAIN, 0)
    audio, visual = ranges(cells)
    values = (audio - visual).to_numpy(dtype=float)
    mean, low, high = interval(values)
    order = sorted(apart, key=lambda one: abs(apart[one]))
    said = f"audio range less visual range {with_ends(mean, low, high, found.metric)}"
    said += f"; number {order.index(MAIN) + 1} of {count_label(len(order), 'map')} by its size"
    return [Part(8, what, "", len(values), said, mean, low, high)]


def without(found: Accuracies) -> list[Part]:
    """The main pair's networks with one input absent and the other at its train SNR."""
    parts = []
    for name, depth in {"initial fusion": 0, **LATE}.items():
        cells = found.without(MAIN, depth)
        said = []
        for absent, (audio, visual) in (
            ("audio", (ABSENT, MAIN[1])),
            ("image", (MAIN[0], ABSENT)),
        ):
            own = at(cells, [audio], [visual]) if len(cells) else cells
            if len(own):
                values = own.to_numpy(dtype=float).ravel().tolist()
                said.append(f"without {absent} {_with_interval(values, found.metric)}")
        seeds = cells.shape[1]
        words = f"{', '.join(said)}; {count_label(seeds, 'seed')}" if said else NOT_THERE
        parts.append(
            Part(
                0,
                f"{name} tested with one input absent, the other at its train SNR",
                "",
                seeds,
                words,
            )
        )
    return parts
