"""Tables as columns, and what their cells hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from PIL import Image

from fusion_search.datasets.errors import DataError
from fusion_search.datasets.tables import files
from fusion_search.datasets.tables.cells import as_input, decode
from fusion_search.datasets.tables.files import (
    FileError,
    check_file,
    read_array,
    read_image,
    read_sound,
    sound_length,
)
from fusion_search.datasets.tables.settings import Input
from fusion_search.datasets.tables.table import number_column, read_table


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,x\n2,y\n",
        "\ufeffa;b\r\n1;x\r\n\r\n2;y",
        'a\t"b"\n1\tx\n\n2\ty\n',
        '"a",b\n 1 ,"x"\n2,y\n',
    ],
)
def test_what_spreadsheets_write_is_one_table(tmp_path: Path, content: str) -> None:
    table = read_table(written(tmp_path, content))
    assert table.columns == {"a": ["1", "2"], "b": ["x", "y"]}
    assert table.names == ("a", "b")


def test_rows_are_numbered_as_a_spreadsheet_shows_them(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a,b\n1,x\n\n2,y\n3,z\n"))
    assert table.rows.tolist() == [2, 4, 5]
    left = table.without([4])
    assert left.at(1, "b") == "t.csv, row 5, column 'b'"
    with pytest.raises(DataError, match="no row 3"):
        table.without([3])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"a,b\n", "no example"),
        (b"\n\n", "no example|no name|empty"),
        (b"a,a\n1,2\n", "columns 1 and 2 are both called 'a'"),
        (b",a\n0,1\n", "row 1: column 1 has no name"),
        (b"a,b\n1,2\n1,2,3\n", "row 3 has 3 cells, the header 2"),
        (b"a,b\n1,\xe4\n", "row 2 holds byte 0xE4"),
        ("a,b\n1,2\n".encode("utf-16"), "no UTF-8"),
        (b'a,b\n1,"x\n2,y\n', "quotes"),
        (b"PAR1 and no more", "no whole Parquet file"),
    ],
)
def test_a_broken_table_is_refused_in_a_sentence(
    tmp_path: Path, content: bytes, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        read_table(written(tmp_path, content))


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'c'; it has 'a', 'b'"):
        read_table(written(tmp_path, "a,b\n1,2\n"), ["a", "c"])


def test_parquet_gives_values_and_arrays(tmp_path: Path) -> None:
    given = {"n": [1.5, 2.0], "s": ["x", "y"], "v": [[1.0, 2.0], [3.0, 4.0]], "m": [[[1], [2]]] * 2}
    pq.write_table(pa.table(given), tmp_path / "t.parquet")
    columns = read_table(tmp_path / "t.parquet").columns
    assert columns["n"] == given["n"]
    assert columns["s"] == given["s"]
    assert [one.tolist() for one in columns["v"]] == given["v"]
    assert columns["m"][0] == [[1], [2]]
    struct = pa.table({"a": [1, 2], "b": [{"c": 1}, {"c": 2}]})
    pq.write_table(struct, tmp_path / "s.parquet")
    with pytest.raises(DataError, match="column 'b' holds struct"):
        read_table(tmp_path / "s.parquet")


def test_the_first_cell_that_is_no_number_is_named_and_the_others_counted(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a,b\n1,x\nten,x\n,x\nnan,x\n5,x\n"))
    with pytest.raises(DataError, match=r"row 3, column 'a' is 'ten'.*so are 2 others"):
        number_column(table, "a")


def test_an_image_is_what_pillow_reads(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "i.png")
    one = Input(kind="image", column="i", size=(6, 8))
    decoded = decode(one, "i.png", str(tmp_path))
    assert (decoded == pixels).all()
    given = as_input(one, decoded)
    assert isinstance(given, torch.Tensor)
    torch.testing.assert_close(given, torch.from_numpy(pixels).movedim(2, 0) / 255)
    half = Input(kind="image", column="i", size=(3, 4), colour=False)
    assert decode(half, "i.png", str(tmp_path)).shape == (3, 4, 1)
    deep = (np.arange(48).reshape(6, 8) * 1365).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "d.png")
    grey = Input(kind="image", column="i", size=(6, 8), colour=False)
    np.testing.assert_allclose(
        decode(grey, "d.png", str(tmp_path))[..., 0], deep / 65535, atol=1e-6
    )


def test_a_sound_is_mixed_down_resampled_cut_and_padded(tmp_path: Path) -> None:
    times = np.arange(8000) / 8000
    tone = np.sin(2 * np.pi * 200 * times)
    soundfile.write(tmp_path / "s.wav", np.stack([tone, 0 * tone], axis=1), 8000, subtype="FLOAT")
    one = Input(kind="sound", column="s", seconds=0.5, rate=4000)
    samples = decode(one, "s.wav", str(tmp_path))
    expected = 0.5 * np.sin(2 * np.pi * 200 * np.arange(2000) / 4000)
    np.testing.assert_allclose(samples[50:-50], expected[50:-50], atol=5e-3)
    long = Input(kind="sound", column="s", seconds=2, rate=8000)
    given = as_input(long, decode(long, "s.wav", str(tmp_path)))
    assert isinstance(given, dict)
    assert given["values"].shape == (1, 16000)
    assert given["lengths"] == 8000
    assert not given["values"][:, 8000:].any()


@pytest.mark.parametrize(
    ("kind", "shape", "found"),
    [
        ("image", (5, 7), (5, 7, 1)),
        ("image", (3, 5, 7), (5, 7, 1)),
        ("clip", (9, 5, 7), (4, 5, 7, 1)),
        ("clip", (9, 5, 7, 3), (4, 5, 7, 1)),
        ("series", (9,), (4, 1)),
        ("series", (9, 2), (4, 2)),
        ("vector", (9,), (9,)),
    ],
)
def test_arrays_are_brought_to_one_form(kind: Any, shape: Any, found: Any) -> None:
    length = 4 if kind in ("clip", "series") else 0
    one = Input(kind=kind, column="a", length=length, size=(5, 7), colour=False)
    assert decode(one, np.ones(shape), "").shape == found


def test_a_clip_has_evenly_spaced_frames() -> None:
    frames = np.arange(10, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    one = Input(kind="clip", column="a", length=5, size=(2, 2), colour=False)
    assert decode(one, frames, "")[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("cell", "content", "words"),
    [
        ("a.npy", b"\x93NUMPY nonsense", "no .npy file"),
        ("a.wav", b"RIFF", "no sound"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "no (whole )?image"),
        ("a.txt", b"hello", "no file of kind"),
        ("gone.npy", None, "is not there"),
        ("[1, 2", None, "no array"),
        ("[[1], [2, 3]]", None, "no array"),
        ('["a"]', None, "allowed: numbers"),
        ("[1, NaN]", None, "not finite"),
    ],
)
def test_a_broken_cell_says_what_is_wrong(
    tmp_path: Path, cell: str, content: bytes | None, words: str
) -> None:
    kinds: Any = {".wav": "sound", ".png": "image"}
    kind = kinds.get(Path(cell).suffix, "vector")
    one = Input(kind=kind, column="a", seconds=1.0 if kind == "sound" else 0)
    if content is not None:
        (tmp_path / cell).write_bytes(content)
    with pytest.raises(FileError, match=words):
        decode(one, cell, str(tmp_path))


def test_a_cell_that_is_too_long_for_the_reader_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 2 .* 131,072 characters belong into \.npy files"):
        read_table(written(tmp_path, f"a\tb\n[{'0,' * 70_000}0]\tx\n"))


def test_names_of_parquet_may_have_spaces_around_them_and_dots(tmp_path: Path) -> None:
    pq.write_table(pa.table({" a ": [1.0], "a.b": [[2.0]]}), tmp_path / "t.parquet")
    columns = read_table(tmp_path / "t.parquet").columns
    assert columns["a"] == [1.0]
    assert columns["a.b"][0].tolist() == [2.0]


def test_a_number_that_float32_does_not_hold_is_named(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, f"a,b\n1,x\n1e300,x\n{'9' * 400},x\n"))
    with pytest.raises(DataError, match=r"row 3, column 'a' is '1e300'.*so is 1 other of"):
        number_column(table, "a")


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")  # opening it would wait for ever
    (tmp_path / "folder.wav").mkdir()
    for name, words in (
        ("pipe.wav", "is no file"),
        ("folder.wav", "is a folder"),
        ("none.wav", "is not there"),
        ("a" * 5000, "is not there"),
        ("a\0.wav", "is not there"),
    ):
        with pytest.raises(FileError, match=words):
            check_file(str(tmp_path / name))
    for read in (read_array, read_sound, sound_length):
        with pytest.raises(FileError, match="is no file"):
            read(str(tmp_path / "pipe.wav"))


def test_a_file_of_one_number_or_of_no_sound_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "n.npy", np.array(3.0))
    with pytest.raises(FileError, match="one number and no array"):
        read_array(str(tmp_path / "n.npy"))
    np.save(tmp_path / "n.npy", np.array([1e300]))
    with pytest.raises(FileError, match="too large for float32"):
        read_array(str(tmp_path / "n.npy"))
    for samples, rate, words in ((0, 8000, "no samples"), (9, 500, "is at 500 Hz")):
        soundfile.write(tmp_path / "s.wav", np.zeros(samples), rate)
        with pytest.raises(FileError, match=words):
            sound_length(str(tmp_path / "s.wav"))


def test_what_is_larger_than_an_example_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array, sound, image = (str(tmp_path / name) for name in ("a.npy", "s.wav", "p.png"))
    np.save(array, np.zeros((8, 4), np.float32))  # 128 bytes
    soundfile.write(sound, np.zeros(32), 8000)  # 128 bytes as float32
    Image.new("L", (16, 8)).save(image)  # 128 pixels
    for name in ("_MOST_BYTES", "_MOST_PIXELS"):
        monkeypatch.setattr(files, name, 128)
    assert read_array(array).shape == (8, 4)
    assert len(read_sound(sound)[0]) == 32
    assert read_image(image, colour=False).size == 128
    for name in ("_MOST_BYTES", "_MOST_PIXELS"):
        monkeypatch.setattr(files, name, 127)
    with pytest.raises(FileError, match="holds 128 bytes; allowed: 127"):
        read_array(array)
    with pytest.raises(FileError, match=r"lasts 0 s with 1 channel$"):
        read_sound(sound)
    with pytest.raises(FileError, match="has 16 x 8 pixels; allowed: 127"):
        read_image(image, colour=False)
