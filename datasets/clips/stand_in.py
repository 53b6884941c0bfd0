"""A talking stand-in, built in: drawn lips that move with a synthesised voice. It is NOT AVletters.

Eight voices say the ten digits. The lips open with the loudness of the voice, and spread with the
balance of its second formant's band; every person's have a shape and tones of their own.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torchaudio import functional, transforms

from fusion_search.datasets.clips.clip import Clip
from fusion_search.datasets.digits.voice import SAMPLE_RATE, SPEAKERS, speak

NOTE: Final = "built-in talking stand-in (drawn lips, synthesised voice), NOT AVletters"
TAKES: Final = 3  # of every digit by every person
_SEED: Final = 1700
_HOP: Final = SAMPLE_RATE // 25  # samples of a frame
_WINDOW: Final = 512
_MFCC: Final = 13
_ACROSS, _DOWN = 80, 60  # as AVletters' frames: the first axis runs from left to right


@functools.cache  # speaking takes seconds, and a search and its confirmation ask twice
def stand_in(digits: int = 10, takes: int = TAKES) -> tuple[Clip, ...]:
    """Say ``takes`` takes of the first ``digits`` digits by every person, always the same ones.

    Returns:
        Clips with frames [n, 80, 60] uint8 and coefficients [n, 26], 25 a second.
    """
    return tuple(
        _clip(person, digit, take)
        for person in range(len(SPEAKERS))
        for digit in range(digits)
        for take in range(takes)
    )


def _clip(person: int, digit: int, take: int) -> Clip:
    chance = np.random.default_rng([_SEED, person, digit, take])
    sound = torch.from_numpy(speak(digit, SPEAKERS[person], chance).astype(np.float32)) / 32768
    loudness, spread = _movement(sound)
    return Clip(
        f"voice{person}_{digit}_{take}",
        f"voice{person}",
        str(digit),
        str(take),
        _lips(person, loudness, spread, chance),
        _coefficients(sound),
    )


def _movement(sound: torch.Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far the lips are open and spread at every frame, each [n] from 0 to 1."""
    window = torch.hann_window(_WINDOW)
    powers = torch.stft(
        sound, _WINDOW, _HOP, window=window, pad_mode="constant", return_complex=True
    )
    magnitudes = powers.abs().double().numpy()
    hertz = np.arange(len(magnitudes)) * SAMPLE_RATE / _WINDOW
    loud = np.sqrt(np.square(magnitudes[hertz < 1000]).sum(0))
    band = magnitudes[(hertz > 900) & (hertz < 2800)]
    centre = (band * hertz[(hertz > 900) & (hertz < 2800), None]).sum(0) / (band.sum(0) + 1e-9)
    return loud / (loud.max() + 1e-9), np.clip((centre - 900) / 1900, 0, 1)


def _lips(
    person: int,
    opening: NDArray[np.float64],
    spread: NDArray[np.float64],
    chance: np.random.Generator,
) -> NDArray[np.uint8]:
    """Draw the frames of a clip, [n, 80, 60]: two ellipses, soft at their edges."""
    own = np.random.default_rng([_SEED, person])
    wide, high, skin, tone = own.uniform([0.40, 0.12, 120, 60], [0.50, 0.20, 190, 100])
    across = np.linspace(-1, 1, _ACROSS)[:, None] - chance.uniform(-0.06, 0.06)
    down = np.linspace(-0.75, 0.75, _DOWN) - chance.uniform(-0.06, 0.06)
    half_width = (wide + 0.25 * spread)[:, None, None]
    half_height = (high + 0.3 * opening)[:, None, None]
    outer = np.hypot(across / half_width, down / half_height)
    inner = np.hypot(across / (0.8 * half_width), down / (half_height - 0.8 * high))
    lips, mouth = _inside(outer), _inside(inner)
    grey = skin + (tone - skin) * lips + (20 - tone) * lips * mouth
    grey += 4 * chance.standard_normal(grey.shape)
    frames: NDArray[np.uint8] = np.clip(np.round(grey), 0, 255).astype(np.uint8)
    return frames


def _inside(radius: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(np.clip(20 * (radius - 1), -40, 40)))


@functools.cache
def _transform() -> torch.nn.Module:
    made: torch.nn.Module = transforms.MFCC(
        SAMPLE_RATE, _MFCC, melkwargs={"n_fft": _WINDOW, "hop_length": _HOP, "n_mels": 26}
    )
    return made


def _coefficients(sound: torch.Tensor) -> NDArray[np.float32]:
    """Mel-frequency cepstral coefficients and their changes, [n, 26]."""
    found = _transform()(sound[None])
    changes = functional.compute_deltas(found, 5)
    coefficients: NDArray[np.float32] = torch.cat([found, changes], 1)[0].T.contiguous().numpy()
    return coefficients
