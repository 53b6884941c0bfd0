"""Figures of a probe whose table holds what no probe writes, or what no figure can be made of."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xflow_records import MAPS, VECTOR, Change, Row, write_variant
from xflow_records import write_probe as write_probe_of

from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.commands.command_line import main
from fusion_search.search.commands.figures import draw, probed

TRIAL = "baseline0s0"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The searches: one, of one trial."""
    folder = tmp_path_factory.mktemp("probed")
    write_variant(open_storage(folder).below("made-up"), "baseline", 0, 0.5)
    return folder


@pytest.fixture(autouse=True)
def _nothing_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    for verbs in (draw, probed):
        monkeypatch.setattr(verbs, "save", lambda *_: None)
    embedding = "fusion_search.analysis.figures.probed.embedding.embedded"
    monkeypatch.setattr(embedding, lambda vectors: np.zeros((len(vectors), 2)))


def write_probe(place: Path, change: Change = lambda row: row, steps: int = 6) -> None:
    write_probe_of(open_storage(place).below("made-up"), TRIAL, change, steps=steps)


def of_one(**other: Any) -> Change:
    """Other values in the arrays of one clip."""
    return lambda row: {**row, **other} if row["number"] == 1 else row


def said(place: Path, figure: str, capsys: pytest.CaptureFixture[str]) -> str:
    """By a figure's verb, which ends in one sentence or in nothing; without a warning."""
    words = ["draw", figure, "made-up", "--storage", str(place), "--output", str(place / "out")]
    code = main(words)
    error = capsys.readouterr().err
    assert (code, error.count("\n")) in ((0, 0), (2, 1)), error
    return error


DAMAGE: dict[str, tuple[Change, str]] = {
    "no such values": (of_one(shape=[7, 7]), "an array of shape [7, 7] has "),
    "inferred": (of_one(shape=[-1]), "an array has shape [-1]"),
    "huge": (of_one(shape=[2**62, 0], values=[]), "an array has shape [4611686018427387904, 0]"),
    "deep": (of_one(shape=[1] * 40, values=[1.0]), "an array has shape [1, 1, "),
    "no side": (of_one(shape=[None], values=[1.0]), "its shape are missing"),
    "no value": (of_one(shape=[2], values=[1.0, None]), "its values are missing"),
    "one class more": (of_one(label=26), "its label is not one of 26 classes"),
    "twice": (of_one(name=VECTOR), "it has an array twice"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_no_probe_writes_is_damage(
    what: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words = DAMAGE[what]
    write_probe(place, change)
    error = said(place, "maps", capsys)
    assert f"activations/{TRIAL}.parquet is damaged ({words}" in error
    assert "probe the trial again" in error


def without(name: str) -> Change:
    return lambda row: None if row["number"] == 1 and row["name"] == name else row


def filled(value: float) -> Change:
    return lambda row: {**row, "values": [value] * len(row["values"])}


def emptied(name: str) -> Change:
    def change(row: Row) -> Row:
        nothing = {"shape": [0, *row["shape"][1:]], "values": []}
        return {**row, **nothing} if row["name"] == name else row

    return change


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("figure", "change", "words"),
    [
        ("embedding", without(VECTOR), f"{VECTOR} was kept of 3 of 4 examples"),
        ("changes", without(MAPS), f"{MAPS} was kept of 3 of 4 examples"),
        ("maps", without(MAPS), f"{MAPS} was kept of 3 of 4 examples"),
        ("embedding", filled(math.nan), f"{VECTOR} has values that are not finite"),
        ("changes", filled(math.inf), f"{MAPS} has values that are not finite"),
        ("maps", filled(-math.inf), f"{MAPS} has values that are not finite"),
        ("embedding", emptied(VECTOR), f"{VECTOR} has shape [0], which is nothing to draw"),
        ("maps", emptied(MAPS), f"{MAPS} has shape [0, 2, 3, 3], which is nothing to draw"),
        ("changes", filled(0.0), "no probed example has 4 changes over time that differ"),
        ("embedding", filled(0.0), ""),
        ("maps", filled(0.0), ""),
        ("timeline", lambda row: {**row, "shape": [], "values": [0.5]}, ""),
    ],
)
def test_what_a_figure_cannot_be_made_of_is_said(
    figure: str, change: Change, words: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_probe(place, change)
    error = said(place, figure, capsys)
    assert words in error
    assert bool(words) == bool(error)


def test_clips_of_one_step_have_no_changes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_probe(place, steps=1)
    error = said(place, "changes", capsys)
    assert "no probed example has 4 changes over time that differ; probe longer ones" in error


def test_clips_whose_maps_differ_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def narrower(row: Row) -> Row:
        other = {"shape": [6, 1, 3, 3], "values": row["values"][: 6 * 9]}
        return {**row, **other} if (row["number"], row["name"]) == (1, MAPS) else row

    write_probe(place, narrower)
    assert "differs in its channels or maps from example to example" in said(
        place, "changes", capsys
    )


def test_a_trial_that_was_not_probed_names_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = open_storage(tmp_path).below("made-up")
    write_variant(folder, "baseline", 0, 0.5)
    error = said(tmp_path, "maps", capsys)
    again = f"`fusion-search probe made-up --trial {TRIAL} --storage {tmp_path}`"
    assert "its weights are not there" in error
    record = tmp_path / "made-up" / "trials" / f"{TRIAL}.parquet"
    resume = f"`fusion-search resume made-up --storage {tmp_path}`"
    assert f"or delete {record} and train it again with {resume}; then run {again}" in error
    folder.write(b"", "checkpoints", f"{TRIAL}.pt")
    assert f"was not probed; run {again}" in said(tmp_path, "maps", capsys)


def test_an_array_without_time_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_probe(place)
    words = ["draw", "changes", "made-up", "--array", VECTOR, "--storage", str(place)]
    assert main(words) == 2
    assert f"{VECTOR} has shape [5]; changes are of [T, C]" in capsys.readouterr().err


def test_files_of_long_and_like_names_stay_apart() -> None:
    names = ["a.b>c.d", "a.b>c>d", "l" * 300, "l" * 301, "ö"]
    found = probed._by_file(names)
    assert list(found.values()) == names
    assert list(found) == ["a-b-c-d", "a-b-c-d-2", "l" * 80, "l" * 80 + "-2", ""]
