"""A small source-filter voice that speaks the ten digits.

A glottal pulse train and breath noise pass a cascade of formant resonators that move through the
targets of each word's phonemes; fricatives and bursts are noise through one wide resonator
(Klatt, "Software for a cascade/parallel formant synthesizer", 1980, much reduced).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import signal

SAMPLE_RATE: Final = 8000
_BLOCK: Final = 40  # samples (5 ms) between updates of the resonators
_BANDWIDTHS: Final = (70.0, 100.0, 140.0, 220.0)  # Hz, of the four formants
_FOURTH_FORMANT: Final = 3400.0  # Hz, the same for all phonemes


class Phoneme(NamedTuple):
    """Targets of one phoneme: time in ms, formants in Hz, amplitudes from 0 to 1."""

    time: float
    formants: tuple[float, float, float]
    voice: float
    friction: float = 0.0
    friction_centre: float = 2500.0


_PHONEMES: Final = {
    "iy": Phoneme(110, (290, 2250, 2950), 0.9),
    "ih": Phoneme(75, (400, 1950, 2550), 1.0),
    "ey": Phoneme(90, (480, 1900, 2500), 1.0),
    "eh": Phoneme(90, (560, 1780, 2450), 1.0),
    "a": Phoneme(100, (740, 1250, 2500), 1.0),
    "ah": Phoneme(110, (640, 1200, 2400), 1.0),
    "ao": Phoneme(120, (560, 850, 2450), 1.0),
    "ow": Phoneme(100, (450, 900, 2350), 1.0),
    "u": Phoneme(130, (310, 900, 2250), 0.9),
    "ax": Phoneme(60, (500, 1450, 2450), 0.8),
    "w": Phoneme(65, (300, 650, 2200), 0.6),
    "r": Phoneme(70, (330, 1100, 1550), 0.7),
    "n": Phoneme(80, (260, 1500, 2450), 0.35),
    "z": Phoneme(75, (270, 1500, 2500), 0.25, 0.10, 3500),
    "v": Phoneme(60, (250, 1100, 2200), 0.3, 0.05, 2000),
    "s": Phoneme(100, (300, 1600, 2550), 0.0, 0.22, 3600),
    "f": Phoneme(90, (300, 1100, 2200), 0.0, 0.10, 1900),
    "th": Phoneme(85, (300, 1350, 2500), 0.0, 0.08, 2900),
    "t": Phoneme(25, (350, 1750, 2600), 0.0, 0.25, 3200),
    "k": Phoneme(25, (350, 1900, 2300), 0.0, 0.22, 1900),
    "-": Phoneme(45, (350, 1750, 2500), 0.0),  # closure before a burst
}

WORDS: Final = (
    "z ih r ow",
    "w ah n",
    "t u u",
    "th r iy",
    "f ao r",
    "f a ih v",
    "s ih - k s",
    "s eh v ax n",
    "ey ih - t",
    "n a ih n",
)


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """One voice: pitch in Hz, formants relative to an average man, breath amplitude, time scale."""

    pitch: float
    formants: float
    breath: float
    time: float


SPEAKERS: Final = (
    Speaker(pitch=95, formants=0.94, breath=0.02, time=1.10),
    Speaker(pitch=110, formants=1.00, breath=0.05, time=0.90),
    Speaker(pitch=125, formants=0.97, breath=0.03, time=1.25),
    Speaker(pitch=140, formants=1.04, breath=0.08, time=1.00),
    Speaker(pitch=180, formants=1.10, breath=0.05, time=0.85),
    Speaker(pitch=200, formants=1.15, breath=0.10, time=1.15),
    Speaker(pitch=220, formants=1.18, breath=0.04, time=1.00),
    Speaker(pitch=250, formants=1.22, breath=0.07, time=0.95),
)


def _tracks(
    word: str, speaker: Speaker, generator: np.random.Generator
) -> tuple[NDArray[np.float64], int]:
    """Draw one take's targets: [blocks, 7] of formants 1-4, voice, friction and its centre."""
    phonemes = [_PHONEMES[name] for name in word.split()]
    times, targets = [], []
    start = 10.0
    tempo = speaker.time * math.exp(0.10 * generator.standard_normal())
    for phoneme in phonemes:
        time = phoneme.time * tempo * math.exp(0.12 * generator.standard_normal())
        scale = speaker.formants * np.exp(0.035 * generator.standard_normal(3))
        level = math.exp(0.2 * generator.standard_normal())
        target = [
            *(scale * phoneme.formants),
            _FOURTH_FORMANT * min(speaker.formants, 1.1),
            level * phoneme.voice,
            level * phoneme.friction,
            phoneme.friction_centre * math.exp(0.05 * generator.standard_normal()),
        ]
        # Held over the middle of the phoneme, then gliding to the next.
        times += [start + 0.3 * time, start + 0.75 * time]
        targets += [target, target]
        start += time
    blocks = int((start + 30) * SAMPLE_RATE / 1000) // _BLOCK
    moments = np.arange(blocks) * _BLOCK * 1000 / SAMPLE_RATE
    columns = np.array(targets).T
    tracks = np.stack([np.interp(moments, times, column) for column in columns], axis=1)
    fade = np.interp(moments, [0, 12, start - 15, start + 25], [0, 1, 1, 0])
    tracks[:, 4:6] *= fade[:, None]
    return tracks, blocks * _BLOCK


def _resonators(
    centres: NDArray[np.float64], bandwidths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Second-order resonators with gain 1 at 0 Hz, one per row, as [n, 6] sections."""
    radius = np.exp(-np.pi * bandwidths / SAMPLE_RATE)
    first = -2 * radius * np.cos(2 * np.pi * centres / SAMPLE_RATE)
    second = radius * radius
    zero, one = np.zeros_like(radius), np.ones_like(radius)
    return np.stack([1 + first + second, zero, zero, one, first, second], axis=-1)


def _source(pitch: float, samples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Glottal pulses: a falling pitch with a little jitter, smoothed to -12 dB per octave."""
    contour = pitch * np.linspace(1.08, 0.86, samples)
    contour *= np.exp(0.01 * np.repeat(generator.standard_normal(samples // _BLOCK), _BLOCK))
    phase = np.cumsum(contour / SAMPLE_RATE)
    pulses = np.diff(np.floor(phase), prepend=0.0)
    smooth = signal.lfilter([1.0], [1.0, -1.9, 0.9025], pulses)
    derivative = np.diff(smooth, prepend=0.0)  # lips radiate the derivative
    return np.asarray(derivative / np.sqrt(np.mean(derivative**2)))


def speak(digit: int, speaker: Speaker, generator: np.random.Generator) -> NDArray[np.int16]:
    """Say a digit once, with random variation of tempo, formants, levels and pitch.

    Returns:
        [n] int16 at 8 kHz; the peak is between 0.3 and 0.9 of full scale.
    """
    tracks, samples = _tracks(WORDS[digit], speaker, generator)
    pitch = speaker.pitch * math.exp(0.06 * generator.standard_normal())
    noise = generator.standard_normal(samples)
    source = _source(pitch, samples, generator) + speaker.breath * noise
    friction = generator.standard_normal(samples)

    amplitudes = np.repeat(tracks[:, 4:6], _BLOCK, axis=0)
    source, friction = source * amplitudes[:, 0], friction * amplitudes[:, 1]
    formants = _resonators(tracks[:, :4], np.broadcast_to(_BANDWIDTHS, (len(tracks), 4)))
    bands = _resonators(tracks[:, 6:], np.full((len(tracks), 1), 900.0))
    spoken = np.empty(samples)
    state, band_state = np.zeros((4, 2)), np.zeros((1, 2))
    for block in range(len(tracks)):
        now = slice(block * _BLOCK, (block + 1) * _BLOCK)
        voiced, state = signal.sosfilt(formants[block], source[now], zi=state)
        hiss, band_state = signal.sosfilt(bands[block], friction[now], zi=band_state)
        spoken[now] = voiced + hiss
    spoken *= generator.uniform(0.3, 0.9) / np.abs(spoken).max()
    return np.round(spoken * 32767).astype(np.int16)
