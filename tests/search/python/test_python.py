"""A search from Python, and its winner back."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from odd_tasks import Amount
from search_processes import on_one_ray
from small_recorder import small_recorder
from small_trials import small_trial

from fusion_search import launch, load_trial, resume, trials
from fusion_search.analysis.records.advice import RunOptions
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import read_table
from fusion_search.datasets.batch import TensorData
from fusion_search.datasets.conditions import ORIGINAL, Range
from fusion_search.datasets.metrics import Metric
from fusion_search.search.dispatch.dispatcher import RayDispatcher
from fusion_search.search.python import launching
from fusion_search.search.python.evaluation import _check_streams
from fusion_search.search.python.intervals import Units, intervals, wilson
from fusion_search.search.python.launching import _declared
from fusion_search.search.python.places import name_of
from fusion_search.search.records.planned import write_plan
from fusion_search.search.running.recorded_trial import execute
from fusion_search.search.running.run import Environment
from fusion_search.search.tasks.digits.task import Digits
from fusion_search.search.tasks.opened import OpenedTask

ROOT = Path(__file__).parents[3]
MEAN = Metric("error", lambda outputs, batch: outputs, direction="minimize")


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory, small_opened: OpenedTask) -> str:
    """The folder of a search of two trials, of which one has ended."""
    storage = open_storage(tmp_path_factory.mktemp("results") / "test")
    done, waiting = small_trial(test_examples=0), small_trial(seed=1)
    write_plan(storage, [done, waiting], 2)
    execute(done, small_opened, small_recorder(storage, small_opened))
    return storage.location


def test_the_winner_is_in_evaluation_mode_and_gives_the_recorded_grid(search: str) -> None:
    winner = load_trial(search, "best")
    assert not winner.network.training
    assert isinstance(winner.task, Digits)
    found = winner.evaluate(resamples=2, device="cpu")
    grid = read_table(open_storage(search), "grid")
    keys = ["test_audio_snr", "test_visual_snr"]
    both = found.merge(grid, on=keys, suffixes=("", "_recorded"))
    assert len(both) == len(grid) == 10 * 10
    assert len(found) == 10 * 10 + 2 * 10  # each input absent, the other at every SNR
    for name in ("n", "loss", "accuracy"):
        assert both[name].tolist() == pytest.approx(both[f"{name}_recorded"].tolist())
    assert (found["accuracy_low"] < found["accuracy"]).all()


def test_a_saved_network_is_the_same_for_torch_alone(search: str, tmp_path: Path) -> None:
    winner = load_trial(search)
    winner.save(tmp_path / "new" / "winner.pt")
    state = torch.load(tmp_path / "new" / "winner.pt", weights_only=True)
    own = winner.network.state_dict()
    assert state.keys() == own.keys()
    assert all(torch.equal(state[name], own[name]) for name in own)
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["winner.pt"]
    for name in (tmp_path, "."):
        with pytest.raises(ValueError, match=r"file is .*; give one, such as winner.pt"):
            winner.save(name)


def test_lost_weights_are_said_with_the_remedy_which_gives_them_again(search: str) -> None:
    winner = load_trial(search)
    trial_id = winner.specification.trial_id
    file = Path(search, "checkpoints", f"{trial_id}.pt")
    content = file.read_bytes()
    file.unlink()
    try:
        with pytest.raises(ValueError, match=r"is missing; .*retrain=True"):
            load_trial(search)
        again = load_trial(search, trial_id[:6], retrain=True).network.state_dict()
    finally:
        file.write_bytes(content)
    own = winner.network.state_dict()
    assert all(torch.equal(again[name], own[name]) for name in own)


def test_what_is_no_digits_is_refused_and_so_are_its_own_train_examples(search: str) -> None:
    winner = load_trial(search)
    other = TensorData({"image": torch.zeros(3, 4)}, torch.zeros(3))
    with pytest.raises(ValueError, match="the examples have no audio; task digits takes"):
        winner.evaluate(other)
    with pytest.raises(ValueError, match="Digits reads no files"):
        winner.evaluate("clips.csv")
    with pytest.raises(ValueError, match="groups are of 2 examples, not of"):
        winner.evaluate(groups=[0, 1])
    with pytest.raises(ValueError, match="the examples came as int; give a map-style data set"):
        winner.evaluate(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="device is 'gpu'; allowed: auto, cpu, cuda"):
        winner.evaluate(device="gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_said_as_what_was_given(search: str) -> None:
    with pytest.raises(ValueError, match="device is cuda but this process sees no CUDA GPU"):
        load_trial(search).evaluate(device="cuda")


def test_a_stream_of_another_kind_is_said_in_a_sentence() -> None:
    words = {"input_ids": torch.ones(2, 5), "attention_mask": torch.ones(2, 5)}
    trial: Any = SimpleNamespace(
        data=SimpleNamespace(inputs={"text": words}), specification=SimpleNamespace(task="reads")
    )
    _check_streams(trial, TensorData({"text": words}, torch.zeros(2)))
    message = "text of the examples is a Tensor; task reads takes a dictionary of attention_mask, i"
    with pytest.raises(ValueError, match=message):
        _check_streams(trial, TensorData({"text": words["input_ids"]}, torch.zeros(2)))


def test_trials_are_those_planned(search: str) -> None:
    table = trials(search)
    assert table["status"].tolist() == ["finished", "waiting"]
    assert table["streams"].tolist() == ["image+audio"] * 2
    assert table["seed"].dtype == np.int64
    assert set(trials(search, "grid")["trial_name"]) == {table["trial_name"][0]}
    with pytest.raises(ValueError, match="table is 'runs'; allowed: trials, epochs, grid"):
        trials(search, "runs")


def test_wilson_is_as_published() -> None:
    # Newcombe 1998, table I, of 81 of 263 and 0 of 20, method 3.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_the_bootstrap_agrees_with_the_standard_error_of_examples_and_of_groups() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0))
    alone = Units(torch.arange(400), 400, 4000, seed=1)
    ((value, low, high),) = intervals([(MEAN, values)], alone)
    error = 1.96 * float(values.std()) / 20
    assert (value, low, high) == pytest.approx(
        (float(values.mean()), value - error, value + error), abs=0.1 * error
    )
    # Every value four times over: as much evidence as once.
    grouped = Units(torch.arange(400).repeat(4), 400, 4000, seed=1)
    assert intervals([(MEAN, values.repeat(4))], grouped) == [pytest.approx((value, low, high))]


def test_a_metric_of_the_whole_set_has_the_interval_of_its_resamples() -> None:
    whole = Metric("whole", lambda outputs, batch: outputs, lambda one, n: one.mean(), keep="all")
    values, units = torch.rand(30), Units(torch.arange(30) // 3, 10, 50, seed=2)
    first, second = intervals([(MEAN, values), (whole, values)], units)
    assert first == pytest.approx(second)


def test_all_right_is_not_certain_and_one_group_says_nothing() -> None:
    right = torch.ones(50, dtype=torch.bool)
    ((_, low, _),) = intervals([(MEAN, right)], Units(torch.arange(50) // 10, 5, 100, seed=0))
    assert low == pytest.approx(5 / (5 + 1.96**2), abs=1e-3)
    ((_, low, high),) = intervals([(MEAN, torch.rand(9))], Units(torch.zeros(9).long(), 1, 9, 0))
    assert math.isnan(low)
    assert math.isnan(high)


def test_what_python_holds_is_read_as_yaml_has_it() -> None:
    given = {"train": ([ORIGINAL, np.float64(1)], [Range(0, 5), 2])}
    raw = _declared(given, {"seeds": range(2)}, {"training.epochs": np.int64(3)})
    assert raw == {
        "train": [["original", 1.0], [{"low": 0.0, "high": 5.0}, 2]],
        "seeds": [0, 1],
        "training": {"epochs": 3},
    }
    with pytest.raises(ValueError, match=r"network\.width is a Tensor; allowed: numbers"):
        _declared({"network": {"width": torch.ones(1)}}, {}, {})
    with pytest.raises(ValueError, match="configuration is a int; allowed: a mapping or a path"):
        launch(3, task="digits")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("left_out", "hosts"),
    [("node-3", ("node-3",)), (["a", "10.0.0.9"], ("a", "10.0.0.9")), ((), ())],
)
def test_nodes_are_left_out_as_by_the_command(
    left_out: str | list[str], hosts: tuple[str, ...], search: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Environment] = []
    for name in ("launch", "resume"):
        monkeypatch.setattr(
            launching.launching, name, lambda *words, **_: ran.append(words[-1]) or 0
        )
    launch(task="digits", name="x", address="10.0.0.1:6379", leave_out=left_out)
    Path(search, "specification.yaml").write_text("name: test\ntask: digits\n")
    resume(search, address="10.0.0.1:6379", leave_out=left_out)
    where = Environment(
        data_folder=None,
        dispatcher=RayDispatcher("10.0.0.1:6379", hosts),
        options=RunOptions("", "10.0.0.1:6379", hosts),
    )
    assert ran == [where, where]


def test_a_task_is_called_as_commands_find_it_or_as_a_notebooks() -> None:
    class Own(Digits):
        pass

    odd = Digits()
    odd.words = Amount()  # type: ignore[attr-defined]
    module = "fusion_search.search.tasks.digits.task"
    assert [name_of(one) for one in (Digits, Digits(), Own, odd)] == [
        *[f"{module}:Digits"] * 2,
        "__main__:Own",
        "__main__:Digits",
    ]


@on_one_ray
def test_the_program_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/python.md").read_text(), re.M | re.S
    )
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        exec(block, names)  # as the cells of a notebook
    winner = names["winner"].specification.trial_id
    best = names["search"].best.specification.trial_id
    assert winner == best
    printed = capsys.readouterr().out
    (told,) = (line for line in printed.splitlines() if line.startswith("best"))
    assert told.startswith("best: plain, seed 0; chosen by validation accuracy ")
    assert told.endswith(", the mean over its 2 trials")
    assert len(names["table"]) == 3  # original, 1 and absent
    assert names["table"].attrs["intervals"] == "95 % over 60 examples"
    assert names["by_person"].attrs["intervals"] == "95 % over 12 groups"
    assert (tmp_path / "winner.pt").is_file()
    assert names["rows"]["status"].tolist() == ["finished"] * 2
