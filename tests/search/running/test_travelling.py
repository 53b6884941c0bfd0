"""What goes to other machines of the folder of the command, and how it is found there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fusion_search.search.running import travelling
from fusion_search.search.running.travelling import check_inside, code_to_send, folder_files
from fusion_search.search.tasks.current_folder import COPY
from fusion_search.search.trials.fields import ConfigurationError

TRAVEL = {"mine.py", "search.yaml", "parts/__init__.py", "parts/table.json", "kept/one.py"}
STAY = {
    "clips/s1.npz",
    "weights.pt",
    ".env.py",
    ".git/hook.py",
    "__pycache__/mine.py",
    "venv/lib/other.py",
    "results/one/specification.yaml",
    "results/one/figures/table.json",
    "secret/keys.json",
    "kept/not.py",
    "labels/many.txt",
}


def make(folder: Path) -> None:
    for name in TRAVEL | STAY:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (folder / "venv/pyvenv.cfg").write_text("")
    (folder / "results/one/task.json").write_text("{}")
    (folder / ".gitignore").write_text("secret/\nkept/*\n!kept/one.py\n")
    (folder / ".rayignore").write_text("labels\n")


def test_code_and_settings_travel_and_neither_data_nor_results(tmp_path: Path) -> None:
    make(tmp_path)
    assert set(folder_files(tmp_path)) == TRAVEL
    with code_to_send(tmp_path) as (_, copy):
        assert Path(copy).name == COPY
        sent = {one.relative_to(copy).as_posix() for one in Path(copy).rglob("*") if one.is_file()}
    assert sent == TRAVEL


def test_too_much_is_refused_with_the_largest_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "labels.json").write_bytes(bytes(20_000_000))
    folder_files(tmp_path)
    (tmp_path / "more.txt").write_bytes(b"1")
    with pytest.raises(ConfigurationError, match=r"labels\.json \(20\.0 MB\).*\.rayignore"):
        folder_files(tmp_path)
    monkeypatch.setattr(travelling, "MOST", 2)
    with pytest.raises(ConfigurationError, match="more than 2 files"):
        folder_files(tmp_path)


def test_a_task_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "mine.py").write_text("")
    check_inside(f"{tmp_path}/mine.py:Mine", tmp_path)
    check_inside("digits", tmp_path)
    with pytest.raises(ConfigurationError, match=r"lies outside of .*give the command in"):
        check_inside(f"{tmp_path}/mine.py:Mine", tmp_path / "inner")


# On another machine, that has another folder of the same path.
ELSEWHERE = """
import pickle, sys
importable = pickle.load(sys.stdin.buffer)
from fusion_search.search.tasks.named import task_file
import helping
print(task_file("./mine.py:Mine"), task_file(f"{sys.argv[1]}/mine.py:Mine"), helping.__file__)
"""
HERE = """
import pickle, sys
from pathlib import Path
from fusion_search.search.tasks.current_folder import Importable, make_importable
make_importable(Path.cwd())
sys.stdout.buffer.write(pickle.dumps(Importable(Path.cwd())))
"""


@pytest.mark.parametrize("there", [True, False], ids=["a folder of its path", "no such folder"])
def test_the_copy_is_what_another_machine_imports(tmp_path: Path, there: bool) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    for name in ("mine.py", "helping.py"):
        (folder / name).write_text("")
    with code_to_send(folder) as modules:
        for one in modules:
            shutil.copytree(one, other / Path(one).name)
    pickled = subprocess.run(
        [sys.executable, "-c", HERE], cwd=folder, capture_output=True, check=True, timeout=100
    ).stdout
    if there:
        (folder / "mine.py").unlink()
        (folder / "helping.py").write_text("raise ValueError('not this one')")
    else:
        shutil.rmtree(folder)
    done = subprocess.run(
        [sys.executable, "-P", "-c", ELSEWHERE, str(folder)],
        input=pickled,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(other)},
        capture_output=True,
        timeout=100,
    )
    copy = other / COPY
    assert done.stdout.decode().split() == [
        f"{copy}/mine.py",
        f"{copy}/mine.py",
        f"{copy}/helping.py",
    ], done.stderr
