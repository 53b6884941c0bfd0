"""``draw``: each figure's files, and the sentences that belong to it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.conditions import (
    TrainCondition,
    at_train,
    network_title,
    networks,
    of_network,
    repetition_words,
    train_conditions,
    train_label,
)
from fusion_search.analysis.confirmation import read_candidates
from fusion_search.analysis.dependence import compute_dependence
from fusion_search.analysis.figures.curves import compute_curves, draw_curves, draw_intervals
from fusion_search.analysis.figures.drawing import value_scale
from fusion_search.analysis.figures.fusion import (
    comparable,
    compute_fusion,
    differing_words,
    draw_fusion,
    fusion_conditions,
    shared_words,
    summarise_fusion,
)
from fusion_search.analysis.figures.grids import compute_sheet, draw_sheet
from fusion_search.analysis.figures.replay import compute_replay, draw_replay
from fusion_search.analysis.figures.timeline import (
    best_sample,
    choose_trial,
    draw_timeline,
    read_activations,
)
from fusion_search.analysis.folds.runs import distinct
from fusion_search.analysis.paired import difference_text, region_lines
from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.samples import objectives_of, rows_of
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.selection import (
    DEPTH,
    VARIED_SETTINGS,
    AnalysisError,
    Search,
    count_label,
    depth_name,
    snr_label,
)
from fusion_search.analysis.records.tables import CANDIDATES_FILE, REPLAY_FILE
from fusion_search.analysis.records.words.networks import (
    placed_parts,
    placement_words,
    varied_words,
)
from fusion_search.search.commands.figures.deciding import more_seeds
from fusion_search.search.commands.figures.drawing_options import (
    chosen_trial,
    data_caption,
    levels_of,
    open_parts,
    open_whole,
    opened,
    plain_networks,
    read_beside,
    save,
    save_numbers,
    say,
    say_kinds,
    specification_of,
    wanted_conditions,
    write,
)
from fusion_search.search.commands.options import storage_of

_LONGEST: Final = 150  # characters of what tells networks in a file's name, of 255
BEST: Final = "best"
"""In place of a trial's name."""


def grids(options: argparse.Namespace) -> int:
    """``draw grids``: maps of two axes, curves of one, intervals without any."""
    if options.trial is None:
        search, drawn = plain_networks(open_whole(options, options.depths)), "grids"
    else:
        search = open_whole(options, options.depths, lambda one: trials_of(one, options.trial))
        of = options.trial if options.trial == BEST else search.planned["trial_id"].iloc[0]
        drawn = f"grids-{of}"
    description = search.description
    if len(description.axes) < 2:
        return _curves(options, search, drawn)
    if len(description.axes) > 2:
        raise AnalysisError(
            f"a grid of {count_label(len(description.axes), 'axis', 'axes')} cannot be drawn as "
            "maps; its numbers are in "
            f"`{command('report', search.name, storage=storage_of(options))}`"
        )
    wanted = wanted_conditions(search, options)
    sheet = compute_sheet(search, wanted)
    scale = value_scale(description.metric, [sheet[description.metric.name]])
    every = networks(search.planned, description)
    for network, told in zip(every, _suffixes(every), strict=True):
        planned = train_conditions(of_network(search.planned, network), description)
        declared = [one for one in wanted if one in planned]
        words = network_title(network)
        if not declared:
            say(f"{words} was not declared at these train conditions: no figure")
            continue
        part = of_network(sheet, network)
        figure = draw_sheet(
            part,
            declared,
            description,
            description.metric,
            scale=scale,
            title=f"{search.name}: {words}",
            caption=_caption(_at(of_network(search.finished, network), declared, description)),
        )
        save(options, figure, part, f"{search.name}-{drawn}{'' if options.trial else told}")
    name = f"{search.name}-{drawn.replace('grids', 'dependence')}"
    save_numbers(options, compute_dependence(sheet, description), name)
    return 0


def trials_of(search: Search, wanted: str) -> Search:
    """The same search with one network alone.

    Args:
        search: its trials.
        wanted: "best" for all trials of the best sample, of a confirmation for those of the
            candidate that was the best of its search; a candidate's label; or the id or name of a
            trial, or the start of one.

    Raises:
        AnalysisError: there is none, or several.
    """
    if search.storage.exists(CANDIDATES_FILE):
        for one in read_candidates(search.storage):
            if one["label"] == wanted or (wanted == BEST and one["rank"] == 1):
                return search.only(one["trial_ids"])
    if wanted != BEST:
        return search.only([choose_trial(search, wanted)["trial_id"]])
    best = best_sample(search)
    if not best.trial_ids:
        return search.only([choose_trial(search, None)["trial_id"]])
    say_kinds(best)
    return search.only(best.trial_ids)


def _caption(trials: pd.DataFrame) -> str:
    """What the trials of a figure saw, and what is pooled."""
    return f"{data_caption(trials)} {repetition_words(trials)}".strip()


def _at(
    trials: pd.DataFrame, wanted: Sequence[TrainCondition], description: TaskDescription
) -> pd.DataFrame:
    """Those at some train conditions."""
    return pd.concat([at_train(trials, one, description) for one in wanted])


def _suffixes(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of figures' names: the fusion depth, and what else tells their networks, in words."""
    found = []
    for one in networks:
        depth = [f"depth{one[DEPTH]}"] if DEPTH in one else []
        words = [*depth, *placed_parts(one), varied_words(one.get(VARIED_SETTINGS))]
        slugs = (re.sub(r"[^A-Za-z0-9.-]+", "-", word).strip("-") for word in words if word)
        found.append("".join(f"-{slug}" for slug in slugs)[:_LONGEST])
    return distinct(found, "-{}")


def _curves(options: argparse.Namespace, search: Search, figure: str) -> int:
    """Curves of networks with one axis, intervals of those without."""
    description = search.description
    table = compute_curves(search)
    if table.empty:
        raise AnalysisError(f"search {search.name} has no network of one axis or none to draw")
    along = table[table["axis"] != ""]
    for part, draw, name in (
        (along, draw_curves, figure),
        (table[table["axis"] == ""], draw_intervals, f"{figure}-intervals"),
    ):
        if len(part):
            own = [of_network(search.finished, one) for one in networks(part, description)]
            drawn = draw(
                part,
                description,
                title=f"{search.name}: {description.metric.words}",
                caption=_caption(pd.concat(own)),
            )
            save(options, drawn, part, f"{search.name}-{name}")
    return 0


def fusion(options: argparse.Namespace) -> int:
    """``draw fusion``."""
    search = plain_networks(open_whole(options))
    description = search.description
    if len(description.axes) != 2:
        raise AnalysisError(
            f"{description.task} has {count_label(len(description.axes), 'axis', 'axes')}; fusion "
            "depths are compared on maps of two"
        )
    groups, left_out = comparable(search)
    for words in left_out:
        say(f"left out, of no other fusion depth in this search: {words}")
    if not any(fusion_conditions(own) for _, own in groups):
        raise AnalysisError(
            f"search {search.name} has no train condition with more than one fusion depth to "
            "compare"
        )
    told = _suffixes([shared for shared, _ in groups])
    drawn = [_fusions(options, *one, suffix) for one, suffix in zip(groups, told, strict=True)]
    if not any(drawn):
        raise AnalysisError(f"search {search.name} has no finished trial at these train conditions")
    return 0


def _fusions(
    options: argparse.Namespace, shared: Mapping[str, Any], search: Search, suffix: str
) -> int:
    """The figures of networks that share what is told; how many."""
    description = search.description
    words = shared_words(shared, description)
    wanted = fusion_conditions(search)
    if options.train and wanted:
        wanted = wanted_conditions(search, options)
    told = "; ".join(train_label(one, description) for one in wanted)
    print(f"train conditions compared{f', of {words}' if words else ''}: {told or 'none'}")
    tables = []
    for condition in wanted:
        table, regions = compute_fusion(search, condition)
        if table.empty:
            label = train_label(condition, description)
            say(f"no finished trial at train condition {label}: no figure")
            continue
        title = f"{search.name}{f', {words}' if words else ''}"
        name = f"{search.name}-fusion{suffix}"
        _draw_fusion(options, search, condition, (table, regions), title, name)
        tables.append((table, regions))
    if tables:
        cells, by_region = (pd.concat(each) for each in zip(*tables, strict=True))
        _print_summary(summarise_fusion(cells, description), by_region, search)
    return len(tables)


def _draw_fusion(
    options: argparse.Namespace,
    search: Search,
    condition: TrainCondition,
    tables: tuple[pd.DataFrame, pd.DataFrame],
    title: str,
    name: str,
) -> None:
    description = search.description
    table, regions = tables
    planned = at_train(search.planned, condition, description)[DEPTH].unique()
    own = at_train(search.finished, condition, description)
    figure = draw_fusion(
        table,
        condition,
        {int(depth): depth_name(int(depth), levels_of(search)) for depth in planned},
        description,
        title=f"{title}: trained at {train_label(condition, description)}",
        caption=f"{_caption(own)} {differing_words(search)}".strip(),
    )
    snrs = [
        f"{axis.short.replace(' ', '-')}{snr_label(snr)}"
        for axis, snr in zip(description.axes, condition, strict=True)
    ]
    name = "-".join([name, *snrs])
    save(options, figure, table, name)
    write(options, regions.to_csv(index=False).encode(), f"{name}-regions.csv")


def _print_summary(summary: pd.DataFrame, regions: pd.DataFrame, search: Search) -> None:
    description = search.description
    metric = description.metric
    if summary.empty:
        print("no train condition has a seed common to initial-layer fusion and a later depth")
        return
    for row in rows_of(summary):
        condition = tuple(row[one] for one in description.train_columns)
        depth = depth_name(row[DEPTH], levels_of(search))
        mean, low, high = (
            difference_text(row[f"difference_{one}"], metric) for one in ("mean", "min", "max")
        )
        print(
            f"train {train_label(condition, description)}: initial-layer fusion against {depth}, "
            f"paired seeds: {row['paired_seeds']}\n"
            f"  of {count_label(row['conditions'], 'test condition')} initial wins "
            f"{row['initial_wins']}, "
            f"ties {row['ties']}, loses {row['initial_loses']}\n"
            f"  late - initial {metric.words}: mean {mean}, min {low}, max {high}\n"
            f"  {row['decisions']}"
        )
        own = at_train(regions, condition, description)
        for line in region_lines(own[own[DEPTH] == row[DEPTH]], metric):
            print(line)
    for line in more_seeds(search, int(summary["paired_seeds"].min())):
        print(line)


def unimodal(options: argparse.Namespace) -> int:
    """``draw unimodal``: networks of some of the streams."""
    return _curves(options, open_parts(options), "unimodal")


def timeline(options: argparse.Namespace) -> int:
    """``draw timeline``."""
    search = opened(options)
    trial = chosen_trial(search, options.trial)
    table = read_activations(search, trial["trial_id"])
    examples = table[["split", "number"]].drop_duplicates()
    if len(examples) > options.most:
        say(
            f"of {len(examples)} probed examples the first {options.most} are drawn; --most "
            f"{len(examples)} draws all"
        )
        table = table.merge(examples.head(options.most), on=["split", "number"])
    draw_timelines(options, search, trial, table)
    return 0


def draw_timelines(
    options: argparse.Namespace, search: Search, trial: pd.Series, table: pd.DataFrame
) -> None:
    """One figure for each example in a trial's ``activations`` table."""
    print(f"trial: {printable(trial['trial_name'])} ({trial['trial_id']})")
    data = data_caption(trial.to_frame().T)
    for (split, number), part in table.groupby(["split", "number"], sort=False):
        example = f"{split} example {number}"
        figure = draw_timeline(
            part,
            search.description,
            title=f"{search.name}: {placement_words(dict(zip(trial.index, trial, strict=True)))}",
            caption=f"Trial {trial['trial_name']}, {example}. {data}",
        )
        numbers = part.drop(columns=["values", "shape"])
        place = number if split == "test" else f"{split}{number}"
        save(options, figure, numbers, f"{search.name}-timeline-{trial['trial_id']}-{place}")


def replay(options: argparse.Namespace) -> int:
    """Draw searcher against searcher, and print how many trials each needed."""
    search = opened(options)
    table = read_beside(search.storage, REPLAY_FILE)
    if table is None:
        raise AnalysisError(
            f"search {options.name} has no replay yet; run "
            f"`{command('replay', options.name, storage=storage_of(options))}`"
        )
    objective = objectives_of(specification_of(search), search.description)[0]
    optimum = float(table["value"].max() if objective.sign > 0 else table["value"].min())
    curves, runs, summary = compute_replay(table, optimum, options.within, objective=objective)
    figure = draw_replay(
        curves,
        runs,
        summary,
        optimum,
        options.within,
        objective=objective,
        title=f"{options.name}: searchers replayed",
        caption=data_caption(search.finished),
    )
    save(options, figure, runs, f"{options.name}-replay")
    print(f"trials to reach within {options.within:g} of the best recorded value {optimum:.4f}:")
    for row in rows_of(summary):
        words = row["undecided"] or f"p = {row['p_holm']:.2g} (Holm)"
        against = "" if pd.isna(row["p"]) else f", against random {words}"
        print(
            f"  {printable(row['searcher']):10} median {row['median']:g} (quartiles "
            f"{row['lower_quartile']:g} to {row['upper_quartile']:g}, {row['reached']:.0%} of "
            f"{count_label(row['seeds'], 'seed')} arrived){against}"
        )
    return 0
