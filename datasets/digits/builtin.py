"""Built-in digits: no network, no files, and not the paper's data.

Images are scikit-learn's bundled handwritten digits (1,797 of 8 x 8, from the UCI machine learning
repository); recordings are spoken by the synthetic voice of ``voice.py``.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.datasets import load_digits as load_handwriting

from fusion_search.datasets.digits.recording import Recording
from fusion_search.datasets.digits.voice import SPEAKERS, speak

TAKES: Final = 5  # of every digit by every speaker
_SEED: Final = 8000


def builtin_images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Bring scikit-learn's digits to MNIST's form: 20 x 20 in the middle of 28 x 28.

    Returns:
        Images [1797, 28, 28] in 0 .. 255 and labels [1797].
    """
    handwriting = load_handwriting()
    small = handwriting.images / 16.0
    large = ndimage.zoom(small, (1, 2.5, 2.5), order=3, mode="grid-constant", grid_mode=True)
    images = np.pad(np.clip(large, 0, 1), ((0, 0), (4, 4), (4, 4)))
    return np.round(images * 255).astype(np.uint8), handwriting.target.astype(np.int64)


@functools.cache  # speaking takes seconds, and a search and its confirmation ask twice
def builtin_recordings() -> tuple[Recording, ...]:
    """Speak ``TAKES`` takes of every digit by every speaker, always the same ones."""
    recordings = tuple(
        Recording(
            f"{digit}_voice{voice}_{take}.wav",
            digit,
            speak(digit, speaker, np.random.default_rng([_SEED, digit, voice, take])),
        )
        for digit in range(10)
        for voice, speaker in enumerate(SPEAKERS)
        for take in range(TAKES)
    )
    for recording in recordings:
        recording.samples.setflags(write=False)
    return recordings
