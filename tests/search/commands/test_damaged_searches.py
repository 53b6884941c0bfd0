"""What cannot be read is named once, and holds up nothing else."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import NAME, space_folder, sweep_folder
from descriptions import digit_description
from pyarrow import fs
from synthetic_records import Trial, write_planned, write_trial
from tracking_records import end_row, planned_search, record
from xflow_records import write_variant

from fusion_search.analysis.records.selection import opening
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import (
    FAILED,
    read_batches,
    read_table,
    recorded_trials,
    to_parquet,
)
from fusion_search.search.commands.command_line import main
from fusion_search.search.commands.figures import folds
from fusion_search.search.commands.figures.drawing_options import say_damage
from fusion_search.search.commands.status import print_searches
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.records import planned
from fusion_search.search.records.search_folder import load_search
from fusion_search.search.running import listed_trials
from fusion_search.search.running.progress import warn_of_damage
from fusion_search.search.running.run import start_tracker
from fusion_search.search.running.samples.earlier import known_observations
from fusion_search.search.running.samples.observations import observation
from fusion_search.search.running.samples.proposals import read_proposals
from fusion_search.search.tracking import syncing
from fusion_search.search.tracking import tracker as tracker_module

TRIALS = digit_description().schema("trials")


def damage_one(folder: Storage, table: str = "trials") -> str:
    """Its first record, beside which others' files lie."""
    (name, *_) = folder.names(table)
    for other in ("Thumbs.db", "x.parquet.bak"):
        folder.write(b"others'", table, other)
    folder.write(b"damaged", table, name)
    return name


class Runs:
    """Stands in for MLflow's: reads what they read."""

    experiment_id = "1"
    description = digit_description()
    restored = removed = 0
    found_none = False
    settled: Mapping[tuple[str, str], int] = {}

    def __init__(
        self, written: list[str], search: Storage, uri: str, *, closely: bool = False
    ) -> None:
        self._written = written
        self._search = search
        self.settled: dict[tuple[str, str], int] = {}

    def start_search(self) -> None: ...

    def write_search(self, trials: object, *, running: bool = False) -> None:
        self._written.append("all")

    def write_trial(self, row: Any) -> bool:
        if self._search.exists("grid", f"{row['trial_id']}.parquet"):
            list(read_batches(self._search, "grid", ["accuracy"], [row["trial_id"]]))
        if row["trial_id"] in self._written:
            return False
        self._written.append(row["trial_id"])
        return True


def test_a_damaged_search_does_not_hide_the_sound_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_folder(tmp_path).remove("driver.json")
    assert main(["status", "--storage", str(tmp_path)]) == 0
    sound = capsys.readouterr().out.splitlines()[1]
    for name in ("a", "b", "c", "d", "z"):
        shutil.copytree(tmp_path / NAME, tmp_path / name)
    (tmp_path / "a" / "specification.yaml").write_text("[1, 2]")
    (tmp_path / "b" / "driver.json").write_text("{}")
    (tmp_path / "c" / "specification.yaml").unlink()
    (tmp_path / "c" / "specification.yaml").mkdir()
    damage_one(open_storage(tmp_path / "d"))
    shutil.copytree(tmp_path / NAME / "trials", tmp_path / "lost" / "trials")
    (tmp_path / "circle").mkdir()
    (tmp_path / "circle" / "specification.yaml").symlink_to("specification.yaml")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("")
    assert main(["status", "--storage", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert output.err == ""
    _, *lines, _ = output.out.splitlines()
    by_name = {line.split()[0]: line for line in lines}
    assert by_name[NAME] == sound
    assert by_name["z"].split()[1:] == sound.split()[1:]
    assert by_name["a"].split()[1] == "damaged"
    assert f"{tmp_path}/a/specification.yaml" in by_name["a"]
    assert "driver.json is damaged" in by_name["b"]
    assert "specification.yaml is damaged (it is not a regular file)" in by_name["c"]
    assert by_name["lost"].split()[1] == "damaged"
    assert f"{tmp_path}/lost/specification.yaml is missing" in by_name["lost"]
    assert by_name["circle"].split()[1] == "damaged"
    assert f"{tmp_path}/circle/specification.yaml" in by_name["circle"]
    assert not {"empty", "file.txt"} & set(by_name)
    assert by_name["d"].split()[1:5] == ["ended", "3", "of", "4"]
    (damage,) = [line for line in lines if line.startswith(" ")]
    assert "is damaged" in damage
    assert "trials/" in damage


class Locked:
    """A filesystem in which one folder may not be looked at."""

    def __init__(self) -> None:
        self._real = fs.LocalFileSystem()
        self.type_name = "local"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get_file_info(self, what: Any) -> Any:
        if "locked" in (what if isinstance(what, str) else what.base_dir):
            raise PermissionError(13, "Permission denied")
        return self._real.get_file_info(what)


def test_a_search_that_may_not_be_looked_at_hides_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_folder(tmp_path)
    shutil.copytree(tmp_path / NAME, tmp_path / "locked")
    storage = Storage(str(tmp_path), Locked(), str(tmp_path))
    for module in ("search.records.search_folder", "search.commands.status"):
        monkeypatch.setattr(f"fusion_search.{module}.open_storage", lambda location: storage)
    assert print_searches(str(tmp_path)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(NAME)
    assert lines[2].split()[:2] == ["locked", "damaged"]
    assert "Permission denied" in lines[2]


def test_status_of_a_search_names_a_damaged_record_in_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep_folder(tmp_path)
    name = damage_one(folder)
    assert main(["status", NAME, "--storage", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    lines = [line for line in lines if not line.startswith("  details: ")]
    assert len(lines) == 8
    assert lines[2].startswith("all trials: ")
    (line,) = [line for line in lines if "damaged (" in line]
    assert line.startswith(name.removesuffix(".parquet"))
    assert sum(" failed " in line or " stopped " in line for line in lines) == 3


def changed(folder: Storage, name: str, **fields: Any) -> bytes:
    """A record with other values in it, whole."""
    table = pq.read_table(folder.path("trials", name))
    for column, value in fields.items():
        place = table.column_names.index(column)
        table = table.set_column(place, column, pa.array([value], TRIALS.field(column).type))
    return to_parquet(table)


def spoil(folder: Storage, status: str, fields: dict[str, Any] | None) -> str:
    """One record of this status gets other values, or loses its row; returns its trial's id."""
    rows = read_table(folder, "trials")
    trial_id = str(rows.loc[rows["status"] == status, "trial_id"].iloc[0])
    name = f"{trial_id}.parquet"
    empty = to_parquet(TRIALS.empty_table())
    content = empty if fields is None else changed(folder, name, **fields)
    folder.write(content, "trials", name)
    return trial_id


@pytest.mark.parametrize(
    ("status", "fields", "said"),
    [
        ("stopped", {"seconds": math.inf}, "its seconds is inf"),
        ("stopped", {"seconds": 1e300}, r"its seconds is 1e\+300"),
        ("stopped", {"seconds": -1.0}, "its seconds is -1"),
        ("failed", {"seconds": None}, "its seconds is missing"),
        ("failed", {"data_note": None}, "its data_note is missing"),
        ("failed", {"data_fingerprint": None}, "its data_fingerprint is missing"),
        ("failed", {"started_at": None}, "its started_at is missing"),
        ("stopped", {"ended_at": None}, "its ended_at is missing"),
        ("stopped", {"ended_at": 2**61}, "its ended_at is no time"),
        ("failed", {"reason": None}, "its reason is missing"),
        ("failed", {"status": None}, "its status is None"),
        ("failed", {"status": "finished"}, "its validation_accuracy is missing"),
        ("stopped", {"validation_accuracy": math.nan}, "its validation_accuracy is nan"),
        ("stopped", {"train_audio_snr": math.nan}, "its train_audio_snr is nan"),
        ("stopped", {"versions": "[1]"}, "its versions is not a mapping"),
        ("stopped", {"objective_values": [math.inf]}, "its objective_values are not finite"),
        ("stopped", {"trial_id": "0" * 12}, "it is a record of another trial, 000000000000"),
        ("stopped", None, "it has no row"),
    ],
)
def test_a_record_with_values_that_no_search_writes_is_damaged(
    status: str, fields: dict[str, Any] | None, said: str, tmp_path: Path
) -> None:
    folder = sweep_folder(tmp_path)
    trial_id = spoil(folder, status, fields)
    told: dict[str, str] = {}
    found = read_table(folder, "trials", sorted(recorded_trials(folder)), told.__setitem__)
    assert len(found) == 3
    assert list(told) == [trial_id]
    assert re.search(
        rf"{trial_id}\.parquet is damaged \({said}\); delete it and resume", told[trial_id]
    )


@pytest.mark.parametrize(
    ("status", "fields", "said"),
    [
        ("stopped", {"seconds": math.inf}, "its seconds is inf"),
        ("failed", {"data_note": None}, "its data_note is missing"),
        ("failed", {"started_at": None}, "its started_at is missing"),
        ("stopped", {"trial_id": "0" * 12}, "it is a record of another trial, 000000000000"),
        ("stopped", None, "it has no row"),
    ],
)
def test_a_damaged_record_is_named_and_counted_alike_by_all(
    status: str,
    fields: dict[str, Any] | None,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = sweep_folder(tmp_path)
    folder.remove("driver.json")
    trial_id = spoil(folder, status, fields)
    name = f"{trial_id}.parquet"
    at = ("--storage", str(tmp_path))
    sentence = rf"{tmp_path}/{NAME}/trials/{name} is damaged \({said}\); delete it and resume"
    written: list[str] = []
    for module in (syncing, tracker_module):
        monkeypatch.setattr(module, "SearchRuns", partial(Runs, written))
    for words, code in (
        (["status", *at], 1),
        (["status", NAME, *at], 1),
        (["resume", NAME, *at], 1),
        (["retry", NAME, *at], 2),
        (["sync-mlflow", NAME, *at], 1),
        (["report", NAME, *at, "--output", str(tmp_path)], 0),
    ):
        monkeypatch.setattr(listed_trials, "open_data", refuse)
        warn_of_damage.cache_clear()  # every command is a process of its own
        assert main(words) == code, words
        output = capsys.readouterr()
        assert len(re.findall(sentence, output.out + output.err)) == 1, words
        if words[0] == "resume":
            assert "1 unreadable, 0 not run" in output.out
    assert len(written) == 4
    assert trial_id not in written
    page = (tmp_path / f"{NAME}-report.html").read_text()
    assert "3 trials ended" in page
    assert "; 1 unreadable." in page
    assert f"{name} is damaged (" in page


def refuse(*_: object) -> None:
    raise ValueError("there are trials to run")


def test_a_space_search_learns_nothing_of_a_record_of_another_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = space_folder(tmp_path)
    folder.remove("driver.json")
    first, second = folder.names("trials")
    folder.write(folder.read("trials", first), "trials", second)
    warn_of_damage.cache_clear()
    assert main(["resume", NAME, "--storage", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.count(f"trials/{second} is damaged (it is a record of another trial, ") == 1


@pytest.mark.parametrize("make", [sweep_folder, space_folder])
def test_records_of_no_trial_of_the_search_are_counted_apart(
    make: Callable[[Path], Storage],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = make(tmp_path)
    folder.remove("driver.json")
    at = ("--storage", str(tmp_path))
    count = len(folder.names("trials"))
    other = f"{'0' * 12}.parquet"
    sound = changed(folder, folder.names("trials")[0], trial_id="0" * 12)
    folder.write(sound, "trials", other)
    folder.write(b"PAR1 half", "trials", "half.parquet")
    written: list[str] = []
    for module in (syncing, tracker_module):
        monkeypatch.setattr(module, "SearchRuns", partial(Runs, written))
    said = f"2 records in {folder.named('trials')} are of no trial of this search: {other}, half"
    for words in (
        ["status", *at],
        ["status", NAME, *at],
        ["sync-mlflow", NAME, *at],
        ["resume", NAME, *at],
    ):
        code = main(words)
        output = capsys.readouterr()
        assert code == (1 if words[0] == "resume" else 0), output  # none of its trials finished
        assert (output.out + output.err).count(said) == 1, words
        assert "delete" not in output.out + output.err
        if words == ["status", *at]:
            assert f" {count} of {count} " in output.out
        if words[0] == "resume":
            assert f"0 of {count} trials finished, {count // 2} stopped early" in output.out
            assert f"{count // 2} failed, 0 not run" in output.out
    assert len(written) == count + 1
    assert main(["report", NAME, *at, "--output", str(tmp_path)]) == 0
    page = (tmp_path / f"{NAME}-report.html").read_text()
    assert f"{count} trials ended" in page
    assert f"left out, recorded but not in planned.json: {other}, half.parquet" in page


def test_a_sweep_goes_on_beside_a_damaged_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep_folder(tmp_path)
    folder.remove("driver.json")
    name = damage_one(folder)
    content = folder.read("trials", name)
    assert main(["resume", NAME, "--storage", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert output.err.count(f"{name} is damaged") == 1
    assert "1 unreadable, 0 not run" in output.out
    assert folder.read("trials", name) == content
    lost = folder.names("trials")[-2]  # the last is x.parquet.bak
    folder.remove("trials", lost)
    asked: list[str] = []

    def would_run(search: Any, trial: Any, *_: object) -> None:
        asked.append(trial.trial_id)
        raise ValueError("there are trials to run")

    monkeypatch.setattr(listed_trials, "open_data", would_run)
    assert main(["resume", NAME, "--storage", str(tmp_path)]) == 2
    assert asked == [lost.removesuffix(".parquet")]
    assert "3 of 4 trials have ended before" in capsys.readouterr().out
    folder.remove("trials", name)
    assert main(["resume", NAME, "--storage", str(tmp_path)]) == 2
    assert "2 of 4 trials have ended before" in capsys.readouterr().out


def test_a_searcher_goes_on_beside_a_damaged_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = space_folder(tmp_path)
    folder.remove("driver.json")
    whole = {str(sample): rows for sample, rows in read_proposals(folder)}
    search = load_search(NAME, str(tmp_path))
    assert search.space is not None
    metric = search.definition.metrics[0]
    known = known_observations(search.space, search.objectives, folder)
    name = damage_one(folder)
    content = folder.read("trials", name)
    lost = name.removesuffix(".parquet")
    rest = read_proposals(folder)
    assert [str(sample) for sample, _ in rest] == list(whole)
    for sample, rows in rest:
        before = whole[str(sample)]
        if lost in [row["trial_id"] for row in before]:
            assert observation(sample, rows, metric).state == FAILED
        else:
            assert rows == before
    fewer = known_observations(search.space, search.objectives, folder)
    assert all(one in known for one in fewer)
    warn_of_damage.cache_clear()
    capsys.readouterr()
    assert main(["resume", NAME, "--storage", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert "1 unreadable, 0 not run" in output.out
    assert output.err.count(f"{name} is damaged") == 1
    assert main(["importance", NAME, "--storage", str(tmp_path)]) == 0
    assert folder.read("trials", name) == content


def test_a_plan_is_read_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = space_folder(tmp_path)
    folder.remove("driver.json")
    at = ["--storage", str(tmp_path)]
    sample = "{" + '"a": {' * 60 + "}" * 60 + "}"
    plan = f'{{"planned": 1, "trials": [{{"trial_id": "x", "sample": {sample}}}]}}'
    folder.write(plan.encode(), "planned.json")
    for words in (["resume", NAME], ["draw", "grids", NAME]):
        assert main([*words, *at]) == 2
        assert "more than 40 collections in one another" in capsys.readouterr().err
    for module in (planned, opening):
        monkeypatch.setattr(module, "LARGEST_PLAN", 2 << 20)
    folder.write(b"{" + b" " * (2 << 20) + b"}", "planned.json")
    for words in (["resume", NAME], ["draw", "grids", NAME]):
        assert main([*words, *at]) == 2
        assert "planned.json is damaged (it is larger than 2 MiB)" in capsys.readouterr().err


def test_a_planned_trial_without_its_name_is_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_folder(tmp_path).write(b'{"planned": 1, "trials": [{"trial_id": "x"}]}', "planned.json")
    for words in (["status", NAME], ["draw", "grids", NAME], ["sync-mlflow", NAME]):
        assert main([*words, "--storage", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert "planned.json is damaged" in error
        assert error.count("\n") == 1


def test_figures_and_the_report_leave_out_what_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = open_storage(tmp_path).below("made-up")
    trials = [Trial((0.5, 0.25), seed=seed) for seed in range(4)]
    for trial in trials:
        write_trial(folder, trial)
    write_planned(folder, trials)
    first = damage_one(folder)
    (_, second, third, _) = folder.names("grid")
    folder.write(b"damaged", "grid", second)
    folder.remove("grid", third)
    place = ["--storage", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main(["draw", "grids", "made-up", *place]) == 0
    error = capsys.readouterr().err
    assert error.count(f"trials/{first} is damaged") == 1
    assert error.count(f"grid/{second} is damaged") == 1
    # A trial has ended by its record in trials, without which it runs again.
    records = tmp_path / "made-up" / "trials"
    assert f"; delete it and {records / second} and resume the search" in error
    assert error.count(f"grid/{third} is missing; delete {records / third} and resume") == 1
    assert "seeds" in (tmp_path / "out" / "made-up-grids-depth0.csv").read_text()
    assert main(["report", "made-up", *place]) == 0
    for name in folder.names("grid"):
        folder.write(b"damaged", "grid", name)
    assert main(["draw", "grids", "made-up", *place]) == 2
    assert "no grid of search made-up can be read" in capsys.readouterr().err


def test_figures_over_folds_leave_out_what_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds, "save", lambda *_: None)
    folder = open_storage(tmp_path).below("made-up")
    for fold in range(4):
        write_variant(folder, "baseline", fold, 0.5)
    first, second, third, fourth = folder.names("trials")
    folder.write(b"damaged", "trials", first)
    folder.write(b"damaged", "grid", second)
    folder.write(b"damaged", "epochs", third)
    twice = pa.concat_tables([pq.read_table(folder.path("epochs", fourth))] * 2)
    folder.write(to_parquet(twice), "epochs", fourth)
    place = ["--storage", str(tmp_path), "--output", str(tmp_path / "out")]
    for figure in ("folds", "xflow", "learning"):
        say_damage.cache_clear()
        assert main(["draw", figure, "made-up", *place]) == 0
        output = capsys.readouterr()
        assert output.err.count(f"trials/{first} is damaged") == 1
        assert output.err.count(f"grid/{second} is damaged") == (figure != "learning")
        assert output.err.count(f"epochs/{third} is damaged") == 1
        assert output.err.count(f"epochs/{fourth} is damaged (it has an epoch twice)") == 1
        if figure != "learning":
            assert "Of 3 finished trials of 3 planned" in output.out


@pytest.mark.parametrize("live", [True, False])
def test_mlflow_gets_the_runs_beside_damaged_records(
    live: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[str] = []
    for module in (syncing, tracker_module):
        monkeypatch.setattr(module, "SearchRuns", partial(Runs, written))
    folder = planned_search(open_storage(tmp_path), "small", 4)
    for number in range(4):
        record(folder, end_row(number))
    damage_one(folder)
    folder.write(b"damaged", "grid", "t002.parquet")
    if live:
        search = build_search({"name": "small", "task": "digits", "storage": str(tmp_path)})
        said: list[str] = []
        tracker = start_tracker(search, folder, ["t000", "t001", "t002", "t003"], said.append)
        assert tracker is not None
        assert tracker.close(60)
        assert [one.split(":")[0] for one in said] == [
            "MLflow lacks the run of trial t000",
            "MLflow lacks the run of trial t002",
        ]
    else:
        assert main(["sync-mlflow", "small", "--storage", str(tmp_path)]) == 1
        output = capsys.readouterr()
        assert "MLflow shows 2 trials as recorded: 2 runs were written" in output.out
        assert output.err.count("is damaged") == output.err.count("\n") == 2
    assert written == ["t001", "t003", "all"]


@pytest.mark.parametrize("place", ["driver.json", "specification.yaml", "planned.json", "trials/"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "20 GB"])
def test_what_is_no_file_or_too_large_is_named_and_not_read(
    place: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = space_folder(tmp_path)
    shutil.copytree(tmp_path / NAME, tmp_path / "sound")
    name = f"{place}{folder.names('trials')[0]}" if place == "trials/" else place
    (tmp_path / NAME / name).unlink()
    odd_file(tmp_path / NAME / name, kind)
    assert main(["status", "--storage", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    what = "is larger than" if kind == "20 GB" else "is not a regular file"
    assert sum(f"{tmp_path}/{NAME}/{name} is damaged (it {what}" in line for line in lines) == 1
    assert [line for line in lines if line.startswith("sound") and "damaged" not in line]


def odd_file(path: Path, kind: str) -> None:
    """Something to be found where a file should be, which takes no room."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(20 << 30)
