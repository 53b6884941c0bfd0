"""The eight trials of two checkouts, trained now and compared to the bit.

    python tests/comparison/compare.py BASE [HERE]

BASE and HERE (this checkout, when left out) are folders of checkouts. Each runs its own
``tests/comparison/eight_trials.py`` with its own interpreter and its own code; trials are compared
by their number and what they gave by its position, so that anything may have another name.

Trained numbers are compared and not stored, since they differ between processors: torch and its
libraries choose their kernels by what a processor has (AVX2, AVX-512, AMX), and each kernel sums in
an order of its own. What is stored on one machine would be wrong on the next, or need a tolerance
that hides what is looked for here. On one machine, with one thread and one version of torch, equal
code gives equal bits, bfloat16 included.

Exit code 0: all equal; 1: something differs; 2: there is nothing to compare, and why.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

import numpy as np

Trial = dict[str, np.ndarray]
"""The arrays of one trial."""

DECLARATION: Final = Path("tests/comparison/eight_trials.py")
HERE: Final = Path(__file__).resolve().parents[2]
VERSIONS: Final = """
import importlib.metadata, platform
try:
    torch = importlib.metadata.version("torch")
except importlib.metadata.PackageNotFoundError:
    torch = "not installed"
print(f"Python {platform.python_version()}, torch {torch}")
"""


class CannotCompareError(Exception):
    """There is nothing to compare; the message is one sentence."""


def interpreter(checkout: Path) -> tuple[Path, str]:
    """What runs a checkout's code, and a word on it where it is not the checkout's own."""
    own = checkout / ".venv" / "bin" / "python"
    if own.exists():
        return own, ""
    return Path(sys.executable), " (this program's: the checkout has no .venv/bin/python)"


def run(checkout: Path, *arguments: str) -> str:
    """What a checkout's interpreter says when it is given these arguments."""
    python, _ = interpreter(checkout)
    environment = {
        **os.environ,
        # Before what is installed: an environment may be shared with another checkout. A package
        # that is laid out otherwise than it is installed is linked in .ci/types.
        "PYTHONPATH": os.pathsep.join([str(checkout / ".ci" / "types"), str(checkout)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [str(python), *arguments]
    try:
        done = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True
        )
    except OSError as error:
        raise CannotCompareError(f"{python} cannot be started: {error.strerror}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CannotCompareError(f"{checkout} failed: {lines[-1]}")
    return done.stdout.strip()


def train(name: str, checkout: Path, output: Path) -> dict[int, Trial]:
    """Run a checkout's trials, and read them by their numbers."""
    python, remark = interpreter(checkout)
    print(f"{name}: {checkout}, {python}{remark}, {run(checkout, '-c', VERSIONS)}", flush=True)
    run(checkout, str(DECLARATION), str(output))
    trials = {
        int(path.stem.removeprefix("trial-")): read(path, checkout)
        for path in output.iterdir()
        if re.fullmatch(r"trial-\d+\.npz", path.name)
    }
    if not trials:
        raise CannotCompareError(f"{checkout} wrote no trial")
    return trials


def read(path: Path, checkout: Path) -> Trial:
    """The arrays of one file."""
    try:
        with np.load(path) as content:
            trial = dict(content)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CannotCompareError(f"{path.name} of {checkout} cannot be read: {error}") from None
    if not trial or any(one.dtype.kind not in "biuf" or not one.size for one in trial.values()):
        raise CannotCompareError(f"{path.name} of {checkout} holds something else than numbers")
    return trial


def difference(base: np.ndarray, here: np.ndarray) -> str:
    """Where and how far two arrays differ; "" when they are equal to the bit."""
    if (base.shape, base.dtype) != (here.shape, here.dtype):
        return f"{base.dtype} {base.shape} in BASE, {here.dtype} {here.shape} in HERE"
    # As bytes, so that a NaN equals itself and -0.0 is not 0.0.
    some, other = (one.reshape(-1, 1).view(np.uint8) for one in (base, here))
    places = np.flatnonzero((some != other).any(axis=1))
    if not len(places):
        return ""
    first = tuple(int(axis) for axis in np.unravel_index(places[0], base.shape))
    with np.errstate(all="ignore"):
        apart = np.abs(base.flat[places].astype(float) - here.flat[places].astype(float))
    return (
        f"{len(places):,} of {base.size:,} differ, first at {list(first)}: {base[first]!s} in "
        f"BASE, {here[first]!s} in HERE, greatest difference {apart.max():.3g}"
    )


def compare(base: Trial, here: Trial) -> list[str]:
    """What differs between two trials, one sentence per array."""
    found = [
        f"{name} only in {side}"
        for side, only in (("BASE", base.keys() - here.keys()), ("HERE", here.keys() - base.keys()))
        for name in sorted(only)
    ]
    for name in base:
        if name in here and (how := difference(base[name], here[name])):
            found.append(f"{name}: {how}")
    return found


def compare_all(base: Path, here: Path) -> int:
    """Train both and print a line per trial; how many trials differ."""
    for checkout in (base, here):
        if not checkout.is_dir():
            raise CannotCompareError(f"there is no folder {checkout}")
        if not (checkout / DECLARATION).is_file():
            raise CannotCompareError(f"{checkout} declares no trials: it has no {DECLARATION}")
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("base", "here")]
        for output in outputs:
            output.mkdir()
        theirs, ours = train("BASE", base, outputs[0]), train("HERE", here, outputs[1])
    if theirs.keys() != ours.keys():
        raise CannotCompareError(
            f"the trials are not the same: {sorted(theirs)} in BASE, {sorted(ours)} in HERE"
        )
    differing = 0
    for number in sorted(ours):
        found = compare(theirs[number], ours[number])
        print(f"trial {number}: {'; '.join(found) or ', '.join(ours[number]) + ' equal'}")
        differing += bool(found)
    print(f"{differing} of {len(ours)} trials differ" if differing else f"all {len(ours)} equal")
    return differing


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compare the trials of two checkouts to the bit.")
    parser.add_argument("base", type=Path, help="folder of a checkout")
    parser.add_argument("here", type=Path, nargs="?", default=HERE, help="of another (this one)")
    given = parser.parse_args()
    try:
        return 1 if compare_all(given.base.absolute(), given.here.absolute()) else 0
    except CannotCompareError as error:
        print(f"cannot compare: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
