"""``fusion-search VERB``: the program, its help, and what becomes of errors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from fusion_search.analysis.records.secrets import sentence
from fusion_search.search.commands.options import Parser
from fusion_search.search.commands.verbs import GROUPS
from fusion_search.search.running.current_folder import make_importable


def parser() -> Parser:
    """All verbs and their options."""
    top = Parser(
        prog="fusion-search",
        usage="fusion-search [-h] [--version] VERB ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    release = f"fusion-search {version('fusion-search')}"
    top.add_argument("--version", action="version", version=release)
    verbs = top.add_subparsers(
        dest="verb",
        metavar="VERB",
        required=True,
        prog="fusion-search",
        parser_class=Parser,
        help=argparse.SUPPRESS,
    )
    lines = ["Search where in a network two senses should meet."]
    for group, adders in GROUPS.items():
        before = len(verbs._choices_actions)
        for add in adders:
            add(verbs)
        lines += ["", f"{group}:"]
        lines += [f"  {one.dest:12} {one.help}" for one in verbs._choices_actions[before:]]
    top.description = "\n".join([*lines, "", "fusion-search VERB --help says what a verb takes."])
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code, 2 for bad input."""
    arguments = parser().parse_args(argv)
    try:
        make_importable(_current_folder())
        return _run(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        after = f"; {interrupt}" if interrupt.args else " before the trials began"
        print(f"interrupted{after}", file=sys.stderr)
        return 130


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise FileNotFoundError("the current folder is gone; go to one that exists") from error


def _run(arguments: argparse.Namespace) -> int:
    file, _, function = arguments.run.partition(":")
    module = import_module(f"fusion_search.search.commands.{file}")
    code: int = getattr(module, function)(arguments)
    return code
