"""What ``pip install`` puts into an environment, and that it works there, far from a checkout."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from small_trials import small_configuration

ROOT = Path(__file__).parents[1]
PARTS = ("search", "models", "datasets", "analysis")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: what earlier builds left in a checkout would get into it."""
    folder = tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / "source" / part)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*build, str(folder), str(folder / "source")], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and a stand-in for Hugging Face's ``datasets``.

    What the wheel needs is taken from this one, whose editable install is not.
    """
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    (packages / "datasets").mkdir()
    (packages / "datasets" / "__init__.py").write_text("whose = 'Hugging Face'\n")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", str(wheel)], check=True)
    return folder


def test_the_wheel_holds_one_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {one for one in tops if not one.endswith(".dist-info")} == {"fusion_search"}
    there = {
        f"fusion_search/{path.relative_to(ROOT).as_posix()}"
        for part in PARTS
        for path in (ROOT / part).rglob("*.py")
        if ROOT / "search" / "api" not in path.parents
    }
    assert there | {"fusion_search/__init__.py", "fusion_search/__main__.py"} == {
        name for name in names if name.endswith(".py")
    }
    assert "fusion_search/search/configs/demo.yaml" in names


def test_a_configuration_of_a_checkout_is_named_where_the_package_has_it(
    environment: Path, tmp_path: Path
) -> None:
    def space(config: str) -> subprocess.CompletedProcess[str]:
        program = str(environment / "bin" / "fusion-search")
        return subprocess.run(
            [program, "space", config], cwd=tmp_path, capture_output=True, text=True
        )

    missing = space("search/configs/placement.yaml")
    assert missing.returncode == 2
    (folder,) = environment.glob("lib/python*/site-packages/fusion_search/search/configs")
    assert f"the program's own are in {folder}, as in" in missing.stderr
    verb, config = shlex.split(missing.stderr.split("`")[1])[1:]
    assert verb == "space"
    assert space(config).stdout.startswith("search placement: ")


def test_a_search_runs_beside_another_package_of_our_folders_name(
    environment: Path, tmp_path: Path
) -> None:
    """In a folder that is otherwise empty, but for a file that must hide nothing installed."""
    program = (
        "import datasets, fusion_search, fusion_search.datasets.noise as ours; "
        "print(datasets.whose, ours.__file__, fusion_search.__file__)"
    )
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "pandas.py").write_text("raise ValueError('not this one')\n")
    small = {"epochs": 1, "test_examples": 4}
    config = small_configuration(name="test", mlflow={"enabled": False}, **small)
    (tmp_path / "elsewhere" / "tiny.yaml").write_text(yaml.safe_dump(config))
    for words in (
        [str(environment / "bin" / "python"), "-P", "-c", program],
        [str(environment / "bin" / "fusion-search"), "launch", "tiny.yaml"],
        [str(environment / "bin" / "python"), "-m", "fusion_search", "status"],
    ):
        done = subprocess.run(
            words, cwd=tmp_path / "elsewhere", capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        if "-c" in words:
            assert done.stdout.startswith("Hugging Face")
            assert done.stdout.count(str(environment)) == 2
    assert "1 of 1" in done.stdout
    (row,) = pd.read_parquet(tmp_path / "elsewhere" / "results" / "test" / "trials").to_dict(
        "records"
    )
    assert row["status"] == "finished"
    assert row["git_commit"] == "unknown"
