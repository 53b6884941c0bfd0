"""Vectors of a probe in the plane, coloured by class, and beside them whether they cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusion_search.analysis.figures.arrays import Array, connection_of
from fusion_search.analysis.figures.drawing import add_caption, add_title, drawn, new_figure
from fusion_search.analysis.figures.probed.chosen import (
    array_words,
    examples_of,
    label_word,
    of_every_example,
    verdict_words,
)
from fusion_search.analysis.figures.probed.clusters import ALL, HELD_OUT, Numbers
from fusion_search.analysis.figures.timeline import INPUT
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import AnalysisError
from fusion_search.analysis.verdicts import HELD, REFUTED

_PERPLEXITY: Final = 30.0
_ACROSS: Final = 3  # panels
_LONGEST: Final = 3  # letters of a class that is written instead of a dot
CLUSTERS: Final[Mapping[str, str]] = {
    HELD: "clusters by class",
    REFUTED: "does not cluster by class",
}
RULE: Final = (
    "Clusters: the interval lies above one half, and p <= 0.05. Does not: it lies below one half; "
    "a small effect may still be beyond chance, p <= 0.05."
)


def is_embedded(name: str, values: Array) -> bool:
    """Whether an array is vectors, perhaps over time, that a network gives."""
    return values.ndim in (1, 2) and not name.startswith(INPUT)


def beside_their_like(names: Sequence[str]) -> list[str]:
    """Arrays in an order in which connections of one kind and direction are neighbours."""

    def key(name: str) -> tuple[bool, str]:
        found = connection_of(name)
        return (found is None, found.way if found else "")

    return sorted(names, key=key)


def vectors_of(table: pd.DataFrame, names: list[str]) -> tuple[pd.DataFrame, dict[str, Array]]:
    """The examples and, of each array, their vectors: [C] as they are, [T, C] as means over time.

    Args:
        table: of one condition, as ``read_activations`` returns it.
        names: of arrays.

    Returns:
        [N] rows with split, number, group and label; array -> [N, C].

    Raises:
        AnalysisError: an array is no vectors, its vectors differ in length, or a value is not
            finite.
    """
    examples = examples_of(table)
    found = {}
    for name in names:
        arrays = of_every_example(table, name)
        if any(one.ndim not in (1, 2) for one in arrays):
            raise AnalysisError(
                f"{name} has shape {list(arrays[0].shape)}; an embedding takes vectors [C], or "
                "[T, C] over time"
            )
        vectors = [one.mean(axis=0) if one.ndim > 1 else one for one in arrays]
        if len({len(one) for one in vectors}) > 1:
            raise AnalysisError(f"vectors of {name} differ in length")
        found[name] = np.stack(vectors)
    return examples, found


def embedded(vectors: Array) -> Array:
    """[N, C] to [N, 2] by t-SNE (van der Maaten and Hinton 2008), the same for the same vectors."""
    from sklearn.manifold import TSNE  # which no other verb needs

    starts = "pca" if int((np.ptp(vectors, axis=0) > 0).sum()) > 1 else "random"
    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    made = TSNE(perplexity=perplexity, init=starts, random_state=0)
    places: Array = np.asarray(made.fit_transform(vectors), dtype=np.float64)
    return places


def compute_embedding(
    examples: pd.DataFrame, vectors: Mapping[str, Array], nearest: Mapping[str, Numbers]
) -> pd.DataFrame:
    """A row per array and example: its place in the plane, and whether its neighbour agrees.

    Args:
        examples, vectors: as :func:`vectors_of` gives them.
        nearest: of these, as ``neighbours`` gives it.
    """
    labels = examples["label"].to_numpy()
    parts = []
    for name, values in vectors.items():
        places = embedded(values)
        agrees = labels[nearest[name]] == labels
        columns = {"x": places[:, 0], "y": places[:, 1], "neighbour_agrees": agrees}
        parts.append(examples.assign(array=name, **columns))
    return pd.concat(parts, ignore_index=True)


@drawn
def draw_embedding(
    points: pd.DataFrame,
    clusters: pd.DataFrame,
    description: TaskDescription,
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw a panel per array, in which every example is its class.

    Args:
        points: see :func:`compute_embedding`.
        clusters: of the same arrays, see ``compute_clusters``.
        description: of the search.
        title: above everything.
        caption: small text below.
    """
    names = list(dict.fromkeys(points["array"]))
    across = min(_ACROSS, len(names))
    down = -(-len(names) // across)
    figure = new_figure(4.6 * across, 4.9 * down + 0.6)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    labels = [label_word(one, description) for one in range(int(points["label"].max()) + 1)]
    colours = _colours(len(labels))
    held_out = HELD_OUT in set(clusters["part"])
    for axes, name in zip(panels, names, strict=False):
        part = points[points["array"] == name]
        if max(map(len, labels)) <= _LONGEST:
            _write_classes(axes, part, labels, colours, bold=held_out)
        else:
            _dot_classes(axes, part, labels, colours)
        axes.set_xticks([])
        axes.set_yticks([])
        words = [cluster_words(row) for row in rows_of(clusters[clusters["array"] == name])]
        axes.set_title("\n".join([array_words(name), *words]), fontsize=8)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    if max(map(len, labels)) > _LONGEST:
        handles, told = panels[0].get_legend_handles_labels()
        figure.legend(handles, told, loc="outside right center", fontsize=8)
    add_title(figure, title)
    bold = " Bold: not trained on." if held_out else ""
    note = (
        "t-SNE; the numbers are of the vectors themselves: how many have a nearest neighbour of "
        "their class, and how far that is from chance (0) to all (1), with a 95 % interval."
    )
    add_caption(figure, f"{caption} {note} {RULE}{bold}".strip())
    return figure


def cluster_words(row: Mapping[str, Any]) -> str:
    """What the numbers say of an array, on two lines."""
    said = verdict_words(CLUSTERS, row)
    of = "" if row["part"] == ALL else f"{row['part']}: "
    ends = "" if np.isnan(row["low"]) else f" [{row['low']:.2f}, {row['high']:.2f}]"
    return (
        f"{of}{row['agreement']:.0%} agree, {row['chance']:.0%} by chance (p = {row['p']:.3f})\n"
        f"{row['clustering']:.2f}{ends}: {said}"
    )


def contrast_words(row: Mapping[str, Any]) -> str:
    """What is said of two sites' connections of one kind and direction."""
    first, last = (connection_of(str(row[one])) for one in ("first", "last"))
    assert first is not None
    assert last is not None
    return (
        f"{row['connection']}, {row['part']}: {last.site} clusters by class and {first.site} does "
        f"not: {row['verdict']} (their agreement differs by {100 * row['difference']:+.0f} points, "
        f"p = {row['p']:.3f} over {row['units']} {row['of']})"
    )


def _colours(count: int) -> npt.NDArray[np.float64]:
    colours: npt.NDArray[np.float64]
    if count <= mpl.colormaps["tab10"].N:
        colours = mpl.colormaps["tab10"](np.arange(count))
    else:
        colours = mpl.colormaps["turbo"](np.linspace(0.03, 0.97, count))
    return colours


def _write_classes(
    axes: Axes, part: pd.DataFrame, labels: list[str], colours: Any, *, bold: bool
) -> None:
    axes.scatter(part["x"], part["y"], s=0)  # for the limits
    for row in rows_of(part):
        axes.text(
            row["x"],
            row["y"],
            labels[row["label"]],
            color=colours[row["label"]],
            ha="center",
            va="center",
            fontsize=7,
            fontweight="bold" if bold and row["split"] != "train" else "normal",
        )


def _dot_classes(axes: Axes, part: pd.DataFrame, labels: list[str], colours: Any) -> None:
    for label, word in enumerate(labels):
        own = part[part["label"] == label]
        axes.scatter(own["x"], own["y"], s=10, color=colours[label], label=word)
