"""``fusion-search VERB``: the program, its help, and what becomes of errors."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import select
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Final

from fusion_search.analysis.records.secrets import sentence
from fusion_search.search.commands.options import Parser
from fusion_search.search.commands.verbs import GROUPS
from fusion_search.search.running.interrupts import interrupted_by, stopped_as_by_interrupt
from fusion_search.search.tasks.current_folder import make_importable

READER_LEFT: Final = 141  # as a shell reports a program that SIGPIPE ended


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
    """Run a verb; returns the exit code, 2 for bad input, 141 when nobody reads on (``| head``)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what it cannot encode
    try:
        try:
            code = _answer(argv)
        finally:
            sys.stdout.flush()  # now, when it can still be told that nobody reads
            sys.stderr.flush()
    except BrokenPipeError:
        _print_nowhere()
        return READER_LEFT
    return code


def _answer(argv: Sequence[str] | None) -> int:
    arguments = parser().parse_args(argv)
    try:
        with stopped_as_by_interrupt():
            make_importable(_current_folder())
            return _run(arguments)
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _unread():
            raise
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        by = f" by {interrupted_by()}" if interrupted_by() else ""
        how = interrupt if interrupt.args else "give the command again"
        print(f"interrupted{by}; {how}", file=sys.stderr)
        return 130


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise FileNotFoundError("the current folder is gone; go to one that exists") from error


def _unread() -> list[int]:
    """Which of what we print to is a pipe that nobody reads: another broken pipe is an error."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a test's own stream has no number
            poll.register(stream.fileno(), 0)
    return [number for number, _ in poll.poll(0)]


def _print_nowhere() -> None:
    """What is left is dropped, at the interpreter's exit too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in _unread():
        os.dup2(nowhere, number)
    os.close(nowhere)


def _run(arguments: argparse.Namespace) -> int:
    file, _, function = arguments.run.partition(":")
    module = import_module(f"fusion_search.search.commands.{file}")
    code: int = getattr(module, function)(arguments)
    return code
