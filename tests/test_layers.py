"""Imports run one way, so that a newcomer knows what a change can reach."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "fusion_search"
PARTS = ("models", "datasets", "analysis", "search")
LOWEST = {"models", "datasets", "analysis.records"}  # what every room of search/ may import
ROOMS = (
    *("tasks", "trials", "spaces", "declaration", "records", "tracking"),
    *("running", "dispatch", "planning", "commands", "python", "api"),
)
"""Of ``search/``: each may import those before it, and what is lowest."""

COMPUTED = {
    *("analysis.statistics", "analysis.regions", "analysis.paired"),
    *("analysis.confirmation", "analysis.confirmation_grid", "analysis.conditions"),
    *("analysis.placement_effects", "analysis.folds", "analysis.xflow"),
    *("analysis.early_fusion", "analysis.rgbd", "analysis.verdicts"),
}

ALLOWED: dict[str, set[str]] = {
    "models": set(),
    "datasets": set(),
    "analysis": set(),
    "analysis.records": set(),
    "analysis.statistics": set(),
    "analysis.conditions": {"analysis.records"},
    "analysis.dependence": {"analysis.records", "analysis.conditions"},
    "analysis.regions": set(),
    "analysis.paired": {"analysis.records", "analysis.statistics", "analysis.regions"},
    "analysis.confirmation": {
        *("analysis.records", "analysis.conditions", "analysis.statistics", "analysis.paired"),
    },
    "analysis.confirmation_grid": {
        *("analysis.records", "analysis.conditions", "analysis.paired", "analysis.confirmation"),
    },
    "analysis.placement_effects": {"analysis.records"},
    "analysis.folds": {
        *("analysis.records", "analysis.conditions", "analysis.statistics", "analysis.paired"),
    },
    "analysis.xflow": {
        "datasets",
        *("analysis.records", "analysis.conditions", "analysis.statistics", "analysis.paired"),
        *("analysis.folds", "analysis.verdicts"),
    },
    "analysis.rgbd": {
        *("analysis.records", "analysis.conditions", "analysis.statistics", "analysis.paired"),
        *("analysis.folds", "analysis.verdicts"),
    },
    "analysis.verdicts": set(),
    "analysis.early_fusion": {
        *("analysis.records", "analysis.conditions", "analysis.statistics", "analysis.paired"),
        *("analysis.verdicts", "analysis.dependence"),
    },
    "analysis.predictions": {"analysis.records"},
    "analysis.figures": {*LOWEST, *COMPUTED},
    "analysis.report": {*LOWEST, *COMPUTED, "analysis.figures"},
    "search": set(),
    "search.configs": set(),
}
DRAWN = {"analysis.figures", "analysis.report", *COMPUTED}
DRAWN |= {"analysis.dependence", "analysis.predictions"}
for _number, _room in enumerate(ROOMS):
    _above = {f"search.{one}" for one in ROOMS[:_number]}
    _shown = DRAWN if _room in ("tracking", "commands", "python") else set()
    ALLOWED[f"search.{_room}"] = _above | LOWEST | _shown

HEAVY = {
    "ray": {"search.dispatch"},
    "optuna": {"search.spaces.searchers.optuna_searchers", "search.spaces.importance"},
    "mlflow": {"search.tracking.client"},
}
"""Who alone may import them: rooms and files."""


def imported(source: str, module: str) -> set[str]:
    """Full names of what a module's text imports, whether absolute, relative or by a string.

    ``from a import b`` gives ``a`` and ``a.b``: either may be a module. Of this package and its
    parts ``a`` is left out, for all that is taken from them has a fuller name.

    Args:
        source: the text.
        module: its own full name, such as ``fusion_search.models.gates``.
    """
    nodes = list(ast.walk(ast.parse(source)))
    importers = {"import_module", "__import__"} | {
        alias.asname
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module in ("importlib", "builtins")
        for alias in node.names
        if alias.asname
    }
    return {name for node in nodes for name in _names(node, module, importers)}


def computed(source: str) -> bool:
    """Whether a text imports modules whose names it makes up as it runs."""
    return any(
        _is_importer(node, {"import_module", "__import__"}) and not _literal(node)
        for node in ast.walk(ast.parse(source))
    )


def _is_importer(node: ast.AST, names: set[str]) -> TypeGuard[ast.Call]:
    match node:
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name in names
    return False


def _literal(node: ast.Call) -> str | None:
    values = [*node.args[:1], *(one.value for one in node.keywords if one.arg == "name")]
    match values:
        case [ast.Constant(value=str(name)), *_]:
            return name
    return None


def _names(node: ast.AST, module: str, importers: set[str]) -> Iterator[str]:
    if _is_importer(node, importers):
        name = _literal(node)
        if name is not None:
            yield resolve_name(name, module.rpartition(".")[0])
        return
    match node:
        case ast.Import():
            yield from (alias.name for alias in node.names)
        case ast.ImportFrom():
            base = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            if origin.count(".") > 1 or origin.partition(".")[0] != PACKAGE:
                yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def room_of(name: str) -> str | None:
    """The room of a module of ours; what the package itself hands on is ``search.api``'s."""
    package, *parts = name.split(".")
    if package != PACKAGE:
        return None
    if not parts or parts[0] not in PARTS:
        return "search.api"
    two = ".".join(parts[:2])
    return two if two in ALLOWED else parts[0]


def module_of(path: Path) -> str:
    return ".".join([PACKAGE, *path.relative_to(ROOT).with_suffix("").parts])


def room_of_file(path: Path) -> str:
    """As the file lies; a folder that the table does not know is a room nobody may import."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    two = ".".join(parts[:2])
    return two if len(parts) > 2 and parts[0] in ("search", "analysis") else room_or_part(two)


def room_or_part(two: str) -> str:
    return two if two in ALLOWED else two.partition(".")[0]


def foreign(source: str, module: str, room: str) -> set[str]:
    """Rooms that a text imports though its own room may not."""
    used = {room_of(name) for name in imported(source, module)} - {None, room}
    return {one for one in used if one and one not in ALLOWED[room]}


def files() -> list[Path]:
    found = [path for part in PARTS for path in sorted((ROOT / part).rglob("*.py"))]
    assert len(found) > 100
    return found


@pytest.mark.parametrize(
    "line",
    [
        "import fusion_search.search.trials.trial",
        "import fusion_search.search.trials.trial as one",
        "from fusion_search import search",
        "from fusion_search.search import trials",
        "from fusion_search.search.trials import trial",
        "from fusion_search.search.trials.trial import run_trial",
        "from fusion_search import run_trial",
        "import fusion_search as f; f.run_trial()",
        "from importlib import import_module as im; im('fusion_search.search.trials.trial')",
        "import_module(name='fusion_search.search.trials.trial')",
        "import_module('..search.trials.trial', __package__)",
        "from ..search.trials import trial",
        "from .. import search",
        "def late():\n    from ..search.trials.trial import run_trial",
        "importlib.import_module('fusion_search.search.trials.trial')",
        "from fusion_search.analysis.records import storage",
        "from fusion_search.datasets.noise import unit_noise",
    ],
)
def test_a_planted_import_is_seen(line: str) -> None:
    assert foreign(line, "fusion_search.models.planted", "models")


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("search.trials", "from fusion_search.search.spaces.space import Space"),
        ("search.running", "from fusion_search.search.dispatch.tuner import run_trials"),
        ("search.running", "from fusion_search.analysis.figures.grids import draw_grid"),
        ("search.running", "from fusion_search import search; search.dispatch.tuner"),
        ("search.running", "import fusion_search.search as s; s.dispatch.tuner"),
        ("search.trials", "from fusion_search.search import stray"),
        ("search.trials", "from fusion_search.search.newroom import one"),
        ("analysis.records", "from fusion_search.analysis.newroom import one"),
        ("search.dispatch", "from ..commands import status"),
        ("search.commands", "from fusion_search import run_trial"),
        ("analysis.records", "from fusion_search.analysis.figures.drawing import pair_label"),
        ("analysis.figures", "from ..report import page"),
        ("analysis.report", "import fusion_search.search.records.recorder"),
    ],
)
def test_a_planted_import_between_rooms_is_seen(room: str, line: str) -> None:
    assert foreign(line, f"fusion_search.{room}.planted", room)


def test_what_is_allowed_or_no_import_is_not_taken_for_a_fault() -> None:
    lines = [
        "from .gates import probe",
        "from fusion_search import models",
        "from fusion_search.models.gates import probe",
        "search = 'import ray'",
    ]
    assert not foreign("\n".join(lines), "fusion_search.models.planted", "models")
    below = "from fusion_search.search.trials.trial import run_trial"
    assert not foreign(below, "fusion_search.search.running.planted", "search.running")


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_those_below_it(path: Path) -> None:
    room = room_of_file(path)
    assert room in ALLOWED, f"{room} is not in the table of rooms"
    assert foreign(path.read_text(), module_of(path), room) == set()


def test_few_files_import_by_a_computed_name() -> None:
    assert computed("import_module(f'fusion_search.{one}')")
    assert not computed("import_module('yaml')")
    assert {module_of(path) for path in files() if computed(path.read_text())} == {
        f"{PACKAGE}.search.api.__init__",  # what it hands on, when it is asked for
        f"{PACKAGE}.search.commands.command_line",  # the file of a verb
        f"{PACKAGE}.search.tasks.named",  # the task of a search
        f"{PACKAGE}.models.couplings.kinds",  # a coupling of somebody's own
    }


@pytest.mark.parametrize("library", HEAVY)
def test_a_heavy_library_is_in_one_room(library: str) -> None:
    using = {
        module_of(path).removeprefix(f"{PACKAGE}.")
        for path in files()
        if any(one.split(".")[0] == library for one in imported(path.read_text(), module_of(path)))
    }
    assert using
    for name in using:
        assert any(f"{name}.".startswith(f"{one}.") for one in HEAVY[library]), name


def test_no_file_imports_a_folder_by_its_bare_name() -> None:
    tests = sorted((ROOT / "tests").rglob("*.py"))
    assert len(tests) > 60
    for path in [*files(), *tests]:
        used = {name.split(".")[0] for name in imported(path.read_text(), module_of(path))}
        assert not used & set(PARTS), path


def test_no_room_is_crowded() -> None:
    folders = {path.parent for path in files()}
    for folder in folders:
        assert len([one for one in folder.glob("*.py") if one.name != "__init__.py"]) <= 12, folder


def test_every_package_is_shipped_under_one_name() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    there = {
        ".".join([PACKAGE, *path.parent.relative_to(ROOT).parts])
        for part in PARTS
        for path in (ROOT / part).rglob("__init__.py")
    }
    assert set(declared["packages"]) == there - {f"{PACKAGE}.search.api"} | {PACKAGE}
    assert declared["package-dir"] == {
        PACKAGE: "search/api",
        **{f"{PACKAGE}.{part}": part for part in PARTS},
    }


def test_no_two_test_files_have_one_name() -> None:
    # Without packages, pytest imports a test file by its last name.
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted({one for one in names if names.count(one) > 1}) == []
