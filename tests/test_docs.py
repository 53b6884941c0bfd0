"""Every configuration that a document shows is one, and so is what its commands make of ours."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from fusion_search.search.declaration.configuration import (
    build_outline,
    build_search,
    load_configuration,
)
from fusion_search.search.trials.fields import ConfigurationError

ROOT = Path(__file__).parents[1]
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
YOURS = "# yours"
"""First line of a configuration whose task is its reader's."""


def blocks(text: str) -> list[str]:
    """The YAML in fences that declares whole searches."""
    found = re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [
        one for one in found if re.search(r"^name:", one, re.M) and re.search(r"^task:", one, re.M)
    ]


GUIDE = ROOT / "docs" / "tasks.md"
"""Its configuration is of the task that it shows."""

TUTORIAL = ROOT / "docs" / "tutorial.md"
"""The same."""

FOUND = [
    pytest.param(block, id=f"{path.name}-{number}")
    for path in TEXTS
    for number, block in enumerate(blocks(path.read_text()))
]


def check(block: str) -> None:
    raw = yaml.safe_load(block)
    if block.startswith(YOURS):
        build_outline(raw)
    else:
        build_search(raw)


def test_configurations_are_found() -> None:
    assert len(FOUND) >= 3


def test_programs_import_fusion_search_before_torchvision() -> None:
    """But the file of a task, which commands import when they have."""
    programs = [
        one
        for path in TEXTS
        if path != TUTORIAL
        for one in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)
        if re.search(r"^(from|import) (torchvision|torchaudio|transformers)", one, re.M)
    ]
    assert programs
    for one in programs:
        first = re.search(
            r"^(?:from|import) (fusion_search|torchvision|torchaudio|transformers)", one, re.M
        )
        assert first is not None
        assert first[1] == "fusion_search"


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tasks of guide and tutorial, as files in the folder of their reader."""
    program, *_ = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    task, _, _ = program.partition("\ntask = ")
    (tmp_path / "loud_and_bright.py").write_text(task)
    discs, *_ = re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    (tmp_path / "discs.py").write_text(discs)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("guide")
@pytest.mark.parametrize("block", FOUND)
def test_a_configuration_is_valid(block: str) -> None:
    check(block)


@pytest.mark.usefixtures("guide")
def test_the_search_of_the_guide_has_as_many_trials_as_it_says() -> None:
    (block,) = blocks(GUIDE.read_text())
    assert len(build_search(yaml.safe_load(block)).planned_trials()) == 3 * 3 * 2


@pytest.mark.parametrize(
    "wrong",
    [
        "name: x\ntask: digits\nnetwork: {unit: 8}\n",
        "name: x\ntask: digits\ntrials: {units: 8}\n",
        f"{YOURS}\nname: x\ntask: mine:Mine\nspace: {{levels: 2}}\n",
    ],
)
def test_a_planted_mistake_is_found(wrong: str) -> None:
    assert blocks(f"text\n\n```yaml\n{wrong}```\n") == [wrong]
    with pytest.raises(ConfigurationError):
        check(wrong)


def launched(text: str) -> list[tuple[str, list[str]]]:
    """Configurations that commands in a text read, with what they override."""
    given = r"""((?:\s+--set\s+(?:'[^']*'|[^\s`'"]+))*)"""
    found = re.findall(rf"fusion-search [a-z]+ (search/configs/[\w-]+\.yaml){given}", text)
    return [
        (path, [word for word in shlex.split(options) if word != "--set"])
        for path, options in found
    ]


LAUNCHED = [
    pytest.param(path, overrides, id=f"{text.name}-{number}")
    for text in TEXTS
    for number, (path, overrides) in enumerate(launched(text.read_text()))
    if overrides
]


@pytest.mark.parametrize(("path", "overrides"), LAUNCHED)
def test_what_a_command_sets_makes_a_valid_search(path: str, overrides: list[str]) -> None:
    build_search(load_configuration(ROOT / path, overrides))


def test_commands_that_set_fields_are_found() -> None:
    assert len(LAUNCHED) >= 3
    command = "`fusion-search launch search/configs/demo.yaml --set a.b=1\n--set 'c=[{d: 2}]'`, and"
    assert launched(command) == [("search/configs/demo.yaml", ["a.b=1", "c=[{d: 2}]"])]


@pytest.mark.parametrize("name", ["demo", "digits-small", "placement", "placement-grid"])
def test_ci_shrinks_what_it_launches(name: str) -> None:
    script = (ROOT / ".ci" / "run").read_text()
    few = name.startswith("placement")
    overrides = re.findall(r"--set ([\w.]+=\d+)", script)
    wanted = [one for one in overrides if few or re.match("network|training|evaluation", one)]
    search = build_search(load_configuration(ROOT / "search" / "configs" / f"{name}.yaml", wanted))
    trial = search.space.any_trial() if search.space else search.planned_trials()[0]
    assert trial.network.units == 2
    assert trial.training.examples == trial.training.epoch_examples == 32
    assert trial.training.epochs == 1
    assert trial.evaluation.test_examples == 1
    assert search.searcher.samples == 4 or not few
