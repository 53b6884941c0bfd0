"""Damaged views of objects: pixels of the right form, or one sentence that names the file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from flips import damaged
from small_views import view, write_frame

from fusion_search.datasets.errors import DataError
from fusion_search.datasets.rgbd.washington import find_washington, read_trials, read_washington

COUNTS = [pytest.param(1, id="short"), pytest.param(25, id="long", marks=pytest.mark.slow)]
ONE = view("bell_pepper_1_1_1", 40, 30)


def said_of(sentences: list[str], folder: Path) -> None:
    for sentence in sentences:
        assert str(folder) in sentence
        assert re.search(r"is damaged \(.+\)|cannot be used \(.+\)", sentence)
        assert len(sentence.splitlines()) == 1


@pytest.mark.parametrize("times", COUNTS)
@pytest.mark.parametrize("part", ["crop", "depthcrop", "maskcrop"])
def test_damaged_pictures_give_pixels_or_a_sentence(part: str, times: int, tmp_path: Path) -> None:
    root = tmp_path / "rgbd-dataset"
    write_frame(root, ONE)
    path = root / f"bell_pepper/bell_pepper_1/bell_pepper_1_1_1_{part}.png"
    content = path.read_bytes()
    found = find_washington(tmp_path)
    refused = []
    for copy in damaged(content, 60 * times, seed=19):
        path.write_bytes(copy)
        try:
            (one,) = read_washington(found)
        except DataError as error:
            refused.append(str(error))
            continue
        for name in ("colour", "depth", "mask"):
            read, whole = getattr(one, name), getattr(ONE, name)
            assert (read.shape, read.dtype) == (whole.shape, whole.dtype)
        assert set(np.unique(one.mask)) <= {0, 1}
    assert len(refused) > 10 * times
    said_of(refused, tmp_path)


@pytest.mark.parametrize("times", COUNTS)
def test_damaged_lists_of_trials_give_trials_or_a_sentence(times: int, tmp_path: Path) -> None:
    path = tmp_path / "testinstance_ids.txt"
    text = "".join(f"****** trial {n} ******\napple_{n}\nbell_pepper_{n}\n\n" for n in (1, 2, 3))
    refused = []
    for copy in damaged(text.encode(), 60 * times, seed=20):
        path.write_bytes(copy)
        try:
            trials = read_trials(path)
        except DataError as error:
            refused.append(str(error))
            continue
        for trial in trials:
            assert all(re.fullmatch(re.escape(one) + r"_\d+", its) for one, its in trial.items())
    assert len(refused) > 10 * times
    said_of(refused, tmp_path)
