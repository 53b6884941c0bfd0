"""``draw``: each figure's files, and the sentences that belong to it."""

from __future__ import annotations

import argparse
import re
from typing import Final

import pandas as pd

from fusion_search.analysis.dependence import compute_dependence
from fusion_search.analysis.figures.fusion import (
    compute_fusion,
    draw_fusion,
    fusion_pairs,
    summarise_fusion,
)
from fusion_search.analysis.figures.grids import compute_sheet, draw_sheet
from fusion_search.analysis.figures.noise import compute_noise, draw_noise, load_data
from fusion_search.analysis.figures.replay import compute_replay, draw_replay
from fusion_search.analysis.figures.timeline import (
    choose_trial,
    compute_timeline,
    draw_timeline,
    example_numbers,
    load_trial,
    make_example,
)
from fusion_search.analysis.figures.unimodal import compute_unimodal, draw_unimodal
from fusion_search.analysis.paired import region_lines
from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.samples import objectives_of
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.selection import (
    AnalysisError,
    at_train_pair,
    depth_name,
    pair_label,
    snr_label,
    train_pairs,
)
from fusion_search.analysis.records.tables import REPLAY_FILE
from fusion_search.datasets.digits.data import DigitsSettings
from fusion_search.datasets.digits.pairs import LABELS
from fusion_search.datasets.noise import TEST_SNRS
from fusion_search.search.commands.drawing_options import (
    data_caption,
    levels_of,
    open_narrowed,
    opened,
    plain_networks,
    read_beside,
    save,
    save_numbers,
    say,
    specification_of,
    wanted_pairs,
    write,
)
from fusion_search.search.commands.options import data_of, storage_of

_SINGLE_SENSES: Final = ("visual", "audio")


def grids(options: argparse.Namespace) -> int:
    """``draw grids``."""
    search = plain_networks(open_narrowed(options, ["both"], options.depths))
    pairs = wanted_pairs(search, options)
    sheet = compute_sheet(search, pairs)
    depths = sorted({int(depth) for depth in search.planned["fusion_depth"]})
    for depth in depths:
        planned = train_pairs(search.planned[search.planned["fusion_depth"] == depth])
        declared = [pair for pair in pairs if pair in planned]
        if not declared:
            say(f"fusion depth {depth} was not declared at these train pairs: no figure")
            continue
        part = sheet[sheet["fusion_depth"] == depth]
        figure = draw_sheet(
            part,
            declared,
            title=f"{search.name}: {depth_name(depth, levels_of(search))}",
            caption=data_caption(search),
        )
        save(options, figure, part, f"{search.name}-grids-depth{depth}")
    save_numbers(options, compute_dependence(sheet), f"{search.name}-dependence")
    return 0


def fusion(options: argparse.Namespace) -> int:
    """``draw fusion``."""
    search = plain_networks(open_narrowed(options, ["both"]))
    pairs = wanted_pairs(search, options) if options.train_pairs else fusion_pairs(search)
    if not pairs:
        raise AnalysisError(
            f"search {search.name} has no train pair with more than one fusion depth to compare"
        )
    print("train pairs compared: " + "; ".join(pair_label(pair) for pair in pairs))
    tables = []
    for pair in pairs:
        table, regions = compute_fusion(search, pair)
        if table.empty:
            say(f"no finished trial at train pair {pair_label(pair)}: no figure")
            continue
        planned = at_train_pair(search.planned, pair)["fusion_depth"].unique()
        names = {int(depth): depth_name(int(depth), levels_of(search)) for depth in planned}
        figure = draw_fusion(
            table,
            pair,
            names,
            title=f"{search.name}: trained at {pair_label(pair)}",
            caption=data_caption(search),
        )
        audio, visual = (snr_label(snr) for snr in pair)
        name = f"{search.name}-fusion-audio{audio}-visual{visual}"
        save(options, figure, table, name)
        write(options, regions.to_csv(index=False).encode(), f"{name}-regions.csv")
        tables.append((table, regions))
    if not tables:
        raise AnalysisError(f"search {search.name} has no finished trial at these train pairs")
    cells, by_region = (pd.concat(each) for each in zip(*tables, strict=True))
    _print_summary(summarise_fusion(cells), by_region, levels_of(search))
    return 0


def _print_summary(summary: pd.DataFrame, regions: pd.DataFrame, levels: int) -> None:
    if summary.empty:
        print("no train pair has a seed common to initial-layer fusion and a later fusion depth")
        return
    for row in summary.to_dict("records"):
        train_pair = (row["train_audio_snr"], row["train_visual_snr"])
        print(
            f"train {pair_label(train_pair)}: initial-layer fusion against "
            f"{depth_name(row['fusion_depth'], levels)}, paired seeds: {row['paired_seeds']}\n"
            f"  of {row['conditions']} test conditions initial wins {row['initial_wins']}, "
            f"ties {row['ties']}, loses {row['initial_loses']}\n"
            f"  late - initial accuracy: mean {row['difference_mean']:+.4f}, "
            f"min {row['difference_min']:+.4f}, max {row['difference_max']:+.4f}\n"
            f"  {row['decisions']}"
        )
        own = at_train_pair(regions, train_pair)
        for line in region_lines(own[own["fusion_depth"] == row["fusion_depth"]]):
            print(line)


def unimodal(options: argparse.Namespace) -> int:
    """``draw unimodal``."""
    search = open_narrowed(options, _SINGLE_SENSES)
    table = compute_unimodal(search)
    planned = set(search.planned["modality"])
    figure = draw_unimodal(
        table,
        [modality for modality in _SINGLE_SENSES if modality in planned],
        LABELS,
        title=f"{search.name}: one sense alone",
        caption=data_caption(search),
    )
    save(options, figure, table, f"{search.name}-unimodal")
    return 0


def noise(options: argparse.Namespace) -> int:
    """``draw noise``."""
    settings = DigitsSettings(source=options.source, snr_ratio=options.snr_ratio)
    data = load_data(settings, data_of(options))
    print(f"data: {data.note}")
    example = compute_noise(data, options.example, TEST_SNRS)
    name = f"noise-{options.source}-example{options.example}"
    save(options, draw_noise(example), example.table, name)
    return 0


def timeline(options: argparse.Namespace) -> int:
    """``draw timeline``."""
    search = open_narrowed(options, ("both", *_SINGLE_SENSES))
    trial = choose_trial(search, options.trial)
    trained = load_trial(search, trial["trial_id"])
    data = load_data(trained.data, data_of(options))
    print(f"trial: {printable(trial['trial_name'])} ({trial['trial_id']})\ndata: {data.note}")
    if data.fingerprint != trial["data_fingerprint"]:
        say("the data at hand are not those the trial was trained on (other fingerprint)")
    for number in example_numbers(data, options.examples):
        example = make_example(trained, data, number)
        table = compute_timeline(trained, example)
        figure = draw_timeline(
            table,
            example,
            title=f"{search.name}: {depth_name(trial['fusion_depth'], trial['levels'])} "
            f"trained at {pair_label(trained.train_pair)}",
            caption=f"Trial {trial['trial_name']}, test pair {number}. Data: {data.note}.",
        )
        short = re.sub(r"[^\w.-]", "-", str(trial["trial_name"]))  # it may say "../"
        name = f"{search.name}-timeline-{short}-example{number}"
        save(options, figure, table, name)
    return 0


def replay(options: argparse.Namespace) -> int:
    """Draw searcher against searcher, and print how many trials each needed."""
    search = opened(options)
    table = read_beside(search.storage, REPLAY_FILE)
    if table is None:
        raise AnalysisError(
            f"search {options.name} has no replay yet; run "
            f"`{command('replay', options.name, storage=storage_of(options))}`"
        )
    objective = objectives_of(specification_of(search))[0]
    minimize = objective.direction == "minimize"
    optimum = float(table["value"].min() if minimize else table["value"].max())
    curves, runs, summary = compute_replay(table, optimum, options.within, minimize=minimize)
    figure = draw_replay(
        curves,
        runs,
        summary,
        optimum,
        options.within,
        objective=objective,
        title=f"{options.name}: searchers replayed",
        caption=data_caption(search),
    )
    save(options, figure, runs, f"{options.name}-replay")
    print(f"trials to reach within {options.within:g} of the best recorded value {optimum:.4f}:")
    for row in summary.to_dict("records"):
        words = row["undecided"] or f"p = {row['p_holm']:.2g} (Holm)"
        against = "" if pd.isna(row["p"]) else f", against random {words}"
        print(
            f"  {printable(row['searcher']):10} median {row['median']:g} (quartiles "
            f"{row['lower_quartile']:g} to {row['upper_quartile']:g}, {row['reached']:.0%} of "
            f"{row['seeds']} seeds arrived){against}"
        )
    return 0
