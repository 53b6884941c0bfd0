"""``compare.py`` on checkouts that write their arrays by hand, without training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMPARE = Path(__file__).with_name("compare.py")

DECLARATION = """
import sys
from pathlib import Path
import numpy as np
from words_of_this_checkout import trials
for number, arrays in enumerate(trials(), start=1):
    np.savez(Path(sys.argv[1]) / f"trial-{number}.npz", **arrays)
"""

TRIALS = """
import numpy as np
def trials():
    losses = np.array([[2.5, np.nan], [-0.0, 1.0]])
    weights = np.linspace(0, 1, 5, dtype=np.float32)
    {change}
    return [{{"losses": losses, "weights": weights}} for weights in (np.zeros(3), weights)]
"""


def checkout(folder: Path, change: str = "pass") -> Path:
    """One whose second trial has its weights or losses changed."""
    (folder / "tests" / "comparison").mkdir(parents=True)
    (folder / "tests" / "comparison" / "eight_trials.py").write_text(DECLARATION)
    (folder / "words_of_this_checkout.py").write_text(TRIALS.format(change=change))
    return folder


def compared(*folders: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, COMPARE, *folders], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return checkout(tmp_path / "base")


def test_equal_checkouts(base: Path, tmp_path: Path) -> None:
    code, said, _ = compared(base, checkout(tmp_path / "here"))
    assert code == 0
    lines = said.splitlines()
    assert lines[2:] == [
        "trial 1: losses, weights equal",
        "trial 2: losses, weights equal",
        "all 2 equal",
    ]
    for line, name in zip(lines[:2], ("base", "here"), strict=True):
        assert str(tmp_path / name) in line
        assert f"{sys.executable} (this program's" in line
        assert "torch" in line


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            "weights.view(np.uint32)[3] ^= 1",
            "weights: 1 of 5 differ, first at [3]: 0.75 in BASE, 0.75000006 in HERE, greatest "
            "difference 5.96e-08",
        ),
        ("weights = weights.astype(float)", "weights: float32 (5,) in BASE, float64 (5,) in HERE"),
        ("weights = weights[:, None]", "weights: float32 (5,) in BASE, float32 (5, 1) in HERE"),
    ],
    ids=["bit", "dtype", "shape"],
)
def test_a_difference_is_named(base: Path, tmp_path: Path, change: str, what: str) -> None:
    code, said, _ = compared(base, checkout(tmp_path / "here", change))
    assert code == 1
    lines = said.splitlines()
    assert lines[2:] == [
        "trial 1: losses, weights equal",
        f"trial 2: {what}",
        "1 of 2 trials differ",
    ]


def test_the_sign_of_nothing_and_what_is_no_number_differ(base: Path, tmp_path: Path) -> None:
    code, said, _ = compared(base, checkout(tmp_path / "here", "losses = np.abs(losses) * 1"))
    assert code == 1
    assert "losses: 1 of 4 differ, first at [1, 0]: -0.0 in BASE, 0.0 in HERE" in said
    code, said, _ = compared(base, checkout(tmp_path / "other", "losses[0, 1] = 3"))
    assert code == 1
    assert "losses: 1 of 4 differ, first at [0, 1]: nan in BASE, 3.0 in HERE" in said


def test_an_array_of_one_side_only(base: Path, tmp_path: Path) -> None:
    here = checkout(tmp_path / "here")
    words = here / "words_of_this_checkout.py"
    words.write_text(words.read_text().replace('"weights"', '"last"'))
    code, said, _ = compared(base, here)
    assert code == 1
    assert "trial 1: weights only in BASE; last only in HERE" in said


def test_a_checkout_is_run_by_its_own_interpreter(base: Path, tmp_path: Path) -> None:
    here = checkout(tmp_path / "here", "import os; weights[0] = int(os.environ.get('OWN', 0))")
    own = here / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.write_text(f'#!/bin/sh\nOWN=7 exec {sys.executable} "$@"\n')
    own.chmod(0o755)
    code, said, _ = compared(base, here)
    assert code == 1
    assert "first at [0]: 0.0 in BASE, 7.0 in HERE" in said
    assert f"{here}, {own}, Python" in said


def broken(folder: Path, what: str) -> Path:
    """A checkout that cannot be compared."""
    if what == "no folder":
        return folder
    here = checkout(folder, "raise RuntimeError('no such digits')")
    declaration = here / "tests" / "comparison" / "eight_trials.py"
    if what == "no declaration":
        declaration.unlink()
    if what == "other trials":
        declaration.write_text(DECLARATION.replace("trials()", "[{'losses': np.ones(1)}]"))
    if what == "no trials":
        declaration.write_text("")
    if what == "no numbers":
        declaration.write_text(DECLARATION.replace("trials()", "[{'losses': np.ones(0)}]"))
    return here


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("no folder", "there is no folder {here}"),
        ("no declaration", "{here} declares no trials: it has no tests/comparison/eight_trials.py"),
        ("failure", "{here} failed: RuntimeError: no such digits"),
        ("other trials", "the trials are not the same: [1, 2] in BASE, [1] in HERE"),
        ("no trials", "{here} wrote no trial"),
        ("no numbers", "trial-1.npz of {here} holds something else than numbers"),
    ],
)
def test_what_cannot_be_compared_is_said(
    base: Path, tmp_path: Path, what: str, sentence: str
) -> None:
    here = broken(tmp_path / "here", what)
    code, _, said = compared(base, here)
    assert code == 2
    assert said == f"cannot compare: {sentence.format(here=here)}\n"
