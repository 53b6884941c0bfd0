"""The command line of the analysis: options in, files written and sentences out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis import search_commands
from analysis.command_line import (
    data_caption,
    levels_of,
    open_narrowed,
    plain_networks,
    save,
    say,
    wanted_pairs,
)
from analysis.figures import accuracy_scale, pair_label, snr_label
from analysis.fusion import compute_fusion, draw_fusion, fusion_pairs, summarise_fusion
from analysis.grids import compute_grid, compute_sheet, draw_sheet
from analysis.secrets import sentence
from analysis.selection import AnalysisError, at_train_pair, depth_name
from analysis.unimodal import UNIMODAL, compute_unimodal, draw_unimodal
from datasets.files import data_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (2: bad input, said in one sentence)."""
    try:
        options = parser(data_folder(None, os.environ)).parse_args(arguments)
        options.run(options)
    except (ValueError, OSError) as error:
        print(f"analysis: {sentence(error)}", file=sys.stderr)
        return 2
    return 0


def parser(default_data: Path) -> argparse.ArgumentParser:
    """All commands and their options; ``default_data`` is where real files are by default."""
    top = argparse.ArgumentParser(
        prog="python -m analysis",
        description="Draw figures (PNG, SVG) and tables (CSV) from the records of a search.",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    output = argparse.ArgumentParser(add_help=False)
    output.add_argument(
        "--output", default="figures", metavar="FOLDER", help="where to write (figures)"
    )
    search = argparse.ArgumentParser(add_help=False, parents=[output])
    search.add_argument("name", metavar="NAME", help="the search")
    search.add_argument(
        "--storage", default="results", help="folder or URI with the searches (results)"
    )
    pairs = argparse.ArgumentParser(add_help=False)
    pairs.add_argument(
        "--train-pair",
        dest="train_pairs",
        action="append",
        nargs=2,
        type=float,
        metavar=("AUDIO", "VISUAL"),
        help="train SNRs of a pair to draw, may be repeated (default: all)",
    )
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        "--data",
        metavar="FOLDER",
        type=Path,
        default=default_data,
        help="folder of the real digit files (FUSION_SEARCH_DATA, else the cache folder)",
    )

    grids = commands.add_parser(
        "grids", parents=[search, pairs], help="accuracy maps, one per train pair"
    )
    grids.add_argument(
        "--fusion-depth",
        dest="depths",
        action="append",
        type=int,
        metavar="DEPTH",
        help="fusion depth to draw, may be repeated (default: all, one sheet each)",
    )
    grids.set_defaults(run=_grids)

    fusion = commands.add_parser(
        "fusion", parents=[search, pairs], help="fusion depths side by side, and their differences"
    )
    fusion.set_defaults(run=_fusion)

    unimodal = commands.add_parser(
        "unimodal", parents=[search], help="accuracy of the visual and audio models"
    )
    unimodal.set_defaults(run=_unimodal)

    noise = commands.add_parser(
        "noise", parents=[output, data], help="one example at the ten SNRs (takes no search)"
    )
    noise.add_argument("--source", choices=["builtin", "digits"], default="builtin")
    noise.add_argument(
        "--snr-ratio",
        choices=["power", "amplitude"],
        default="amplitude",
        help="what an SNR is a ratio of (amplitude)",
    )
    noise.add_argument("--example", type=int, default=0, metavar="N", help="test pair (0)")
    noise.set_defaults(run=_noise)

    timeline = commands.add_parser(
        "timeline", parents=[search, data], help="class values over time, from a checkpoint"
    )
    timeline.add_argument(
        "--trial",
        default=None,
        metavar="ID",
        help="trial id or name, or the start of one (default: the most accurate at fusion depth 0)",
    )
    timeline.add_argument("--examples", type=int, default=1, metavar="N", help="figures (1)")
    timeline.set_defaults(run=_timeline)

    report = commands.add_parser(
        "report", parents=[search], help="one HTML page on a search, with all its figures"
    )
    report.set_defaults(run=search_commands.report)

    predictions = commands.add_parser(
        "predictions",
        parents=[search],
        help="count the single predictions, and hold the counts against the recorded grids",
    )
    predictions.set_defaults(run=search_commands.predictions)

    replay = commands.add_parser(
        "replay", parents=[search], help="searchers against each other, from a replay"
    )
    replay.add_argument(
        "--within",
        type=float,
        default=0.005,
        metavar="DIFFERENCE",
        help="a run has arrived when it is no further than this from the best (0.005)",
    )
    replay.set_defaults(run=search_commands.replay)
    return top


def _grids(options: argparse.Namespace) -> None:
    search = plain_networks(open_narrowed(options, ["both"], options.depths))
    pairs = wanted_pairs(search, options)
    sheet = compute_sheet(search, pairs)
    depths = sorted({int(depth) for depth in search.planned["fusion_depth"]})
    scale = accuracy_scale(
        compute_grid(part)
        for _, part in sheet.groupby(["fusion_depth", "train_audio_snr", "train_visual_snr"])
    )
    for depth in depths:
        part = sheet[sheet["fusion_depth"] == depth]
        figure = draw_sheet(
            part,
            pairs,
            title=f"{search.name}: {depth_name(depth, levels_of(search))}",
            caption=data_caption(search),
            scale=scale,
        )
        save(options, figure, part, f"{search.name}-grids-depth{depth}")


def _fusion(options: argparse.Namespace) -> None:
    search = plain_networks(open_narrowed(options, ["both"]))
    pairs = wanted_pairs(search, options) if options.train_pairs else fusion_pairs(search)
    if not pairs:
        raise AnalysisError(
            f"search {search.name} has no train pair with more than one fusion depth to compare"
        )
    print("train pairs compared: " + "; ".join(pair_label(pair) for pair in pairs))
    tables = []
    for pair in pairs:
        table = compute_fusion(search, pair)
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
        save(options, figure, table, f"{search.name}-fusion-audio{audio}-visual{visual}")
        tables.append(table)
    if not tables:
        raise AnalysisError(f"search {search.name} has no finished trial at these train pairs")
    _print_summary(summarise_fusion(pd.concat(tables)), levels_of(search))


def _print_summary(summary: pd.DataFrame, levels: int) -> None:
    if summary.empty:
        print("no train pair has a seed common to initial-layer fusion and a later fusion depth")
        return
    for row in summary.to_dict("records"):
        pair = pair_label((row["train_audio_snr"], row["train_visual_snr"]))
        print(
            f"train {pair}: initial-layer fusion against "
            f"{depth_name(row['fusion_depth'], levels)}, paired seeds: {row['paired_seeds']}\n"
            f"  of {row['conditions']} test conditions initial wins {row['initial_wins']} "
            f"({row['wins_significant']} significantly, {row['wins_holm']} after Holm), "
            f"ties {row['ties']}, loses {row['initial_loses']} "
            f"({row['losses_significant']} significantly, {row['losses_holm']} after Holm)\n"
            f"  late - initial accuracy: mean {row['difference_mean']:+.4f}, "
            f"min {row['difference_min']:+.4f}, max {row['difference_max']:+.4f}"
        )


def _unimodal(options: argparse.Namespace) -> None:
    search = open_narrowed(options, UNIMODAL)
    table = compute_unimodal(search)
    figure = draw_unimodal(
        table, title=f"{search.name}: one sense alone", caption=data_caption(search)
    )
    save(options, figure, table, f"{search.name}-unimodal")


def _noise(options: argparse.Namespace) -> None:
    from analysis import noise  # imports torch, which takes seconds
    from datasets.digits import DigitsSettings

    settings = DigitsSettings(source=options.source, snr_ratio=options.snr_ratio)
    data = noise.load_data(settings, options.data)
    print(f"data: {data.note}")
    example = noise.compute_noise(data, options.example)
    name = f"noise-{options.source}-example{options.example}"
    save(options, noise.draw_noise(example), example.table, name)


def _timeline(options: argparse.Namespace) -> None:
    from analysis import timeline  # imports torch, which takes seconds
    from analysis.noise import load_data

    search = open_narrowed(options, ("both", *UNIMODAL))
    trial = timeline.choose_trial(search, options.trial)
    trained = timeline.load_trial(search, trial["trial_id"])
    data = load_data(trained.data, options.data)
    print(f"trial: {trial['trial_name']} ({trial['trial_id']})\ndata: {data.note}")
    if data.fingerprint != trial["data_fingerprint"]:
        say("the data at hand are not those the trial was trained on (other fingerprint)")
    for number in timeline.example_numbers(data, options.examples):
        example = timeline.make_example(trained, data, number)
        table = timeline.compute_timeline(trained, example)
        figure = timeline.draw_timeline(
            table,
            example,
            title=f"{search.name}: {depth_name(trial['fusion_depth'], trial['levels'])} "
            f"trained at {pair_label(trained.train_pair)}",
            caption=f"Trial {trial['trial_name']}, test pair {number}. Data: {data.note}.",
        )
        short = str(trial["trial_name"]).replace(" ", "-")
        name = f"{search.name}-timeline-{short}-example{number}"
        save(options, figure, table, name)
