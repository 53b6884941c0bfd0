"""The programs in docs/tasks.md and docs/coupled.md run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from two_streams import drawn

import fusion_search
from fusion_search.datasets.batch import Batch
from fusion_search.models.couplings.kinds import coupling_fits, make_coupling
from fusion_search.models.couplings.options import coupling_options
from fusion_search.models.layout import Feature, Placement

ROOT = Path(__file__).parents[1]


def test_the_task_in_the_guide_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "tasks.md").read_text()
    program, *_ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    # Two SNRs of the sound without absent, three of the image.
    assert len(lines) == 2 * 3
    accuracies = [float(line.rpartition(": ")[2].rstrip("}")) for line in lines]
    assert accuracies[0] > 0.8  # learned, where there is no noise
    assert done.stderr == ""


def test_the_network_in_the_guide_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "coupled.md").read_text()
    program, *_ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    *options, shape = done.stdout.splitlines()
    assert shape == "torch.Size([2, 4])"
    kinds = ["none", "mmtm", "squeeze_excitation", "convolutional", "sum"]
    kinds += ["bottleneck", "low_rank"]
    assert f"first.coupling {tuple(kinds)}" in options
    assert "second.depth>colour ('none', 'transfer')" in options
    assert len(options) == 2 * 3


def test_the_coupling_in_the_guide_keeps_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "coupled.md").read_text()
    *_, coupling = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "guide_couplings.py").write_text(f"import torch\nfrom torch import nn\n{coupling}")
    monkeypatch.syspath_prepend(tmp_path)
    kind = "guide_couplings:Bottleneck"
    maps = {"a": Feature(3, (4, 4)), "b": Feature(2, (2, 6))}
    assert coupling_options(kind)["width"].type is int
    assert coupling_fits(kind, maps)
    assert not coupling_fits(kind, {**maps, "c": Feature(2)})
    made = make_coupling(kind, maps, ("a",), {"width": 3})
    # Of both streams down, and up to the one that is gated.
    assert sum(one.numel() for one in made.parameters()) == (5 * 3 + 3) + (3 * 3 + 3)


class Part(nn.Linear):
    """Of a layer, with a submodule ``output``, as BERT's have."""

    def __init__(self) -> None:
        super().__init__(6, 6)
        self.output = nn.Linear(6, 6)

    def forward(self, values: Tensor) -> Tensor:
        found: Tensor = values + self.output(super().forward(values).relu())
        return found


class Bert(nn.Module):
    """A small stand-in, with the names, arguments and dictionary of transformers' BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings, self.encoder = nn.Embedding(10, 6), nn.Module()
        self.encoder.layer = nn.ModuleList(Part() for _ in range(9))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        values = self.embeddings(input_ids)
        for one in self.encoder.layer:  # type: ignore[union-attr]
            values = one(values)
        return {"last_hidden_state": values}


class AutoModel:
    @staticmethod
    def from_pretrained(name: str) -> nn.Module:
        assert name == "bert-base-uncased"
        return Bert()


def test_the_network_with_views_in_the_guide_leaves_padding_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torchvision")
    transformers: Any = ModuleType("transformers")
    transformers.AutoModel = AutoModel
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    text = (ROOT / "docs" / "coupled.md").read_text()
    _, program, *_ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(program, names)
    network, example = drawn(names["network"]).eval(), names["example"]
    answer = network(**example)
    assert answer.shape == (2, 4)
    ids = example["text"]["input_ids"].clone()
    ids[1, 3:] = 9  # padding
    ids[0, 4] = 1  # a word
    change = (network(**{**example, "text": {**example["text"], "input_ids": ids}}) - answer).abs()
    assert change[0].max() > 1e-4
    assert change[1].max() < 1e-6


def test_the_padded_sensors_of_the_guide_leave_padding_out() -> None:
    text = (ROOT / "docs" / "tasks.md").read_text()
    (program,) = (
        one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class Sensor" in one
    )
    torch.manual_seed(0)
    given = {"imu": torch.randn(4, 3, 21), "lengths": torch.tensor([21, 12, 7, 18])}
    names: dict[str, Any] = {"torch": torch, "nn": nn, "partial": partial, **given}
    names |= {"emg": torch.randn(4, 2, 16), "label": torch.arange(4)}
    for name in ("Axis", "ORIGINAL", "Site", "TensorData", "View"):
        names[name] = getattr(fusion_search, name)
    exec(program, names)
    items = [names["data"][number][0] for number in range(4)]
    inputs = torch.utils.data.default_collate(items)
    streams = {"imu": names["Sensor"](3), "emg": nn.Sequential(nn.Conv1d(2, 8, 3))}
    site = fusion_search.Site("first", {**names["site"].after, "emg": "0"}, names["site"].views)
    network = fusion_search.CoupledNetwork(
        streams,
        [site],
        lambda ends: fusion_search.Concatenate(ends, 2),
        inputs,
        Placement({"first": {"coupling": "mmtm"}}),
        ends=names["ends"],
    )
    with torch.no_grad():
        answer = network(**inputs)
        noise = torch.randn_like(inputs["imu"]["values"])
        there = torch.arange(21) < given["lengths"][:, None, None]
        imu = {**inputs["imu"], "values": torch.where(there, given["imu"], noise)}
        torch.testing.assert_close(network(**{**inputs, "imu": imu}), answer)
        wider = {**inputs["imu"], "values": nn.functional.pad(given["imu"], (0, 6))}
        torch.testing.assert_close(network(**{**inputs, "imu": wider}), answer)
    assert torch.equal(names["axis"].where(Batch(inputs)), there.expand(4, 3, 21))
