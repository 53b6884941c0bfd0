"""White noise at a chosen signal-to-noise ratio (SNR).

Unit noise depends on its key alone (seed, stream, number), never on the batch, the device or the
SNR; the same unit noise is scaled to each SNR, so every model and every test condition meets the
same noise.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

SNR_RATIOS: Final = ("power", "amplitude")
TEST_SNRS: Final = (math.inf, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625)
"""The paper's test SNRs of either sense; infinity is "original", no noise."""

# Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators"; as signed 64-bit numbers.
_GOLDEN: Final = 0x9E3779B97F4A7C15 - 2**64
_FIRST_FACTOR: Final = 0xBF58476D1CE4E5B9 - 2**64
_SECOND_FACTOR: Final = 0x94D049BB133111EB - 2**64


def unit_noise(
    seed: int,
    stream: int,
    numbers: Tensor,
    lengths: Tensor,
    total: int,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw Gaussian white noise of mean square 1, front-padded with zeros.

    A counter-based generator: the random bits of a sample are a hash of (seed, stream, number,
    distance from the end), so that rows come in one batch on any device and need no state. Two
    samples are made of one hash by the transform of Box and Muller.

    Args:
        seed: noise seed, 0 .. 2**63 - 1.
        stream: tells apart uses of the same number (image or waveform, fixed or fresh).
        numbers: [B] int64, one per row, on the CPU; equal numbers give equal noise, but for
            rounding in another batch or on another device.
        lengths: [B] int64, samples of noise at the end of each row, on the CPU.
        total: samples in a row.
        device: where the noise is made.

    Returns:
        [B, total] float32; the mean square over each row's last ``length`` samples is 1, the
        samples before are 0.
    """
    key = torch.full_like(numbers, _GOLDEN)
    for word in (seed, stream, numbers):
        key = _scramble(key ^ word)
    hashes = (int(lengths.max()) + 1) // 2
    counters = torch.arange(hashes - 1, -1, -1, device=device) * _GOLDEN
    bits = _scramble(key.to(device)[:, None] + counters)
    # Half a step up: 0 has no logarithm.
    radius = _shifted(bits, 32).float().add_(0.5).mul_(2**-32).log_().mul_(-2).sqrt_()
    angle = bits.bitwise_and_(0xFFFFFFFF).float().mul_(2 * math.pi / 2**32)
    pairs = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    noise = functional.pad(pairs.flatten(1), (total - 2 * hashes, 0))
    counts = lengths.to(device)
    noise *= torch.arange(total, 0, -1, device=device) <= counts[:, None]
    return noise.mul_((counts / noise.square().sum(dim=1)).sqrt_()[:, None])


def _scramble(words: Tensor) -> Tensor:
    """The finaliser of SplitMix64, a bijection of 64-bit words (int64, which wraps around)."""
    for shift, factor in ((30, _FIRST_FACTOR), (27, _SECOND_FACTOR)):
        words = (words ^ _shifted(words, shift)).mul_(factor)
    return words.bitwise_xor_(_shifted(words, 31))


def _shifted(words: Tensor, by: int) -> Tensor:
    # int64 shifts copies of the sign in: cut them off.
    return (words >> by).bitwise_and_((1 << (64 - by)) - 1)


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
