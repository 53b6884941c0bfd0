from __future__ import annotations

import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_clips import clip, htk, letter, write_letter

from fusion_search.datasets.clips import avletters, folder
from fusion_search.datasets.clips.avletters import find_avletters, read_avletters
from fusion_search.datasets.clips.clip import CLIP_KIND, Clip
from fusion_search.datasets.clips.data import ClipsSettings, unread_clips
from fusion_search.datasets.clips.folder import find_clips, read_clips
from fusion_search.datasets.decoded import decoded, in_memory
from fusion_search.datasets.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/fusion-search/decoded"


def equal(one: Clip, other: Clip) -> bool:
    names = ("name", "person", "label", "take")
    return all(getattr(one, name) == getattr(other, name) for name in names) and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("frames", "coefficients")
    )


def test_avletters_drops_the_last_frame_and_keeps_every_second_vector(tmp_path: Path) -> None:
    frames, vectors = letter(5, 9)
    write_letter(tmp_path, "A2_Yi", frames, vectors)
    (read,) = read_avletters(find_avletters(tmp_path))
    assert (read.name, read.person, read.label, read.take) == ("A2_Yi", "Yi", "A", "2")
    assert np.array_equal(read.frames, frames[:4])
    assert np.array_equal(read.coefficients, vectors[[0, 2, 4, 6]])


@pytest.mark.parametrize(
    ("name", "frames", "vectors", "kept"),
    [("M1_Verity", 20, 31, 15), ("M2_Anya", 20, 39, 19), ("X3_Nicola", 30, 46, 23)],
)
def test_where_lengths_do_not_fit_the_shorter_decides(
    tmp_path: Path, name: str, frames: int, vectors: int, kept: int
) -> None:
    write_letter(tmp_path, name, *letter(frames, vectors))
    (read,) = read_avletters(find_avletters(tmp_path))
    assert len(read.frames) == len(read.coefficients) == kept


def test_an_archive_gives_the_same_clips_paired_by_name(tmp_path: Path) -> None:
    for number, name in enumerate(("B1_Yi", "A1_Yi", "A1_Bill")):
        write_letter(tmp_path / "avletters", name, *letter(4 + number, 7 + 2 * number, number))
    apart = {one.name: one for one in read_avletters(find_avletters(tmp_path))}
    archive = tmp_path / "packed/avletters.tar.xz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:xz") as file:
        for name in ("Audio", "Lips"):
            file.add(tmp_path / "avletters" / name, f"avletters/{name}")
    packed = {one.name: one for one in read_avletters(find_avletters(archive.parent))}
    assert apart.keys() == packed.keys() == {"B1_Yi", "A1_Yi", "A1_Bill"}
    assert all(equal(apart[name], packed[name]) for name in apart)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda lips, mfcc: mfcc.unlink(), "has no partner"),
        (lambda lips, mfcc: lips.rename(lips.with_name("A-1-lips.mat")), "has no partner"),
        (lambda lips, mfcc: mfcc.write_bytes(htk(letter(1, 9)[1])[:-1]), "is damaged (947 bytes"),
        (lambda lips, mfcc: mfcc.write_bytes(b"RIFF" * 9), "is not that of 26 coefficients"),
        (lambda lips, mfcc: lips.write_bytes(b"GIF89a" * 99), "is damaged (no whole MATLAB file"),
        (lambda lips, mfcc: mfcc.write_bytes(htk(np.full((9, 26), np.nan))), "is no number"),
    ],
)
def test_damaged_foreign_and_missing_files_of_avletters(
    tmp_path: Path, change: object, sentence: str
) -> None:
    paths = write_letter(tmp_path, "A1_Yi", *letter(5, 9))
    change(*paths)  # type: ignore[operator]
    with pytest.raises(DataError) as caught:
        list(read_avletters(find_avletters(tmp_path)))
    assert sentence in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="AVletters is missing from"):
        find_avletters(tmp_path)
    with pytest.raises(DataError, match="is missing: put clips there"):
        find_clips(tmp_path / "clips")
    with pytest.raises(DataError, match="holds no clip: put PERSON_LABEL_TAKE"):
        find_clips(tmp_path)


def test_a_folder_of_arrays(tmp_path: Path) -> None:
    wanted = [clip("ann_one_1"), clip("bob_two_1", 5, 7)]
    for one in wanted:
        arrays = {"frames": one.frames, "coefficients": one.coefficients}
        np.savez(tmp_path / f"{one.name}.npz", **arrays)
    assert all(map(equal, read_clips(find_clips(tmp_path)), wanted))
    np.savez(tmp_path / "nobody.npz", frames=wanted[0].frames)
    with pytest.raises(DataError, match="is not PERSON_LABEL_TAKE"):
        list(read_clips(find_clips(tmp_path)))


@pytest.mark.parametrize(
    ("stem", "person", "label"),
    [
        ("s03_f_zero_2", "s03", "0"),
        ("Seven-s36-clip4", "s36", "7"),
        ("4_Tom_slow", "Tom", "4"),
        ("Mary_8_2", "Mary", "8"),
    ],
)
def test_raw_dumps_leave_out_the_frame_that_is_never_set(
    tmp_path: Path, stem: str, person: str, label: str
) -> None:
    chance = np.random.default_rng(0)
    frames, coefficients = chance.uniform(0, 255, (3, 90, 120)), chance.normal(size=(4, 26))
    frames[0] = np.nan
    for part, values in (("Video frames", frames), ("MFCCs", coefficients)):
        (tmp_path / part).mkdir()
        values.tofile(tmp_path / part / f"{stem}.txt")
    (read,) = read_clips(find_clips(tmp_path))
    assert (read.person, read.label) == (person, label)
    assert np.array_equal(read.frames, frames[1:].astype(np.float32))
    assert np.array_equal(read.coefficients, coefficients.astype(np.float32))
    (tmp_path / "MFCCs" / f"{stem}.txt").unlink()
    with pytest.raises(DataError, match="has no partner of its name in 'MFCCs'"):
        list(read_clips([tmp_path / "Video frames" / f"{stem}.txt"]))


def test_clips_are_decoded_once_and_damage_of_the_copy_is_noticed(
    tmp_path: Path, cache: Path
) -> None:
    source = tmp_path / "ann_one_1.npz"
    source.write_bytes(b"1")
    wanted, reads = [clip("ann_one_1"), clip("bob_two_1", 5, 7)], []

    def read() -> object:
        reads.append(1)
        yield from wanted

    def ask() -> list[Clip]:
        return list(decoded(CLIP_KIND, [source], read()).records)  # type: ignore[arg-type]

    assert all(map(equal, ask(), wanted))
    assert all(map(equal, ask(), wanted))
    assert len(reads) == 1
    assert (
        decoded(CLIP_KIND, [source], iter(())).fingerprint
        == in_memory(CLIP_KIND, wanted).fingerprint
    )
    (values,) = cache.glob("*.bin")
    for content in (values.read_bytes()[:-1], b"x" + values.read_bytes()[1:]):
        values.write_bytes(content)
        os.utime(values, ns=(1, len(content)))
        assert all(map(equal, ask(), wanted))
    assert len(reads) == 3


def test_who_decodes_at_once_in_another_order_spoils_no_copy(tmp_path: Path, cache: Path) -> None:
    source = tmp_path / "ann_one_1.npz"
    source.write_bytes(b"1")
    wanted, met = [clip("ann_one_1"), clip("bob_two_1", 5, 7)], []

    def make(**fields: Any) -> Clip:
        if not met:  # the other begins and ends within this one's
            met.append(1)
            decoded(CLIP_KIND, [source], reversed(wanted))
        return Clip(**fields)

    found = decoded(replace(CLIP_KIND, make=make), [source], iter(wanted))
    assert all(map(equal, found.records, wanted))
    again = decoded(CLIP_KIND, [source], iter(()))
    assert all(map(equal, again.records, wanted))
    assert len(list(cache.iterdir())) == 1


def test_clips_of_one_source_have_one_shape() -> None:
    other = clip("bob_two_1")
    turned = Clip("x", "x", "x", "1", other.frames.swapaxes(1, 2), other.coefficients)
    with pytest.raises(DataError, match="frames of x are 4 x 6, those of bob_two_1 6 x 4"):
        in_memory(CLIP_KIND, [other, turned])
    with pytest.raises(DataError, match="bob_two_1 is there twice"):
        in_memory(CLIP_KIND, [other, other])


def is_there() -> bool:
    try:
        return bool(find_avletters(Path(os.environ["FUSION_SEARCH_DATA"])))
    except (DataError, KeyError):
        return False


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(not is_there(), reason="FUSION_SEARCH_DATA has no AVletters")
def test_avletters_itself() -> None:
    clips = list(read_avletters(find_avletters(Path(os.environ["FUSION_SEARCH_DATA"]))))
    assert len(clips) == 780
    assert in_memory(CLIP_KIND, clips).fingerprint == avletters.FINGERPRINT
    lengths = {one.name: len(one.frames) for one in clips}
    assert (min(lengths.values()), max(lengths.values())) == (11, 39)
    assert [lengths[one] for one in ("M1_Verity", "M2_Anya", "X3_Nicola")] == [15, 19, 23]


def test_files_larger_than_a_clip_or_the_data_are_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lips_file, mfcc = write_letter(tmp_path / "avletters", "A1_Yi", *letter(5, 9))
    sizes = [path.stat().st_size for path in (lips_file, mfcc)]
    archive = tmp_path / "packed/avletters.tar.xz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:xz") as file:
        for path in (lips_file, mfcc):
            file.add(path, f"avletters/{path.relative_to(tmp_path / 'avletters')}")

    def read(place: Path, **most: int) -> int:
        for name, value in most.items():
            monkeypatch.setattr(avletters, name, value)
        return len(list(read_avletters(find_avletters(place))))

    bounds = {"_MOST_BYTES": max(sizes), "_MOST_UNPACKED": sum(sizes)}
    assert read(tmp_path, **bounds) == read(archive.parent, **bounds) == 1
    for place in (tmp_path, archive.parent):
        with pytest.raises(DataError, match=r"larger than"):
            read(place, _MOST_BYTES=max(sizes) - 1, _MOST_UNPACKED=sum(sizes))
    with pytest.raises(DataError, match=r"makes it larger than is read"):
        read(archive.parent, _MOST_BYTES=max(sizes), _MOST_UNPACKED=sum(sizes) - 1)


def test_arrays_larger_than_a_clip_are_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = clip("ann_one_1")
    path = tmp_path / "ann_one_1.npz"
    np.savez_compressed(path, frames=one.frames, coefficients=one.coefficients)
    with zipfile.ZipFile(path) as archive:
        most = max(entry.file_size for entry in archive.infolist())
    monkeypatch.setattr(folder, "_MOST_BYTES", most)
    assert len(list(read_clips(find_clips(tmp_path)))) == 1
    monkeypatch.setattr(folder, "_MOST_BYTES", most - 1)
    with pytest.raises(DataError, match=f"is larger than {most - 1:,} bytes"):
        list(read_clips(find_clips(tmp_path)))


def test_files_of_another_form_are_told(tmp_path: Path) -> None:
    write_letter(tmp_path, "A2_Yi", *letter(5, 9))
    own = tmp_path / "clips"
    own.mkdir()
    np.savez(own / "a_1_1.npz", frames=np.zeros((1, 2, 2)), coefficients=np.zeros((1, 2)))
    settings = [ClipsSettings(source="avletters"), ClipsSettings(source="clips", folder="clips")]
    assert [unread_clips(one, tmp_path) for one in settings] == ["", ""]
    for path in (tmp_path / "Lips/A3_Yi.mat", own / "deeper/a_1_2.npz", own / "a_1_3.NPZ"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    told = [unread_clips(one, tmp_path) for one in settings]
    assert "1 file of " in told[0]
    assert told[0].endswith(
        " is not read, such as Lips/A3_Yi.mat; what is read is Lips/A1_PERSON-lips.mat and "
        "Audio/mfcc/Clean/A1_PERSON.mfcc"
    )
    assert told[1].startswith(
        "2 files of clips/ are not read, such as a_1_3.NPZ and deeper/a_1_2.npz; what is read is "
        "PERSON_LABEL_TAKE.npz, or files in"
    )
    assert unread_clips(ClipsSettings(source="builtin"), tmp_path) == ""
