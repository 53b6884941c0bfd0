"""Spoken digits: the Free Spoken Digit Dataset, v1.0.9 or another release, or one's own recordings.

v1.0.9 has 2,500 recordings by 5 speakers, 8 kHz, 16-bit, mono. An archive is read as it is; nothing
is written to disk.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from fusion_search.datasets.digits.recording import Recording
from fusion_search.datasets.digits.sound_files import Sound, SoundError, counted, read_sound
from fusion_search.datasets.errors import DataError, count_label
from fusion_search.datasets.files import (
    DataFile,
    damaged,
    files_below,
    read_packed,
    unread_words,
    unusable,
)

NAME: Final = "Free Spoken Digit Dataset v1.0.9"
# Over names and samples (see ``content_digest``): GitHub packs an archive anew on request, so the
# checksum of the .tar.gz itself may differ between downloads.
DIGEST: Final = "5add2ee0f31a97bb5b8267aba3de6bac5656fe7df8b2ee550b8ea01e27eb820c"
_MOST_BYTES: Final = 64 << 20  # of an archive's content, and of one file in a folder
_MOST_SAMPLES: Final = 1 << 28  # of all recordings at 8 kHz, which are 512 MiB then
_FOLDER: Final = "recordings"
_NAME: Final = re.compile(r"([0-9])_(.+)_[0-9]+\.(wav|flac)")
_SOUNDS: Final = (".wav", ".flac")


def read_recordings(path: Path) -> tuple[list[Recording], str, int]:
    """Read every ``recordings/{digit}_{speaker}_{index}.wav`` (or .flac) of an archive.

    Args:
        path: of the archive, packed by gzip or not, or of the folder ``recordings`` itself.

    Returns:
        The recordings, by name, what they are in words, and how many bytes that follow the packed
        content were left out.

    Raises:
        DataError: something in it cannot be read, is far larger than it should be, or leads
            outside; or it has no recordings.
    """
    left_out = 0
    if path.is_dir():
        files = _files_of_folder(path)
    else:
        content, left_out = read_packed(path, _MOST_BYTES)
        files = _files_of_archive(content, path)
    recordings: dict[str, Recording] = {}
    sounds, speakers, left = [], set(), _MOST_SAMPLES
    for file, content in files:
        match = _NAME.fullmatch(file)
        if match is None:
            raise unusable(path, f"{file} is not named {{digit}}_{{speaker}}_{{index}}.wav")
        name = f"{file.rpartition('.')[0]}.wav"  # the same recording, however it is encoded
        if name in recordings:
            raise unusable(path, f"{name} is in it twice")
        sound = _read_sound(content, file, path)
        left -= len(sound.samples)
        if left < 0:
            raise unusable(path, f"its recordings have more than {_MOST_SAMPLES:,} samples")
        recordings[name] = Recording(name, int(match[1]), sound.samples)
        sounds.append(sound)
        speakers.add(match[2])
    if not recordings:
        raise unusable(path, "it has no recordings/{digit}_{speaker}_{index}.wav")
    ordered = [recordings[name] for name in sorted(recordings)]
    return ordered, _named(path, ordered, len(speakers), counted(sounds)), left_out


def _read_sound(content: bytes, file: str, path: Path) -> Sound:
    try:
        return read_sound(content)
    except SoundError as error:
        raise unusable(path, f"{file} {error}") from error


def _named(path: Path, recordings: list[Recording], speakers: int, changes: str) -> str:
    if content_digest(recordings) == DIGEST:
        return NAME
    place = f"{path.parent.name}/{path.name}/" if path.is_dir() else path.name
    people = count_label(speakers, "speaker")
    done = f"{changes}; " if changes else ""
    return f"{count_label(len(recordings), 'recording')} by {people} in {place} ({done}NOT {NAME})"


def _files_of_folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.iterdir()):
        if _is_sound(file.name) and file.is_file():
            if file.stat().st_size > _MOST_BYTES:
                raise unusable(path, f"{file.name} is larger than {_MOST_BYTES:,} bytes")
            try:
                content = file.read_bytes()
            except OSError as error:
                raise unusable(path, str(error)) from error
            yield file.name, content


def _files_of_archive(content: bytes, path: Path) -> Iterator[tuple[str, bytes]]:
    left = _MOST_BYTES
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                if place.is_absolute() or ".." in place.parts:
                    raise unusable(path, f"member {member.name!r} leads outside the archive")
                if place.parent.name != _FOLDER or not _is_sound(place.name) or not member.isreg():
                    continue
                left -= member.size  # a sparse member says more than the archive holds
                if left < 0:
                    raise unusable(path, f"its recordings are larger than {_MOST_BYTES:,} bytes")
                file = archive.extractfile(member)
                assert file is not None  # of a regular file
                yield place.name, file.read()
    except DataError:
        raise
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:  # of hostile headers
        raise damaged(path, f"not a whole .tar.gz archive: {error}") from error


def _is_sound(name: str) -> bool:
    # "._x.wav" is what macOS adds to an archive for each file.
    return name.endswith(_SOUNDS) and not name.startswith(".")


def content_digest(recordings: Sequence[Recording]) -> str:
    """SHA-256 over name and samples (little-endian 16-bit) of each recording, in order."""
    digest = hashlib.sha256()
    for recording in recordings:
        digest.update(recording.name.encode(errors="surrogateescape"))
        digest.update(recording.samples.astype("<i2").tobytes())
    return digest.hexdigest()


def _describe(path: Path) -> tuple[str, int]:
    _, name, left_out = read_recordings(path)
    return name, left_out


_RELEASE: Final = "free-spoken-digit-dataset-*"
FILE: Final = DataFile(
    name="free-spoken-digit-dataset-1.0.9.tar.gz",
    folder="fsdd",
    other_folders=("",),
    other_names=("v1.0.9.tar.gz",),
    substitutes=(
        *("fsdd/*.tar.gz", "fsdd/*.tgz", "fsdd/*.tar", f"fsdd/{_FOLDER}", f"fsdd/*/{_FOLDER}"),
        *(f"{_RELEASE}.tar.gz", f"{_RELEASE}/{_FOLDER}", "v[0-9]*.tar.gz", _FOLDER),
    ),
    url=("https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.9.tar.gz"),
    size=11_937_629,
    describe=_describe,
    expected=NAME,
)


def unread_recordings(folder: Path) -> str:
    """Which files of a folder of recordings are not read; empty without any, and of an archive.

    Args:
        folder: the data folder.
    """
    path = FILE.require(folder)
    if not path.is_dir():
        return ""
    read = [one for one in path.iterdir() if _is_sound(one.name)]
    form = "DIGIT_SPEAKER_INDEX.wav, or .flac"
    return unread_words(path, files_below(path), read, form)


def load_spoken_digits(folder: Path) -> tuple[list[Recording], str]:
    """Load the recordings, by name, and what they are in words; of v1.0.9 there are 2,500.

    Raises:
        DataError: they are missing or cannot be read.
    """
    recordings, name, _ = read_recordings(FILE.require(folder))
    return recordings, name
