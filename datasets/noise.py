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


def uniform(seed: int, stream: int, numbers: Tensor) -> Tensor:
    """Numbers in [0, 1), [B] float64: a hash of (seed, stream, number), as the noise is."""
    key = torch.full_like(numbers, _GOLDEN)
    for word in (seed, stream, numbers):
        key = _scramble(key ^ word)
    return _shifted(key, 11).double() * 2.0**-53


def with_noise(
    clean: Tensor,
    snr: Tensor,
    keys: Tensor,
    *,
    seed: int,
    stream: int,
    where: Tensor | None = None,
) -> Tensor:
    """Add white noise at an amplitude (RMS) ratio of each example, where there is a signal.

    Signal and noise are measured over the elements that ``where`` allows, the others stay as they
    are; the noise of an example does not depend on how far its batch is padded.

    Args:
        clean: [B, ...] float.
        snr: [B]; infinity leaves an example untouched, minus infinity makes it zero.
        keys: [B] int64 on the CPU; equal keys give equal unit noise.
        seed, stream: of the noise.
        where: [B, ...] bool over the leading dimensions of ``clean``, or over all of them.

    Returns:
        As ``clean``, not clipped.

    Raises:
        ValueError: an SNR is neither above 0 nor minus infinity, or ``where`` has another shape.
    """
    if not ((snr > 0) | (snr == -math.inf)).all():
        raise ValueError("snr must be above 0, inf for no noise or -inf for absent input")
    present = (snr != -math.inf).view(-1, *[1] * (clean.dim() - 1))
    finite = snr.isfinite()
    if not finite.any():
        return clean if bool(present.all()) else clean * present
    mask = _over_all(where, clean)
    counts = mask.sum(1)
    signal = (clean.flatten(1).float() * mask).square().sum(1) / counts.clamp(min=1)
    lengths = counts.cpu()
    total = max(1, int(lengths.max()))
    unit = unit_noise(seed, stream, keys, lengths, total, clean.device)
    # In the order of the elements, so that padding behind any dimension shifts nothing.
    held = torch.arange(total, 0, -1, device=clean.device) <= counts[:, None]
    noise = torch.zeros_like(mask, dtype=torch.float32).masked_scatter_(mask, unit[held])
    scale = torch.where(finite, signal.sqrt() / snr, 0.0)
    noisy = clean + (noise * scale[:, None]).view_as(clean).to(clean.dtype)
    return noisy * present


def _over_all(where: Tensor | None, clean: Tensor) -> Tensor:
    """A mask of the leading dimensions over all of them, [B, elements] bool."""
    if where is None:
        return torch.ones_like(clean, dtype=torch.bool).flatten(1)
    if where.dim() > clean.dim() or where.shape != clean.shape[: where.dim()]:
        raise ValueError(
            f"the mask has shape {list(where.shape)}, the input {list(clean.shape)}; allowed: the "
            "input's shape or its leading dimensions"
        )
    wide = where.view(*where.shape, *[1] * (clean.dim() - where.dim()))
    return wide.expand_as(clean).flatten(1).bool()


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
        snr: above 0; infinity leaves the signal untouched, minus infinity makes it zero (absent).
        snr_ratio: one of ``SNR_RATIOS``.

    Returns:
        [B, ...], not clipped.

    Raises:
        ValueError: ``snr`` is neither above 0 nor minus infinity.
    """
    if snr == -math.inf:
        return torch.zeros_like(clean)
    if not snr > 0:
        raise ValueError(f"snr must be above 0 (inf for no noise, -inf for absent), got {snr}")
    if math.isinf(snr):
        return clean
    scale = power.sqrt() / (math.sqrt(snr) if snr_ratio == "power" else snr)
    return torch.addcmul(clean, noise, scale.to(noise.dtype).view(-1, *[1] * (clean.dim() - 1)))
