"""A batch of examples: noise first, then the spectrogram of the front-padded waveform."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.noise import add_noise
from datasets.spectrogram import STRIDE, spectrogram


@dataclass(frozen=True)
class Examples:
    """One batch of pairs, all tensors on one device; float32 unless said otherwise.

    Attributes:
        images: [B, 1, 28, 28] in 0 .. 1.
        waveforms: [B, S] in -1 .. 1 at 8 kHz, zeros before the clip.
        lengths: [B] int64, samples of the clip itself.
        labels: [B] int64.
        image_noise: [B, 1, 28, 28], mean square 1 over each image.
        waveform_noise: [B, S], mean square 1 over each clip, 0 before it.
        snr_ratio: "power" or "amplitude".
    """

    images: Tensor
    waveforms: Tensor
    lengths: Tensor
    labels: Tensor
    image_noise: Tensor
    waveform_noise: Tensor
    snr_ratio: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def onset_frames(self) -> Tensor:
        """[B] int64: leading spectrogram frames that are exactly zero at every SNR."""
        return (self.waveforms.shape[1] - self.lengths) // STRIDE

    def to(self, device: torch.device | str) -> Examples:
        """Return these examples on ``device``."""
        return Examples(
            images=self.images.to(device),
            waveforms=self.waveforms.to(device),
            lengths=self.lengths.to(device),
            labels=self.labels.to(device),
            image_noise=self.image_noise.to(device),
            waveform_noise=self.waveform_noise.to(device),
            snr_ratio=self.snr_ratio,
        )

    def visual(self, snr: float) -> Tensor:
        """Return the images with noise at ``snr``: [B, 1, 28, 28], not clipped to 0 .. 1.

        Infinity returns them untouched.
        """
        power = self.images.square().mean(dim=(1, 2, 3))
        return add_noise(self.images, self.image_noise, power, snr, self.snr_ratio)

    def audio(self, snr: float) -> Tensor:
        """Return the spectrograms of the waveforms with noise at ``snr``: [B, frames, 201].

        The SNR is taken over the clip itself, before padding; frames before the clip stay 0.
        """
        power = self.waveforms.square().sum(dim=1) / self.lengths
        noisy = add_noise(self.waveforms, self.waveform_noise, power, snr, self.snr_ratio)
        return spectrogram(noisy)
