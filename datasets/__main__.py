"""Bring the real digits to this machine, and check them: ``python -m datasets fetch | check``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from datasets.digits import DigitsSettings, load_digits
from datasets.download import fetch
from datasets.errors import DataError
from datasets.files import DataFile, data_folder
from datasets.mnist import FILES as MNIST_FILES
from datasets.spectrogram import frames_of
from datasets.spoken_digits import FILE as SPOKEN_DIGITS_FILE

FILES: Final[tuple[DataFile, ...]] = (*MNIST_FILES, SPOKEN_DIGITS_FILE)
PAPER_PAIRS: Final = {"train": 11_202_076, "validation": 174_490, "test": 175_389}
LONGEST_SAMPLES: Final = 18_262


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="python -m datasets", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    get = commands.add_parser("fetch", help="download MNIST and Free Spoken Digits v1.0.9")
    get.add_argument("what", choices=["digits"])
    check = commands.add_parser("check", help="say what is there, what is missing, and its source")
    for command in (get, check):
        command.add_argument(
            "--folder", help="where the files are (FUSION_SEARCH_DATA, else a cache folder)"
        )
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code, 2 when files are missing or damaged."""
    arguments = parser().parse_args(argv)
    try:
        folder = data_folder(arguments.folder, os.environ)
        if arguments.command == "fetch":
            return _fetch(folder)
        return _check(folder)
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _fetch(folder: Path) -> int:
    for file in FILES:
        print(f"{file.name}: {file.url}")
        done = "downloaded and verified" if fetch(file, folder) else "there already, verified"
        print(f"  {done}: {file.require(folder)}")
    return 0


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
            f"error: files are missing or damaged in {folder}: run 'python -m datasets fetch "
            f"digits --folder {folder}'",
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


if __name__ == "__main__":
    sys.exit(main())
