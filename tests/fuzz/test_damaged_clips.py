"""Damaged clips: values of the right form, or one sentence that names the file."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import damaged
from small_clips import clip, htk, letter, lips

from fusion_search.datasets.clips.avletters import parse_coefficients, parse_lips
from fusion_search.datasets.clips.folder import read_clips
from fusion_search.datasets.errors import DataError

COUNTS = [pytest.param(1, id="short"), pytest.param(25, id="long", marks=pytest.mark.slow)]
FRAMES, VECTORS = letter(2, 3)


def arrays() -> bytes:
    file = io.BytesIO()
    one = clip("ann_one_1")
    np.savez(file, frames=one.frames, coefficients=one.coefficients)
    return file.getvalue()


def archive(content: bytes, path: Path) -> tuple[Any, ...]:
    path.write_bytes(content)
    (one,) = read_clips([path])
    return one.frames, one.coefficients


def raw(content: bytes, path: Path) -> tuple[Any, ...]:
    paths = [path.parent / part / "ann_one_1" for part in ("MFCCs", "Video frames")]
    for one in paths:
        one.parent.mkdir(exist_ok=True)
    paths[0].write_bytes(content)
    paths[1].write_bytes(bytes(2 * 8 * 90 * 120))
    (read,) = read_clips(paths)
    return read.frames, read.coefficients


CASES: dict[str, tuple[bytes, Callable[[bytes, Path], tuple[Any, ...]]]] = {
    "lips-4": (lips(FRAMES), lambda content, path: (parse_lips(content, str(path)),)),
    "lips-5": (lips(FRAMES, "5"), lambda content, path: (parse_lips(content, str(path)),)),
    "htk": (htk(VECTORS), lambda content, path: (parse_coefficients(content, str(path)),)),
    "npz": (arrays(), archive),
    "raw": (VECTORS.astype("<f8").tobytes(), raw),
}


@pytest.mark.parametrize("times", COUNTS)
@pytest.mark.parametrize("case", CASES)
def test_damaged_clips_give_values_or_a_sentence(case: str, times: int, tmp_path: Path) -> None:
    content, read = CASES[case]
    path = tmp_path / "ann_one_1.npz"
    whole = read(content, path)
    refused = []
    for copy in damaged(content, 60 * times, seed=17):
        try:
            found = read(copy, path)
        except DataError as error:
            refused.append(str(error))
            continue
        for one, before in zip(found, whole, strict=True):
            assert one.dtype == before.dtype
            assert one.shape[1:] == before.shape[1:] or case == "npz"
            assert np.isfinite(one).all()
    assert len(refused) > 10 * times
    for sentence in refused:
        assert str(tmp_path) in sentence
        assert re.search(r"is damaged \(.+\)|cannot be used \(.+\)", sentence)
        assert len(sentence.splitlines()) == 1
