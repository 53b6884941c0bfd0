"""``data fetch`` and ``data check``: the real digits on this machine."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from fusion_search.analysis.records.advice import command
from fusion_search.datasets.digits.data import DigitsSettings, load_digits
from fusion_search.datasets.digits.mnist import FILES as MNIST_FILES
from fusion_search.datasets.digits.spectrogram import frames_of
from fusion_search.datasets.digits.spoken_digits import FILE as SPOKEN_DIGITS_FILE
from fusion_search.datasets.download import fetch
from fusion_search.datasets.errors import DataError
from fusion_search.datasets.files import DataFile, data_folder

FILES: Final[tuple[DataFile, ...]] = (*MNIST_FILES, SPOKEN_DIGITS_FILE)
PAPER_PAIRS: Final = {"train": 11_202_076, "validation": 174_490, "test": 175_389}
LONGEST_SAMPLES: Final = 18_262


def fetch_data(arguments: argparse.Namespace) -> int:
    """``data fetch digits``."""
    folder = data_folder(arguments.folder, os.environ)
    for file in FILES:
        print(f"{file.name}: {file.url}")
        done = "downloaded and verified" if fetch(file, folder) else "there already, verified"
        print(f"  {done}: {file.require(folder)}")
    return 0


def check_data(arguments: argparse.Namespace) -> int:
    """``data check digits``: the exit code is 2 when files are missing or damaged."""
    return _check(data_folder(arguments.folder, os.environ))


def _check(folder: Path) -> int:
    print(f"folder: {folder}")
    whole = True
    for file in FILES:
        path = file.find(folder)
        state, detail = "present", str(path)
        if path is None:
            state, detail = "missing", str(file.home(folder))
        else:
            try:
                file.verify(path)
            except DataError as error:
                state, detail = "damaged", str(error)
        whole &= state == "present"
        print(f"{state}  {file.name}: {detail}\n         from {file.url}")
    if not whole:
        print(
            f"error: files are missing or damaged in {folder}: run "
            f"`{command('data', 'fetch', 'digits', '--folder', str(folder))}`",
            file=sys.stderr,
        )
        return 2
    _print_pairs(folder)
    return 0


def _print_pairs(folder: Path) -> None:
    data = load_digits(DigitsSettings(frames=frames_of(LONGEST_SAMPLES)), folder)
    print("pairs of equal label, all recordings kept:")
    for split, paper in PAPER_PAIRS.items():
        count = len(data.splits[split])
        print(f"  {split:10} {count:>10,}   paper {paper:>10,}   {count / paper - 1:+.2%}")
