from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from PIL import Image
from small_views import same, view, write_frame, write_png

from fusion_search.datasets.errors import DataError
from fusion_search.datasets.rgbd.data import RgbdSettings, load_rgbd, open_rgbd, unread_views
from fusion_search.datasets.rgbd.folder import find_views, read_views
from fusion_search.datasets.rgbd.view import NO_MASK, View
from fusion_search.datasets.rgbd.washington import find_washington, read_trials, read_washington
from fusion_search.search.commands.command_line import main

SAMPLES = Path(os.environ.get("FUSION_SEARCH_DATA", "/nowhere")) / "samples"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def read(root: Path) -> list[View]:
    return list(read_washington(find_washington(root)))


def test_names_of_washington_are_split_from_the_right(tmp_path: Path) -> None:
    wanted = view("bell_pepper_3_1_6")
    write_frame(tmp_path / "washington/rgbd-dataset", wanted)
    (one,) = read(tmp_path)
    assert (one.label, one.group, one.name) == ("bell_pepper", "bell_pepper_3", "bell_pepper_3_1_6")
    assert same(one, wanted)


@pytest.mark.parametrize("home", ["washington/rgbd-dataset_eval", "washington", "rgbd-dataset"])
def test_where_washington_may_lie(tmp_path: Path, home: str) -> None:
    write_frame(tmp_path / home, view())
    assert len(read(tmp_path)) == 1


def test_frames_between_and_without_partners_are_left_out_and_counted(tmp_path: Path) -> None:
    root = tmp_path / "washington/rgbd-dataset"
    for number in range(1, 12):
        write_frame(root, view(f"apple_1_1_{number}"))
    write_frame(root, view("apple_1_2_1"), "cm")
    write_frame(root, view("apple_1_4_1"), "cd")
    (root / "apple/apple_1/._apple_1_1_1_crop.png").write_bytes(b"of another system")
    (root / "apple/apple_1/apple_1_1_1_loc.txt").write_text("276,212")
    source = load_rgbd(RgbdSettings(source="washington"), tmp_path)
    names = [one.name for one in source.listed.records]
    assert names == ["apple_1_1_1", "apple_1_1_11", "apple_1_1_6", "apple_1_4_1"]
    assert source.listed.records[-1].mask.shape == NO_MASK.shape
    assert "4 views in the form of Washington RGB-D" in source.note
    assert "(8 between them left out), 1 without depth left out" in source.note


def test_foreign_damaged_and_missing_files_of_washington(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Washington RGB-D is missing from .*washington: put its"):
        find_washington(tmp_path)
    root = tmp_path / "washington/rgbd-dataset"
    one = view()
    write_frame(root, one)
    depth = root / "apple/apple_1/apple_1_1_1_depthcrop.png"
    for content, sentence in (
        (depth.read_bytes()[:-30], r"is damaged \(it is no whole image"),
        (b"GIF89a" * 20, r"cannot be used \(it is no image of PNG\)"),
    ):
        depth.write_bytes(content)
        with pytest.raises(DataError, match=f"depthcrop.png {sentence}"):
            read(tmp_path)
    write_png(depth, one.depth.astype(np.uint8))
    with pytest.raises(DataError, match="pixels of mode L; allowed: one channel of 16 bits"):
        read(tmp_path)
    write_png(depth, one.depth[1:])
    with pytest.raises(DataError, match=r"has 6 x 5 pixels, apple_1_1_1_crop.png 7 x 5"):
        read(tmp_path)
    write_png(depth.with_name("apple_crop.png"), one.colour)
    with pytest.raises(DataError, match=r"its name is not CATEGORY_I_V_N_crop\.png"):
        find_washington(tmp_path)


TRIALS = """****** trial 1 ******
apple_1
bell_pepper_2


****** trial 2 ******
apple_2
bell_pepper_1
"""


def test_published_trials(tmp_path: Path) -> None:
    path = tmp_path / "testinstance_ids.txt"
    path.write_text(TRIALS)
    assert read_trials(path) == [
        {"apple": "apple_1", "bell_pepper": "bell_pepper_2"},
        {"apple": "apple_2", "bell_pepper": "bell_pepper_1"},
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it lists no trial"),
        ("apple_1\n", "line 1 is 'apple_1'"),
        (TRIALS + "****** trial 3 ******\n", "or an empty one"),
        (TRIALS + "apple_3\n", "line 9 is 'apple_3', and not the one CATEGORY_I of its category"),
        (TRIALS + "pear\n", "line 9 is 'pear'"),
        (TRIALS + "p\u00eache_1\n", "it cannot be read as text"),
        (TRIALS + " " * 2**20, "larger than 1,048,576 bytes"),
    ],
    ids=["nothing", "no heading", "empty trial", "twice", "no number", "no text", "too long"],
)
def test_lists_that_are_no_trials(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "testinstance_ids.txt"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_trials(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def write_folder(root: Path, one: View, parts: str = "cdm") -> None:
    for part, ending, pixels in (
        ("c", "rgb", one.colour),
        ("d", "depth", one.depth),
        ("m", "mask", one.mask * np.uint8(255)),
    ):
        if part in parts:
            write_png(root / f"{one.name}_{ending}.png", pixels)


def test_a_folder_of_classes_and_groups(tmp_path: Path) -> None:
    wanted = []
    for label, group, name in (("HA", "F0001", "a_b"), ("HA", "F0002", "a"), ("SA", "F0001", "a")):
        one = view(f"{label}/{group}/{name}")
        wanted.append(replace(one, label=label, group=group))
        write_folder(tmp_path, one)
    found = read_views(tmp_path, find_views(tmp_path))
    for one, its in zip(sorted(found, key=lambda one: one.name), wanted, strict=True):
        assert same(one, its)


def test_what_a_folder_lacks_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"is missing: put views there, .* a folder that has it by --data or FUSION",
    ):
        find_views(tmp_path / "rgbd")
    with pytest.raises(DataError, match=r"holds no view: put CLASS/GROUP/NAME_rgb.png"):
        find_views(tmp_path)
    one = view("HA/F0001/a")
    for parts, present, missing in (
        ("c", "rgb", "depth"),
        ("d", "depth", "rgb"),
        ("m", "mask", ""),
    ):
        root = tmp_path / parts
        write_folder(root, one, parts)
        with pytest.raises(
            DataError, match=f"a_{present}.png has no partner: a_{missing}.*missing"
        ):
            list(read_views(root, find_views(root)))


def test_files_that_are_no_views_are_refused_or_told(tmp_path: Path) -> None:
    root, settings = tmp_path / "rgbd", RgbdSettings(source="folder", folds=3, size=8)
    for label, number in (("HA", 1), ("HA", 2), ("HA", 3), ("a b%?#", 4), ("a b%?#", 5)):
        write_folder(root, view(f"{label}/F{number}/a"))
    with pytest.raises(DataError, match=r"class a b%\?# has 2 objects, too few to test one"):
        open_rgbd(replace(settings, fold_by="instance"), tmp_path)
    write_folder(root, view("a b%?#/F6/a"))
    write_folder(root, view("HA/F1/deeper/a"))
    write_png(root / "HA/F1/a_colour.png", view().colour)
    assert "views in rgbd/ (4 files in it not read)" in load_rgbd(settings, tmp_path).note
    (root / ".hidden").write_text("")
    assert unread_views(settings, tmp_path) == (
        "4 files of rgbd/ are not read, such as HA/F1/a_colour.png and HA/F1/deeper/a_depth.png; "
        "what is read is CLASS/GROUP/NAME_rgb.png, NAME_depth.png and NAME_mask.png"
    )
    (root / "HA/again").symlink_to(root / "HA")
    assert len(load_rgbd(settings, tmp_path).listed.records) == 6
    path = root / "HA/F1/a_rgb.png"
    content = path.read_bytes()
    for target in (path.name, "nowhere"):
        path.unlink()
        path.symlink_to(target)
        with pytest.raises(
            DataError, match=r"a_rgb\.png cannot be read .*: put a file in its place"
        ):
            load_rgbd(settings, tmp_path)
    path.unlink()
    header = content[12:16] + b"\x00\x01\x00\x00" * 2 + content[24:29]
    path.write_bytes(content[:12] + header + crc32(header).to_bytes(4) + content[33:])
    with pytest.raises(DataError, match="promises more pixels than the 67,108,864 allowed"):
        load_rgbd(settings, tmp_path)


def test_views_of_one_class_or_without_any_depth_train_nothing(tmp_path: Path) -> None:
    settings = RgbdSettings(source="folder", folds=3, size=8)
    for number in range(4):
        write_folder(tmp_path / "rgbd", view(f"HA/F{number}/a"))
    with pytest.raises(DataError, match="there is one class, HA: add views of another"):
        open_rgbd(settings, tmp_path)
    for one in (view(f"{label}/F{number}/a") for label in ("HA", "SA") for number in range(4)):
        write_folder(tmp_path / "rgbd", replace(one, depth=np.zeros_like(one.depth)))
    with pytest.raises(DataError, match="depth is missing in all pixels of the train split"):
        open_rgbd(settings, tmp_path)


def test_greys_and_palettes_are_colours_and_deep_colours_are_not(tmp_path: Path) -> None:
    one = view("HA/F0001/a")
    write_folder(tmp_path, one)
    path = tmp_path / "HA/F0001/a_rgb.png"
    grey = Image.fromarray(one.colour[:, :, 0])
    for image, wanted in (
        (grey, np.repeat(one.colour[:, :, :1], 3, 2)),
        (grey.quantize(256), np.asarray(grey.quantize(256).convert("RGB"))),
    ):
        image.save(path)
        (found,) = read_views(tmp_path, find_views(tmp_path))
        assert np.array_equal(found.colour, wanted)
    write_png(path, one.depth)
    with pytest.raises(DataError, match="mode I;16; allowed: colours or greys of 8 bits"):
        list(read_views(tmp_path, find_views(tmp_path)))


def test_one_changed_pixel_is_another_fingerprint(tmp_path: Path) -> None:
    settings, one = RgbdSettings(source="folder"), view("HA/F0001/a")
    write_folder(tmp_path / "rgbd", one)
    before = load_rgbd(settings, tmp_path)
    assert load_rgbd(settings, tmp_path).listed is before.listed  # decoded once, and mapped
    assert isinstance(before.listed.records[0].depth.base, np.memmap)
    one.depth[0, 0] += 1
    write_folder(tmp_path / "rgbd", one)
    assert load_rgbd(settings, tmp_path).listed.fingerprint != before.listed.fingerprint


@pytest.mark.real_data
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="FUSION_SEARCH_DATA has no samples")
def test_two_frames_of_washington_itself() -> None:
    """To the pixel as FFmpeg reads them, which shares no code with Pillow."""
    av = pytest.importorskip("av")
    source = load_rgbd(RgbdSettings(source="washington", path="samples/washington"), SAMPLES.parent)
    folder = SAMPLES / "washington/rgbd-dataset/apple/apple_1"
    for one in source.listed.records:
        for part, form, values in (
            ("crop", "rgb24", one.colour),
            ("depthcrop", "gray16le", one.depth),
            ("maskcrop", "gray", one.mask * 255),
        ):
            with av.open(str(folder / f"{one.name}_{part}.png")) as file:
                (frame,) = file.decode(video=0)
            assert np.array_equal(values, frame.to_ndarray(format=form)), part
    seen = [
        (one.name, one.colour.shape, int(one.depth.max()), int((one.depth == 0).sum()))
        for one in source.listed.records
    ]
    assert seen == [
        ("apple_1_1_1", (84, 78, 3), 1134, 3406),
        ("apple_1_1_6", (83, 80, 3), 1138, 3581),
    ]
    assert [int(one.mask.sum()) for one in source.listed.records] == [3327, 3277]


def test_what_is_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for check in ("washington", "rgbd-folders"):
        assert main(["data", "check", check, "--folder", str(tmp_path)]) == 2
        assert "is missing" in capsys.readouterr().err
    root = tmp_path / "rgbd-dataset"
    for name in ("apple_1_1_1", "apple_2_1_1", "bell_pepper_1_1_1"):
        write_frame(root, view(name), "cdm" if "apple" in name else "cd")
    dark = view("bell_pepper_2_1_1")
    dark.depth[:] = 0
    write_frame(root, dark)
    (root / "testinstance_ids.txt").write_text(TRIALS)
    assert main(["data", "check", "washington", "--folder", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    for words in (
        "note: folds at random cannot be made: there are 4 views, too few for 10 folds: lower",
        "note: folds by instance cannot be made: class apple has 2 objects, too few",
        "or set data.fold_by to random",
        "2 classes, 4 objects or persons; views: apple 2, bell_pepper 2",
        "4 views, 7 pixels high and 5 wide",
        "1 view has no depth in any pixel, such as bell_pepper_2_1_1",
        "1 view has no mask, such as bell_pepper_1_1_1: left out where data.masked",
        "2 published trials: folds where data.fold_by is instance",
    ):
        assert words in told
    assert "not read" not in told
    write_frame(root, view("apple_1_1_2"))  # between every fifth, which is said apart
    write_frame(root, view("apple_1_1_6"), "m")
    for name in ("apple_1_1_1_loc.txt", "apple_1_1_1_colour.png"):
        (root / "apple/apple_1" / name).write_text("")
    assert unread_views(RgbdSettings(source="washington"), tmp_path) == (
        "2 files of rgbd-dataset/ are not read, such as apple/apple_1/apple_1_1_1_colour.png and "
        "apple/apple_1/apple_1_1_6_maskcrop.png; what is read is CATEGORY/CATEGORY_I/"
        "CATEGORY_I_V_N_crop.png, _depthcrop.png and _maskcrop.png"
    )
    pixels = np.concatenate([view(one).depth for one in ("apple_1_1_1", "apple_2_1_1")])
    pixels = np.concatenate([pixels, view("bell_pepper_1_1_1").depth, dark.depth])
    low, high, share = pixels[pixels > 0].min(), pixels.max(), (pixels == 0).mean()
    assert f"depth of {low:,} to {high:,} mm, missing in {share:.1%} of all pixels" in told
    for person in ("F0002", "F0003"):
        write_folder(tmp_path / "rgbd", view(f"HA/{person}/a"))
    write_folder(tmp_path / "rgbd", view("SA/F0003/a"))
    assert main(["data", "check", "rgbd-folders", "--folder", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no fold can be trained: folds at random cannot be made: ")
    assert "there are 2 groups, too few for 10 folds: lower data.folds" in error
    write_folder(tmp_path / "rgbd", view("HA/F0001/a"))
    write_folder(tmp_path / "rgbd", view("SA/F0001/a"))
    assert main(["data", "check", "rgbd-folders", "--folder", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "data: views in rgbd/ (fingerprint " in told
    assert "2 of them are of several classes, such as F0001, as persons are" in told
    (tmp_path / "rgbd/HA/F0001/b_dpt.png").write_text("")
    assert main(["data", "check", "rgbd-folders", "--folder", str(tmp_path)]) == 0
    assert "note: 1 file of rgbd/ is not read, such as HA/F0001/b_dpt.png; what is read is " in (
        capsys.readouterr().out
    )


def test_the_space_of_own_folders_is_printed_where_the_command_line_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("apple_1_1_1", "apple_2_1_1", "apple_3_1_1", "pear_4_1_1", "pear_5_1_1"):
        write_folder(tmp_path / "rgbd" / name.split("_")[0] / name, view(name))
    write_folder(tmp_path / "rgbd/pear/pear_6_1_1", view("pear_6_1_1"))
    config = tmp_path / "own.yaml"
    config.write_text(
        "name: own\ntask: rgbd\ndata: {source: folder, size: 16, folds: 3, fold_by: instance}\n"
        "network: {widths: [4, 4]}\nplacement: {couplings: [none, mmtm]}\nsearcher: {name: tpe}\n"
    )
    assert main(["space", str(config)]) == 2
    assert "rgbd is missing" in capsys.readouterr().err
    assert main(["space", str(config), "--data", str(tmp_path)]) == 0
    assert "size: 4 samples" in capsys.readouterr().out
