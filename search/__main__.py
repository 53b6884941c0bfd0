"""The command line, ``python -m search``: run searches, look at them and at their spaces."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.secrets import sentence
from analysis.storage import open_storage
from datasets.files import data_folder
from search import commands, plan_commands, space_commands, status
from search.configuration import build_search, load_configuration
from search.declaration import SEARCHER_NAMES
from search.head_command import head_command, storage_here, storage_of_head, use_token
from search.running import Environment
from search.tracking import TrackingError

DASHBOARD = "http://127.0.0.1:8265"


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="python -m search", description=__doc__)
    actions = top.add_subparsers(dest="command", required=True)
    launch = actions.add_parser("launch", help="start the search that a YAML file declares")
    launch.add_argument("config", type=Path, help="for instance search/configs/demo.yaml")
    space = actions.add_parser("space", help="print a search's space, its size and ten samples")
    space.add_argument("config", type=Path, help="for instance search/configs/placement.yaml")
    plan = actions.add_parser("plan", help="estimate what a search takes, by measured steps")
    plan.add_argument("config", type=Path, help="for instance search/configs/demo.yaml")
    plan.add_argument("--gpus", type=_count, help="also estimate the wall time on so many")
    plan.add_argument(
        "--examples-per-second",
        type=_positive,
        help="trained on a trial's share of a GPU, measured elsewhere with the slowest network",
    )
    submit = actions.add_parser(
        "submit", help="launch as a job of a Ray cluster, which goes on without this machine"
    )
    submit.add_argument("config", type=Path, help="for instance search/configs/paper.yaml")
    submit.add_argument(
        "--detach", "--no-follow", action="store_true", help="do not wait for the job's end"
    )
    attach = actions.add_parser("attach", help="show what a job prints, from its beginning")
    attach.add_argument("job")
    for action in (launch, submit, space, plan):
        action.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="FIELD=VALUE",
            help="override a field, for instance trials.examples=2000; may be repeated",
        )
    resume = actions.add_parser("resume", help="run the trials of a search that have not ended")
    resume.add_argument("name")
    resume.add_argument("--failed", action="store_true", help="run the failed trials again too")
    confirm = actions.add_parser(
        "confirm", help="train the best of a search again with fresh seeds, and compare"
    )
    confirm.add_argument("name")
    confirm.add_argument("--top", type=_count, help="how many of the best (as declared, else 3)")
    confirm.add_argument("--seeds", type=_count, help="fresh seeds for each (as declared, else 5)")
    for action in (launch, plan, resume, confirm, submit):
        action.add_argument("--data", help="folder with the real files (FUSION_SEARCH_DATA)")
    for action in (launch, resume, confirm):
        action.add_argument(
            "--address",
            help="of a Ray cluster (RAY_ADDRESS): auto, HOST:PORT, ray://HOST:PORT, or "
            "http://HOST:8265 for a job; else Ray starts here",
        )
    for action in (submit, attach):
        action.add_argument(
            "--address",
            help=f"of the cluster's dashboard (RAY_API_SERVER_ADDRESS, else {DASHBOARD})",
        )
    show = actions.add_parser("status", help="list searches, or the trials of one")
    show.add_argument("name", nargs="?")
    sync = actions.add_parser("sync-mlflow", help="write a search's MLflow runs from its records")
    sync.add_argument("name")
    sync.add_argument("--tracking-uri", help="write there instead of where the search logs")
    importance = actions.add_parser(
        "importance", help="compute how much every choice of a search mattered"
    )
    importance.add_argument("name")
    replay = actions.add_parser(
        "replay", help="run searchers against a search's records, without training"
    )
    replay.add_argument("name")
    replay.add_argument(
        "--searcher",
        dest="searchers",
        action="append",
        choices=SEARCHER_NAMES,
        help="may be repeated (default: random, tpe, nsga2, surrogate); random is always run",
    )
    replay.add_argument("--seeds", type=_count, default=30, help="runs of each searcher (30)")
    replay.add_argument("--trials", type=_count, help="trials of a run (default: all recorded)")
    replay.add_argument("--space", type=Path, help="configuration whose space the records fill")
    for action in (launch, submit, resume, confirm, show, sync, importance, replay):
        action.add_argument("--storage", help="folder or URI of the searches (default: results)")
    return top


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code, 2 for bad input."""
    arguments = parser().parse_args(argv)
    try:
        return _run(arguments)
    except (ValueError, OSError, TrackingError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        after = f"; {interrupt}" if interrupt.args else " before the trials began"
        print(f"interrupted{after}", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "attach":
        return _attach(arguments)
    if arguments.command == "space":
        raw = load_configuration(arguments.config, arguments.set)
        return space_commands.print_space(build_search(raw))
    if arguments.command == "plan":
        return plan_commands.print_plan(
            build_search(load_configuration(arguments.config, arguments.set)),
            Environment(data_folder=data_folder(arguments.data, os.environ)),
            gpus=arguments.gpus,
            examples_per_second=arguments.examples_per_second,
        )
    location = arguments.storage or "results"
    if arguments.command == "status":
        open_storage(location)
        name = arguments.name
        return status.print_trials(name, location) if name else status.print_searches(location)
    if arguments.command == "sync-mlflow":
        return commands.sync_mlflow(arguments.name, location, arguments.tracking_uri)
    if arguments.command == "importance":
        return space_commands.importance(arguments.name, location)
    if arguments.command == "replay":
        return space_commands.replay(
            arguments.name,
            location,
            arguments.searchers,
            seeds=arguments.seeds,
            trials=arguments.trials,
            config=arguments.space,
        )
    return _run_trials(arguments, location)


def _attach(arguments: argparse.Namespace) -> int:
    _use_token()
    from search import ray_jobs

    return ray_jobs.attach(_dashboard(arguments), arguments.job)


def _use_token() -> None:
    if "ray" not in sys.modules:  # Ray looks once, when it is imported.
        use_token(os.environ)


def _dashboard(arguments: argparse.Namespace) -> str:
    return arguments.address or os.environ.get("RAY_API_SERVER_ADDRESS") or DASHBOARD


def _run_trials(arguments: argparse.Namespace, location: str) -> int:
    """Launch, resume or confirm a search: here, or on the head node of a cluster."""
    if arguments.command == "submit":
        address = _dashboard(arguments)
    else:
        address = arguments.address or os.environ.get("RAY_ADDRESS") or "local"
    if address != "local":
        _use_token()
    search = None
    if arguments.command in ("launch", "submit"):
        overrides = [f"storage={arguments.storage}"] if arguments.storage else []
        search = build_search(load_configuration(arguments.config, [*arguments.set, *overrides]))
        location = search.storage
    # Ray is imported where it is needed: that takes seconds.
    if arguments.command == "submit" or address.startswith(("http://", "https://")):
        from search import ray_jobs

        command = head_command(arguments, search, storage_of_head(location))
        return ray_jobs.submit(address, command, detach=getattr(arguments, "detach", False))
    if address.startswith("ray://"):
        from search import ray_client

        command = head_command(arguments, search, storage_here(location))
        return ray_client.run_on_head(address, command)
    environment = Environment(data_folder=data_folder(arguments.data, os.environ), address=address)
    if search is not None:
        return commands.launch(search, environment)
    if arguments.command == "resume":
        return commands.resume(arguments.name, location, environment, failed_too=arguments.failed)
    return commands.confirm(
        arguments.name, location, environment, top=arguments.top, seeds=arguments.seeds
    )


if __name__ == "__main__":
    sys.exit(main())
