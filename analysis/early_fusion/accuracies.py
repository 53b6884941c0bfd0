"""Accuracies of the campaign's networks: a row per test condition, a column per seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from fusion_search.analysis.conditions import at_train, by_seed, tested_present
from fusion_search.analysis.records.description import ABSENT, MetricDescription, TaskDescription
from fusion_search.analysis.records.selection import (
    DEPTH,
    VARIED_SETTINGS,
    AnalysisError,
    Search,
)
from fusion_search.analysis.records.words.networks import varied_words

TASK: Final = "digits"
TESTS: Final = ["test_audio_snr", "test_visual_snr"]
FULL: Final = "full"
LITERAL: Final = "literal"

Pair = tuple[float, float]
"""Train SNRs of audio and image."""


@dataclass(frozen=True)
class Accuracies:
    """What was measured of every network.

    Attributes:
        grid: the ``grid`` table with each trial's identity and its ``pooling``, of networks of
            both streams.
        alone: likewise of networks of one stream.
        absent: the rows of ``grid`` in which an input is absent, which are not in it.
        metric: accuracy.
        description: of the search.
    """

    grid: pd.DataFrame
    alone: pd.DataFrame
    absent: pd.DataFrame
    metric: MetricDescription
    description: TaskDescription

    def of(self, pair: Pair, depth: int, pooling: str = FULL) -> pd.DataFrame:
        """Of one network [test conditions, seeds]; no columns where it is not there."""
        return self._cells(self.grid, pair, depth, pooling)

    def without(self, pair: Pair, depth: int) -> pd.DataFrame:
        """Likewise with an input absent (an SNR of minus infinity)."""
        return self._cells(self.absent, pair, depth, FULL)

    def of_one(self, stream: str, snr: float) -> pd.DataFrame:
        """Of the network of one stream trained at one SNR [test SNRs, seeds]."""
        train, test = _AXES[stream]
        own = self.alone[(self.alone["streams"] == stream) & (self.alone[train] == snr)]
        return by_seed(own, [test], self.metric).dropna(axis=1)

    def pairs(self, depth: int) -> list[Pair]:
        """At which a network of this depth was trained, both descending."""
        own = self.grid[(self.grid[DEPTH] == depth) & (self.grid["pooling"] == FULL)]
        found = own[["train_audio_snr", "train_visual_snr"]].drop_duplicates()
        return sorted(map(tuple, found.to_numpy(dtype=float).tolist()), reverse=True)

    def _cells(self, grid: pd.DataFrame, pair: Pair, depth: int, pooling: str) -> pd.DataFrame:
        own = at_train(grid, pair, self.description)
        # At depth 0 there is no level whose pooling the paper prints otherwise.
        own = own[(own[DEPTH] == depth) & ((own["pooling"] == pooling) | (depth == 0))]
        return by_seed(own, TESTS, self.metric).dropna(axis=1).sort_index(ascending=False)


_AXES: Final = {
    "image": ("train_visual_snr", "test_visual_snr"),
    "audio": ("train_audio_snr", "test_audio_snr"),
}


def read_accuracies(search: Search) -> Accuracies:
    """The accuracies of a search of digits.

    Raises:
        AnalysisError: it is of another task, was measured on validation examples, has placements
            or other settings than the campaign, or cannot be read.
    """
    description = search.description
    if description.task != TASK:
        raise AnalysisError(
            f"search {search.name} is of {description.task}; these claims are of {TASK}"
        )
    finished = search.finished
    splits = sorted(finished["split"].unique())
    if splits != ["test"]:
        raise AnalysisError(
            f"search {search.name} was measured on the {', '.join(splits)} split; claims are "
            "judged on test examples: evaluation.split: test"
        )
    if (finished["placement"] != "{}").any() or (finished["end"] != "").any():
        raise AnalysisError(
            f"search {search.name} has placements; these claims are of plain networks"
        )
    _check_alike(search, finished)
    grid = search.read_grid().merge(finished[["trial_id", "pooling"]], on="trial_id")
    present = tested_present(grid, description)
    both = present["streams"] == ""
    absent = grid[(grid["streams"] == "") & (grid[TESTS] == ABSENT).any(axis=1)]
    return Accuracies(present[both], present[~both], absent, description.metric, description)


def _check_alike(search: Search, finished: pd.DataFrame) -> None:
    """Networks may differ in fusion depth, pooling and seeds alone."""
    told = set()
    for text in finished[VARIED_SETTINGS].unique():
        others = {name: one for name, one in json.loads(text).items() if name != "pooling"}
        told.add(varied_words(json.dumps(others)))
    if len(told) > 1:
        raise AnalysisError(
            f"networks of search {search.name} differ in more than fusion depth and pooling: "
            f"{'; '.join(sorted(told))}"
        )


def at(cells: pd.DataFrame, audio: Sequence[float], visual: Sequence[float]) -> pd.DataFrame:
    """The rows of these test SNRs."""
    level = cells.index.get_level_values
    return cells[level(TESTS[0]).isin(list(audio)) & level(TESTS[1]).isin(list(visual))]


def levels(cells: pd.DataFrame, place: int) -> list[float]:
    """The test SNRs of audio (0) or image (1), descending."""
    return sorted(set(cells.index.get_level_values(place)), reverse=True)
