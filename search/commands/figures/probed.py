"""``draw embedding``, ``changes`` and ``maps``: what a probe kept of a trained network."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Final

import pandas as pd

from fusion_search.analysis.figures.arrays import Array
from fusion_search.analysis.figures.probed.changes import (
    compute_changes,
    draw_changes,
    following_words,
    input_of,
    is_over_time,
    sequences,
    summary_of,
)
from fusion_search.analysis.figures.probed.chosen import (
    array_words,
    at_first_condition,
    chosen_arrays,
    example_words,
    examples_of,
    label_word,
    of_every_example,
    other_folds,
)
from fusion_search.analysis.figures.probed.clusters import (
    compute_clusters,
    compute_contrasts,
    neighbours,
    over_folds,
)
from fusion_search.analysis.figures.probed.embedding import (
    RULE as CLUSTERING_RULE,
)
from fusion_search.analysis.figures.probed.embedding import (
    beside_their_like,
    cluster_words,
    compute_embedding,
    contrast_words,
    draw_embedding,
    is_embedded,
    vectors_of,
)
from fusion_search.analysis.figures.probed.following import compute_following
from fusion_search.analysis.figures.probed.maps import compute_maps, draw_maps, frames_of, is_map
from fusion_search.analysis.figures.timeline import (
    how_to_probe,
    is_probed,
    read_activations,
)
from fusion_search.analysis.folds.runs import distinct
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.selection import AnalysisError, Search, count_label
from fusion_search.analysis.records.words.networks import placement_words
from fusion_search.search.commands.figures.drawing_options import (
    chosen_trial,
    data_caption,
    opened,
    save,
    save_numbers,
    say,
)

_LONGEST_WORD: Final = 80  # letters of an array's name in that of a file


def embedding(options: argparse.Namespace) -> int:
    """``draw embedding``: vectors of all examples in the plane, and whether they cluster."""
    if options.over_folds:
        return _clusters_over_folds(options)
    search, trial, table, caption = _probed(options)
    examples, vectors = _vectors(table, options)
    nearest = neighbours(vectors)
    clusters = compute_clusters(examples, nearest)
    contrasts = compute_contrasts(examples, nearest, clusters)
    points = compute_embedding(examples, vectors, nearest)
    figure = draw_embedding(
        points,
        clusters,
        search.description,
        title=_title(search, trial),
        caption=f"{caption} {_examples_words(examples)}",
    )
    name = f"{search.name}-embedding-{trial['trial_id']}"
    save(options, figure, points, name)
    _tell_clusters(options, clusters, contrasts, name)
    return 0


def _vectors(
    table: pd.DataFrame, options: argparse.Namespace
) -> tuple[pd.DataFrame, dict[str, Array]]:
    names = chosen_arrays(table, options.arrays, is_embedded, "vectors that a network gives")
    return vectors_of(table, beside_their_like(names))


def _tell_clusters(
    options: argparse.Namespace, clusters: pd.DataFrame, contrasts: pd.DataFrame, name: str
) -> None:
    for row in rows_of(clusters):
        print(f"{printable(array_words(row['array']))}, {cluster_words(row)}")
    print(CLUSTERING_RULE)
    for row in rows_of(contrasts):
        print(f"{printable(contrast_words(row))}")
    save_numbers(options, clusters, f"{name}-clusters")
    if len(contrasts):
        save_numbers(options, contrasts, f"{name}-contrasts")


def _clusters_over_folds(options: argparse.Namespace) -> int:
    """Whether vectors cluster, of who was tested in any fold in which this network was probed."""
    search = opened(options)
    trial = chosen_trial(search, options.trial)
    probes = {}
    for row in rows_of(other_folds(search, trial)):
        trial_id = row["trial_id"]
        if not is_probed(search, trial_id):
            say(f"left out, not probed: fold {row['fold']}, trial {trial_id}")
            continue
        table, _ = at_first_condition(read_activations(search, trial_id), search.description)
        examples, vectors = _vectors(table, options)
        probes[trial_id] = examples, neighbours(vectors)
    if not probes:
        again = how_to_probe(search, trial["trial_id"], "--per-class", "1", "--split", "all")
        raise AnalysisError(
            f"no trial of this network in search {search.name} was probed; probe each, of which "
            f"{trial['trial_id']} is one: {again}"
        )
    print(f"{count_label(len(probes), 'fold')}: {', '.join(probes)}")
    examples, nearest, parts = over_folds(probes)
    clusters = compute_clusters(examples, nearest, parts)
    contrasts = compute_contrasts(examples, nearest, clusters, parts)
    name = f"{search.name}-embedding-{trial['trial_id']}-folds"
    _tell_clusters(options, clusters, contrasts, name)
    return 0


def changes(options: argparse.Namespace) -> int:
    """``draw changes``: how far arrays and their inputs change over time, and whether alike."""
    search, trial, table, caption = _probed(options)
    names = chosen_arrays(table, options.arrays, is_over_time, "what connections give over time")
    examples = examples_of(table)
    for word, array in _by_file(names).items():
        against = input_of(table, array, options.against)
        arrays, inputs = sequences(table, array, against)
        told, following = compute_following(examples, arrays, inputs)
        summary = summary_of(following, array, against)
        shown = compute_changes(examples, arrays, inputs)
        figure = draw_changes(
            shown,
            told,
            summary,
            title=_title(search, trial),
            caption=f"{caption} {_examples_words(examples)}",
        )
        print(printable(following_words(summary)))
        name = f"{search.name}-changes-{trial['trial_id']}-{word}"
        save(options, figure, shown, name)
        save_numbers(options, told, f"{name}-examples")
        save_numbers(options, pd.DataFrame([summary]), f"{name}-following")
    return 0


def maps(options: argparse.Namespace) -> int:
    """``draw maps``: maps of one example as pictures."""
    search, trial, table, caption = _probed(options)
    names = chosen_arrays(table, options.arrays, is_map, "maps that connections give")
    examples = examples_of(table)
    if not 0 <= options.place < len(examples):
        raise AnalysisError(
            f"--place is {options.place}; allowed of the "
            f"{count_label(len(examples), 'probed example')}: 0 to {len(examples) - 1}"
        )
    example = examples.iloc[options.place]
    own = (table["split"] == example["split"]) & (table["number"] == example["number"])
    rows = table[own]
    for word, array in _by_file(names).items():
        values = of_every_example(table, array)[options.place]
        numbers = compute_maps(array, values)
        label = label_word(int(example["label"]), search.description)
        figure = draw_maps(
            values,
            frames_of(rows),
            transposed=options.transposed,
            title=f"{_title(search, trial)}: {array_words(array)}",
            caption=f"{caption} Of {example_words(example)}{label and f', class {label}'}.",
        )
        place = f"{example['split']}{example['number']}"
        save(
            options,
            figure,
            numbers,
            f"{search.name}-maps-{trial['trial_id']}-{word}-{place}",
        )
    return 0


def _probed(options: argparse.Namespace) -> tuple[Search, pd.Series, pd.DataFrame, str]:
    """The search, its trial, what was probed of it at the first condition, and a caption."""
    search = opened(options)
    trial = chosen_trial(search, options.trial)
    table = read_activations(search, trial["trial_id"])
    print(f"trial: {printable(trial['trial_name'])} ({trial['trial_id']})")
    there, condition = at_first_condition(table, search.description)
    data = data_caption(trial.to_frame().T)
    caption = f"Trial {trial['trial_name']}. {data} {condition}".strip()
    return search, trial, there, caption


def _title(search: Search, trial: pd.Series) -> str:
    return f"{search.name}: {placement_words(dict(zip(trial.index, trial, strict=True)))}"


def _examples_words(examples: pd.DataFrame) -> str:
    """How many examples of which splits, and of how many persons or other groups."""
    splits = examples["split"].value_counts(sort=False)
    told = ", ".join(f"{count} {split}" for split, count in splits.items())
    groups = examples["group"].nunique()
    whose = f" of {groups} groups" if groups > 1 else ""
    return f"Examples: {told}{whose}."


def _by_file(arrays: Sequence[str]) -> dict[str, str]:
    """What a figure's name has of an array's -> the array."""
    words = [re.sub(r"[^A-Za-z0-9]+", "-", one).strip("-")[:_LONGEST_WORD] for one in arrays]
    return dict(zip(distinct(words, "-{}"), arrays, strict=True))
