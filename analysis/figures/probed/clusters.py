"""Whether vectors cluster by class: in their own space, not in a picture of it.

Of every example it is asked whether the nearest of all others (by Euclidean distance) has its
class. The share of which this is true, brought to 0 for what labels at random give and 1 for all,
is ``clustering``:

    clustering = (agreement - chance) / (1 - chance)

Chance is the mean over 999 permutations of the classes, within each person where the data say
whose examples are (clips of one person are alike), and p the share of them that agree as often.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial.distance import cdist

from fusion_search.analysis.figures.arrays import connection_of
from fusion_search.analysis.figures.probed.chosen import (
    DRAWS,
    by_unit,
    verdict,
)
from fusion_search.analysis.records.selection import AnalysisError
from fusion_search.analysis.records.words.counts import count_label
from fusion_search.analysis.statistics import TIE, interval, sign_flips
from fusion_search.analysis.verdicts import HELD, REFUTED, UNDECIDED

ALL, HELD_OUT = "all examples", "held out"
"""Examples that are asked for their neighbour, which may be any."""

Vectors = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Parts: TypeAlias = Mapping[str, npt.NDArray[np.bool_]]
"""Name -> which of the examples are asked, [N]."""

_TRAIN, _TEST = "train", "test"


def compute_clusters(
    examples: pd.DataFrame, nearest: Mapping[str, Numbers], parts: Parts | None = None
) -> pd.DataFrame:
    """A row per array and part.

    Args:
        examples: [N] rows with split, group and label.
        nearest: array -> [N], as :func:`neighbours` gives it.
        parts: :func:`parts_of` the examples by default.

    Raises:
        AnalysisError: no example can have a neighbour of its class.
    """
    labels = examples["label"].to_numpy()
    _check(labels)
    groups = examples["group"].to_numpy(dtype=str)
    shuffled = _shuffled(labels, groups)
    rows: list[dict[str, Any]] = []
    for name, own in nearest.items():
        agrees = (labels[own] == labels).astype(float)
        by_chance = shuffled[:, own] == shuffled  # [draws, N]
        for part, there in (parts or parts_of(examples)).items():
            rows.append(
                {"array": name, "part": part}
                | _agreement(agrees[there], by_chance[:, there], list(groups[there]))
            )
    return pd.DataFrame(rows)


def neighbours(vectors: Mapping[str, Vectors]) -> dict[str, Numbers]:
    """Array -> [N, C] to array -> the number of each one's nearest other, [N]."""
    return {name: _nearest(values) for name, values in vectors.items()}


def _nearest(values: Vectors) -> Numbers:
    distances = cdist(values, values)
    np.fill_diagonal(distances, np.inf)
    nearest: Numbers = distances.argmin(axis=1)
    return nearest


def parts_of(examples: pd.DataFrame) -> Parts:
    """All, and those that the network was not trained on where others were."""
    trained = (examples["split"] == _TRAIN).to_numpy()
    parts = {ALL: np.ones(len(examples), dtype=bool)}
    if trained.any() and not trained.all():
        parts[HELD_OUT] = ~trained
    return parts


def over_folds(
    probes: Mapping[str, tuple[pd.DataFrame, Mapping[str, Numbers]]],
) -> tuple[pd.DataFrame, dict[str, Numbers], Parts]:
    """Probes of one network trained in several folds as one, of whose test examples each is asked.

    A neighbour is looked for among what the same trial's network gave, for vectors of two networks
    lie in spaces of their own; validation persons are not asked, who are tested in other folds.

    Args:
        probes: by trial, its examples and their neighbours.

    Returns:
        What :func:`compute_clusters` and :func:`compute_contrasts` take.

    Raises:
        AnalysisError: a probe holds no examples that its network was trained on, or none of the
            test split, or other arrays than the first; or two probes test one group.
    """
    examples, nearest, start = list[pd.DataFrame](), dict[str, list[Numbers]](), 0
    tested: dict[str, str] = {}
    for trial, (own, numbers) in probes.items():
        if not {_TRAIN, _TEST} <= set(own["split"]):
            raise AnalysisError(
                f"trial {trial} was not probed on both what it was trained on and what it was "
                "tested on; probe it with --split all"
            )
        for group in sorted(set(own.loc[own["split"] == _TEST, "group"])):
            if group in tested:
                raise AnalysisError(
                    f"{group or 'one and the same group'} is held out in trial {tested[group]} and "
                    f"in {trial}, and counts once; folds that test the same cannot be pooled"
                )
            tested[group] = trial
        if examples and numbers.keys() != nearest.keys():
            raise AnalysisError(
                f"arrays of trial {trial} are not those of {next(iter(probes))}; choose by --array "
                "what both have"
            )
        examples.append(own.assign(group=[f"{trial} {one}" for one in own["group"]]))
        for name, values in numbers.items():
            nearest.setdefault(name, []).append(values + start)
        start += len(own)
    table = pd.concat(examples, ignore_index=True)
    asked = {HELD_OUT: (table["split"] == _TEST).to_numpy()}
    return table, {name: np.concatenate(values) for name, values in nearest.items()}, asked


def compute_contrasts(
    examples: pd.DataFrame,
    nearest: Mapping[str, Numbers],
    clusters: pd.DataFrame,
    parts: Parts | None = None,
) -> pd.DataFrame:
    """Of connections of one kind and direction: the last clusters by class, the first does not.

    Held where both are; refuted where the last does not cluster, or the first does.

    Args:
        examples, nearest, parts: as of :func:`compute_clusters`.
        clusters: what that gave.
    """
    ways: dict[str, list[str]] = {}
    for name in nearest:
        found = connection_of(name)
        if found is not None:
            ways.setdefault(found.way, []).append(name)
    labels, groups = examples["label"].to_numpy(), examples["group"].to_numpy(dtype=str)
    told = clusters.set_index(["array", "part"])["verdict"]
    rows = []
    several = [(way, names) for way, names in ways.items() if len(names) > 1]
    asked = (parts or parts_of(examples)).items()
    for (way, names), (part, there) in itertools.product(several, asked):
        first, last = (
            (labels[nearest[one]] == labels).astype(float) for one in (names[0], names[-1])
        )
        differences, of = by_unit((last - first)[there], list(groups[there]))
        row: dict[str, Any] = {
            "connection": way,
            "part": part,
            "first": names[0],
            "last": names[-1],
        }
        row |= {"difference": differences.mean(), "units": len(differences), "of": of}
        row["p"] = float(sign_flips(differences[:, None]).p[0])
        row["verdict"] = _both(str(told[names[-1], part]), str(told[names[0], part]))
        rows.append(row)
    return pd.DataFrame(rows)


def _both(last: str, first: str) -> str:
    if last == HELD and first == REFUTED:
        return HELD
    return REFUTED if last == REFUTED or first == HELD else UNDECIDED


def _agreement(
    agrees: Vectors, by_chance: npt.NDArray[np.bool_], groups: Sequence[str]
) -> dict[str, Any]:
    units, of = by_unit(agrees, groups)
    agreement, low, high = interval(units, share=True)
    drawn = by_unit(by_chance.T.astype(float), groups)[0].mean(axis=0)
    chance = float(drawn.mean())
    clustering, low, high = ((one - chance) / (1 - chance) for one in (agreement, low, high))
    p = float(1 + (drawn >= agreement - TIE).sum()) / (1 + DRAWS)
    return {
        "examples": len(agrees),
        "units": len(units),
        "of": of,
        "agreement": agreement,
        "chance": chance,
        "clustering": clustering,
        "low": low,
        "high": high,
        "p": p,
        "verdict": verdict(low, high, p, len(units)),
    }


def _shuffled(labels: npt.NDArray[Any], groups: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[draws, N]: classes changed within groups, or everywhere where a group has one class."""
    within = any(len(set(labels[groups == one])) > 1 for one in set(groups))
    blocks = groups if within else np.zeros_like(groups)
    chance = np.random.default_rng(0)
    found = np.tile(labels, (DRAWS, 1))
    for one in np.unique(blocks):
        at = np.flatnonzero(blocks == one)
        found[:, at] = chance.permuted(found[:, at], axis=1)
    return found


def can_cluster(labels: npt.NDArray[Any]) -> bool:
    """Whether an example can lie beside another of its class and apart from others.

    Args:
        labels: [N] of examples; negative where they have none.
    """
    counts = np.unique(labels, return_counts=True)[1]
    return len(counts) > 1 and counts.max() > 1 and not (labels < 0).any()


def _check(labels: npt.NDArray[Any]) -> None:
    if (labels < 0).any():
        raise AnalysisError("the examples have no classes to be coloured by")
    if not can_cluster(labels):
        counts = np.unique(labels)
        raise AnalysisError(
            f"probed were {count_label(len(labels), 'example')} of "
            f"{count_label(len(counts), 'class', 'classes')}, of which none can lie beside "
            "another of its class and apart from others; probe more of them, with "
            "--per-class 1 --split all where the data say whose examples are"
        )
