"""The command line as such: its help, its verbs, its errors, the folder it is called in."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

from fusion_search.search.commands.command_line import main, parser
from fusion_search.search.commands.verbs import GROUPS


def parsers(one: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every verb and the function that runs it."""
    run = one.get_default("run")
    if run:
        yield " ".join(words), run
    for action in one._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from parsers(below, (*words, name))


def test_every_verb_has_a_function_that_runs_it() -> None:
    verbs = dict(parsers(parser()))
    assert {"launch", "draw grids", "data fetch", "sync-mlflow"} <= set(verbs)
    for run in verbs.values():
        file, _, function = run.partition(":")
        assert callable(getattr(import_module(f"fusion_search.search.commands.{file}"), function))


def test_help_shows_every_verb_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    groups = [f"\n{group}:\n" for group in GROUPS]
    assert [text.index(one) for one in groups] == sorted(text.index(one) for one in groups)
    for verb in {words.split()[0] for words, _ in parsers(parser())}:
        assert f"\n  {verb} " in text


def test_the_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"fusion-search {version('fusion-search')}\n"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["lunch"],
        ["launch"],
        ["draw", "grid", "x"],
        ["draw", "grids"],
        ["plan", "x", "--gpus", "0"],
        ["launch", "x", "--storage", ""],
        ["resume", "x", "--data="],
        ["sync-mlflow", "x", "--tracking-uri", ""],
        ["draw", "grids", "x", "--output", ""],
    ],
)
def test_words_that_are_off_end_with_one_error_and_code_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    *usage, last = capsys.readouterr().err.splitlines()
    assert usage[0].startswith("usage: fusion-search")
    assert last.startswith("error: ")


def test_the_folder_of_the_command_is_importable_and_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "my_lab.py").write_text("value = 3\n")
    (tmp_path / "yaml.py").write_text("raise ValueError('not this one')\n")
    program = (
        "import sys; from fusion_search.search.commands.command_line import main; "
        "main(['status']); import yaml, my_lab; print(my_lab.value, yaml.__version__)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"3 {version('pyyaml')}"


def test_in_a_checkout_its_own_folders_stay_hidden() -> None:
    program = (
        "from importlib.util import find_spec; "
        "from fusion_search.search.commands.command_line import main; main(['status']); "
        "print([find_spec(one) for one in ('search', 'models', 'datasets', 'analysis', 'tests')])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == str([None] * 5)
