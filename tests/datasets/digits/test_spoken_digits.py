"""Spoken digits of any release, archive, folder and encoding; and what cannot be read."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from fusion_search.datasets.digits.sound_files import SoundError, read_sound
from fusion_search.datasets.digits.spoken_digits import (
    FILE,
    NAME,
    load_spoken_digits,
    read_recordings,
    unread_recordings,
)
from fusion_search.datasets.errors import DataError
from fusion_search.search.commands.command_line import main

REAL = os.environ.get("FUSION_SEARCH_DATA")
RAMP = np.arange(-50, 50, dtype=np.int16) * 300
needs_real_data = pytest.mark.skipif(not REAL, reason="FUSION_SEARCH_DATA is not set")


def sound(
    values: NDArray[Any] = RAMP, rate: int = 8000, subtype: str = "PCM_16", form: str = "WAV"
) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, values, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def archive(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_recordings_are_read_from_the_archive(tmp_path: Path) -> None:
    members = {
        "fsdd/recordings/7_theo_3.wav": sound(),
        "fsdd/recordings/._7_theo_3.wav": b"of macOS",
        "fsdd/recordings/notes.txt": b"x",
        "fsdd/7_theo_4.wav": b"x",
    }
    (one,), name, left_out = read_recordings(archive(tmp_path / "x.tar.gz", members))
    assert (one.name, one.label, left_out) == ("7_theo_3.wav", 7, 0)
    assert np.array_equal(one.samples, RAMP)
    assert name == f"1 recording by 1 speaker in x.tar.gz (NOT {NAME})"


@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        *(("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"), ("WAV", "DOUBLE")),
        *(("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("AIFF", "PCM_16")),
    ],
)
def test_an_encoding_without_loss_gives_the_same_samples(form: str, subtype: str) -> None:
    found = read_sound(sound(RAMP / 32768, subtype=subtype, form=form))
    assert np.array_equal(found.samples, RAMP)
    assert found.changes == ()


def test_eight_bits_give_the_nearest_samples() -> None:
    found = read_sound(sound(RAMP / 32768, subtype="PCM_U8"))
    assert np.abs(found.samples.astype(int) - RAMP).max() <= 256


@pytest.mark.parametrize("rate", [4000, 16000, 22050, 44100, 48000])
def test_another_rate_is_resampled_and_said(rate: int) -> None:
    """A tone of 440 Hz for half a second, against the same tone made at 8 kHz."""
    tone = np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate) / 2
    wanted = np.sin(2 * np.pi * 440 * np.arange(4000) / 8000) / 2 * 32768
    found = read_sound(sound(tone, rate, "PCM_24"))
    assert found.changes == ("resampled to 8 kHz",)
    assert len(found.samples) == 4000
    middle = slice(200, -200)  # beyond the filter's reach from the ends
    assert np.abs(found.samples[middle] - wanted[middle]).max() < 0.01 * 16384


def test_channels_are_mixed_down_and_clipping_is_said() -> None:
    both = np.stack([RAMP, -RAMP // 2], axis=1)
    found = read_sound(sound(both))
    assert found.changes == ("mixed down to mono",)
    assert np.array_equal(found.samples, np.round(both.mean(axis=1)))
    loud = read_sound(sound(np.array([0.5, 1.5, -2.0]), subtype="FLOAT"))
    assert loud.changes == ("clipped",)
    assert loud.samples.tolist() == [16384, 32767, -32768]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"RIFF", "is not a sound file"),
        (sound(RAMP[:0]), "has no samples"),
        (sound(rate=500), "is at 500 Hz; 1,000 to 192,000"),
        (sound(np.array([0.0, np.nan]), subtype="FLOAT"), "no finite numbers"),
        # Small files that are large once unpacked.
        (sound(np.zeros(8000 * 61, np.int16), form="FLAC"), "lasts 61 s with 1 channel; a"),
        (sound(np.zeros((48000 * 50, 8), np.int16), 48000, form="FLAC"), "with 8 channels"),
    ],
    # The content has a time in it, and two processes must name the tests alike.
    ids=["no sound", "empty", "slow", "no number", "long", "wide"],
)
def test_a_sound_that_cannot_be_used_says_why(content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(SoundError, match=reason):
        read_sound(content)
    path = archive(tmp_path / "x.tar.gz", {"a/recordings/7_theo_3.wav": content})
    with pytest.raises(DataError, match=rf"x.tar.gz cannot be used \(7_theo_3.wav .*{reason}"):
        read_recordings(path)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"../recordings/7_theo_3.wav": sound()}, "leads outside"),
        ({"/recordings/7_theo_3.wav": sound()}, "leads outside"),
        ({"recordings/seven.wav": sound()}, "seven.wav is not named {digit}_{speaker}_{index}"),
        ({"recordings/7_a_1.wav": sound(), "recordings/7_a_1.flac": sound()}, "is in it twice"),
        ({"recordings/readme.md": b"x"}, "has no recordings/"),
    ],
)
def test_an_archive_that_cannot_be_used_says_why(
    tmp_path: Path, members: dict[str, bytes], reason: str
) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read_recordings(archive(tmp_path / "x.tar.gz", members))
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    "place",
    [
        *("fsdd/free-spoken-digit-dataset-1.0.10.tar.gz", "fsdd/mine.tar.gz", "v1.0.10.tar.gz"),
        *("free-spoken-digit-dataset-master.tar.gz", FILE.name, f"fsdd/{FILE.name}"),
    ],
)
def test_another_release_is_taken_by_its_own_name(place: str, tmp_path: Path) -> None:
    members = {"x/recordings/7_theo_3.wav": sound(), "x/recordings/1_Zoë-2_0.wav": sound(RAMP[1:])}
    path = archive(tmp_path / place, members)
    recordings, name = load_spoken_digits(tmp_path)
    assert [(one.name, one.label) for one in recordings] == [
        ("1_Zoë-2_0.wav", 1),
        ("7_theo_3.wav", 7),
    ]
    assert name == f"2 recordings by 2 speakers in {path.name} (NOT {NAME})"


@pytest.mark.parametrize("place", ["recordings", "fsdd/recordings", "fsdd/mine/recordings"])
def test_a_folder_of_recordings_is_taken(place: str, tmp_path: Path) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True)
    (folder / "7_me_0.wav").write_bytes(sound(np.stack([RAMP, RAMP], axis=1), 16000))
    (folder / "7_me_1.flac").write_bytes(sound(form="FLAC"))
    (folder / ".DS_Store").write_bytes(b"x")
    recordings, name = load_spoken_digits(tmp_path)
    assert [one.name for one in recordings] == ["7_me_0.wav", "7_me_1.wav"]
    assert name == (
        f"2 recordings by 1 speaker in {folder.parent.name}/recordings/ "
        f"(1 mixed down to mono, 1 resampled to 8 kHz; NOT {NAME})"
    )


def test_two_that_could_be_meant_are_named(tmp_path: Path) -> None:
    for name in ("mine.tar.gz", "theirs.tar.gz"):
        archive(tmp_path / "fsdd" / name, {"recordings/7_theo_3.wav": sound()})
    with pytest.raises(DataError, match=r"any of .*mine.tar.gz, .*theirs.tar.gz could be meant"):
        load_spoken_digits(tmp_path)


def test_files_that_are_no_recordings_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "fsdd/recordings"
    folder.mkdir(parents=True)
    (folder / "1_a_0.wav").write_bytes(b"")
    assert unread_recordings(tmp_path) == ""
    (folder / "1_a_1.mp3").write_bytes(b"")
    assert unread_recordings(tmp_path) == (
        "1 file of recordings/ is not read, such as 1_a_1.mp3; what is read is "
        "DIGIT_SPEAKER_INDEX.wav, or .flac"
    )


@pytest.mark.real_data
@needs_real_data
def test_other_data_are_checked_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real recordings, all but one; and the real images, packed anew with a word behind."""
    assert REAL is not None
    shutil.copytree(Path(REAL) / "mnist", tmp_path / "mnist")
    with (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").open("ab") as file:
        file.write(b"a word behind")
    real = FILE.require(Path(REAL))
    with tarfile.open(real) as tar:
        wavs = [one for one in tar if one.name.endswith(".wav") and "/recordings/" in one.name]
        members = {one.name: tar.extractfile(one).read() for one in wavs[1:]}  # type: ignore[union-attr]
    archive(tmp_path / "fsdd" / "free-spoken-digit-dataset-1.0.10.tar.gz", members)
    assert main(["data", "check", "digits", "--folder", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("present  ") == 4
    assert "t10k-labels-idx1-ubyte.gz: 13 bytes behind its gzip content are left out" in printed
    name = f"2,499 recordings by 5 speakers in free-spoken-digit-dataset-1.0.10.tar.gz (NOT {NAME})"
    assert f"data: MNIST and {name} (fingerprint " in printed
    assert "paper" not in printed
