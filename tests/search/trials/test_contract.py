"""The contract: kept by the odd tasks, and broken in one way at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import odd_tasks
import pytest
import torch
from odd_tasks import Amount, Captions, Imbalanced, NoisySensors, Sensors, Widths
from torch import Tensor, nn

from fusion_search.datasets.batch import Batch, Data, TensorData
from fusion_search.datasets.conditions import ORIGINAL, Axis
from fusion_search.datasets.digits.data import DigitsSettings
from fusion_search.datasets.metrics import Metric
from fusion_search.models.layout import Placement
from fusion_search.search.commands.check import _asked
from fusion_search.search.commands.command_line import main, parser
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.running.run import open_data
from fusion_search.search.tasks.base import Answer, Task
from fusion_search.search.tasks.digits.task import Digits, DigitsNetwork
from fusion_search.search.tasks.opened import open_task
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.inspection.contract import Contract

NAMES = [
    *("data", "network", "loss and metrics", "loading", "batch size", "answers"),
    *("gradients", "dropped streams", "resume"),
]


def tried(task: Task, network: Any = None, data: Any = None) -> dict[str, tuple[bool, str]]:
    network = task.network() if network is None else network
    data = task.data() if data is None else data
    contract = Contract(task, network, data, open_task(task, data))
    return {one.name: (one.holds, one.words) for one in contract.clauses()}


def broken(task: Task, **more: Any) -> dict[str, str]:
    return {name: words for name, (holds, words) in tried(task, **more).items() if not holds}


class Whole(Sensors):
    """Its network takes what it offers at its site."""

    def build(self, network: Widths, data: Data, placement: Placement) -> nn.Module:
        without = {
            site: {"coupling": one.get("coupling", "none")} for site, one in placement.sites.items()
        }
        return super().build(network, data, Placement(without, placement.end, placement.streams))


@pytest.mark.parametrize("task", [Whole(), NoisySensors(), Imbalanced()])
def test_the_odd_tasks_keep_it(task: Task) -> None:
    found = tried(task, data=Amount(size=14))
    assert list(found) == NAMES
    assert {name: words for name, (holds, words) in found.items() if not holds} == {}


def test_a_network_that_takes_no_subset_of_streams_breaks_one_clause() -> None:
    assert list(broken(Captions())) == ["dropped streams"]


def test_digits_keep_it() -> None:
    small = DigitsNetwork(units=3, dense_units=8, fusion_depth=1)
    assert broken(Digits(), network=small, data=DigitsSettings(source="builtin", frames=24)) == {}


class WrongTarget(Sensors):
    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        return nn.functional.mse_loss(outputs, batch.targets.long(), reduction="none")[:, None]


class Averaging(Sensors):
    metrics = (Metric("error", lambda out, batch: (out - batch.targets).abs().mean()),)


class OverBatches(Sensors):
    """Its statistics are a batch's, given to each example."""

    metrics = (
        Metric("largest", lambda out, batch: (out - batch.targets).abs().max().expand(len(out))),
    )


class OwnGenerator(Sensors):
    def open(self, data: Amount, fold: int = 0) -> Data:
        opened = super().open(data, fold)
        generator = torch.Generator().manual_seed(1)

        def shake(inputs: dict[str, Tensor], target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
            noise = torch.rand((), generator=generator)
            return {name: one + noise for name, one in inputs.items()}, target

        assert isinstance(opened.train, TensorData)
        opened.train.transform = shake
        return opened


class Deaf(nn.Module):
    """Hears every stream whatever the placement says, and has a layer that nothing uses."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.layout = inner, inner.layout
        self.unused = nn.Linear(2, 2)

    def forward(self, **inputs: Tensor) -> Tensor:
        answer: Tensor = self.inner(**inputs)
        return answer


class DeadWeight(Whole):
    def build(self, network: Widths, data: Data, placement: Placement) -> nn.Module:
        return Deaf(super().build(network, data, placement))


class NeverDropped(Whole):
    def build(self, network: Widths, data: Data, placement: Placement) -> nn.Module:
        return super().build(network, data, Placement(placement.sites, placement.end))


class OtherAxis(Sensors):
    axes = (Axis("sound_snr", "sound", (1.0,)),)

    def impair(
        self, batch: Batch, condition: Mapping[str, Tensor], keys: Tensor, seed: int
    ) -> Batch:
        return batch


class Counting(nn.Module):
    """Answers by how often it was asked, and forgets that when it is saved."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.layout, self.asked = inner, inner.layout, 0

    def forward(self, **inputs: Tensor) -> Tensor:
        self.asked += self.training
        answer: Tensor = self.inner(**inputs)
        return answer * (1 + 0.1 * self.asked)


class Forgetful(Whole):
    def build(self, network: Widths, data: Data, placement: Placement) -> nn.Module:
        return Counting(super().build(network, data, placement))


@pytest.mark.parametrize(
    ("task", "clause", "words"),
    [
        (WrongTarget(), "loss and metrics", r"loss gave a tensor of shape \[4, 1\]"),
        (Averaging(), "loss and metrics", r"metric error gave statistics of shape \[\]"),
        (OverBatches(), "batch size", "an example's answer depends on its batch"),
        (OwnGenerator(), "loading", "from no generator of your own"),
        (DeadWeight(), "gradients", r"no placement trains unused\.bias, unused\.weight"),
        (NeverDropped(), "dropped streams", "build the network without it"),
        (OtherAxis(), "network", "axis sound_snr is on input 'sound'; streams: ecg, motion, heat"),
        (Forgetful(), "resume", "keep all that training depends on in the network"),
    ],
)
def test_what_breaks_it_is_named(task: Task, clause: str, words: str) -> None:
    found = broken(task, data=Amount(size=14))
    assert clause in found
    with pytest.raises(ValueError, match=words):
        raise ValueError(found[clause])


class NoisyTokens(odd_tasks.Sensors):
    """Text as numbers of tokens, with noise on them."""

    axes = (Axis("words_snr", "words", (ORIGINAL, 1.0)),)

    def open(self, data: Amount, fold: int = 0) -> Data:
        words = TensorData({"words": torch.arange(24).reshape(4, 6)}, torch.zeros(4))
        return Data(words, words, words)


def test_noise_on_numbers_of_tokens_is_refused_before_any_trial(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = (
        "axis words_snr impairs input 'words', which is a torch.int64 tensor; allowed: a float "
        "tensor among the streams words; numbers of tokens have no SNR: give their embeddings, or "
        "override impair"
    )
    monkeypatch.setattr(odd_tasks, "NoisyTokens", NoisyTokens, raising=False)
    assert main(["check", "odd_tasks:NoisyTokens"]) == 2
    assert capsys.readouterr().err == f"error: {said}\n"
    with pytest.raises(ValueError, match=re.escape(said)):
        build_search({"name": "own", "task": "odd_tasks:NoisyTokens", "train": [[1.0]]})


class FewBatches(odd_tasks.Sensors):
    """Data that make whole batches themselves."""

    def open(self, data: Amount, fold: int = 0) -> Data:
        opened = super().open(data, fold)
        opened.train.batch = lambda *given: None  # type: ignore[attr-defined]
        return opened


def test_loading_ahead_of_data_that_make_batches_is_refused_before_any_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = {"name": "own", "task": "own:Own", "training": {"loader_workers": [0, 2]}}
    with pytest.raises(ConfigurationError, match="loader_workers is 2, but these data make whole"):
        build_search(declared, task=FewBatches())
    none = build_search({**declared, "training": {"loader_workers": 0}}, task=FewBatches())
    assert none.loader_workers == 0
    # The digits tell their sites without their data: it is said when these are opened.
    monkeypatch.chdir(tmp_path)
    sizes = {"examples": 10, "loader_workers": 2}
    config = {"name": "ahead", "task": "digits", "data": {"source": "builtin"}, "training": sizes}
    Path("ahead.yaml").write_text(json.dumps(config))
    said = "error: training.loader_workers is 2, but these data make whole batches themselves"
    assert main(["check", "ahead.yaml"]) == 2
    assert capsys.readouterr().err.startswith(said)
    search = build_search(config)
    with pytest.raises(ConfigurationError, match=r"training\.loader_workers is 2"):
        open_data(search, search.sweep[0].any_trial(), None)


def test_the_command_says_a_line_a_clause(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["check", "odd_tasks:NoisySensors"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:17].strip() for line in lines] == NAMES
    monkeypatch.setattr(odd_tasks, "Averaging", Averaging, raising=False)
    assert main(["check", "odd_tasks:Averaging"]) == 1
    printed = capsys.readouterr().out
    assert "BROKEN" in printed
    assert "1 clause broken" in printed
    assert main(["check", "no_such_task"]) == 2
    assert "allowed: digits" in capsys.readouterr().err


class Watched(NoisySensors):
    """Notes on how many threads it is run, and at how many conditions."""

    threads: ClassVar[set[int]] = set()
    conditions: ClassVar[list[int]] = []

    def predict(self, network: nn.Module, batch: Batch) -> Any:
        self.threads.add(torch.get_num_threads())
        return super().predict(network, batch)

    def answers(
        self, network: nn.Module, dataset: Any, numbers: Any, conditions: Any, run: Any, **how: Any
    ) -> Iterator[Answer]:
        self.conditions.append(len(conditions))
        return super().answers(network, dataset, numbers, conditions, run, **how)


def test_it_is_tried_on_a_trials_threads_and_the_grid_is_tested_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(odd_tasks, "Watched", Watched, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert main(["check", "odd_tasks:Watched"]) == 0
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert Watched.threads == {1}
    assert Watched.conditions.count(2 * 3) == 1  # absent inputs are tested apart
    config = tmp_path / "search.yaml"
    config.write_text("{name: x, task: odd_tasks:Sensors, resources: {cpus_per_trial: 2.5}}")
    assert _asked(parser().parse_args(["check", str(config)])).threads == 2
