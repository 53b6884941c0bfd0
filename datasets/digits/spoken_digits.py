"""Free Spoken Digit Dataset, tag v1.0.9: 2,500 recordings, 5 speakers, 8 kHz, 16-bit, mono.

Read straight from the archive of the tag; nothing is written to disk.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from fusion_search.datasets.errors import DataError
from fusion_search.datasets.files import DataFile, damaged, decompressed

SAMPLE_RATE: Final = 8000
SPEAKERS: Final = ("george", "jackson", "nicolas", "theo", "yweweler")
TAKES: Final = 50
# Over names and samples (see ``content_digest``): GitHub packs an archive anew on request, so the
# checksum of the .tar.gz itself may differ between downloads.
DIGEST: Final = "5add2ee0f31a97bb5b8267aba3de6bac5656fe7df8b2ee550b8ea01e27eb820c"
_MOST_BYTES: Final = 64 << 20
_NAME: Final = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")


@dataclass(frozen=True)
class Recording:
    """One spoken digit: file name, its label, and its samples [n] int16."""

    name: str
    label: int
    samples: NDArray[np.int16]


def _read_wav(content: bytes, name: str, path: Path) -> NDArray[np.int16]:
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as wav:
            kind = (wav.samplerate, wav.channels, wav.subtype)
            samples: NDArray[np.int16] = wav.read(dtype="int16")
    except soundfile.LibsndfileError as error:
        raise damaged(path, f"{name} is not a sound file: {error}") from error
    if kind != (SAMPLE_RATE, 1, "PCM_16"):
        raise damaged(
            path, f"{name} is {kind[0]} Hz, {kind[1]} channels, {kind[2]}; 8 kHz mono 16-bit needed"
        )
    return samples


def read_archive(path: Path) -> list[Recording]:
    """Read every ``recordings/{digit}_{speaker}_{index}.wav`` of an archive.

    Returns:
        The recordings, by name.

    Raises:
        DataError: the archive cannot be read, is far larger than it should be, a member's name
            leads outside it, or a recording is not 8 kHz, mono, 16-bit.
    """
    recordings, left = [], _MOST_BYTES
    content = decompressed(path, _MOST_BYTES)
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                if place.is_absolute() or ".." in place.parts:
                    raise damaged(path, f"member {member.name!r} leads outside the archive")
                match = _NAME.fullmatch(place.name)
                if not match or place.parent.name != "recordings" or not member.isreg():
                    continue
                left -= member.size  # a sparse member says more than the archive holds
                if left < 0:
                    raise damaged(path, f"its recordings are larger than {_MOST_BYTES:,} bytes")
                file = archive.extractfile(member)
                assert file is not None  # of a regular file
                samples = _read_wav(file.read(), place.name, path)
                recordings.append(Recording(place.name, int(match[1]), samples))
    except DataError:
        raise
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:  # of hostile headers
        raise damaged(path, f"not a whole .tar.gz archive: {error}") from error
    return sorted(recordings, key=lambda recording: recording.name)


def content_digest(recordings: Sequence[Recording]) -> str:
    """SHA-256 over name and samples (little-endian 16-bit) of each recording, in order."""
    digest = hashlib.sha256()
    for recording in recordings:
        digest.update(recording.name.encode())
        digest.update(recording.samples.astype("<i2").tobytes())
    return digest.hexdigest()


def _checked(path: Path) -> list[Recording]:
    recordings = read_archive(path)
    wanted = {
        f"{digit}_{speaker}_{take}.wav"
        for digit in range(10)
        for speaker in SPEAKERS
        for take in range(TAKES)
    }
    found = {recording.name for recording in recordings}
    if len(recordings) != len(wanted) or found != wanted:
        raise damaged(path, f"{len(wanted & found):,} of {len(wanted):,} recordings found")
    if content_digest(recordings) != DIGEST:
        raise damaged(path, "its recordings are not those of v1.0.9")
    return recordings


def _verify(path: Path) -> None:
    _checked(path)


FILE: Final = DataFile(
    name="free-spoken-digit-dataset-1.0.9.tar.gz",
    folder="fsdd",
    other_folders=("",),
    other_names=("v1.0.9.tar.gz",),
    url=("https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.9.tar.gz"),
    size=11_937_629,
    verify=_verify,
)


def load_spoken_digits(folder: Path) -> list[Recording]:
    """Load the 2,500 recordings, by name.

    Raises:
        DataError: the archive is missing or damaged.
    """
    return _checked(FILE.require(folder))
