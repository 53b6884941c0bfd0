"""A Washington-shaped folder of a thousand views: opened, searched, and resumed when killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
import yaml
from fault_search import assert_equal_records
from numpy.typing import NDArray
from search_processes import run, search_process
from small_views import write_png

from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.records.driver_file import read_driver


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.slow
def test_a_thousand_views_are_decoded_once_and_mapped(tmp_path: Path) -> None:
    """Memory of a process's own stays small, for pictures lie in one file that all share."""
    root = tmp_path / "washington/rgbd-dataset"
    for name, pixels in thousand():
        write_png(root / f"{name}.png", pixels)
    print(f"\n{1000 * 5 * 85 * 80 / 1e6:.0f} MB of colours and depth in a thousand views")
    seconds = []
    for kind in ("decoded", "mapped", "mapped"):
        told = subprocess.run(
            [sys.executable, "-c", OPENED, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        took, own, shown, count = map(float, told.split())
        print(f"{kind}: {took:.2f} s, {own:.0f} MB of its own, {shown:.2f} ms an example")
        assert count == 1000
        assert own < 30
        seconds.append(took)
    assert max(seconds[1:]) < seconds[0] / 2


OPENED = """
import sys, time
from pathlib import Path
from zlib import crc32
import torch
from fusion_search.datasets.rgbd.data import RgbdSettings, open_rgbd

def own():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1000

before, start = own(), time.process_time()
data = open_rgbd(RgbdSettings(source="washington", fold_by="instance"), Path(sys.argv[1]), 3)
took = time.process_time() - start
start = time.process_time()
for number in range(200):
    data.train[number]
shown = (time.process_time() - start) / 200
count = sum(len(data.split(one)) for one in ("train", "validation", "test"))
print(took, own() - before, 1000 * shown, count)
"""

SEARCHED: Final[dict[str, Any]] = {
    "name": "thousand",
    "task": "rgbd",
    "data": {
        **{"source": "washington", "size": 64, "folds": 5, "fold_by": "instance"},
        **{"rgb_network": "mobilenet_v3_small", "frozen": True},
    },
    "network": {
        **{"widths": [8, 16], "fusion_size": [16, 32], "dense_sizes": [32]},
        "dropout": {"low": 0.0, "high": 0.5},
    },
    "placement": {"ends": ["concatenate", "gate_by_depth", "gate_by_rgb"]},
    "folds": [0],
    "training": {"epochs": 3, "batch_size": 32},
    "evaluation": {"test_examples": 40},
    "searcher": {"name": "random", "samples": 6},
    "objectives": ["mean_accuracy"],
    "resources": {"concurrent_trials": 1, "save_seconds": 0},
    "mlflow": {"enabled": False},
}


@pytest.mark.slow
def test_a_search_over_a_thousand_views_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    root = tmp_path / "data/washington/rgbd-dataset"
    for name, pixels in thousand():
        write_png(root / f"{name}.png", pixels)
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    weights = torchvision.models.mobilenet_v3_small().state_dict()
    torch.save(weights, tmp_path / "data/weights.pt")
    config = tmp_path / "thousand.yaml"
    data = {**SEARCHED["data"], "rgb_weights": "weights.pt"}
    config.write_text(yaml.safe_dump({**SEARCHED, "data": data}))
    given = ["--data", str(tmp_path / "data"), "--storage"]
    killed = open_storage(tmp_path / "killed/thousand")
    with search_process("launch", str(config), *given, str(tmp_path / "killed")) as process:
        deadline = time.monotonic() + 1200
        while len(killed.names("trials")) < 2 or not (read_driver(killed) or {}).get("running"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
        process.wait()
    assert 2 <= len(killed.names("trials")) < 6
    assert run("resume", "thousand", *given, str(tmp_path / "killed"))[0] == 0
    assert run("launch", str(config), *given, str(tmp_path / "whole"))[0] == 0
    assert len(killed.names("trials")) == 6
    assert_equal_records(killed, open_storage(tmp_path / "whole/thousand"))


def thousand() -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Files of ten categories of five objects, 20 frames of each."""
    rows, columns = np.mgrid[:85, :80]
    for number in range(1000):
        category, instance, frame = number // 100, number // 20 % 5, number % 20
        chance = np.random.default_rng(number)
        shade = np.sin(rows / (3 + category)) * np.cos(columns / (4 + instance) + frame)
        colour = 120 + 100 * shade[..., None] * chance.random(3) + chance.normal(0, 2, (85, 80, 3))
        depth = 800 + 50 * shade + chance.normal(0, 2, shade.shape)
        depth[chance.random(shade.shape) < 0.02] = 0
        depth[:, :10] = 0
        stem = f"soda_can{category}/soda_can{category}_{instance}"
        stem += f"/soda_can{category}_{instance}_{1 + frame % 2}_{1 + 5 * frame}"
        yield f"{stem}_crop", colour.clip(0, 255).astype(np.uint8)
        yield f"{stem}_depthcrop", depth.astype(np.uint16)
        yield f"{stem}_maskcrop", shade > 0
