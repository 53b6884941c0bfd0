"""Every command and program of docs/tutorial.md, in its order, from an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "tutorial.md").read_text()
COMMANDS = re.findall(r"^    (fusion-search .+)$", TEXT, re.MULTILINE)
FEWEST = 10
SHORT = ("training.epochs=1", "searcher.samples=2", "confirmation.seeds=2")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_tutorial_leads_to_its_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a checkout around: what is imported is what is installed, or named by whole paths.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(one for one in sys.path if one))
    task, python = blocks("python")
    (tmp_path / "discs.py").write_text(task)
    (tmp_path / "discs.yaml").write_text(blocks("yaml")[0])
    said = {}
    assert len(COMMANDS) >= FEWEST
    for command in COMMANDS:
        words = shlex.split(command)[1:]
        if words[0] == "launch":
            words += [word for one in SHORT for word in ("--set", one)]
        said[command] = run([sys.executable, "-m", "fusion_search", *words], tmp_path)
    assert "about 10^32 placements" in said["fusion-search check gestures.yaml"]
    assert "size: 29 samples" in said["fusion-search space discs.yaml"]
    assert "search discs: ended" in said["fusion-search status discs"]
    for name in ("gestures", "discs"):
        assert (tmp_path / "figures" / f"{name}-report.html").stat().st_size > 10_000
    assert "accuracy" in run([sys.executable, "-c", python], tmp_path)
    assert (tmp_path / "winner.pt").is_file()
