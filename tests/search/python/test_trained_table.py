"""The winner of a table, whose axes are known only once its data are opened."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from small_recorder import one_recorded
from small_tables import write_csv

from fusion_search import load_trial
from fusion_search.datasets.tables.settings import Input, TableData
from fusion_search.search.commands.command_line import main
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.tasks.table.network import TableNetwork
from fusion_search.search.tasks.table.task import Table
from fusion_search.search.trials.settings import TrainingSettings
from fusion_search.search.trials.specification import TrialSpecification

ONE = Input(kind="numbers", columns=("x",))
OTHER = Input(kind="numbers", columns=("z",))


def rows(count: int) -> list[dict[str, object]]:
    """The class is the sign of x; z says nothing."""
    values = [(-1) ** n * (1 + n % 5) for n in range(count)]
    return [{"x": one, "z": n % 7, "y": "ab"[one > 0]} for n, one in enumerate(values)]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    table = write_csv(folder / "t.csv", rows(80))
    data = TableData(
        table=str(table), target="y", inputs={"first": ONE, "second": OTHER}, test_snrs=(math.inf,)
    )
    trial = TrialSpecification(
        task="table",
        network=TableNetwork(levels=1, width=4),
        data=data,
        train={"first_snr": 2.0, "second_snr": math.inf},
        training=TrainingSettings(epochs=8, batch_size=8, learning_rate=0.05, device="cpu"),
    )
    one_recorded(folder, trial, OpenedTask(Table(), data))
    return folder


@pytest.mark.parametrize("task", [None, "table", Table])
def test_the_winner_is_evaluated_on_another_table(
    search: Path, tmp_path: Path, task: str | type[Table] | None
) -> None:
    winner = load_trial(search / "one", task=task)
    assert dict(winner.specification.train) == {"first_snr": 2.0, "second_snr": math.inf}
    found = winner.evaluate(write_csv(tmp_path / "other.csv", rows(30)))
    assert isinstance(found, pd.DataFrame)
    assert set(found["n"]) == {30}
    by_first = found.set_index(["test_first_snr", "test_second_snr"])["accuracy"]
    assert by_first[math.inf, math.inf] == 1.0
    assert by_first[-math.inf, math.inf] < 0.8  # without x nothing tells


def test_its_examples_are_probed(search: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "one", "--storage", str(search), "--condition", "1", "absent"]) == 0
    assert "1 example at 1 condition" in capsys.readouterr().out
