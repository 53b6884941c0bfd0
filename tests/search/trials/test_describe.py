"""What task.json says of a task is what the task says of itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from descriptions import digit_description
from odd_tasks import Amount, Captions, NoisySensors, Sensors, Widths

from fusion_search.analysis.records.description import AxisDescription, TaskDescription
from fusion_search.search.tasks.opened import OpenedTask, open_task
from fusion_search.search.trials.describe import describe


def test_digits_are_described_as_readers_expect(small_opened: OpenedTask) -> None:
    found = describe("digits", small_opened.task, small_opened.first, ("image", "audio"))
    expected = digit_description(absent=True)
    assert TaskDescription.from_json(found.to_json()) == found
    assert found.axes == expected.axes
    assert found.metrics == expected.metrics
    assert (found.classes, found.labels) == (expected.classes, expected.labels)
    assert found.layout_fields == expected.layout_fields
    assert found.settings == expected.settings
    assert found.schema("trials").names == expected.schema("trials").names


def test_absent_is_tested_beside_the_grid() -> None:
    task = NoisySensors()
    found = describe("x:NoisySensors", task, open_task(task, Amount()), ("ecg", "motion", "heat"))
    assert found.axes == (
        AxisDescription("ecg_snr", "ecg", (float("inf"), 1.0), absent=True),
        AxisDescription("heat_snr", "heat", (float("inf"), 0.0, -5.0), decibel=True),
    )
    assert found.metric.name == "mean_absolute_error"
    assert found.metric.direction == "minimize"
    assert found.test_columns == ("test_ecg_snr", "test_heat_snr")
    captions = Captions()
    opened = open_task(captions, captions.data())
    assert describe("c:C", captions, opened, ("text", "image")).axes[0].input == "text.embeddings"


@dataclass(frozen=True)
class Clashing(Widths):
    best_epoch: int = 3


class ClashingSensors(Sensors):
    network = Clashing


def test_a_setting_called_like_a_column_is_refused() -> None:
    task = ClashingSensors()
    with pytest.raises(ValueError, match="best_epoch"):
        describe("x:Y", task, open_task(task, Amount()), ("ecg", "motion", "heat"))


def test_the_metric_that_chooses_is_counted_after_every_epoch_whatever_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = Sensors()
    first, *others = task.metrics
    monkeypatch.setattr(task, "metrics", (replace(first, each_epoch=False), *others))
    found = describe("x:Y", task, open_task(task, Amount()), ("ecg", "motion", "heat"))
    assert f"validation_{first.name}" in found.schema("epochs").names
    assert f"optimistic_{first.name}" in found.schema("trials").names
