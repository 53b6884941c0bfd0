"""The task in docs/tasks.md is whole, and runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

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
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
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
