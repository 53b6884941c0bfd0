"""``new``: a configuration for a table, and a table to try."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_tables import copied, read_csv, write_csv

from fusion_search.datasets.tables.looking import look
from fusion_search.search.commands.command_line import main
from fusion_search.search.declaration.configuration import build_search, parse_yaml
from fusion_search.search.running.confirmation import candidates_among
from fusion_search.search.tasks.opened import open_task
from fusion_search.search.tasks.table.suggested import Measured, suggested


def text_of(table: Path, **asked: str) -> str:
    found = look(table, **asked)
    return suggested(found, name="t", table=str(table), measured=Measured((90, 15, 15), 7, "Said."))


def test_the_configuration_is_one_that_can_be_built(gestures: Path) -> None:
    text = text_of(gestures)
    search = build_search(yaml.safe_load(text), None)
    assert search.space is not None
    trial = search.space.any_trial()
    data = open_task(search.definition, trial.data)
    assert "5 random folds over 8 groups" in data.note
    assert [axis.test for axis in search.definition.axes] == [
        (float("inf"), 1.0, -float("inf"))
    ] * 6
    assert set(trial.train.values()) == {float("inf")}
    assert search.searcher.samples == 7
    assert "# Said." in text


def test_the_comment_on_subsets_is_a_line_that_can_be_taken(tmp_path: Path) -> None:
    columns = {"a": "[1, 2]", "b": "[3, 4]"}
    rows = [{**columns, "label": n % 2} for n in range(40)]
    text = text_of(write_csv(tmp_path / "t.csv", rows))
    assert yaml.safe_load(text)["placement"]["streams"] == [["a", "b"]]
    written, commented = re.findall(r"^ +(?:#   )?streams: .*$", text, re.MULTILINE)
    assert "#" not in written
    taken = yaml.safe_load(text.replace(written, commented.replace("#   ", "")))
    assert taken["placement"]["streams"] == [["a", "b"], ["a"], ["b"]]
    build_search(taken, None)


@pytest.mark.parametrize(
    ("levels", "labels"),
    [(3, ["plain fusion"]), ([2, 3], ["plain levels 2", "plain levels 3"])],
)
def test_a_plain_network_is_told_by_its_levels_where_there_are_others(
    levels: object, labels: list[str], tmp_path: Path
) -> None:
    rows = [{"a": "[1, 2]", "b": "[3, 4]", "label": n % 2} for n in range(40)]
    raw = yaml.safe_load(text_of(write_csv(tmp_path / "t.csv", rows)))
    raw["network"]["levels"] = levels
    search = build_search(raw, None)
    assert search.space is not None
    candidates = candidates_among([((search.space.any_trial(),), 0.5)], search)
    assert [one.label for one in candidates if one.role == "plain"] == labels


def test_a_table_of_one_stream_and_a_number_has_no_placement(tmp_path: Path) -> None:
    rows = [{"x": (n * n) % 17, "target": n / 7} for n in range(80)]
    raw = yaml.safe_load(text_of(write_csv(tmp_path / "t.csv", rows)))
    assert "placement" not in raw
    assert raw["objectives"] == ["mean_mean_absolute_error"]
    assert build_search(raw, None).space is not None


def test_names_that_yaml_reads_otherwise_stay_names(tmp_path: Path) -> None:
    rows = [
        {"yes": n % 5 * n, "1e3": n * n, "null": n % 2, "1: [": f"# {n // 8}"} for n in range(80)
    ]
    table = write_csv(tmp_path / "no.csv", rows)
    raw = parse_yaml(text_of(table, target="null", group="1: ["), "text")
    assert raw["data"]["target"] == "null"
    assert raw["data"]["group"] == "1: ["
    assert raw["data"]["inputs"]["numbers"]["columns"] == ["yes", "1e3"]
    build_search(raw, None)


def test_broken_rows_are_listed_in_the_configuration(gestures: Path, tmp_path: Path) -> None:
    table = copied(gestures, tmp_path)
    (tmp_path / read_csv(table)[3]["sound"]).write_bytes(b"no sound")
    text = text_of(table)
    assert yaml.safe_load(text)["data"]["leave_out"] == [5]
    assert "#   row 5, column sound: sounds/" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["new"], "name a table, or --example FOLDER"),
        (["new", "gone.csv"], "table .*gone.csv' cannot be read: No such file"),
        (["new", "a.csv", "--example", "b"], "leave the other one out"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert re.search(said, error)


def test_nothing_is_written_over(gestures: Path, tmp_path: Path) -> None:
    output = tmp_path / "mine.yaml"
    output.write_text("mine")
    assert main(["new", str(gestures), "--output", str(output)]) == 2
    assert output.read_text() == "mine"


@pytest.mark.slow
def test_from_an_empty_folder_to_a_report(tmp_path: Path) -> None:
    def run(*words: str) -> str:
        command = [sys.executable, "-m", "fusion_search", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("new", "--example", "gestures")
    assert re.search(r"[1-9][\d,]* fit in an hour", run("new", "gestures/gestures.csv"))
    small = ["training.epochs=2", "searcher.samples=3", "data.test_snrs=[original]"]
    changes = [word for one in small for word in ("--set", one)]
    run("launch", "gestures.yaml", "--set", "confirmation.seeds=2", *changes)
    run("resume", "gestures")
    run("report", "gestures")
    assert list((tmp_path / "figures").glob("*.html"))
