"""Every command and program in the README runs, or at least is understood."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fusion_search.search.commands.command_line import parser
from fusion_search.search.declaration.configuration import build_search

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    ((?:fusion-search|make|mlflow) .+)$", README, re.MULTILINE)
FEWEST = 15  # of our own; with less, the pattern above no longer finds them
TEXTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "search" / "cluster").iterdir()),
]


def understand(command: str) -> None:
    """Raises ``SystemExit`` for a command that we do not have."""
    words = shlex.split(command)
    assert words[0] == "fusion-search"
    parser().parse_args(words[1:])


def test_the_commands_are_found() -> None:
    own = [one for one in COMMANDS if one.startswith("fusion-search ")]
    assert len(own) >= FEWEST


@pytest.mark.parametrize(
    "command", ["fusion-search lunch demo.yaml", "fusion-search draw grid x", "fusion-search draw"]
)
def test_a_planted_command_is_not_understood(command: str) -> None:
    with pytest.raises(SystemExit):
        understand(command)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets
    elif words[0] != "mlflow":
        understand(command)
    else:
        options = subprocess.run(
            [Path(sys.executable).with_name("mlflow"), *words[1:2], "--help"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert all(word in options for word in words if word.startswith("--"))


def test_every_command_stands_where_it_is_found() -> None:
    """A command in a fence, behind a prompt or further in would be neither checked nor run."""
    shown = [
        line
        for line in README.splitlines()
        if re.match(r"^(\s|\$ |fusion-search |python -m )", line)
        and re.search(r"(fusion-search|python -m fusion_search) [a-z]", line)
    ]
    assert [line.removeprefix("    ") for line in shown] == [
        one for one in COMMANDS if one.startswith("fusion-search ")
    ]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_verb_that_is_mentioned_exists(path: Path) -> None:
    verbs = choices(parser())
    text = path.read_text()
    for words in re.findall(r"(?:fusion-search|-m fusion_search) +([a-z][a-z-]* ?[a-z-]*)", text):
        verb, _, second = words.partition(" ")
        if f"`fusion-search {verb}" in text or f"    fusion-search {verb}" in text:
            assert verb in verbs, words
            below = choices(verbs[verb])
            assert not below or not second or second in below, words


def choices(one: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in one._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def test_ci_finds_the_same_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "grep -E '^    fusion-search ' README.md" in script
    assert f'"${{#commands[@]}}" -ge {FEWEST} ]' in script


def test_the_two_commands_are_the_first() -> None:
    assert COMMANDS[:2] == ["make demo", "make test"]


def test_ci_runs_the_two_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^make demo$", script, re.MULTILINE)
    assert re.search(r"^make test$", script, re.MULTILINE)


def test_the_program_in_the_readme_runs() -> None:
    (program,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL)
        if "run_trial" in block
    ]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert done.returncode == 0, done.stderr
    accuracy, parameters = done.stdout.split()
    assert 0 <= float(accuracy) <= 1
    assert int(parameters) > 1000


def test_the_space_in_the_readme_can_be_searched() -> None:
    found = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)]
    (raw,) = [one for one in found if one["task"] == "digits"]
    search = build_search(raw)
    assert search.searcher.warm_start
    assert search.space is not None


def test_every_file_the_readme_points_to_exists() -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", README)
    assert targets
    missing = [one for one in targets if not one.startswith("http") and not (ROOT / one).exists()]
    assert missing == []


def test_every_configuration_is_in_the_readme() -> None:
    for path in sorted((ROOT / "search" / "configs").glob("*.yaml")):
        assert f"search/configs/{path.name}" in README
        assert yaml.safe_load(path.read_text())["name"] == path.stem
