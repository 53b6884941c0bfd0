"""Digits seen and heard: the audio-visual task of the early-fusion paper.

Barnum, Talukder, Yue: "On the Benefits of Early Fusion in Multimodal Representation Learning".
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from fusion_search.datasets.digits.examples import Examples
from fusion_search.datasets.digits.pairs import SPLITS, Pairs, split_indices
from fusion_search.datasets.digits.recording import Recording
from fusion_search.datasets.digits.spectrogram import STRIDE, frames_of, samples_of
from fusion_search.datasets.errors import DataError, count_label
from fusion_search.datasets.files import data_folder
from fusion_search.datasets.noise import SNR_RATIOS, unit_noise

__all__ = ["DigitData", "DigitsSettings", "Examples", "Pairs", "load_digits"]

Source = Literal["builtin", "digits"]
SnrRatio = Literal["amplitude", "power"]
SOURCES: Final = get_args(Source)
_BUILTIN: Final = (
    "built-in digits (scikit-learn handwriting, synthesised voice), "
    "NOT MNIST and Free Spoken Digits"
)

# Streams of random numbers: splits, and unit noise by what its numbers count.
_IMAGE_SPLIT, _RECORDING_SPLIT = 0, 1
_FIXED_STREAMS: Final = (0, 1)  # image number, recording number
_FRESH_STREAMS: Final = (2, 3)  # presentation number


@dataclass(frozen=True, kw_only=True)
class DigitsSettings:
    """What the examples are made of.

    Attributes:
        source: "builtin", or "digits" for MNIST and Free Spoken Digits, or others in their form.
        frames: common length in spectrogram frames of 25 ms; longer recordings are left out.
        snr_ratio: what an SNR is a ratio of: "amplitude" (RMS) or "power" (mean squares). The
            paper does not say; amplitude gives its maps (docs/digits-small.md).
        split_seed: seed of the 8:1:1 splits.

    Raises:
        ValueError: a field is not one of its allowed values.
    """

    source: Source = "digits"
    frames: int = 42
    snr_ratio: SnrRatio = "amplitude"
    split_seed: int = 0

    def __post_init__(self) -> None:
        for field, allowed in (("source", SOURCES), ("snr_ratio", SNR_RATIOS)):
            value = getattr(self, field)
            if value not in allowed:
                raise ValueError(f"{field} must be one of {', '.join(allowed)}, got {value!r}")
        for field, least in (("frames", 1), ("split_seed", 0)):
            value = getattr(self, field)
            if type(value) is not int or value < least:
                raise ValueError(f"{field} must be a whole number from {least} up, got {value!r}")


class DigitData:
    """All images and recordings in memory, their splits, and examples made of their pairs.

    Attributes:
        settings: as given.
        images: [I, 28, 28] uint8.
        image_labels: [I] int64.
        waveforms: [all samples] int16, every recording kept, end to end.
        waveform_ends: [R] int64, where each recording ends in ``waveforms``.
        recording_labels: [R] int64.
        left_out: recordings longer than ``settings.frames`` frames, in no split.
        splits: the pairs of "train", "validation" and "test".
        fingerprint: 16 hexadecimal digits over content and settings, but for ``snr_ratio``.
        note: one sentence that says what the data are.
    """

    def __init__(
        self,
        settings: DigitsSettings,
        images: NDArray[np.uint8],
        image_labels: NDArray[np.int64],
        recordings: Sequence[Recording],
        name: str,
    ) -> None:
        self.settings = settings
        self.images = torch.from_numpy(images)
        self.image_labels = torch.from_numpy(image_labels)
        self.waveforms = torch.from_numpy(np.concatenate([each.samples for each in recordings]))
        lengths = torch.tensor([len(each.samples) for each in recordings])
        self.waveform_ends = lengths.cumsum(0)
        self.recording_labels = torch.tensor([each.label for each in recordings])
        fits = lengths <= samples_of(settings.frames)
        self.left_out = int((~fits).sum())
        self.splits = self._split(fits)
        self.fingerprint = self.content_fingerprint()
        self.note = name
        if self.left_out:
            self.note += (
                f", {self.left_out:,} of {count_label(len(recordings), 'recording')} longer than "
                f"{count_label(settings.frames, 'frame')} left out"
            )
        for split, pairs in self.splits.items():
            if not len(pairs):
                raise DataError(
                    f"the {split} split has no image and recording of the same digit: there are "
                    f"{count_label(len(images), 'image')} and "
                    f"{count_label(len(recordings), 'recording')}, {self.left_out:,} of them "
                    f"longer than frames = {settings.frames} (the longest has "
                    f"{frames_of(int(lengths.max()))})"
                )

    def __getstate__(self) -> dict[str, Any]:
        """Arrays, which pickle hands over as buffers: processes of a machine can share them."""
        return {
            name: value.cpu().numpy() if isinstance(value, Tensor) else value
            for name, value in vars(self).items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            # Shared memory is read-only, and nothing here writes to it.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            for name, value in state.items():
                array = isinstance(value, np.ndarray)
                setattr(self, name, torch.from_numpy(value) if array else value)

    def _split(self, fits: Tensor) -> dict[str, Pairs]:
        # Split first, leave out after: the common length moves no recording between splits.
        seed = self.settings.split_seed
        images = split_indices(len(self.image_labels), seed, _IMAGE_SPLIT)
        recordings = split_indices(len(self.recording_labels), seed, _RECORDING_SPLIT)
        splits = {}
        for name in SPLITS:
            kept = recordings[name][fits[recordings[name]]]
            splits[name] = Pairs(
                images[name], self.image_labels[images[name]], kept, self.recording_labels[kept]
            )
        return splits

    def content_fingerprint(self) -> str:
        """``fingerprint``, computed again from what is in memory now."""
        digest = hashlib.sha256()
        settings = self.settings
        digest.update(f"{settings.source} {settings.frames} {settings.split_seed}".encode())
        for tensor in (
            self.images,
            self.image_labels,
            self.waveforms,
            self.waveform_ends,
            self.recording_labels,
        ):
            digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def onset_frames(self, recordings: Tensor) -> Tensor:
        """Leading all-zero spectrogram frames of these recordings once padded, [B] int64."""
        starts, ends = self._bounds(recordings)
        return (samples_of(self.settings.frames) - (ends - starts)) // STRIDE

    def on(self, device: torch.device) -> DigitData:
        """These data with images and waveforms on ``device``, where the examples are then made."""
        if device == self.images.device:
            return self
        # Not copy.copy, which asks for __getstate__: arrays, which a GPU's tensors cannot become.
        there = DigitData.__new__(DigitData)
        vars(there).update(vars(self))
        there.images, there.waveforms = self.images.to(device), self.waveforms.to(device)
        return there

    def examples(
        self, split: str, pairs: Tensor, *, noise_seed: int, presentations: Tensor | None = None
    ) -> Examples:
        """Make one batch of examples on the device of the data.

        Args:
            split: "train", "validation" or "test".
            pairs: [B] int64, numbers of pairs in that split, on the CPU.
            noise_seed: seed of the unit noise.
            presentations: [B] int64 on the CPU, or None. None keys the noise by image and by
                recording, so an image has the same noise whatever recording it is paired with.
                Numbers of presentations give fresh noise for each, the same for every model and
                SNR.

        Returns:
            Examples with waveforms of ``frames * 200 - 1`` samples.

        Raises:
            IndexError: a pair is not in the split.
        """
        image_numbers, recording_numbers, labels = self.splits[split].lookup(pairs)
        device = self.images.device
        total = samples_of(self.settings.frames)
        starts, ends = self._bounds(recording_numbers)
        lengths = ends - starts
        clips = [
            self.waveforms[start:end]
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
        padded = pad_sequence(clips, batch_first=True, padding_side="left")
        waveforms = functional.pad(padded, (total - padded.shape[1], 0)).float().div_(32768)

        if presentations is None:
            streams, numbers = _FIXED_STREAMS, (image_numbers, recording_numbers)
        else:
            streams, numbers = _FRESH_STREAMS, (presentations, presentations)

        def image_noise() -> Tensor:
            pixels = torch.full_like(pairs, 28 * 28)
            noise = unit_noise(noise_seed, streams[0], numbers[0], pixels, 28 * 28, device)
            return noise.view(-1, 1, 28, 28)

        def waveform_noise() -> Tensor:
            return unit_noise(noise_seed, streams[1], numbers[1], lengths, total, device)

        return Examples(
            images=self.images[image_numbers.to(device)].unsqueeze(1).float().div_(255),
            waveforms=waveforms,
            lengths=lengths.to(device),
            labels=labels.to(device),
            draw_image_noise=image_noise,
            draw_waveform_noise=waveform_noise,
            snr_ratio=self.settings.snr_ratio,
        )

    def _bounds(self, recordings: Tensor) -> tuple[Tensor, Tensor]:
        """Where these recordings start and end in ``waveforms``, each [B]."""
        starts = torch.where(recordings > 0, self.waveform_ends[recordings - 1], 0)
        return starts, self.waveform_ends[recordings]


def load_digits(settings: DigitsSettings, folder: Path | None = None) -> DigitData:
    """Load the images and recordings of a source.

    Args:
        settings: what to load.
        folder: where the real files are; None for FUSION_SEARCH_DATA, else the cache folder. Not
            looked for when the source is built in.

    Raises:
        DataError: a file is missing or cannot be read, or a split has no pair.
    """
    if settings.source == "builtin":
        # Here, since SciPy and scikit-learn cost each process 150 MB and 2 s.
        from fusion_search.datasets.digits.builtin import builtin_images, builtin_recordings

        return DigitData(settings, *builtin_images(), builtin_recordings(), _BUILTIN)
    # Here, since a trial of data that are loaded needs neither soundfile nor tqdm.
    from fusion_search.datasets.digits.mnist import load_mnist
    from fusion_search.datasets.digits.spoken_digits import load_spoken_digits

    folder = data_folder(folder, os.environ)
    images, labels, seen = load_mnist(folder)
    recordings, heard = load_spoken_digits(folder)
    return DigitData(settings, images, labels, recordings, f"{seen} and {heard}")
