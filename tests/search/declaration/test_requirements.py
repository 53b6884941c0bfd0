"""What a task needs of a package index, as a search says it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from fusion_search.search.declaration.configuration import load_configuration
from fusion_search.search.declaration.requirements import (
    check_requirement,
    not_installed,
    with_files_read,
)
from fusion_search.search.dispatch.connection import runtime_environment


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--index-url https://example.org", "allowed: what pip takes for one package"),
        ("one two", "allowed: what pip takes for one package"),
        ("", "allowed: what pip takes for one package"),
        ("requirements.txt", "a file is -r requirements.txt"),
        ("Fusion_Search==1", "installed on every machine before"),
        ("ray", "installed on every machine before"),
        ("own @ https://me:secret@example.org/own.whl", "password"),
    ],
)
def test_what_pip_should_not_be_told_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_requirement(text, "requirements")
    assert "secret" not in str(caught.value)


def test_lines_of_a_file_stand_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("needs.txt").write_text("# mine\neinops==0.8  # shapes\n\ntimm>=1\n")
    Path("search.yaml").write_text("resources: {requirements: [-r needs.txt, av]}\n")
    raw = load_configuration(Path("search.yaml"), [], ["launch"])
    assert raw["resources"]["requirements"] == ["einops==0.8", "timm>=1", "av"]
    with pytest.raises(ValueError, match=r"'-r gone\.txt', which cannot be read"):
        with_files_read(["-r gone.txt"], "requirements")


def test_what_is_missing_here_is_said_before_the_task_is_imported() -> None:
    numpy = version("numpy")
    assert not not_installed([f"numpy=={numpy}", "numpy", "no-such ; python_version < '3'"])
    assert "it is not installed here" in not_installed(["numpy", "no-such-package>=1"])
    assert f"numpy {numpy} is installed here" in not_installed(["numpy<1"])


def test_nodes_are_told_what_pip_installs() -> None:
    assert runtime_environment(["/code"], [])["py_modules"] == ["/code"]
    assert "pip" not in runtime_environment(["/code"], [])
    assert runtime_environment(["/code"], ("av",))["pip"] == ["av"]


@pytest.mark.parametrize(("mine", "theirs"), [(None, "1"), ("4", "4")])
def test_a_clusters_workers_share_one_arena_unless_the_user_says_otherwise(
    mine: str | None, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    if mine:
        monkeypatch.setenv("MALLOC_ARENA_MAX", mine)
    assert runtime_environment([], [])["env_vars"] == {"MALLOC_ARENA_MAX": theirs}
