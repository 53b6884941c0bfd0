"""What the verbs share: a parser that errs in our words, and options of several verbs."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fusion_search.analysis.records.advice import STORAGE

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction["Parser"]


class Parser(argparse.ArgumentParser):
    """Ends bad input like all our errors: one sentence behind ``error:``, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Print how the verb is used and what is wrong, and exit."""
        self.exit(2, f"{self.format_usage()}error: {message}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is left over here: the program's own usage would not show the options."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def add_config(parser: Parser, example: str) -> None:
    """A configuration, and what it is changed by."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help=f"for instance {example}")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="override a field, for instance training.examples=2000; may be repeated",
    )


def add_name(parser: Parser) -> None:
    """A search by its name."""
    parser.add_argument("name", metavar="NAME", help="the search")


def add_storage(parser: Parser) -> None:
    """Where the searches are."""
    parser.add_argument(
        "--storage", type=filled, help=f"folder or URI of the searches (default: {STORAGE})"
    )


def add_data(parser: Parser) -> None:
    """Where the real files are."""
    parser.add_argument(
        "--data",
        type=filled,
        metavar="FOLDER",
        help="folder with the files of the task's data (FUSION_SEARCH_DATA, else a cache folder)",
    )


def add_output(parser: Parser) -> None:
    """Where to write what is drawn."""
    parser.add_argument(
        "--output",
        type=filled,
        default="figures",
        metavar="FOLDER",
        help="where to write (figures)",
    )


def storage_of(arguments: argparse.Namespace) -> str:
    """The folder or URI of the searches."""
    return arguments.storage or STORAGE


def data_of(arguments: argparse.Namespace) -> Path | None:
    """The folder of the real files, where one was named; built-in data need none."""
    return Path(arguments.data) if arguments.data else None


def filled(text: str) -> str:
    """A text as it was given; a shell's variable without a value is not taken for the default."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; give a value, or leave the option out")
    return text


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def positive(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
