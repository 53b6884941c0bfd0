"""The paper's spectrogram: window 400 samples, stride 200, 201 frequency bins, log-compressed."""

from __future__ import annotations

import functools
from typing import Final

import torch
import torchaudio.functional
from torch import Tensor

WINDOW: Final = 400
STRIDE: Final = 200
BINS: Final = WINDOW // 2 + 1


@functools.cache
def _window(device: torch.device) -> Tensor:
    return torch.hann_window(WINDOW, device=device)


def samples_of(frames: int) -> int:
    """Longest waveform, in samples, whose spectrogram has ``frames`` frames."""
    return frames * STRIDE - 1


def frames_of(samples: int) -> int:
    """Frames in the spectrogram of ``samples`` samples (18,262 give 92)."""
    return samples // STRIDE + 1


def compress(powers: Tensor) -> Tensor:
    """Bring powers to features: log(1 + power), which keeps 0 at exactly 0.

    Free Spoken Digits' powers have their 99th percentile near 9. A stronger compression lifts the
    noise floor beside the formants: log(1 + 10 magnitude) needed three times the examples to
    learn the digits from the audio alone.
    """
    return torch.log1p(powers)


def spectrogram(waveforms: Tensor) -> Tensor:
    """Take the log-compressed power spectrogram.

    Frames are centred on multiples of the stride; beyond both ends the signal is 0.

    Args:
        waveforms: [B, S] in -1 .. 1.

    Returns:
        [B, frames_of(S), 201].
    """
    return compress(power(transform(waveforms)))


def power(frequencies: Tensor) -> Tensor:
    """Squared magnitude of complex numbers."""
    return torch.view_as_real(frequencies).square().sum(dim=-1)


def transform(waveforms: Tensor) -> Tensor:
    """The short-time Fourier transform: [B, S] to [B, frames_of(S), 201], complex."""
    frequencies: Tensor = torchaudio.functional.spectrogram(
        waveforms,
        pad=0,
        window=_window(waveforms.device),
        n_fft=WINDOW,
        hop_length=STRIDE,
        win_length=WINDOW,
        power=None,
        normalized=False,
        center=True,
        pad_mode="constant",
    )
    return frequencies.transpose(1, 2)
