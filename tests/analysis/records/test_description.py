"""What a search is of, read from its ``task.json``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from descriptions import (
    clips_description,
    digit_description,
    sensors_description,
    write_description,
)
from flips import damaged

from fusion_search.analysis.records.columns import COLUMNS, ROLES
from fusion_search.analysis.records.description import (
    TASK_FILE,
    AxisDescription,
    ColumnDescription,
    MetricDescription,
    TaskDescription,
    read_description,
)
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.words.names import column_words

ALL = [digit_description(), digit_description(absent=True), sensors_description()]
ALL.append(clips_description())


@pytest.mark.parametrize("description", ALL, ids=lambda one: one.task)
def test_a_description_comes_back_as_written(description: TaskDescription, tmp_path: Path) -> None:
    search = open_storage(tmp_path)
    write_description(search, description)
    assert read_description(search) == description
    json.loads(description.to_json(), parse_constant=pytest.fail)  # infinity is no JSON


def test_axes_and_metrics_become_columns() -> None:
    of = clips_description()
    names = of.schema("trials").names
    assert of.train_columns == ("train_emg_snr",)
    assert of.test_columns == ("test_emg_snr",)
    assert of.conditions == 3
    for prefix in ("validation", "train_condition", "worst", "mean"):
        assert names.index(f"{prefix}_macro_f1") + 1 == names.index(f"{prefix}_accuracy")
    grid = of.schema("grid").names
    assert grid[3:] == ["test_emg_snr", "n", "loss", "macro_f1", "accuracy", "accuracy_sum"]
    assert "train_macro_f1" in of.schema("epochs").names
    assert sensors_description().schema("grid").names[3:5] == ["n", "loss"]


def test_a_metric_too_dear_for_every_epoch_is_in_no_epoch() -> None:
    metrics = (MetricDescription("recall", each_epoch=False), MetricDescription("error"))
    of = TaskDescription(task="one", streams=("a",), metrics=metrics)
    assert "validation_recall" not in of.schema("epochs").names
    assert "validation_error" in of.schema("epochs").names
    assert "validation_recall" in of.schema("trials").names


@pytest.mark.parametrize("description", ALL, ids=lambda one: one.task)
def test_schemas_agree_on_the_columns_they_share(description: TaskDescription) -> None:
    seen: dict[str, pa.DataType] = {}
    for table in COLUMNS:
        for field in description.schema(table):
            assert seen.setdefault(field.name, field.type) == field.type


def test_every_column_of_a_trial_has_one_role() -> None:
    of = digit_description()
    by_role = [one.name for role in ROLES for one in of.columns_of(role)]
    assert sorted(by_role) == sorted(of.schema("trials").names)
    tried = {one.name for one in of.columns_of("tried")}
    assert {"fusion_depth", "placement", "train_audio_snr", "learning_rate", "split"} <= tried
    assert {one.name for one in of.columns_of("decided")} >= {"device", "engine"}


def test_words_and_texts_are_of_the_metric() -> None:
    error, share = MetricDescription("mean_absolute_error", "minimize"), ALL[0].metric
    assert (error.sign, share.sign) == (-1, 1)
    assert error.better(0.1, 0.2)
    assert share.better(0.2, 0.1)
    assert [error.text(0.12345), share.text(0.873)] == ["0.1235", "87.3 %"]
    assert error.text(math.nan) == "-"
    assert error.words == "mean absolute error"
    assert column_words("test_audio_snr") == "test audio SNR"
    assert digit_description().axes[0].short == "audio"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metrics": ()}, "there is no metric"),
        ({"streams": ("a", "a")}, "stream a is there twice"),
        ({"streams": ("a>b",)}, "stream is named 'a>b'"),
        ({"classes": 3, "labels": ("one",)}, "1 label for 3 classes"),
        ({"layout_fields": ("depth",)}, "layout_fields names 'depth', which is no setting"),
        ({"settings": (ColumnDescription("seed", "int64"),)}, "column of trials seed is there tw"),
        ({"metrics": (MetricDescription("loss"),)}, "column of epochs train_loss is there twice"),
        ({"task": "a\nb"}, "task is"),
    ],
)
def test_what_could_not_be_told_apart_is_refused(change: dict[str, Any], said: str) -> None:
    fields: dict[str, Any] = {"task": "one", "streams": ("a",), "metrics": ALL[0].metrics}
    with pytest.raises(ValueError, match=said):
        TaskDescription(**{**fields, **change})


@pytest.mark.parametrize("test", [(), (1.0, 1.0), (math.nan,), (-math.inf,)])
def test_an_axis_tests_different_conditions(test: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="axis snr tests"):
        AxisDescription("snr", "audio", test)


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"task\.json is missing; put a copy back"):
        read_description(open_storage(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"{}",
        b"{",
        *(
            clips_description().to_json().replace(one, other).encode()
            for one, other in [
                ('"maximize"', '"most"'),
                ('"emg_snr"', '"emg snr"'),
                ("20.0", '"loud"'),
                ("20.0", "1e999"),
                ("20.0", "9" * 400),
                ("20.0", "true"),
                ('"classes": 3', '"classes": 3.0'),
                ('"axes": [', '"axes": [1, '),
                ('"share": true', '"share": 1'),
                ('"int64"', '"int"'),
            ]
        ),
    ],
)
def test_a_damaged_file_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    search = open_storage(tmp_path)
    search.write(content, TASK_FILE)
    with pytest.raises(ValueError, match=r"task\.json is damaged \(.*\)$") as raised:
        read_description(search)
    assert "\n" not in str(raised.value)


def test_flipped_bytes_end_in_a_sentence_or_in_a_description(tmp_path: Path) -> None:
    search = open_storage(tmp_path)
    for content in damaged(clips_description().to_json().encode(), 300, seed=3):
        search.write(content, TASK_FILE)
        said = ""
        try:
            read_description(search)
        except ValueError as error:
            said = str(error)
        assert said == "" or said.startswith(search.named(TASK_FILE))
