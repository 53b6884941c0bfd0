"""Run the benchmarks named on the command line, or all, and print one table: ``make bench``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import torch

from tests.benchmarks.table import Measurement, table


def main() -> None:
    """Every ``bench_*.py`` beside this file has ``measure() -> list[Measurement]``."""
    here = Path(__file__).parent
    known = sorted(path.stem.removeprefix("bench_") for path in here.glob("bench_*.py"))
    wanted = sys.argv[1:] or known
    if unknown := sorted(set(wanted) - set(known)):
        sys.exit(f"there is no benchmark {', '.join(unknown)}; there are: {', '.join(known)}")
    measurements: list[Measurement] = []
    for number, name in enumerate(wanted, 1):
        print(f"benchmark {number} of {len(wanted)}: {name}", flush=True)
        measurements += importlib.import_module(f"tests.benchmarks.bench_{name}").measure()
    print(f"\ntorch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print(table(measurements))


if __name__ == "__main__":
    main()
