"""``data fetch`` and ``data check``: the real data on this machine."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.selection import count_label
from fusion_search.datasets.clips.data import (
    ClipsSettings,
    check_split,
    length,
    load_clips,
    unread_clips,
)
from fusion_search.datasets.digits.data import DigitsSettings, load_digits
from fusion_search.datasets.digits.download import fetch
from fusion_search.datasets.digits.mnist import FILES as MNIST_FILES
from fusion_search.datasets.digits.spectrogram import frames_of
from fusion_search.datasets.digits.spoken_digits import FILE as SPOKEN_DIGITS_FILE
from fusion_search.datasets.digits.spoken_digits import unread_recordings
from fusion_search.datasets.errors import DataError
from fusion_search.datasets.files import DataFile, data_folder
from fusion_search.datasets.rgbd.checked_folds import check_folds
from fusion_search.datasets.rgbd.data import RgbdSettings, Sources, load_rgbd, unread_views

FILES: Final[tuple[DataFile, ...]] = (*MNIST_FILES, SPOKEN_DIGITS_FILE)
PAPER_PAIRS: Final = {"train": 11_202_076, "validation": 174_490, "test": 175_389}
LONGEST_SAMPLES: Final = 18_262
VIEWS: Final[dict[str, Sources]] = {"washington": "washington", "rgbd-folders": "folder"}
"""Of colour and depth, and the source that each is."""


def fetch_data(arguments: argparse.Namespace) -> int:
    """``data fetch digits``."""
    folder = data_folder(arguments.folder, os.environ)
    for file in FILES:
        print(f"{file.name}: {file.url}")
        done = "downloaded and verified" if fetch(file, folder) else "there already"
        path = file.require(folder)
        state, detail = _state(file, path)
        print(f"  {done}, {'verified' if state == 'present' else detail}: {printable(path)}")
    return 0


def check_data(arguments: argparse.Namespace) -> int:
    """``data check``: the exit code is 2 when files are missing or cannot be read."""
    folder = data_folder(arguments.folder, os.environ)
    if arguments.dataset == "digits":
        return _check(folder)
    print(f"folder: {printable(folder)}")
    if arguments.dataset in VIEWS:
        _print_views(RgbdSettings(source=VIEWS[arguments.dataset]), folder)
    else:
        _print_clips(ClipsSettings(source=arguments.dataset), folder)
    return 0


def _print_views(settings: RgbdSettings, folder: Path) -> None:
    source = load_rgbd(settings, folder)
    views = source.listed.records
    print(f"data: {printable(source.note)} (fingerprint {source.listed.fingerprint})")
    classes = Counter(view.label for view in views)
    of: dict[str, set[str]] = {}
    for view in views:
        of.setdefault(view.group, set()).add(view.label)
    groups = len(of)
    words = ", ".join(f"{printable(name)} {count:,}" for name, count in sorted(classes.items()))
    print(
        f"{count_label(len(classes), 'class', 'classes')}, "
        f"{count_label(groups, 'object or person', 'objects or persons')}; views: {words}"
    )
    several = sorted(group for group, its in of.items() if len(its) > 1)
    if several:
        print(
            f"{len(several):,} of them {'is' if len(several) == 1 else 'are'} of several classes, "
            f"such as {printable(several[0])}, as "
            "persons are: folds by instance keep all of such a name together; objects need names "
            "of their own"
        )
    heights, widths = ([view.depth.shape[axis] for view in views] for axis in (0, 1))
    print(
        f"{count_label(len(views), 'view')}, {_span(heights, 'pixel')} high and {_span(widths)} "
        "wide"
    )
    measured = [view.depth[view.depth > 0] for view in views]
    found = [one for one in measured if one.size]
    if found:
        low, high = min(int(one.min()) for one in found), max(int(one.max()) for one in found)
        share = 1 - sum(one.size for one in found) / sum(view.depth.size for view in views)
        print(f"depth of {_span([low, high])} mm, missing in {share:.1%} of all pixels")
    bare = [view.name for view, one in zip(views, measured, strict=True) if not one.size]
    if bare:
        have = _having(len(bare), "view")
        print(f"{have} no depth in any pixel, such as {printable(bare[0])}")
    unmasked = [view.name for view in views if not view.mask.size]
    if unmasked:
        print(
            f"{_having(len(unmasked), 'view')} no mask, such as {printable(unmasked[0])}: left out "
            "where data.masked is true"
        )
    if source.trials is not None:
        trials = count_label(len(source.trials), "published trial")
        print(f"{trials}: folds where data.fold_by is instance")
    _print_notes(unread_views(settings, folder), *check_folds(source, settings.folds))


def _span(values: Sequence[int], noun: str = "") -> str:
    """From the least to the most: "40", or "40 to 60"; of a noun where one is given."""
    least, most = min(values), max(values)
    counted = count_label(most, noun) if noun else f"{most:,}"
    return counted if least == most else f"{least:,} to {counted}"


def _having(count: int, noun: str) -> str:
    return f"{count_label(count, noun)} {'has' if count == 1 else 'have'}"


def _print_clips(settings: ClipsSettings, folder: Path) -> None:
    listed, note = load_clips(settings, folder)
    clips = listed.records
    print(f"data: {printable(note)} (fingerprint {listed.fingerprint})")
    for of in ("person", "label"):
        counts = Counter(getattr(clip, of) for clip in clips)
        words = ", ".join(f"{printable(name)} {count}" for name, count in sorted(counts.items()))
        print(f"{count_label(len(counts), of)}: {words}")
    height, width = clips[0].frames.shape[1:]
    lengths = [length(clip) for clip in clips]
    print(
        f"{count_label(len(clips), 'clip')} of {_span(lengths, 'frame')} of {height} x {width}, "
        f"{count_label(clips[0].coefficients.shape[1], 'coefficient')} beside each"
    )
    uneven = [clip for clip in clips if len(clip.frames) != len(clip.coefficients)]
    if uneven:
        print(
            f"{_having(len(uneven), 'clip')} more of the one than of the other, such as "
            f"{printable(uneven[0].name)}: the longer is averaged to the shorter"
        )
    _print_notes(unread_clips(settings, folder), *check_split(settings, clips))


def _print_notes(*sentences: str) -> None:
    for sentence in filter(None, sentences):
        print(f"note: {printable(sentence)}")


def _check(folder: Path) -> int:
    print(f"folder: {printable(folder)}")
    states = set()
    for file in FILES:
        state, detail = "missing", str(file.home(folder))
        try:
            path = file.find(folder)
            if path is not None:
                state, detail = _state(file, path)
                detail = f"{path}{detail and f': {detail}'}"
        except DataError as error:
            state, detail = "unusable", str(error)
        states.add(state)
        print(f"{state:8} {file.name}: {printable(detail)}\n         from {file.url}")
    if states - {"present", "other"}:
        print(
            f"error: files are missing or unusable in {printable(folder)}: run "
            f"`{command('data', 'fetch', 'digits', '--folder', str(folder))}`",
            file=sys.stderr,
        )
        return 2
    _print_pairs(folder, papers="other" not in states)
    return 0


def _state(file: DataFile, path: Path) -> tuple[str, str]:
    """Whether a file is the expected one or another that is used in its place, and what it is."""
    name, left_out = file.describe(path)
    details = [] if name == file.expected else [name]
    if left_out:
        are = "is" if left_out == 1 else "are"
        details.append(f"{count_label(left_out, 'byte')} behind its gzip content {are} left out")
    return "present" if name == file.expected else "other", ", ".join(details)


def _print_pairs(folder: Path, papers: bool) -> None:
    data = load_digits(DigitsSettings(frames=frames_of(LONGEST_SAMPLES)), folder)
    print(f"data: {data.note} (fingerprint {data.fingerprint})")
    print(f"pairs of equal label, {count_label(data.left_out, 'recording')} left out:")
    for split, paper in PAPER_PAIRS.items():
        count = len(data.splits[split])
        compared = f"   paper {paper:>10,}   {count / paper - 1:+.2%}" if papers else ""
        print(f"  {split:10} {count:>10,}{compared}")
    _print_notes(unread_recordings(folder))
    if absent := data.splits["train"].absent:
        print(
            f"note: {'digits' if len(absent) > 1 else 'digit'} {', '.join(map(str, absent))}: no "
            "image and recording in the train split, so it is never learnt; add some of it"
        )
