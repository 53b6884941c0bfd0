"""What cannot be read is named once, and holds up nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from damage import NAME, space_folder, sweep_folder
from pyarrow import fs
from synthetic_records import Trial, write_planned, write_trial
from tracking_records import SPECIFICATION, end_row, record

from fusion_search.analysis.records import selection
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import FAILED, read_batches
from fusion_search.search.commands.command_line import main
from fusion_search.search.commands.status import print_searches
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.records import recorder
from fusion_search.search.records.search_folder import load_search
from fusion_search.search.running import listed_trials
from fusion_search.search.running.progress import warn_of_damage
from fusion_search.search.running.proposals import (
    known_observations,
    observation,
    read_proposals,
)
from fusion_search.search.running.run import start_tracker
from fusion_search.search.tracking import tracker as tracking


def damage_one(folder: Storage, table: str = "trials") -> str:
    """Its first record, beside which others' files lie."""
    (name, *_) = folder.names(table)
    for other in ("Thumbs.db", "x.parquet.bak"):
        folder.write(b"others'", table, other)
    folder.write(b"damaged", table, name)
    return name


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
    assert len(lines) == 6
    (line,) = [line for line in lines if "damaged (" in line]
    assert line.startswith(name.removesuffix(".parquet"))
    assert sum(" failed " in line or " stopped " in line for line in lines) == 3


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

    def would_run(trial: Any, *_: object) -> None:
        asked.append(trial.trial_id)
        raise ValueError("there are trials to run")

    monkeypatch.setattr(listed_trials, "load_data", would_run)
    assert main(["resume", NAME, "--storage", str(tmp_path)]) == 2
    assert asked == [lost.removesuffix(".parquet")]
    folder.remove("trials", name)
    assert main(["resume", NAME, "--storage", str(tmp_path)]) == 2
    assert set(asked) == {lost.removesuffix(".parquet"), name.removesuffix(".parquet")}


def test_a_searcher_goes_on_beside_a_damaged_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = space_folder(tmp_path)
    folder.remove("driver.json")
    whole = {str(sample): rows for sample, rows in read_proposals(folder)}
    search = load_search(NAME, str(tmp_path))
    assert search.space is not None
    known = known_observations(search.space, search.objectives, folder)
    name = damage_one(folder)
    content = folder.read("trials", name)
    lost = name.removesuffix(".parquet")
    rest = read_proposals(folder)
    assert [str(sample) for sample, _ in rest] == list(whole)
    for sample, rows in rest:
        before = whole[str(sample)]
        if lost in [row["trial_id"] for row in before]:
            assert observation(sample, rows).state == FAILED
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
    folder.write(f'[{{"trial_id": "x", "sample": {sample}}}]'.encode(), "planned.json")
    for words in (["resume", NAME], ["draw", "grids", NAME]):
        assert main([*words, *at]) == 2
        assert "more than 40 collections in one another" in capsys.readouterr().err
    for module in (recorder, selection):
        monkeypatch.setattr(module, "LARGEST_PLAN", 2 << 20)
    folder.write(b"[" + b" " * (2 << 20) + b"]", "planned.json")
    for words in (["resume", NAME], ["draw", "grids", NAME]):
        assert main([*words, *at]) == 2
        assert "planned.json is damaged (it is larger than 2 MiB)" in capsys.readouterr().err


def test_figures_and_the_report_leave_out_what_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = open_storage(tmp_path).below("made-up")
    trials = [Trial((0.5, 0.25), seed=seed) for seed in range(3)]
    for trial in trials:
        write_trial(folder, trial)
    write_planned(folder, trials)
    first = damage_one(folder)
    (_, second, *_) = folder.names("grid")
    folder.write(b"damaged", "grid", second)
    place = ["--storage", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main(["draw", "grids", "made-up", *place]) == 0
    error = capsys.readouterr().err
    assert error.count(f"trials/{first} is damaged") == 1
    assert error.count(f"grid/{second} is damaged") == 1
    assert "seeds" in (tmp_path / "out" / "made-up-grids-depth0.csv").read_text()
    assert main(["report", "made-up", *place]) == 0
    for name in folder.names("grid"):
        folder.write(b"damaged", "grid", name)
    assert main(["draw", "grids", "made-up", *place]) == 2
    assert "no grid of search made-up can be read" in capsys.readouterr().err


@pytest.mark.parametrize("live", [True, False])
def test_mlflow_gets_the_runs_beside_damaged_records(
    live: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[str] = []

    class Runs:
        """Stands in for MLflow's: reads what they read."""

        experiment_id = "1"

        def __init__(self, search: Storage, uri: str) -> None:
            self._search = search

        def start_search(self) -> None: ...

        def write_search(self, trials: object) -> None:
            written.append("all")

        def write_trial(self, row: Any) -> bool:
            list(read_batches(self._search, "grid", ["correct"], [row["trial_id"]]))
            written.append(row["trial_id"])
            return True

    monkeypatch.setattr(tracking, "SearchRuns", Runs)
    folder = open_storage(tmp_path).below("small")
    folder.write(SPECIFICATION.replace(", network: {levels: 2}", "").encode(), "specification.yaml")
    for number in range(4):
        record(folder, end_row(number))
    damage_one(folder)
    folder.write(b"damaged", "grid", "t002.parquet")
    if live:
        search = build_search({"name": "small", "storage": str(tmp_path), "sweep": {}})
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
        assert "2 trials written to MLflow, 0 were there already" in output.out
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
