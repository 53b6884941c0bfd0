"""The task of a table: noise, sound, metrics, and the contract that searches rely on."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from small_tables import GESTURES, read_csv, write_csv

from fusion_search.datasets.batch import Batch, Data
from fusion_search.datasets.conditions import ABSENT, ORIGINAL
from fusion_search.datasets.metrics import Metric
from fusion_search.datasets.tables.log_mel import log_mel
from fusion_search.datasets.tables.settings import Input, TableData
from fusion_search.models.layout import Placement
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.running.run import open_data
from fusion_search.search.tasks.base import TaskError
from fusion_search.search.tasks.opened import open_task
from fusion_search.search.tasks.table.network import TableNetwork
from fusion_search.search.tasks.table.task import CLASS_METRICS, Table, noisy_numbers
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.inspection.contract import Contract

SMALL = TableNetwork(levels=2, width=4)


def opened(gestures: Path, settings: TableData = GESTURES) -> tuple[Table, Data]:
    task = Table()
    task.data_folder = gestures.parent
    return task, open_task(task, settings)


def test_a_search_does_not_go_on_with_a_table_that_has_changed(tmp_path: Path) -> None:
    rows = [{"x": float(number % 7), "label": number % 2} for number in range(40)]
    table = write_csv(tmp_path / "t.csv", rows)
    inputs = {"numbers": {"kind": "numbers", "columns": ["x"]}}
    data = {"table": str(table), "inputs": inputs, "target": "label"}
    search = build_search({"name": "t", "task": "table", "data": data}, None)
    trial = search.planned_trials()[0]
    began = open_data(search, trial, None).first.fingerprint
    row = {**trial.columns(), "fold": trial.fold, "data_fingerprint": began}
    records = pd.DataFrame([row])
    open_data(search, trial, records)
    write_csv(table, [{**rows[0], "x": 0.5}, *rows[1:]])
    with pytest.raises(ConfigurationError, match=f"records have {began}.; put its files back as"):
        open_data(search, trial, records)


def test_noise_on_numbers_is_a_ratio_to_their_standard_deviation() -> None:
    clean = torch.zeros(4000, 3)
    keys = torch.arange(4000)
    for snr in (2.0, 0.5):
        noisy = noisy_numbers(clean, torch.full((4000,), snr), keys, 0, 1)
        assert float(noisy.std()) == pytest.approx(1 / snr, rel=0.03)
    clean = torch.ones(2, 3)
    found = noisy_numbers(clean, torch.tensor([ORIGINAL, ABSENT]), keys[:2], 0, 1)
    assert found.tolist() == [[1.0] * 3, [0.0] * 3]


def test_the_spectrogram_of_silence_is_zero_and_of_a_tone_is_at_its_pitch() -> None:
    times = torch.arange(4000) / 4000
    tone = torch.sin(2 * math.pi * 1000 * times)
    found = log_mel(torch.stack([tone, torch.zeros(4000)]), 4000, 20)
    assert found.shape == (2, 101, 20)
    assert float(found[1].abs().max()) < 1e-6
    ends = 2595 * np.log10(1 + np.array([0, 2000]) / 700)  # HTK's mel scale
    centres = np.linspace(*ends, 22)[1:-1]
    pitch = 2595 * np.log10(1 + 1000 / 700)
    assert int(found[0, 50].argmax()) == int(np.abs(centres - pitch).argmin())


def test_metrics_of_classes_are_those_of_scikit_learn() -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(50, 4), torch.randint(3, (50,))
    batch = Batch({}, targets)

    def value(metric: Metric) -> float:
        return metric.value(metric.of(outputs, batch).double().sum(0), 50)

    accuracy, macro_f1 = CLASS_METRICS
    predicted = outputs.argmax(1)
    assert value(accuracy) == pytest.approx(float((predicted == targets).double().mean()))
    assert value(macro_f1) == pytest.approx(f1_score(targets, predicted, average="macro"))


def test_streams_are_met_at_their_own_conditions(gestures: Path) -> None:
    task, data = opened(gestures)
    original = data.inputs
    assert original["sound"]["values"].shape == (2, 8, 41)
    assert [axis.name for axis in task.axes] == [f"{name}_snr" for name in GESTURES.inputs]
    from fusion_search.datasets.loading import Presentation, load

    shown = [[Presentation(n, n) for n in range(2)]]
    batch, keys = next(load(data.validation, shown, seed=0))
    condition = {axis.name: torch.full((2,), ORIGINAL) for axis in task.axes}
    condition |= {"photo_snr": torch.full((2,), ABSENT), "motion_snr": torch.ones(2)}
    met = task.impair(batch, condition, keys, 0).inputs
    assert not met["photo"].any()
    noise = met["motion"]["values"] - original["motion"]["values"]
    for one in range(2):
        length = int(met["motion"]["lengths"][one])
        signal = original["motion"]["values"][one, :, :length]
        assert float(noise[one, :, :length].square().mean() / signal.square().mean()) == (
            pytest.approx(1.0, abs=0.6)
        )
        assert not noise[one, :, length:].any()
    for name in ("video", "spectrum", "numbers"):
        torch.testing.assert_close(met[name], original[name])


def test_a_table_keeps_the_contract_of_searches(gestures: Path) -> None:
    few = {name: GESTURES.inputs[name] for name in ("sound", "numbers")}
    settings = replace(GESTURES, inputs=few, test_snrs=(math.inf,))
    task, data = opened(gestures, settings)
    broken = [
        clause.words
        for clause in Contract(task, SMALL, settings, data).clauses()
        if not clause.holds
    ]
    assert broken == []


def test_a_table_knows_what_its_networks_start_from(gestures: Path, tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    named = os.path.relpath(file, gestures.parent)

    def data(weights: str) -> Data:
        photo = replace(GESTURES.inputs["photo"], encoder="resnet18", weights=weights)
        inputs = {**GESTURES.inputs, "photo": photo}
        return opened(gestures, replace(GESTURES, inputs=inputs))[1]

    with pytest.raises(TaskError, match=r"weights .*w\.pt cannot be read"):
        data(named)
    file.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of FIPS 180-2
    first = data(named)
    assert f"weights of photo from w.pt {known}" in first.note
    assert data(named).fingerprint == first.fingerprint
    file.write_bytes(b"abcd")
    assert data(named).fingerprint != first.fingerprint
    downloaded = data("default")
    assert "photo begins with weights default" in downloaded.note
    assert not downloaded.weights


def test_a_number_is_predicted_in_its_own_units(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [{"a": rng.normal(), "y": 500 + 10 * rng.normal()} for _ in range(40)]
    path = write_csv(tmp_path / "t.csv", rows)
    inputs = {"a": Input(kind="numbers", columns=("a",))}
    settings = TableData(table="t.csv", target="y", target_kind="number", inputs=inputs)
    task, data = opened(path, settings)
    network = task.build(SMALL, data, Placement())
    outputs = network(**data.inputs).detach()
    assert outputs.shape == (2,)
    assert float((outputs - 500).abs().max()) < 50
    assert [one.name for one in task.metrics] == ["mean_absolute_error"]
    assert len(read_csv(path)) == 40
