"""What reaches the terminal: printable, with commands that work, and quietly when nobody reads."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from search_processes import write_config
from synthetic_records import Trial, write_planned, write_trial

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import TRIALS
from fusion_search.search.commands import status
from fusion_search.search.commands.command_line import main
from fusion_search.search.declaration.configuration import build_search, load_configuration
from fusion_search.search.running.progress import Progress
from fusion_search.search.running.summary import summary

EVIL = "\x1b[2J\x9bwipe\nnext"
SHOWN = "\ufffd[2J\ufffdwipe next"


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    """A search of five planned trials in a folder whose name wants quotes."""
    config = write_config(tmp_path, storage=str(tmp_path / "my results"))
    write_specification(tmp_path / "my results" / "test", config.read_text())
    return config


def write_specification(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "specification.yaml").write_text(text)


def clean(text: str) -> str:
    assert "\x1b" not in text
    assert "\x9b" not in text
    return text


def write_row(storage: Storage, trial_id: str, reason: str | None, **fields: Any) -> None:
    row = {"trial_id": trial_id, "trial_name": EVIL, "data_note": EVIL, "device": EVIL, **fields}
    write_trial(storage, Trial((0.5, 0.25), seed=len(trial_id), extra=row), reason)


def test_status_shows_what_records_hold_and_obeys_none(
    declared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = build_search(load_configuration(declared))
    storage = open_storage(search.storage).below("test")
    first, second, third, *_ = search.planned_trials()
    write_row(storage, first.trial_id, EVIL, seconds=1.0)
    assert main(["status", "test", "--storage", search.storage]) == 0
    assert clean(capsys.readouterr().out).splitlines()[2].endswith(f" {SHOWN}")
    write_row(storage, second.trial_id, EVIL, status=f"failed{EVIL}")
    write_row(storage, third.trial_id, None)
    record = storage.path("trials", f"{third.trial_id}.parquet")
    table = pq.read_table(record).to_pylist()
    pq.write_table(pa.Table.from_pylist([{**table[0], "trial_id": EVIL}], TRIALS), record)
    assert main(["status", "test", "--storage", search.storage]) == 1
    lines = clean(capsys.readouterr().out).splitlines()
    assert "is damaged (its status is 'failed" in lines[3]
    assert f"it is a record of another trial, {SHOWN}" in lines[4]


def test_the_summary_shows_what_records_hold_and_its_commands_find_the_search(
    declared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = build_search(load_configuration(declared))
    storage = open_storage(search.storage).below("test")
    trial = search.planned_trials()[0]
    accuracies = {"mean_accuracy": 0.5, "train_pair_accuracy": 0.6}
    write_row(storage, trial.trial_id, None, engine=EVIL, **accuracies)
    storage.write(json.dumps([{"trial_id": trial.trial_id}]).encode(), "planned.json")
    write_row(storage, "other", None)
    summary(search, storage, 5, None)
    text = clean(capsys.readouterr().out)
    for name in ("best over the grid", "device", "C-LSTM gates", "data"):
        assert f"{name}: {SHOWN}" in text
    assert f"figures: fusion-search draw grids test --storage '{search.storage}'\n" in text
    assert f"go on with: fusion-search resume test --storage '{search.storage}'\n" in text


def test_progress_shows_what_workers_say_and_obeys_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress(open_storage(tmp_path), 3, 0, 1, best=(0.1, EVIL))
    row = {"trial_id": "a", "trial_name": EVIL, "reason": EVIL, "seconds": 1.0}
    accuracy = {"train_pair_accuracy": 0.2, "mean_accuracy": 0.05, "validation_accuracy": 0.3}
    for state in ("finished", "stopped", "failed"):
        progress.ended({**row, **accuracy, "status": state})
    progress.say(EVIL)
    progress.close()
    lines = clean(capsys.readouterr().out).splitlines()
    assert len(lines) == 4
    assert f"best so far 0.100 ({SHOWN})" in lines[0]
    assert all(SHOWN in line for line in lines)


def test_notes_of_a_figure_show_what_records_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(tmp_path).below("made-up")
    trials = [Trial((0.5, 0.25), seed=seed) for seed in range(3)]
    write_trial(storage, trials[0])
    write_trial(storage, trials[1], EVIL)
    write_planned(storage, trials)
    planned = json.loads(storage.read("planned.json"))
    planned[2]["trial_name"] = EVIL
    storage.write(json.dumps(planned).encode(), "planned.json")
    output = ["--output", str(tmp_path / "figures")]
    assert main(["draw", "grids", "made-up", "--storage", str(tmp_path), *output]) == 0
    notes = clean(capsys.readouterr().err).splitlines()
    assert len(notes) == 2
    assert all(note.startswith("note: ") and note.endswith(SHOWN) for note in notes)


def test_what_is_advised_about_a_search_finds_it(
    declared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(declared.read_text())
    at = f"--storage '{content['storage']}'"
    assert main(["launch", str(declared)]) == 2
    assert f"`fusion-search resume test {at}`" in capsys.readouterr().err
    assert main(["draw", "replay", "test", "--storage", content["storage"]]) == 2
    assert f"`fusion-search replay test {at}`" in capsys.readouterr().err
    empty = f"{content['storage']}/none"
    assert main(["status", "--storage", empty]) == 0
    assert f"`fusion-search launch CONFIG.yaml --storage '{empty}'`" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "unread", "unbuffered"),
    [
        ("draw --help", ("stdout",), ""),
        ("status", ("stdout",), ""),
        ("status", ("stdout",), "1"),
        ("status nothing", ("stdout", "stderr"), ""),
    ],
)
def test_a_reader_that_leaves_ends_a_command_quietly(
    tmp_path: Path, words: str, unread: tuple[str, ...], unbuffered: str
) -> None:
    read, write = os.pipe()
    os.close(read)  # before the command begins: nothing here waits for the right moment
    done = subprocess.run(
        [sys.executable, "-m", "fusion_search", *words.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=write,
        stderr=write if "stderr" in unread else subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert done.returncode == 141
    assert not done.stderr


def test_another_broken_pipe_is_an_error_like_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(location: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(status, "print_searches", broken)
    assert main(["status"]) == 2
    assert capsys.readouterr().err == "error: [Errno 32] Broken pipe\n"


def test_a_search_that_nobody_reads_ends_as_after_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unread(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    progress = Progress(open_storage(tmp_path), 3, 0, 1)
    monkeypatch.setattr(sys, "stdout", Unread())
    with pytest.raises(KeyboardInterrupt):
        progress.say("one")
    progress.say("two")  # a second interrupt would not wait for what is running
    progress.close()
