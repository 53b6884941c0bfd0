"""Imports run one way, so that a newcomer knows what a change can reach."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTALLED = "fusion_search"
OURS = {"search", "models", "datasets", "analysis"}
HEAVY = {"ray", "optuna", "mlflow"}
ALLOWED = {
    "models": set(),
    "datasets": set(),
    "analysis": {"models", "datasets"},
    "search": {"models", "datasets", "analysis"},
}


def imported(source: str, module: str) -> set[str]:
    """Full names of what a module's text imports, whether absolute, relative or by a string.

    ``from a import b`` gives ``a`` and ``a.b``: either may be a module. Our own come without the
    name of the installed package in front.
    """
    tree = ast.parse(source)
    return {_plain(name) for node in ast.walk(tree) for name in _names(node, module)} - {""}


def _names(node: ast.AST, module: str) -> Iterator[str]:
    match node:
        case ast.Import():
            yield from (alias.name for alias in node.names)
        case ast.ImportFrom():
            base = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            yield name


def _plain(name: str) -> str:
    return name.removeprefix(INSTALLED).removeprefix(".")


def packages_of(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts)


def imports_of(path: Path) -> set[str]:
    return imported(path.read_text(), module_of(path))


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("import search.trial", "search"),
        ("from search import trial", "search"),
        ("import fusion_search.search.trial", "search"),
        ("import fusion_search.search.trial as one", "search"),
        ("from fusion_search import search", "search"),
        ("from fusion_search.search import trial", "search"),
        ("from fusion_search.search.trial import run_trial", "search"),
        ("from ..search import trial", "search"),
        ("from .. import search", "search"),
        ("def late():\n    from ..search.trial import run_trial", "search"),
        ("importlib.import_module('fusion_search.search.trial')", "search"),
        ("import ray.tune", "ray"),
        ("from ray import tune", "ray"),
    ],
)
def test_a_planted_import_is_seen(line: str, package: str) -> None:
    assert package in packages_of(imported(line, "models.planted"))


def test_what_is_no_import_is_not_taken_for_one() -> None:
    source = "from .gates import probe\nfrom fusion_search import models\nsearch = 'import ray'"
    assert packages_of(imported(source, "models.planted")) == {"models"}


@pytest.mark.parametrize("package", sorted(OURS))
def test_a_package_imports_only_those_below_it(package: str) -> None:
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths
    for path in paths:
        used = packages_of(imports_of(path))
        assert used & (OURS - {package}) <= ALLOWED[package], path
        if package != "search":
            assert not used & HEAVY, path


@pytest.mark.parametrize(
    ("library", "files"),
    [
        (
            "ray",
            {
                "tuner.py",
                "ray_adapters.py",
                "ray_client.py",
                "ray_cluster.py",
                "ray_jobs.py",
                "ray_messages.py",
                "ray_nodes.py",
                "ray_schedulers.py",
                "ray_start.py",
            },
        ),
        ("optuna", {"optuna_searchers.py", "importance.py"}),
        ("mlflow", {"tracking_client.py"}),
    ],
)
def test_a_heavy_library_is_in_few_files(library: str, files: set[str]) -> None:
    using = {
        path.name
        for path in (ROOT / "search").rglob("*.py")
        if library in packages_of(imports_of(path))
    }
    assert using == files


def test_every_package_is_shipped() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = project["tool"]["setuptools"]["packages"]
    there = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in OURS
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert {_plain(name) for name in declared} == there
