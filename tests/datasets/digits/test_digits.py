"""Splits, pairs and the two sources."""

from __future__ import annotations

import itertools
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fusion_search.datasets.digits.data import DigitData, DigitsSettings, load_digits
from fusion_search.datasets.digits.pairs import Pairs, split_indices

REAL = os.environ.get("FUSION_SEARCH_DATA")
needs_real_data = pytest.mark.skipif(REAL is None, reason="FUSION_SEARCH_DATA is not set")


@pytest.fixture(scope="module")
def builtin() -> DigitData:
    return load_digits(DigitsSettings(source="builtin", frames=42))


def test_pairs_equal_the_list_of_all_same_label_pairs() -> None:
    generator = np.random.default_rng(0)
    images = torch.from_numpy(generator.permutation(40)[:23])
    recordings = torch.from_numpy(generator.permutation(40)[:17])
    image_labels = torch.from_numpy(generator.integers(0, 10, 23))
    recording_labels = torch.from_numpy(generator.integers(0, 10, 17))
    expected = {
        (int(images[i]), int(recordings[r]), int(image_labels[i]))
        for i, r in itertools.product(range(23), range(17))
        if image_labels[i] == recording_labels[r]
    }
    pairs = Pairs(images, image_labels, recordings, recording_labels)
    assert len(pairs) == len(expected)
    found = pairs.lookup(torch.arange(len(pairs)))
    assert set(zip(*(one.tolist() for one in found), strict=True)) == expected
    assert pairs.absent == sorted(set(range(10)) - {label for _, _, label in expected}) != []
    with pytest.raises(IndexError, match="pairs must be in 0"):
        pairs.lookup(torch.tensor([len(pairs)]))


def test_splits_are_8_1_1_disjoint_and_seeded() -> None:
    split = split_indices(1000, seed=0, stream=0)
    assert [len(one) for one in split.values()] == [800, 100, 100]
    assert sorted(torch.cat(list(split.values())).tolist()) == list(range(1000))
    assert not torch.equal(split["test"], split_indices(1000, seed=1, stream=0)["test"])
    assert torch.equal(split["test"], split_indices(1000, seed=0, stream=0)["test"])


def test_a_recording_is_never_in_two_splits(builtin: DigitData) -> None:
    seen = [set(pairs.recordings.tolist()) for pairs in builtin.splits.values()]
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(seen, 2))


def test_both_senses_of_a_pair_show_its_label(builtin: DigitData) -> None:
    numbers = torch.arange(0, len(builtin.splits["train"]), 997)
    images, recordings, labels = builtin.splits["train"].lookup(numbers)
    assert torch.equal(builtin.image_labels[images], labels)
    assert torch.equal(builtin.recording_labels[recordings], labels)
    examples = builtin.examples("train", numbers, noise_seed=0)
    assert torch.equal(examples.labels, labels)
    assert torch.equal(examples.images[:, 0], builtin.images[images] / 255)


def test_waveforms_are_the_recordings_padded_in_front(builtin: DigitData) -> None:
    numbers = torch.arange(0, len(builtin.splits["train"]), 9973)
    _, recordings, _ = builtin.splits["train"].lookup(numbers)
    examples = builtin.examples("train", numbers, noise_seed=0)
    samples, ends = builtin.waveforms.numpy(), builtin.waveform_ends.tolist()
    for row, recording in zip(examples.waveforms.numpy(), recordings.tolist(), strict=True):
        clip = samples[ends[recording - 1] if recording else 0 : ends[recording]]
        expected = np.zeros(42 * 200 - 1)
        expected[-len(clip) :] = clip / 32768
        np.testing.assert_array_equal(row, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_examples_are_made_on_the_device_of_the_data(builtin: DigitData) -> None:
    there = builtin.on(torch.device("cuda"))
    numbers = torch.arange(0, 700, 100)
    here = builtin.examples("test", numbers, noise_seed=3)
    examples = there.examples("test", numbers, noise_seed=3)
    for tensor, same in (
        (examples.visual(0.5), here.visual(0.5)),
        (examples.audio(0.5), here.audio(0.5)),
        (examples.labels, here.labels),
    ):
        assert tensor.is_cuda
        torch.testing.assert_close(tensor.cpu(), same, atol=1e-4, rtol=1e-4)


def test_long_recordings_are_left_out_and_counted(builtin: DigitData) -> None:
    short = load_digits(DigitsSettings(source="builtin", frames=16))
    assert short.left_out > builtin.left_out
    assert f"{short.left_out} of" in short.note
    assert "left out" in short.note


def test_the_builtin_data_say_that_they_are_builtin(builtin: DigitData) -> None:
    assert "built-in" in builtin.note
    assert "NOT MNIST" in builtin.note


def test_the_fingerprint_follows_content_and_survives_pickling(builtin: DigitData) -> None:
    again = load_digits(DigitsSettings(source="builtin", frames=42, snr_ratio="power"))
    assert again.fingerprint == builtin.fingerprint
    assert load_digits(DigitsSettings(source="builtin", frames=41)).fingerprint != again.fingerprint
    copy = pickle.loads(pickle.dumps(builtin))
    first = copy.examples("test", torch.arange(4), noise_seed=0).audio(1.0)
    assert torch.equal(first, builtin.examples("test", torch.arange(4), noise_seed=0).audio(1.0))


def accuracy(data: DigitData, sense: str, snr: float, count: int = 1200) -> float:
    """Of a linear classifier: image pixels, or the spectrogram's mean over thirds of the clip."""

    def features(split: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(0)
        numbers = torch.from_numpy(generator.integers(0, len(data.splits[split]), size))
        examples = data.examples(split, numbers, noise_seed=0)
        if sense == "visual":
            return examples.visual(snr).flatten(1).numpy(), examples.labels.numpy()
        rows = []
        for clip, onset in zip(examples.audio(snr), examples.onset_frames, strict=True):
            thirds = clip[onset:].tensor_split(3)
            rows.append(torch.cat([third.mean(0) for third in thirds]))
        return torch.stack(rows).numpy(), examples.labels.numpy()

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
        *features("train", count)
    )
    return float(model.score(*features("test", 300)))


def test_processes_can_share_the_arrays(builtin: DigitData) -> None:
    """Pickled with buffers apart, as Ray's object store keeps them, they are not copied."""
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(builtin, protocol=5, buffer_callback=buffers.append)
    assert len(content) < 100_000
    shared = [memoryview(bytes(buffer)) for buffer in buffers]  # read-only
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy = pickle.loads(content, buffers=shared)
    places = {np.frombuffer(one, dtype=np.uint8).ctypes.data for one in shared}
    for name in ("images", "waveforms", "waveform_ends"):
        tensor = getattr(copy, name)
        assert torch.equal(tensor, getattr(builtin, name))
        assert tensor.data_ptr() in places


@pytest.mark.parametrize("sense", ["visual", "audio"])
def test_each_builtin_sense_is_learnable_and_noise_hurts_it(builtin: DigitData, sense: str) -> None:
    clean, noisy = accuracy(builtin, sense, float("inf")), accuracy(builtin, sense, 0.0625)
    assert clean > 0.5
    assert noisy < clean - 0.1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": "mnist"}, "source must be one of builtin, digits"),
        ({"snr_ratio": "decibel"}, "snr_ratio must be one of power, amplitude"),
        ({"frames": 0}, "frames must be a whole number from 1"),
        ({"split_seed": -1}, "split_seed must be"),
    ],
)
def test_wrong_settings_name_the_field(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DigitsSettings(**fields)


@pytest.mark.real_data
@needs_real_data
def test_real_pair_counts_are_the_papers() -> None:
    assert REAL is not None
    data = load_digits(DigitsSettings(frames=92), Path(REAL))
    assert data.left_out == 0
    paper = {"train": 11_202_076, "validation": 174_490, "test": 175_389}
    for split, count in paper.items():
        assert len(data.splits[split]) == pytest.approx(count, rel=2e-3)
    assert len(data.image_labels) == 70_000
    assert len(data.recording_labels) == 2_500


@pytest.mark.real_data
@needs_real_data
def test_42_frames_leave_out_two_real_recordings() -> None:
    assert REAL is not None
    data = load_digits(DigitsSettings(frames=42), Path(REAL))
    assert data.left_out == 2
    assert data.fingerprint == "728fe5eb74f3c73e"  # of all searches on these data so far
    assert data.note == (
        "MNIST and Free Spoken Digit Dataset v1.0.9, 2 of 2,500 recordings longer than 42 frames "
        "left out"
    )
