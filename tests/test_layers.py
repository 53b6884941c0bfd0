"""Imports run one way, so that a newcomer knows what a change can reach."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"search", "models", "datasets", "analysis"}
HEAVY = {"ray", "optuna", "mlflow"}
ALLOWED = {
    "models": set(),
    "datasets": set(),
    "analysis": {"models", "datasets"},
    "search": {"models", "datasets", "analysis"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", sorted(OURS))
def test_a_package_imports_only_those_below_it(package: str) -> None:
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths
    for path in paths:
        used = imports(path)
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
    using = {path.name for path in (ROOT / "search").rglob("*.py") if library in imports(path)}
    assert using == files


def test_every_package_is_shipped() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = project["tool"]["setuptools"]["packages"]
    there = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in OURS
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert set(declared) == there
