from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fusion_search.datasets.batch import Batch, Data
from fusion_search.datasets.loading import Presentation, load
from fusion_search.models.encoders.backbones import Backbone
from fusion_search.models.layout import Placement
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.tasks.base import TaskError
from fusion_search.search.tasks.opened import open_task
from fusion_search.search.tasks.rgbd import features
from fusion_search.search.tasks.rgbd.settings import RgbdData, RgbdNetwork
from fusion_search.search.tasks.rgbd.task import Rgbd
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.inspection.contract import Contract
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.trial import run_trial

DATA = RgbdData(size=16, classes=2, instances=4, views=2, folds=4, fold_by="instance")
NETWORK = RgbdNetwork(widths=(4, 6), fusion_size=5, dense_sizes=(6, 4), dropout=0.1)
NAME = "mobilenet_v3_small"


def opened(data: RgbdData = DATA, fold: int = 0) -> tuple[Rgbd, Data]:
    task = Rgbd()
    return task, open_task(task, data, fold)


def batch_of(data: Data, count: int = 3) -> tuple[Batch, Tensor]:
    return next(load(data.test, [[Presentation(one, one) for one in range(count)]], seed=0))


def test_the_task_keeps_the_contract_of_searches() -> None:
    task, data = opened()
    clauses = list(Contract(task, NETWORK, DATA, data).clauses())
    assert [one.words for one in clauses if not one.holds] == []
    assert "sites: level1, level2;" in clauses[1].words


def test_noise_leaves_missing_depth_and_the_other_stream_alone() -> None:
    task, data = opened()
    batch, keys = batch_of(data)
    depth = batch.inputs["depth"]
    there = depth["measured"]
    assert 0 < int(there.sum()) < there.numel()
    snr = {"rgb_snr": torch.full((3,), math.inf), "depth_snr": torch.full((3,), 2.0)}
    met = task.impair(batch, snr, keys, 1).inputs
    assert torch.equal(met["rgb"], batch.inputs["rgb"])
    assert torch.equal(met["depth"]["measured"], there)
    noise = met["depth"]["values"] - depth["values"]
    assert not noise[~there].any()
    for one in range(3):
        signal, added = (
            values[one][there[one]].square().mean() for values in (depth["values"], noise)
        )
        assert float(signal / added) == pytest.approx(4, rel=1e-3)


def test_of_absent_depth_nothing_is_measured_and_no_outline_is_left() -> None:
    task, data = opened(replace(DATA, masked=True))
    batch, keys = batch_of(data)
    snr = {"depth_snr": torch.tensor([-math.inf, math.inf, 2.0])}
    met = task.impair(batch, snr, keys, 1).inputs["depth"]
    assert not met["measured"][0].any()
    assert not met["values"][0].any()
    assert torch.equal(met["measured"][1:], batch.inputs["depth"]["measured"][1:])
    network = task.build(NETWORK, data, Placement(streams=("depth",))).eval()
    absent = {"depth_snr": torch.full((3,), -math.inf)}
    logits = task.predict(network, task.impair(batch, absent, keys, 1))
    assert torch.equal(logits, logits[:1].expand_as(logits))


def test_a_probe_shows_the_gate() -> None:
    task, data = opened()
    network = task.build(NETWORK, data, Placement(end="gate_by_depth")).eval()
    batch, _ = batch_of(data, 1)
    found = task.probe(network, batch)
    end = network.get_submodule("streams.depth")(**batch.inputs["depth"])
    fitted = network.get_submodule("head.fitted.depth")(end)
    gate: Any = network.get_submodule("head.gate.gate")
    torch.testing.assert_close(found["gate"], torch.sigmoid(fitted @ gate.weight.T + gate.bias))
    assert "gate" not in task.probe(task.build(NETWORK, data, Placement()).eval(), batch)


def test_a_stream_alone_is_one_trial_however_it_ends() -> None:
    ids = {
        TrialSpecification(
            task="rgbd", network=NETWORK, data=DATA, placement=Placement(end=end, streams=("rgb",))
        ).trial_id
        for end in ("", "gate_by_depth", "gate_by_rgb")
    }
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rgb_network": "vgg19"}, "rgb_weights of vgg19 are not named; allowed: default"),
        ({"depth_network": "resnet50"}, "depth_weights of resnet50 are not named"),
        ({"rgb_weights": "random"}, "rgb_weights are 'random' of a small network"),
        ({"frozen": True}, "frozen is true of an RGB network that was not trained before"),
        (
            {"frozen": True, "rgb_network": "vgg19", "rgb_weights": "random"},
            "frozen is true of an RGB network that was not trained before",
        ),
        (
            {"frozen": True, "rgb_network": "vgg19", "rgb_weights": "default", "flip": True},
            "flip is true and frozen, too",
        ),
    ],
)
def test_data_say_what_does_not_fit(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RgbdData(**changes)


def test_settings_of_the_network_are_named_by_their_own_name() -> None:
    raw = {"name": "one", "task": "rgbd", "data": {"classes": 2, "views": 2, "instances": 4}}
    for settings, words in (
        ({"widths": [4], "fusion_size": 0}, "network.fusion_size is 0; allowed: 1"),
        ({"widths": [4, 0]}, "network.widths holds 0; allowed: 1"),
    ):
        with pytest.raises(ConfigurationError, match=f"^{words}"):
            build_search({**raw, "network": settings})


@pytest.mark.parametrize(
    "network",
    [
        {"rgb_network": "vgg19", "rgb_weights": "random"},
        {"depth_network": "vgg19", "depth_weights": "random", "depth": "normals"},
    ],
)
def test_views_that_are_too_small_for_a_backbone_are_refused(network: dict[str, Any]) -> None:
    pytest.importorskip("torchvision")
    task, data = opened(replace(DATA, **network, size=31))
    words = "images have 31 x 31 pixels, too few for vgg19: give size 32 or more"
    with pytest.raises(ValueError, match=words):
        task.layout(NETWORK, lambda: data)
    _, data = opened(replace(DATA, **network, size=32))
    assert task.layout(NETWORK, lambda: data).streams == ("rgb", "depth")


@pytest.fixture(scope="module")
def backbone() -> Any:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    return models.get_model(NAME).state_dict()


@pytest.fixture
def weights(backbone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "weights.pt"
    # As torch wrote files before it took zip archives: no checksum tells a byte that has changed.
    torch.save(backbone, path, _use_new_zipfile_serialization=False)
    return path


def frozen(weights: Path) -> RgbdData:
    return replace(DATA, rgb_network=NAME, rgb_weights=str(weights), frozen=True)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many views went through a backbone, batch by batch."""
    counts: list[int] = []

    class Counted(Backbone):
        def forward(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
            counts.append(len(values))
            return super().forward(values, lengths)

    monkeypatch.setattr(features, "Backbone", Counted)
    return counts


def test_features_of_a_frozen_backbone_are_computed_once(weights: Path, seen: list[int]) -> None:
    settings = frozen(weights)
    _, data = opened(settings)
    assert sum(seen) == 16  # views of all splits
    _, plain = opened()
    network = Backbone(NAME, weights, frozen=True).eval()
    with torch.inference_mode():
        expected = network(batch_of(plain)[0].inputs["rgb"])
    torch.testing.assert_close(batch_of(data)[0].inputs["rgb"], expected)
    before = data.fingerprint
    opened(settings, fold=1)
    opened(replace(settings, depth="normals"))
    assert sum(seen) == 16
    opened(replace(settings, size=32))
    assert sum(seen) == 32
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    _, data = opened(settings)
    assert sum(seen) == 48
    assert data.fingerprint != before
    assert "rgb through mobilenet_v3_small, frozen; weights of rgb from weights.pt" in data.note


def test_damaged_features_are_computed_again(weights: Path, seen: list[int]) -> None:
    opened(frozen(weights))
    (path,) = weights.parent.glob("cache/fusion-search/decoded/*.bin")
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)
    _, data = opened(frozen(weights))
    assert sum(seen) == 32
    assert bool(batch_of(data)[0].inputs["rgb"].isfinite().all())


def test_features_are_the_same_whichever_fold_asks_first(weights: Path) -> None:
    files = []
    for fold in (0, 1):
        opened(frozen(weights), fold)
        (path,) = weights.parent.glob("cache/fusion-search/decoded/*")
        files.append(path.read_bytes())
        path.unlink()
    assert files[0] == files[1]


def test_what_a_frozen_backbone_forbids_is_said_before_a_trial_runs(weights: Path) -> None:
    plain = json.loads(json.dumps({**vars(frozen(weights))}))
    raw: dict[str, Any] = {"name": "one", "task": "rgbd", "data": plain}
    raw["searcher"] = {"name": "random", "samples": 2}
    build_search({**raw, "train": [["original", 2]]})
    with pytest.raises(ConfigurationError, match=r"rgb_snr is 2; allowed: original, for features"):
        build_search({**raw, "train": [[2, "original"]]})
    couplings = {"couplings": ["none", "mmtm"]}
    with pytest.raises(
        ConfigurationError, match=r"couplings: no network .* site: mobilenet_v3_small is frozen"
    ):
        build_search({**raw, "placement": couplings})
    task, data = opened(frozen(weights))
    with pytest.raises(ValueError, match="site level1: mobilenet_v3_small is frozen"):
        task.build(NETWORK, data, Placement({"level1": {"coupling": "mmtm"}}))
    words = list(Contract(task, NETWORK, frozen(weights), data).clauses())[1].words
    assert "sites: none (mobilenet_v3_small is frozen" in words
    batch, keys = batch_of(data)
    with pytest.raises(ValueError, match="rgb_snr is absent; allowed: original"):
        task.impair(batch, {"rgb_snr": torch.full((3,), -math.inf)}, keys, 0)
    with pytest.raises(TaskError, match="frozen is true in some trials and false in others"):
        open_task(task, DATA)


def test_weights_of_another_network_are_refused_before_a_trial_runs(weights: Path) -> None:
    data = replace(DATA, rgb_network="resnet18", rgb_weights=str(weights))
    task, opened_data = opened(data)
    with pytest.raises(ValueError, match="does not hold the weights of ResNet: it lacks conv1"):
        task.layout(NETWORK, lambda: opened_data)


def test_settings_of_another_kind_are_refused_where_a_trial_is_run() -> None:
    with pytest.raises(TaskError, match="data is of type RgbdNetwork; allowed: RgbdData, the set"):
        run_trial(TrialSpecification(task="rgbd", network=NETWORK, data=NETWORK))
    with pytest.raises(TaskError, match="network is of type dict; allowed: RgbdNetwork, the set"):
        run_trial(TrialSpecification(task="rgbd", network={"widths": (4,)}, data=DATA))
