"""Sound files of any encoding that libsndfile reads, brought to 8 kHz, mono, 16-bit."""

from __future__ import annotations

import io
import math
from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from fusion_search.datasets.errors import count_label

SAMPLE_RATE: Final = 8000
_RATES: Final = (1_000, 192_000)
_MOST_SECONDS: Final = 60  # of a spoken digit
_MOST_VALUES: Final = 1 << 24  # in one file, of all its channels: 128 MiB while it is converted


class SoundError(ValueError):
    """A sound file cannot be used; the message says what about it, in a few words."""


@dataclass(frozen=True)
class Sound:
    """Samples [n] int16 at 8 kHz, and in words what was done to a file to get them."""

    samples: NDArray[np.int16]
    changes: tuple[str, ...]


def read_sound(content: bytes) -> Sound:
    """Read a sound file from its content.

    Raises:
        SoundError: it is none, is empty or too long, or its samples are no finite numbers.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            rate, frames = file.samplerate, file.frames
            # Before anything is allocated: a small file can promise, or pack, years of silence.
            if not _RATES[0] <= rate <= _RATES[1]:
                raise SoundError(f"is at {rate:,} Hz; {_RATES[0]:,} to {_RATES[1]:,} can be read")
            if frames > _MOST_SECONDS * rate or frames * file.channels > _MOST_VALUES:
                raise SoundError(
                    f"lasts {frames / rate:,.0f} s with {count_label(file.channels, 'channel')}; a "
                    f"spoken digit may last {_MOST_SECONDS} s"
                )
            plain = (rate, file.channels, file.subtype) == (SAMPLE_RATE, 1, "PCM_16")
            values = file.read(dtype="int16" if plain else "float64")
    except soundfile.LibsndfileError as error:
        raise SoundError(f"is not a sound file that libsndfile reads: {error}") from error
    if not len(values):
        raise SoundError("has no samples")
    return Sound(values, ()) if plain else _converted(values, rate)


def _converted(values: NDArray[np.float64], rate: int) -> Sound:
    """Values in -1 .. 1, [n] or [n, channels]."""
    changes = []
    if not np.isfinite(values).all():
        raise SoundError("has samples that are no finite numbers")
    if values.ndim > 1:
        values = values.mean(axis=1)
        changes.append("mixed down to mono")
    if rate != SAMPLE_RATE:
        from scipy.signal import resample_poly  # here, since it costs each process 150 MB and 2 s

        common = math.gcd(rate, SAMPLE_RATE)
        values = resample_poly(values, SAMPLE_RATE // common, rate // common)
        changes.append("resampled to 8 kHz")
    scaled = np.round(values * 32768)
    if (np.abs(scaled) > 32768).any():
        changes.append("clipped")
    return Sound(np.clip(scaled, -32768, 32767).astype(np.int16), tuple(changes))


def counted(sounds: list[Sound]) -> str:
    """What was done to how many of them, in words; empty when nothing was."""
    counts = Counter(change for one in sounds for change in one.changes)
    return ", ".join(f"{count:,} {change}" for change, count in sorted(counts.items()))
