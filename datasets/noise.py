"""White noise at a chosen signal-to-noise ratio (SNR).

Unit noise depends on its key alone (seed, stream, number), never on the batch, the device or the
SNR; the same unit noise is scaled to each SNR, so every model and every test condition meets the
same noise.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SNR_RATIOS: Final = ("power", "amplitude")
TEST_SNRS: Final = (math.inf, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625)
"""The paper's test SNRs of either sense; infinity is "original", no noise."""


def unit_noise(
    seed: int, stream: int, numbers: NDArray[np.int64], lengths: NDArray[np.int64], total: int
) -> NDArray[np.float32]:
    """Draw Gaussian white noise of mean square 1, front-padded with zeros.

    Args:
        seed: noise seed, 0 .. 2**64 - 1.
        stream: tells apart uses of the same number (image or waveform, fixed or fresh).
        numbers: [B], one per row; equal numbers give equal noise.
        lengths: [B], samples of noise at the end of each row.
        total: samples in a row.

    Returns:
        [B, total] float32; the mean square over each row's last ``length`` samples is 1, the
        samples before are 0.
    """
    noise = np.zeros((len(numbers), total), dtype=np.float32)
    philox = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64))
    generator = np.random.Generator(philox)
    fresh = philox.state
    for row, number, length in zip(noise, numbers, lengths, strict=True):
        # Philox counts in 256 bits: a number in the highest 64 starts its own sequence of 2**192.
        # Setting the state costs 1 us, a new generator 40.
        fresh["state"]["counter"][3] = number
        philox.state = fresh
        draw = generator.standard_normal(length)
        row[total - length :] = draw / math.sqrt(float(np.mean(draw * draw)))
    return noise


def add_noise(clean: Tensor, noise: Tensor, power: Tensor, snr: float, snr_ratio: str) -> Tensor:
    """Add unit noise so that the SNR is ``snr``.

    Power ratio: noise power = P / snr. Amplitude (RMS) ratio: noise RMS = sqrt(P) / snr.

    Args:
        clean: [B, ...] signal, or its Fourier transform.
        noise: unit noise of the same shape.
        power: [B] mean square P of each signal.
        snr: above 0; infinity leaves the signal untouched.
        snr_ratio: one of ``SNR_RATIOS``.

    Returns:
        [B, ...], not clipped.

    Raises:
        ValueError: ``snr`` is not above 0.
    """
    if not snr > 0:
        raise ValueError(f"snr must be above 0 (inf for no noise), got {snr}")
    if math.isinf(snr):
        return clean
    scale = power.sqrt() / (math.sqrt(snr) if snr_ratio == "power" else snr)
    return torch.addcmul(clean, noise, scale.to(noise.dtype).view(-1, *[1] * (clean.dim() - 1)))
