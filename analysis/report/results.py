"""What shows the results of a sweep: maps of two axes, curves of one, else intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from fusion_search.analysis.conditions import (
    TrainCondition,
    network_title,
    networks,
    of_network,
    train_conditions,
)
from fusion_search.analysis.figures.curves import compute_curves, draw_curves, draw_intervals
from fusion_search.analysis.figures.drawing import value_scale
from fusion_search.analysis.figures.grids import compute_sheet, draw_sheet
from fusion_search.analysis.records.description import MetricDescription
from fusion_search.analysis.records.selection import DEPTH, AnalysisError, Search


@dataclass(frozen=True)
class Drawing:
    """A figure with the table that it shows.

    Attributes:
        name: of its files.
        figure, table: to be saved.
    """

    name: str
    figure: Figure
    table: pd.DataFrame


def result_drawings(
    search: Search,
    wanted: Sequence[TrainCondition] | None = None,
    metric: MetricDescription | None = None,
    *,
    caption: str = "",
) -> list[Drawing]:
    """The figures of a sweep's networks.

    Args:
        search: its finished trials are used, of networks with all streams.
        wanted: train conditions; all that are planned by default.
        metric: the one that chooses by default.
        caption: below every figure.

    Raises:
        AnalysisError: there are more than two axes, or nothing can be read.
    """
    description = search.description
    metric = metric or description.metric
    if len(description.axes) > 2:
        raise AnalysisError(
            f"{description.task} has {len(description.axes)} axes; maps are drawn of two"
        )
    if len(description.axes) == 2:
        return _sheets(search, wanted, metric, caption)
    table = compute_curves(search, metric)
    if description.axes and wanted is not None:
        table = table[table["train_snr"].isin([one for (one,) in wanted])]
    draw = draw_curves if description.axes else draw_intervals
    figure = draw(table, description, metric, title=search.name, caption=caption)
    return [Drawing("curves" if description.axes else "intervals", figure, table)]


def _sheets(
    search: Search,
    wanted: Sequence[TrainCondition] | None,
    metric: MetricDescription,
    caption: str,
) -> list[Drawing]:
    description = search.description
    known = train_conditions(search.planned, description)
    conditions = known if wanted is None else list(wanted)
    sheet = compute_sheet(search, conditions, metric)
    scale = value_scale(metric, [sheet[metric.name]])
    found = []
    every = networks(search.planned, description)
    depths = [network.get(DEPTH) for network in every]
    for number, network in enumerate(every, 1):
        own = train_conditions(of_network(search.planned, network), description)
        declared = [one for one in conditions if one in own]
        if not declared:
            continue
        part = of_network(sheet, network)
        title = f"{search.name}: {network_title(network)}"
        figure = draw_sheet(
            part, declared, description, metric, scale=scale, title=title, caption=caption
        )
        told = DEPTH in network and len(set(depths)) == len(depths)
        name = f"grids-depth{network[DEPTH]}" if told else f"grids-network{number}"
        found.append(Drawing(name, figure, part))
    return found
