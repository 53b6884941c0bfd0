"""Log-mel spectrograms of padded sounds.

Windows of 25 ms every 10 ms, Hann, centred; triangular bands on HTK's mel scale. The logarithm of a
band's power is taken above a floor and brought to 0 there, so that silence and an absent sound are
exactly 0:

    M = 1 - log(power + floor) / log(floor),  floor = 1e-6
"""

from __future__ import annotations

import functools
import math
from typing import Final

import torch
import torchaudio.functional
from torch import Tensor

_WINDOW: Final = 0.025  # seconds
_STRIDE: Final = 0.010
_FLOOR: Final = 1e-6


def stride_of(rate: int) -> int:
    """Samples from one frame to the next."""
    return max(1, round(_STRIDE * rate))


def frames_of(samples: int | Tensor, rate: int) -> int | Tensor:
    """Frames of so many samples."""
    return samples // stride_of(rate) + 1


def log_mel(waveforms: Tensor, rate: int, mels: int) -> Tensor:
    """Take it; beyond both ends the signal is 0.

    Args:
        waveforms: [B, S] in -1 .. 1.
        rate: samples a second.
        mels: M.

    Returns:
        [B, frames_of(S), M].
    """
    window, bins, bands = _constants(rate, mels, waveforms.device)
    power: Tensor = torchaudio.functional.spectrogram(
        waveforms.float(),
        pad=0,
        window=window,
        n_fft=bins,
        hop_length=stride_of(rate),
        win_length=len(window),
        power=2.0,
        normalized=False,
        center=True,
        pad_mode="constant",
    )
    return 1 - ((power.transpose(1, 2) @ bands) + _FLOOR).log() / math.log(_FLOOR)


@functools.cache
def _constants(rate: int, mels: int, device: torch.device) -> tuple[Tensor, int, Tensor]:
    """Window, length of the transform, and bands [bins, M]."""
    length = max(2, round(_WINDOW * rate))
    bins = 2 << length.bit_length()  # more than twice the window, so that no band is empty
    bands: Tensor = torchaudio.functional.melscale_fbanks(bins // 2 + 1, 0.0, rate / 2, mels, rate)
    return torch.hann_window(length, device=device), bins, bands.to(device)
