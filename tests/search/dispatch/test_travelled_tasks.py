"""A task in a folder that the cluster does not see, by all kinds of address."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from ray_heads import TOKEN, Head, clean_environment, ray_head
from search_processes import ROOT

from fusion_search.search.tasks.current_folder import COPY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        subprocess.run(["unshare", "-rm", "true"], check=False).returncode != 0,
        reason="no folder can be hidden from a process here",
    ),
]

TASK = """
from pathlib import Path

import torch
from fusion_search import Axis, Classification, Data, Layout, TensorData
from torch import nn

import helping


class Network(nn.Module):
    layout = Layout(("sound", "image"))

    def __init__(self):
        super().__init__()
        self.head = helping.head()

    def forward(self, sound, image):
        return self.head(torch.cat([sound, image], 1))


class Mine(Classification):
    axes = (Axis("sound_snr", "sound", (1.0,)),)

    def open(self, data, fold=0):
        examples = {one: torch.ones(8, 2) for one in ("sound", "image")}
        split = TensorData(examples, torch.arange(8) % 2)
        note = str(Path(helping.__file__).parent)
        # Not shared: the worker that trains opens the data, too, and says where it did.
        return Data(split, split, split, classes=2, note=note, shared=False)

    def build(self, network, data, placement):
        return Network()
"""
HELPING = "from torch import nn\n\ndef head():\n    return nn.Linear(4, 2)\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("mine")
    (found / "my-task.py").write_text(TASK)
    (found / "yaml.py").write_text("raise ValueError('not this yaml')\n")
    config = {
        "name": "test",
        "task": "./my-task.py:Mine",
        "train": [["original"]],
        "seeds": [0, 1],
        "training": {"epochs": 1, "batch_size": 4, "device": "cpu"},
    }
    (found / "search.yaml").write_text(yaml.safe_dump(config))
    return found


@pytest.fixture(scope="module")
def head(folder: Path) -> Iterator[Head]:
    with ray_head(hidden=folder) as one:
        yield one


def run(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fusion_search", *words],
        cwd=folder,
        env=clean_environment(RAY_AUTH_TOKEN=TOKEN, PYTHONPATH=str(ROOT / ".ci/types")),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("kind", ["address", "client", "dashboard"])
def test_what_lies_beside_a_task_reaches_a_cluster_and_a_change_is_refused(
    head: Head, folder: Path, tmp_path: Path, kind: str
) -> None:
    (folder / "helping.py").write_text(HELPING)
    where = ("--address", getattr(head, kind), "--storage", str(tmp_path))
    code, output = run(folder, "launch", "search.yaml", *where)
    assert code == 0, output
    trials = pd.read_parquet(tmp_path / "test" / "trials")
    assert len(trials) == 2
    assert trials["code_fingerprint"].nunique() == 1
    [imported] = trials["data_note"].unique()
    assert Path(imported).name == COPY  # as the worker said that trained it
    record = json.loads((tmp_path / "test" / "code.json").read_text())
    assert record["folder"] == str(folder)
    assert set(record["files"]) == {"my-task.py", "helping.py"}

    (tmp_path / "test" / "trials" / f"{trials['trial_id'][0]}.parquet").unlink()
    (folder / "helping.py").write_text(HELPING + "# another\n")
    code, output = run(folder, "resume", "test", *where)
    assert code == 2, output
    assert "has changed since the search began or went on (helping.py)" in output
    assert "fusion-search resume test" in output
    code, output = run(folder, "resume", "test", *where, "--changed-code")
    assert code == 0, output
    trials = pd.read_parquet(tmp_path / "test" / "trials")
    assert trials["code_fingerprint"].nunique() == 2
