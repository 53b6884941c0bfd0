"""The command line as such: its help, its verbs, its errors, the folder it is called in."""

from __future__ import annotations

import argparse
import ast
import builtins
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

from fusion_search.search.commands.command_line import main, parser
from fusion_search.search.commands.verbs import GROUPS

ROOT = Path(__file__).parents[3]


def parsers(one: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every verb and the function that runs it."""
    for verb, own in each_parser(one, words):
        if run := own.get_default("run"):
            yield verb, run


def each_parser(
    one: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every verb and its parser."""
    yield " ".join(words), one
    for action in one._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from each_parser(below, (*words, name))


def test_every_verb_has_a_function_that_runs_it() -> None:
    verbs = dict(parsers(parser()))
    assert {"launch", "draw grids", "data fetch", "sync-mlflow"} <= set(verbs)
    for run in verbs.values():
        file, _, function = run.partition(":")
        assert callable(getattr(import_module(f"fusion_search.search.commands.{file}"), function))


def test_every_verb_that_opens_data_is_told_where_they_are_in_the_same_words() -> None:
    """A space depends on the data where a task looks at them for its layout."""
    opening = {
        *("check", "space", "plan", "launch", "submit", "resume", "retry", "confirm"),
        *("probe", "replay", "importance", "draw noise"),
    }
    helps = {
        words: action.help
        for words, one in each_parser(parser())
        for action in one._actions
        if "--data" in action.option_strings
    }
    assert set(helps) == opening
    assert len(set(helps.values())) == 1


def test_help_shows_every_verb_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    groups = [f"\n{group}:\n" for group in GROUPS]
    assert [text.index(one) for one in groups] == sorted(text.index(one) for one in groups)
    for verb in {words.split()[0] for words, _ in parsers(parser())}:
        assert f"\n  {verb} " in text


def test_the_usage_of_a_verb_begins_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["launch"], ["draw", "grids"], ["data", "fetch"]):
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        assert capsys.readouterr().out.startswith(f"usage: fusion-search {' '.join(words)} [-h]")


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


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (["launch", "x", "--storages", "y"], "launch"),
        (["resume", "x", "y"], "resume"),
        (["draw", "grids", "x", "--train-par"], "draw grids"),
        (["data", "check", "digits", "--no"], "data check"),
    ],
)
def test_what_a_verb_does_not_know_is_said_with_its_own_usage(
    words: list[str], usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"usage: fusion-search {usage} [-h]")
    assert "error: unrecognized arguments: " in error


def test_every_error_of_ours_is_one_that_a_command_tells_in_a_sentence() -> None:
    bases: dict[str, list[str]] = {}
    for part in ("models", "datasets", "analysis", "search"):
        for path in (ROOT / part).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    bases[node.name] = [one.id for one in node.bases if isinstance(one, ast.Name)]

    def among(name: str, kinds: type | tuple[type, ...]) -> bool:
        if name in bases:
            return any(among(one, kinds) for one in bases[name])
        built_in = getattr(builtins, name, None)
        return isinstance(built_in, type) and issubclass(built_in, kinds)

    ours = {name for name in bases if among(name, BaseException)}
    assert {"TrialError", "StorageError", "ConfigurationError"} <= ours
    assert {name for name in ours if not among(name, (ValueError, OSError))} == {
        "StoppedEarly",  # ends a worker's thread, and is caught there
        "UnfitStoreError",  # one of MLflow's troubles, told with all others of these
    }


def test_the_folder_of_the_command_is_importable_and_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "my_lab.py").write_text("value = 3\n")
    (tmp_path / "yaml.py").write_text("raise ValueError('not this one')\n")
    (tmp_path / "numexpr").mkdir()  # pandas would use it, if it were one
    (tmp_path / "their_lab").mkdir()
    (tmp_path / "their_lab" / "model.py").write_text("value = 4\n")
    program = (
        "import sys; from fusion_search.search.commands.command_line import main; "
        "main(['status']); import yaml, my_lab, their_lab.model; "
        "print(my_lab.value, their_lab.model.value, yaml.__version__)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"3 4 {version('pyyaml')}"


@pytest.mark.parametrize("program", [["-m", "fusion_search"], ["-P", "-m", "fusion_search"]])
def test_a_current_folder_that_is_gone_is_said(program: list[str], tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = shlex.join([sys.executable, *program, "status"])
    done = subprocess.run(
        ["sh", "-c", f"cd {gone} && rmdir {gone} && {command}"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "error: the current folder is gone; go to one that exists\n"


def test_in_a_checkout_its_own_folders_stay_hidden(tmp_path: Path) -> None:
    program = (
        "from importlib.util import find_spec; "
        "from fusion_search.search.commands.command_line import main; main(['status']); "
        "print([find_spec(one) for one in ('search', 'models', 'datasets', 'analysis', 'tests')])"
    )
    for name in ("search/tasks", "models", "datasets", "analysis", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name)  # also of one that is not installed
    for folder in (ROOT, tmp_path):
        done = subprocess.run(
            [sys.executable, "-P", "-c", program], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == str([None] * 5)
