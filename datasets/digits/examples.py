"""A batch of examples: noise first, then the spectrogram of the front-padded waveform."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fusion_search.datasets.digits.spectrogram import (
    STRIDE,
    compress,
    power,
    spectrogram,
    transform,
)
from fusion_search.datasets.noise import add_noise


@dataclass(frozen=True)
class Examples:
    """One batch of pairs, all tensors on one device; float32 unless said otherwise.

    Noise is drawn when it is first needed: who looks at the images alone draws none for the sound.

    Attributes:
        images: [B, 1, 28, 28] in 0 .. 1.
        waveforms: [B, S] in -1 .. 1 at 8 kHz, zeros before the clip.
        lengths: [B] int64, samples of the clip itself.
        labels: [B] int64.
        draw_image_noise, draw_waveform_noise: give the two below.
        snr_ratio: "power" or "amplitude".
    """

    images: Tensor
    waveforms: Tensor
    lengths: Tensor
    labels: Tensor
    draw_image_noise: Callable[[], Tensor]
    draw_waveform_noise: Callable[[], Tensor]
    snr_ratio: str

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def image_noise(self) -> Tensor:
        """[B, 1, 28, 28], mean square 1 over each image."""
        return self.draw_image_noise()

    @cached_property
    def waveform_noise(self) -> Tensor:
        """[B, S], mean square 1 over each clip, 0 before it."""
        return self.draw_waveform_noise()

    @property
    def onset_frames(self) -> Tensor:
        """[B] int64: leading spectrogram frames that are exactly zero at every SNR."""
        return (self.waveforms.shape[1] - self.lengths) // STRIDE

    def visual(self, snr: float) -> Tensor:
        """Return the images with noise at ``snr``: [B, 1, 28, 28], not clipped to 0 .. 1.

        Infinity returns them untouched.
        """
        signal = self.images.square().mean(dim=(1, 2, 3))
        return add_noise(self.images, self.image_noise, signal, snr, self.snr_ratio)

    def audio(self, snr: float) -> Tensor:
        """Return the spectrograms of the waveforms with noise at ``snr``: [B, frames, 201].

        The SNR is taken over the clip itself, before padding; frames before the clip stay 0.
        """
        signal = self.waveforms.square().sum(dim=1) / self.lengths
        noisy = add_noise(self.waveforms, self.waveform_noise, signal, snr, self.snr_ratio)
        return spectrogram(noisy)

    def audio_at(self, snrs: Sequence[float]) -> Tensor:
        """:meth:`audio` at several SNRs, but for rounding: [B, len(snrs), frames, 201].

        The Fourier transform is linear, so one of the clip and one of the noise serve all SNRs.
        """
        signal = self.waveforms.square().sum(dim=1) / self.lengths
        clean, noise = transform(self.waveforms), transform(self.waveform_noise)
        noisy = [add_noise(clean, noise, signal, snr, self.snr_ratio) for snr in snrs]
        return torch.stack([compress(power(one)) for one in noisy], dim=1)
