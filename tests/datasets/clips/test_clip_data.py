from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from other_threads import others_share
from small_clips import clip

from fusion_search.datasets.batch import SPLITS
from fusion_search.datasets.clips import data
from fusion_search.datasets.clips.clip import CLIP_KIND, Clip, averaged
from fusion_search.datasets.clips.data import (
    ClipSplit,
    ClipsSettings,
    check_split,
    open_clips,
    split_clips,
)
from fusion_search.datasets.clips.stand_in import stand_in
from fusion_search.datasets.decoded import in_memory
from fusion_search.datasets.errors import DataError

PERSONS = ("ann", "bob", "cid", "dot", "eva", "fay")
FORM = {"a": 3, "b": 5, "c": 4}
CLIPS = tuple(
    clip(f"{person}_{label}_{take}", length, length + (label == "b"))
    for person in PERSONS
    for label, length in FORM.items()
    for take in (1, 2, 3)
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = in_memory(CLIP_KIND, CLIPS)
    monkeypatch.setattr(data, "load_clips", lambda settings, folder=None: (listed, "small"))


def by_split(settings: ClipsSettings, fold: int = 0) -> dict[str, list[Clip]]:
    splits, _, _ = split_clips(settings, CLIPS, fold)
    return {
        name: [one for one, its in zip(CLIPS, splits, strict=True) if its == name]
        for name in SPLITS
    }


def persons(clips: list[Clip]) -> list[str]:
    return sorted({one.person for one in clips})


@pytest.mark.parametrize("count", range(1, 6))
def test_averages_are_means_of_windows_one_apart(count: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 2, 3), dtype=np.uint8)
    window = 5 - count + 1
    wanted = [values[at : at + window].astype(float).mean(0) for at in range(count)]
    assert np.allclose(averaged(values, count), wanted, rtol=1e-6)
    with pytest.raises(ValueError, match="allowed: 1 to 5"):
        averaged(values, 6)


@pytest.mark.parametrize("frames", [12, 25, 40])
def test_averages_of_clips_in_avletters_sizes_are_those_of_exact_sums(frames: int) -> None:
    """To the bit for grey values, whose sums float32 holds; for coefficients, within rounding."""
    chance = np.random.default_rng(frames)
    grey = chance.integers(0, 256, (frames, 60, 80), dtype=np.uint8)
    coefficients = chance.normal(0, 10, (frames, 26)).astype(np.float32)
    window = frames - 11 + 1
    sums = [grey[at : at + window].astype(int).sum(0) for at in range(11)]
    assert np.array_equal(averaged(grey, 11), np.float32(sums) / np.float32(window))
    means = [coefficients[at : at + window].astype(float).mean(0) for at in range(11)]
    assert np.allclose(averaged(coefficients, 11), means, rtol=0, atol=1e-6 * 30)


def test_averaging_takes_the_threads_that_torch_has_and_no_more() -> None:
    """A trial sets torch's alone; the tests have one."""
    frames = np.random.default_rng(0).integers(0, 256, (40, 60, 80), dtype=np.uint8)

    def average() -> None:
        for _ in range(100):
            averaged(frames, 11)

    assert others_share(average) < 0.2


def test_folds_test_every_person_once_and_never_one_who_trains() -> None:
    tested: Counter[str] = Counter()
    for fold in range(6):
        found = by_split(ClipsSettings(), fold)
        tested.update(persons(found["test"]))
        after = [PERSONS[(fold + step) % 6] for step in range(6)]
        assert persons(found["test"]) == [after[0]]
        assert persons(found["validation"]) == sorted(after[1:3])
        assert persons(found["train"]) == sorted(after[3:])
    assert tested == Counter(PERSONS)
    assert split_clips(ClipsSettings(), CLIPS)[1] == 6


def test_folds_of_several_persons() -> None:
    settings = ClipsSettings(test_persons=4, validation_persons=1)
    assert split_clips(settings, CLIPS)[1] == 2
    last = by_split(settings, 1)
    assert persons(last["test"]) == ["eva", "fay"]
    assert persons(last["validation"]) == ["ann"]


def test_other_protocols() -> None:
    takes = by_split(ClipsSettings(protocol="takes"))
    assert {one.take for one in takes["test"]} == {"3"}
    assert len(takes["validation"]) == 36 // 10
    assert persons(takes["train"]) == sorted(PERSONS)
    halves = by_split(ClipsSettings(protocol="halves", validation_persons=1))
    assert persons(halves["test"]) == ["ann", "cid", "eva"]
    assert (persons(halves["validation"]), persons(halves["train"])) == (["bob"], ["dot", "fay"])


def test_too_few_persons_are_said() -> None:
    with pytest.raises(DataError, match="there are 6 persons, too few to test 4, to validate 2"):
        split_clips(ClipsSettings(test_persons=4), CLIPS)


@pytest.mark.usefixtures("small")
def test_averaged_clips_are_whole() -> None:
    opened = open_clips(ClipsSettings())
    inputs, target = opened.train[0]
    first = opened.train.clips[0]  # type: ignore[attr-defined]
    assert opened.labels[int(target)] == first.label
    assert inputs["image"]["there"].tolist() == [True] * 3
    assert np.array_equal(inputs["image"]["frames"], averaged(first.frames, 3))
    assert np.array_equal(inputs["audio"]["coefficients"], averaged(first.coefficients, 3))
    longer = open_clips(ClipsSettings(frames=5))
    assert {one.label for one in longer.train.clips} == {"b"}  # type: ignore[attr-defined]
    assert "36 of 54 clips shorter than that left out" in longer.note


@pytest.mark.parametrize("count", [3, 4, 5])
def test_masks_of_sequences_come_from_lengths_never_from_zeros(count: int) -> None:
    one = clip("ann_a_1", count, count + 1)
    dark = replace(one, frames=0 * one.frames)
    inputs, _ = ClipSplit([dark], ["a"], "sequence", 5)[0]
    for stream, part in (("image", "frames"), ("audio", "coefficients")):
        assert inputs[stream]["there"].tolist() == [True] * count + [False] * (5 - count)
        assert not inputs[stream][part][count:].any()
    wanted = averaged(one.coefficients, count)  # the longer is averaged to the shorter
    assert np.array_equal(inputs["audio"]["coefficients"][:count], wanted)


def test_the_stand_in_talks(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = stand_in(2, 1)
    assert Counter(one.person for one in clips) == {f"voice{number}": 2 for number in range(8)}
    assert {one.label for one in clips} == {"0", "1"}
    # The mouth, dark in the middle, opens with the loudness, which the first coefficient holds.
    agree = []
    for one in clips:
        dark = (one.frames[:, 36:44, 26:34] < 45).mean((1, 2))
        agree.append(np.corrcoef(dark, one.coefficients[:, 0])[0, 1] if dark.std() else 0)
    assert np.mean(agree) > 0.5
    stand_in.cache_clear()
    again = stand_in(2, 1)
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(clips, again, strict=True))
    monkeypatch.setattr("fusion_search.datasets.clips.stand_in.stand_in", lambda: clips)
    opened = open_clips(ClipsSettings(source="builtin"), Path("/nowhere"))
    assert "NOT AVletters" in opened.note
    assert opened.folds == 8
    assert torch.equal(opened.train.targets.unique(), torch.arange(2))  # type: ignore[attr-defined]
    # The same clips, whatever is made of them; others of another person's fold.
    first, sequence = (
        ClipsSettings(source="builtin"),
        ClipsSettings(source="builtin", form="sequence"),
    )
    names = [
        open_clips(one, None, fold).split_fingerprint
        for one in (first, sequence)
        for fold in (0, 1)
    ]
    assert (names[0], names[1]) == (names[2], names[3])
    assert opened.split_fingerprint == names[0] != names[1]


def test_labels_that_are_not_learnt_and_persons_that_do_not_suffice_are_told() -> None:
    settings = ClipsSettings(source="clips")
    assert check_split(settings, CLIPS) == []
    alone = [one for one in CLIPS if one.label != "b" or one.person == "cid"]
    (said,) = check_split(settings, alone)  # cid validates in folds 0 and 1, and is tested in 2
    assert said.startswith("label b is said by no one who trains in fold 0, 1, 2 of 6: it is not")
    two = [one for one in CLIPS if one.person in PERSONS[:2]]
    (said,) = check_split(settings, two)
    assert said.startswith("there are 2 persons, too few to test 1, to validate 2 and to train")
    assert said.endswith("; data.protocol: takes needs no others")
    with pytest.raises(DataError, match="every person has one take"):
        check_split(settings, [one for one in two if one.take == "1"])
