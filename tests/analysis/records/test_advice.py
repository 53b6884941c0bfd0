"""Commands printed for a user to type, and texts of anybody's records made fit to print."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from pathlib import Path

import pytest

from fusion_search.analysis.records.advice import (
    OPTIONS_FILE,
    RunOptions,
    command,
    go_on_command,
    read_options,
)
from fusion_search.analysis.records.secrets import printable, sentence
from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.commands.command_line import parser

ROOT = Path(__file__).parents[3]
VERBS = "|".join(
    verb
    for action in parser()._actions
    if isinstance(action, argparse._SubParsersAction)
    for verb in action.choices
)


@pytest.mark.parametrize("storage", ["results", "results/", "./results"])
def test_the_usual_storage_needs_no_option(storage: str) -> None:
    assert command("resume", "a", storage=storage) == "fusion-search resume a"


@pytest.mark.parametrize(
    "storage", ["/data/my results", "~/results", "s3://b/x?a=1&b=2", "x;rm y", "-x"]
)
def test_a_shell_hands_a_printed_command_to_the_program_whole(storage: str) -> None:
    words = shlex.split(command("draw", "grids", "it's", storage=storage))
    assert words[0] == "fusion-search"
    arguments = parser().parse_args(words[1:])
    assert (arguments.name, arguments.storage) == ("it's", storage)


def test_the_options_of_a_run_are_kept_and_come_back(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    assert read_options(storage) == RunOptions()
    given = RunOptions("my data", "ray://head:10001", ("a", "-b"))
    given.write(storage)
    assert read_options(storage) == given
    printed = go_on_command("resume", "x", "digits", "results", given)
    found = parser().parse_args(shlex.split(printed)[1:])
    assert (found.data, found.address, found.leave_out) == (
        given.data,
        given.address,
        list(given.leave_out),
    )
    printed = command("probe", "x", *given.data_words)
    assert parser().parse_args(shlex.split(printed)[1:]).data == given.data


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b'{"address": 3, "leave_out": "a", "data": null}', b'{"leave_out": [1, {}]}'],
)
def test_a_command_without_damaged_options_is_still_good(content: bytes, tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    storage.write(content, OPTIONS_FILE)
    assert read_options(storage) == RunOptions()


def test_a_command_made_of_a_record_cannot_command_a_terminal() -> None:
    assert command("resume", "\x1b[2J") == "fusion-search resume '\ufffd[2J'"


@pytest.mark.parametrize(
    ("folder", "parent"),
    [("results/a", "results"), ("/data/x/a", "/data/x"), ("file:///data/x/a", "file:///data/x")],
)
def test_a_search_lies_in_the_storage_that_was_given(folder: str, parent: str) -> None:
    found = open_storage(folder).parent
    assert found.location == parent
    assert found.root == open_storage(parent).root
    assert open_storage(parent).below("a").parent == open_storage(parent)


def test_the_options_of_an_address_stay_behind_it() -> None:
    address = "s3://bucket/results?endpoint_override=http%3A//127.0.0.1%3A9&region=x"
    assert open_storage(address).below("a").parent.location == address


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("grün  2 × é", "grün  2 × é"),
        ("a\x1b[2Jb", "a\ufffd[2Jb"),
        ("a\x9b2Jb", "a\ufffd2Jb"),  # the same escape in one character
        ("a\x08\x07b", "a\ufffd\ufffdb"),
        ("one\ntwo\ttabs\r", "one two tabs "),
        ("\u202egnp.exe", "\ufffdgnp.exe"),  # would be read backwards
        (None, "None"),
        (3, "3"),
    ],
)
def test_what_commands_a_terminal_is_marked(text: object, shown: str) -> None:
    assert printable(text) == shown


def test_an_error_is_one_line_and_printable() -> None:
    assert sentence(ValueError("a\n  b \x1b[2J")) == "a b \ufffd[2J"


def test_no_file_writes_a_command_on_a_search_by_hand() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {text}"
        for part in ("search", "analysis")
        for path in (ROOT / part).rglob("*.py")
        for text in _texts(ast.parse(path.read_text()))
        if re.search(rf"fusion-search (?:{VERBS})\b", text)
    }
    assert found == set()


def _texts(tree: ast.AST) -> list[str]:
    """String constants, without docstrings."""
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said
    ]
