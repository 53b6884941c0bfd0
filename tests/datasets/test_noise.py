"""Noise, padding and spectrogram: measured against what was asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from fusion_search.datasets.digits.data import DigitData, DigitsSettings, load_digits
from fusion_search.datasets.digits.spectrogram import compress, frames_of, samples_of, spectrogram
from fusion_search.datasets.noise import add_noise, unit_noise

FINITE_SNRS = (16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625)


@pytest.fixture(scope="module")
def data() -> DigitData:
    return load_digits(DigitsSettings(source="builtin", frames=30, snr_ratio="power"))


def pairs(data: DigitData, count: int = 6) -> torch.Tensor:
    total = len(data.splits["test"])
    return torch.arange(0, total, total // count)[:count]


@pytest.mark.parametrize(("snr_ratio", "exponent"), [("power", 1), ("amplitude", 2)])
def test_the_measured_snr_is_the_one_asked_for(snr_ratio: str, exponent: int) -> None:
    data = load_digits(DigitsSettings(source="builtin", frames=30, snr_ratio=snr_ratio))
    examples = data.examples("test", pairs(data), noise_seed=1)
    for snr in FINITE_SNRS:
        noise = (examples.visual(snr) - examples.images).double()
        measured = examples.images.double().square().mean((1, 2, 3)) / noise.square().mean(
            (1, 2, 3)
        )
        np.testing.assert_allclose(measured, snr**exponent, rtol=1e-4)
        power = examples.waveforms.double().square().sum(1) / examples.lengths
        noisy = add_noise(
            examples.waveforms, examples.waveform_noise, power.float(), snr, snr_ratio
        )
        added = (noisy - examples.waveforms).double()
        measured = power / (added.square().sum(1) / examples.lengths)
        np.testing.assert_allclose(measured, snr**exponent, rtol=1e-4)


def test_audio_is_noise_then_padding_then_spectrogram(data: DigitData) -> None:
    """Done by hand for one clip: noise on the clip alone, zeros in front, then the transform."""
    examples = data.examples("test", pairs(data, 1), noise_seed=1)
    length = int(examples.lengths[0])
    clip = examples.waveforms[0, -length:]
    noise = examples.waveform_noise[0, -length:]
    noisy = clip + noise * torch.sqrt(clip.square().mean() / 0.5)
    padded = torch.cat([torch.zeros(samples_of(30) - length), noisy])
    torch.testing.assert_close(examples.audio(0.5), spectrogram(padded[None]), atol=1e-4, rtol=1e-4)


def test_spectrograms_at_several_snrs_at_once_are_those_of_each(data: DigitData) -> None:
    examples = data.examples("test", torch.arange(0, 700, 100), noise_seed=3)
    snrs = [math.inf, 16.0, 1.0, 0.0625]
    together = examples.audio_at(snrs)
    for place, snr in enumerate(snrs):
        torch.testing.assert_close(together[:, place], examples.audio(snr), atol=2e-6, rtol=2e-6)
    for row, onset in zip(together, examples.onset_frames.tolist(), strict=True):
        assert torch.count_nonzero(row[:, :onset]) == 0


def test_who_looks_at_one_sense_draws_no_noise_for_the_other(data: DigitData) -> None:
    examples = data.examples("test", torch.arange(3), noise_seed=3)
    examples.visual(1.0)
    assert "image_noise" in vars(examples)
    assert "waveform_noise" not in vars(examples)


def test_no_noise_leaves_the_input_untouched(data: DigitData) -> None:
    examples = data.examples("test", pairs(data), noise_seed=1)
    assert torch.equal(examples.visual(math.inf), examples.images)
    assert torch.equal(examples.audio(math.inf), spectrogram(examples.waveforms))


def test_frames_before_the_clip_are_exactly_zero_at_every_snr(data: DigitData) -> None:
    examples = data.examples("test", pairs(data, 20), noise_seed=1)
    assert int(examples.onset_frames.max()) > 5
    for snr in (math.inf, *FINITE_SNRS):
        for frames, onset in zip(examples.audio(snr), examples.onset_frames, strict=True):
            assert torch.count_nonzero(frames[:onset]) == 0
            assert torch.count_nonzero(frames[onset:]) > 0


def test_the_noise_of_an_image_is_the_same_at_every_snr_and_in_every_batch(
    data: DigitData,
) -> None:
    numbers = pairs(data, 8)
    together = data.examples("test", numbers, noise_seed=1)
    alone = data.examples("test", numbers[5:6], noise_seed=1)
    torch.testing.assert_close(together.image_noise[5:6], alone.image_noise)
    torch.testing.assert_close(together.waveform_noise[5:6], alone.waveform_noise)
    quiet, loud = (together.visual(snr) - together.images for snr in (4.0, 0.25))
    torch.testing.assert_close(loud, 4 * quiet, atol=1e-5, rtol=1e-5)
    other = data.examples("test", numbers, noise_seed=2)
    assert not torch.equal(together.image_noise, other.image_noise)


def test_an_image_keeps_its_noise_whatever_it_is_paired_with(data: DigitData) -> None:
    images, recordings, _ = data.splits["test"].lookup(torch.arange(2))
    assert images[0] == images[1]
    assert recordings[0] != recordings[1]
    examples = data.examples("test", torch.arange(2), noise_seed=1)
    assert torch.equal(examples.image_noise[0], examples.image_noise[1])


def test_every_presentation_in_training_has_fresh_noise(data: DigitData) -> None:
    same = torch.zeros(2, dtype=torch.int64)
    examples = data.examples("train", same, noise_seed=1, presentations=torch.tensor([3, 4]))
    again = data.examples("train", same[:1], noise_seed=1, presentations=torch.tensor([4]))
    assert not torch.equal(examples.image_noise[0], examples.image_noise[1])
    torch.testing.assert_close(examples.image_noise[1], again.image_noise[0])


def splitmix(word: int) -> int:
    """The finaliser of SplitMix64, in Python's unbounded integers."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % 2**64
    return word ^ (word >> 31)


def test_unit_noise_is_the_generator_it_says() -> None:
    """Sample by sample in plain Python: SplitMix64, then the transform of Box and Muller."""
    golden = 0x9E3779B97F4A7C15
    seed, stream, number, length, total = 2**40 + 7, 3, 123_456, 9, 12
    # Published: the first outputs of SplitMix64 with seed 1234567.
    states = [1234567 + golden * step for step in (1, 2)]
    assert [splitmix(one % 2**64) for one in states] == [6457827717110365317, 3203168211198807973]
    key = golden
    for word in (seed, stream, number):
        key = splitmix(key ^ word)
    row: list[float] = []
    for counter in reversed(range(5)):
        bits = splitmix((key + counter * golden) % 2**64)
        radius = math.sqrt(-2 * math.log(((bits >> 32) + 0.5) / 2**32))
        angle = 2 * math.pi * (bits % 2**32) / 2**32
        row += [radius * math.cos(angle), radius * math.sin(angle)]
    clip = np.array(row[-length:])
    expected = np.concatenate([np.zeros(total - length), clip / np.sqrt(np.mean(clip**2))])
    noise = unit_noise(seed, stream, torch.tensor([number]), torch.tensor([length]), total)
    np.testing.assert_allclose(noise[0], expected, rtol=1e-5, atol=1e-6)


def test_unit_noise_is_white_and_gaussian() -> None:
    numbers, lengths = torch.arange(400), torch.full((400,), 4000)
    noise = unit_noise(0, 0, numbers, lengths, 4000).double().numpy()
    np.testing.assert_allclose(np.mean(noise**2, axis=1), 1, rtol=1e-6)
    assert stats.kstest(noise.ravel(), "norm").pvalue > 0.01
    moments = [np.mean(noise**power) for power in (1, 3, 4, 6)]
    np.testing.assert_allclose(moments, [0, 0, 3, 15], atol=0.2)
    assert 4.5 < np.abs(noise).max() < 6.5  # 1.6 million draws reach 5.1 on average
    for lag in (1, 2, 3, 4000 // 2):
        assert abs(np.corrcoef(noise[:, :-lag].ravel(), noise[:, lag:].ravel())[0, 1]) < 0.005
    # Between rows: correlations of 400 rows are normal around 0 with deviation 1 / sqrt(4000).
    between = np.corrcoef(noise)[np.triu_indices(400, 1)] * math.sqrt(4000)
    assert stats.kstest(between, "norm").pvalue > 0.01


def test_every_part_of_the_key_gives_other_noise() -> None:
    numbers, lengths = torch.tensor([5]), torch.tensor([2000])
    rows = [
        unit_noise(seed, stream, numbers + more, lengths, 2000)[0]
        for seed, stream, more in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (5, 0, -5)]
    ]
    between = np.corrcoef(torch.stack(rows).numpy())[np.triu_indices(5, 1)]
    assert np.abs(between).max() < 0.1


def test_unit_noise_does_not_depend_on_the_common_length() -> None:
    numbers, lengths = torch.tensor([4, 9, 2]), torch.tensor([7, 100, 33])
    long = unit_noise(1, 2, numbers, lengths, 250)
    for row, number, length in zip(long, numbers, lengths, strict=True):
        short = unit_noise(1, 2, number[None], length[None], int(length))
        torch.testing.assert_close(row[-int(length) :], short[0])
        assert torch.count_nonzero(row[: -int(length)]) == 0


def test_spectrogram_equals_a_plain_fourier_transform() -> None:
    waveform = np.random.default_rng(0).standard_normal(samples_of(6)).astype(np.float32)
    ours = spectrogram(torch.from_numpy(waveform)[None])[0].numpy()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    padded = np.concatenate([np.zeros(200), waveform, np.zeros(400)])
    for frame in range(6):
        power = np.abs(np.fft.rfft(window * padded[200 * frame : 200 * frame + 400])) ** 2
        np.testing.assert_allclose(ours[frame], np.log1p(power), rtol=1e-3, atol=1e-4)
    assert ours.shape == (6, 201)


def test_the_papers_frame_counts() -> None:
    assert frames_of(18_262) == 92
    assert spectrogram(torch.zeros(1, 18_262)).shape == (1, 92, 201)
    assert spectrogram(torch.zeros(1, samples_of(42))).shape == (1, 42, 201)
    assert frames_of(samples_of(42) + 1) == 43


def test_compression_keeps_zero_at_zero() -> None:
    assert compress(torch.zeros(1)).item() == 0


def test_noise_must_have_a_positive_snr(data: DigitData) -> None:
    examples = data.examples("test", pairs(data, 1), noise_seed=0)
    for snr in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="snr must be above 0"):
            examples.visual(snr)
