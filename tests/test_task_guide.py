"""The task in docs/tasks.md is whole, and runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fusion_search.models.couplings.kinds import coupling_fits, make_coupling
from fusion_search.models.couplings.options import coupling_options
from fusion_search.models.layout import Feature

ROOT = Path(__file__).parents[1]


def test_the_task_in_the_guide_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "tasks.md").read_text()
    program, *_ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    # Two SNRs of the sound without absent, three of the image.
    assert len(lines) == 2 * 3
    accuracies = [float(line.rpartition(": ")[2].rstrip("}")) for line in lines]
    assert accuracies[0] > 0.8  # learned, where there is no noise
    assert done.stderr == ""


def test_the_network_in_the_guide_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "coupled.md").read_text()
    program, *_ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    *options, shape = done.stdout.splitlines()
    assert shape == "torch.Size([2, 4])"
    kinds = ["none", "mmtm", "squeeze_excitation", "convolutional", "sum"]
    kinds += ["bottleneck", "low_rank"]
    assert f"first.coupling {tuple(kinds)}" in options
    assert "second.depth>colour ('none', 'transfer')" in options
    assert len(options) == 2 * 3


def test_the_coupling_in_the_guide_keeps_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "coupled.md").read_text()
    *_, coupling = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "guide_couplings.py").write_text(f"import torch\nfrom torch import nn\n{coupling}")
    monkeypatch.syspath_prepend(tmp_path)
    kind = "guide_couplings:Bottleneck"
    maps = {"a": Feature(3, (4, 4)), "b": Feature(2, (2, 6))}
    assert coupling_options(kind)["width"].type is int
    assert coupling_fits(kind, maps)
    assert not coupling_fits(kind, {**maps, "c": Feature(2)})
    made = make_coupling(kind, maps, ("a",), {"width": 3})
    # Of both streams down, and up to the one that is gated.
    assert sum(one.numel() for one in made.parameters()) == (5 * 3 + 3) + (3 * 3 + 3)
