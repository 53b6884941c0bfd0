"""One example at every test SNR: what noise does to the image and to the spectrogram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusion_search.analysis.figures.drawing import add_caption, drawn, new_figure
from fusion_search.analysis.records.selection import AnalysisError, count_label, snr_label
from fusion_search.datasets import DataError
from fusion_search.datasets.digits.data import DigitData, DigitsSettings, load_digits

HIGHEST_FREQUENCY: Final = 4.0  # kHz, of 8 kHz recordings
FRAME_MILLISECONDS: Final = 25  # one spectrogram frame and one time step: 200 samples
_NOISE_SEED: Final = 0
_RATIOS: Final = {"power": "powers", "amplitude": "amplitudes (RMS)"}


@dataclass(frozen=True)
class NoisyExample:
    """One test example at several SNRs.

    Attributes:
        label: the digit.
        images: [SNRs, height, width], not clipped to 0..1.
        spectrograms: [SNRs, frames, bins].
        table: one row per SNR: ``snr`` and, measured, ``visual_snr`` (the same kind of ratio;
            infinite for no noise), ``spectrogram_mean`` and ``spectrogram_maximum``.
        caption: what is shown, in words.
    """

    label: int
    images: npt.NDArray[np.float32]
    spectrograms: npt.NDArray[np.float32]
    table: pd.DataFrame
    caption: str


def load_data(settings: DigitsSettings, folder: Path | None) -> DigitData:
    """Load the digits.

    Raises:
        AnalysisError: files are missing or damaged.
    """
    try:
        return load_digits(settings, folder)
    except DataError as error:
        raise AnalysisError(str(error)) from error


def check_pair(data: DigitData, number: int) -> None:
    """Raise ``AnalysisError`` unless the test split has a pair of this number."""
    count = len(data.splits["test"])
    if not 0 <= number < count:
        raise AnalysisError(f"test pair {number} does not exist; there are 0 to {count - 1}")


def compute_noise(data: DigitData, number: int, snrs: Sequence[float]) -> NoisyExample:
    """Make test pair ``number`` at every one of ``snrs``, the first of which is no noise.

    Raises:
        AnalysisError: there is no such pair.
    """
    check_pair(data, number)
    examples = data.examples("test", torch.tensor([number]), noise_seed=_NOISE_SEED)
    images = torch.stack([examples.visual(snr)[0, 0] for snr in snrs])
    spectrograms = torch.stack([examples.audio(snr)[0] for snr in snrs])
    signal = images[0].square().mean()
    ratio = signal / (images - images[0]).square().mean(dim=(1, 2))
    if data.settings.snr_ratio == "amplitude":
        ratio = ratio.sqrt()
    table = pd.DataFrame(
        {
            "snr": snrs,
            "visual_snr": ratio.numpy(),
            "spectrogram_mean": spectrograms.mean(dim=(1, 2)).numpy(),
            "spectrogram_maximum": spectrograms.amax(dim=(1, 2)).numpy(),
        }
    )
    label = int(examples.labels[0])
    return NoisyExample(
        label=label,
        images=images.numpy(),
        spectrograms=spectrograms.numpy(),
        table=table,
        caption=f"Test pair {number}, digit {label}. The SNR is the ratio of "
        f"{_RATIOS[data.settings.snr_ratio]}. Image: grey values "
        f"0 to 1, clipped. Data: {data.note}.",
    )


@drawn
def draw_noise(example: NoisyExample) -> Figure:
    """Draw the images above, the spectrograms below, one column per SNR."""
    columns = len(example.table)
    figure = new_figure(1.32 * columns + 0.4, 3.9)
    panels = figure.subplots(2, columns, height_ratios=[1, 1.25])
    highest = float(example.spectrograms.max())
    for column, snr in enumerate(example.table["snr"]):
        image_axes, audio_axes = panels[0, column], panels[1, column]
        image_axes.imshow(example.images[column], cmap="gray", vmin=0, vmax=1)
        image_axes.set_title(snr_label(snr), fontsize=9)
        image_axes.set_axis_off()
        draw_spectrogram(audio_axes, example.spectrograms[column], highest)
        if column:
            audio_axes.tick_params(labelleft=False)
    panels[1, 0].set_ylabel("frequency, kHz", fontsize=8)
    figure.suptitle(f"Digit {example.label} at {count_label(columns, 'SNR')}", fontsize=11)
    figure.supxlabel(f"time step ({FRAME_MILLISECONDS} ms each)", fontsize=8)
    add_caption(figure, example.caption)
    return figure


def draw_spectrogram(axes: Axes, spectrogram: npt.NDArray[np.float32], highest: float) -> None:
    """Draw one spectrogram [frames, bins], time to the right, colours from 0 to ``highest``.

    Frame t is centred on t, so that a line plotted over time steps stands exactly above it.
    """
    frames = len(spectrogram)
    axes.imshow(
        spectrogram.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=0,
        vmax=highest,
        interpolation="nearest",
        extent=(-0.5, frames - 0.5, 0, HIGHEST_FREQUENCY),
    )
    axes.tick_params(labelsize=7)
