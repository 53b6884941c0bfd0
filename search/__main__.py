"""The command line: ``python -m search launch | resume | status | sync-mlflow``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.storage import open_storage
from datasets.files import data_folder
from search import commands, status
from search.configuration import build_search, load_configuration
from search.tracking import TrackingError


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="python -m search", description=__doc__)
    actions = top.add_subparsers(dest="command", required=True)
    launch = actions.add_parser("launch", help="start the search that a YAML file declares")
    launch.add_argument("config", type=Path, help="for instance search/configs/demo.yaml")
    launch.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="override a field, for instance trials.examples=2000; may be repeated",
    )
    resume = actions.add_parser("resume", help="run the trials of a search that have not ended")
    resume.add_argument("name")
    resume.add_argument("--failed", action="store_true", help="run the failed trials again too")
    for action in (launch, resume):
        action.add_argument("--data", help="folder with the real files (FUSION_SEARCH_DATA)")
        action.add_argument(
            "--address", help="of a Ray cluster (RAY_ADDRESS); else Ray starts here"
        )
    show = actions.add_parser("status", help="list searches, or the trials of one")
    show.add_argument("name", nargs="?")
    sync = actions.add_parser("sync-mlflow", help="write a search's MLflow runs from its records")
    sync.add_argument("name")
    sync.add_argument("--tracking-uri", help="write there instead of where the search logs")
    for action in (launch, resume, show, sync):
        action.add_argument("--storage", help="folder or URI of the searches (default: results)")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code, 2 for bad input."""
    arguments = parser().parse_args(argv)
    try:
        return _run(arguments)
    except (ValueError, OSError, TrackingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted before the trials began", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace) -> int:
    location = arguments.storage or "results"
    if arguments.command == "status":
        open_storage(location)
        name = arguments.name
        return status.print_trials(name, location) if name else status.print_searches(location)
    if arguments.command == "sync-mlflow":
        return commands.sync_mlflow(arguments.name, location, arguments.tracking_uri)
    environment = commands.Environment(
        data_folder=data_folder(arguments.data, os.environ),
        address=arguments.address or os.environ.get("RAY_ADDRESS") or "local",
    )
    if arguments.command == "resume":
        return commands.resume(arguments.name, location, environment, failed_too=arguments.failed)
    overrides = [*arguments.set, *([f"storage={arguments.storage}"] if arguments.storage else [])]
    raw = load_configuration(arguments.config, overrides)
    return commands.launch(build_search(raw), environment)


if __name__ == "__main__":
    sys.exit(main())
