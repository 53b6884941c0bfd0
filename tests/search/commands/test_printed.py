"""What reaches the terminal: printable, with commands that work, and quietly when nobody reads."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from descriptions import digit_description, write_description
from drivers import Clock, write_driver
from search_processes import write_config
from synthetic_records import Trial, write_planned, write_trial

from fusion_search.analysis.records.advice import RunOptions
from fusion_search.analysis.records.samples import mean_objective
from fusion_search.analysis.records.selection.best import BestSample
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_rows
from fusion_search.search.commands import launch, status
from fusion_search.search.commands.command_line import main
from fusion_search.search.declaration.configuration import build_search, load_configuration
from fusion_search.search.records.planned import write_plan
from fusion_search.search.running.progress import Progress, TrialLines
from fusion_search.search.running.recorded_trial import SearchStoppedError
from fusion_search.search.running.space_search import make_proposals
from fusion_search.search.running.summary import summary

EVIL = "\x1b[2J\x9bwipe\nnext"
SHOWN = "\ufffd[2J\ufffdwipe next"


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    """A search of five planned trials in a folder whose name wants quotes."""
    config = write_config(tmp_path, storage=str(tmp_path / "my results"))
    folder = tmp_path / "my results" / "test"
    write_specification(folder, config.read_text())
    trials = build_search(load_configuration(config)).planned_trials()
    write_plan(open_storage(folder), trials, len(trials))
    return config


def write_specification(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "specification.yaml").write_text(text)
    write_description(open_storage(folder))


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
    assert clean(capsys.readouterr().out).splitlines()[4].endswith(f" {SHOWN}")
    write_row(storage, second.trial_id, EVIL, status=f"failed{EVIL}")
    write_row(storage, third.trial_id, None)
    record = storage.path("trials", f"{third.trial_id}.parquet")
    table = pq.read_table(record).to_pylist()
    schema = digit_description().schema("trials")
    pq.write_table(pa.Table.from_pylist([{**table[0], "trial_id": EVIL}], schema), record)
    assert main(["status", "test", "--storage", search.storage]) == 1
    lines = clean(capsys.readouterr().out).splitlines()
    assert "is damaged (its status is 'failed" in lines[5]
    assert f"it is a record of another trial, {SHOWN}" in lines[6]


def test_status_reads_the_plan_of_a_search_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be long, and storage far away; that of its confirmation is another one."""
    text = "task: digits\nsearcher: {name: random}\nconfirmation: {top: 1}\n"
    trial = Trial((0.5, 0.25))
    for name in ("made", "made-confirmation"):
        folder = open_storage(tmp_path).below(name)
        write_planned(folder, [trial])
        write_trial(folder, trial)
        folder.write(f"name: {name}\n{text}".encode(), "specification.yaml")
    read: list[str] = []
    real = Storage.read

    def counted(self: Storage, *parts: str, **more: Any) -> bytes:
        if parts == ("planned.json",):
            read.append(Path(self.root).name)
        return real(self, *parts, **more)

    monkeypatch.setattr(Storage, "read", counted)
    # ``status`` of the first also says what became of its confirmation.
    assert main(["status", "--storage", str(tmp_path)]) == 0
    assert sorted(read) == ["made", "made-confirmation", "made-confirmation"]
    read.clear()
    assert main(["status", "made", "--storage", str(tmp_path)]) == 0
    assert sorted(read) == ["made", "made-confirmation"]


def test_status_says_of_a_trial_what_the_console_said(
    declared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = build_search(load_configuration(declared))
    storage = open_storage(search.storage).below("test")
    stopped, finished, *_ = search.planned_trials()
    reason = "stopped after 1 of 3 epochs"
    more = {"status": "stopped", "validation_accuracy": 0.25, "seconds": 59.6}
    write_row(storage, stopped.trial_id, reason, **more)
    write_row(storage, finished.trial_id, None, seconds=3599.7)
    lines = TrialLines(digit_description())
    said = [lines.ended(row, "[1/5]") for row in read_rows(storage, "trials")]
    assert main(["status", "test", "--storage", search.storage]) == 0
    shown = capsys.readouterr().out
    words = f"{reason}, accuracy 25.0 % in validation"
    assert any(one.endswith(f": {words}") for one in said)
    assert f" 1m 00s {words}\n" in shown
    assert any(one.endswith(", 1h 00m") for one in said)
    assert " 1h 00m\n" in shown


def test_the_summary_shows_what_records_hold_and_its_commands_find_the_search(
    declared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = build_search(load_configuration(declared))
    storage = open_storage(search.storage).below("test")
    trial = search.planned_trials()[0]
    accuracies = {"mean_accuracy": 0.5, "train_condition_accuracy": 0.6}
    write_row(storage, trial.trial_id, None, engine=EVIL, **accuracies)
    write_plan(storage, [trial], 5)
    write_row(storage, "other", None)
    summary(search, storage, 5, None, RunOptions())
    text = clean(capsys.readouterr().out)
    for name in ("best trial", "device", "engine", "data"):
        assert f"{name}: {SHOWN}" in text
    assert f"figures: fusion-search draw grids test --storage '{search.storage}'\n" in text
    assert f"go on with: fusion-search resume test --storage '{search.storage}'\n" in text


class Idle:
    """Stands in for Ray: runs nothing, or finds the disk full."""

    stopped = False

    def __init__(self, address: str, left_out: tuple[str, ...] = ()) -> None: ...

    def connected(self, resources: object) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def run_trials(self, *_: object) -> None:
        if self.stopped:
            raise SearchStoppedError("the disk is full")


def test_advice_to_go_on_says_where_data_and_machines_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "RayDispatcher", Idle)
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path, storage="results", mlflow={"enabled": False})
    options = ["--data", "my data", "--address", "auto", "--leave-out", "a", "--leave-out=-b"]
    resume = (
        "fusion-search resume test --data 'my data' --address auto --leave-out a --leave-out=-b"
    )
    assert main(["launch", str(config), *options]) == 130
    assert f"go on with: {resume}\n" in capsys.readouterr().out
    assert main(["launch", str(config), *options]) == 2
    assert f"go on with `{resume}`" in capsys.readouterr().err
    assert main(["resume", "test"]) == 130
    assert "go on with: fusion-search resume test\n" in capsys.readouterr().out
    monkeypatch.setattr(Idle, "stopped", True)
    assert main(["resume", "test", *options]) == 2
    assert f"go on with: {resume}\n" in capsys.readouterr().err
    # What is pasted elsewhere does not bring the environment with it.
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert main(["resume", "test"]) == 2
    assert "resume test --address 10.0.0.1:6379\n" in capsys.readouterr().err
    # On a head node, "auto" would be another machine's.
    monkeypatch.setenv("FUSION_SEARCH_ADDRESS", "ray://head:10001")
    assert main(["resume", "test"]) == 2
    assert "resume test --address ray://head:10001\n" in capsys.readouterr().err


def test_advice_given_elsewhere_says_so_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By who follows or stops it, or looks at it when all of its processes are gone."""
    monkeypatch.setattr(launch, "RayDispatcher", Idle)
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path, storage="results", mlflow={"enabled": False})
    storage = open_storage("results").below("test")
    options = ["--data", "my data", "--address", "auto", "--leave-out", "a"]
    monkeypatch.setenv("FUSION_SEARCH_ADDRESS", "ray://head:10001")  # as it is set on that head
    assert main(["launch", str(config), *options]) == 130
    resume = "fusion-search resume test --data 'my data' --address ray://head:10001 --leave-out a"
    capsys.readouterr()
    monkeypatch.delenv("FUSION_SEARCH_ADDRESS")
    assert main(["attach", "test"]) == 130
    assert f"interrupted; go on with: {resume}\n" in capsys.readouterr().out
    write_driver(storage, process_start=1)  # killed
    assert main(["stop", "test"]) == 0
    assert capsys.readouterr().out.endswith(f"is dead; go on with: {resume}\n")
    Clock(monkeypatch)  # by which looking whether it is heard takes no time
    write_driver(storage, 3600, host="node-3")
    for words in (["status"], ["status", "test"], ["attach", "test"]):
        main(words)
        assert f"`{resume}` takes it over" in capsys.readouterr().out
    storage.remove("driver.json")
    assert main(["resume", "test"]) == 130  # here, now
    assert main(["attach", "test"]) == 130
    assert "go on with: fusion-search resume test\n" in capsys.readouterr().out


def test_all_say_alike_that_there_is_no_such_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--storage", str(tmp_path)]
    sentences = set()
    for words in (["status", "x\x1b"], ["resume", "x\x1b"], ["draw", "grids", "x\x1b"]):
        assert main([*words, *at]) == 2
        sentences.add(capsys.readouterr().err)
    assert sentences == {
        f"error: there is no search 'x\\x1b' in {tmp_path}; searches there: none\n"
    }
    warm = {"searcher": {"name": "tpe", "warm_start": ["y"]}}
    search = build_search({"name": "test", "task": "digits", "storage": str(tmp_path), **warm})
    with pytest.raises(ValueError, match=rf"there is no search 'y' in {tmp_path}; .* none"):
        make_proposals(search, open_storage(tmp_path).below("test"))


def test_progress_shows_what_workers_say_and_obeys_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {"trial_id": "b", "trial_name": EVIL, "status": "finished", "mean_accuracy": 0.1}
    ended = {"ended_at": datetime.now(UTC)}
    best = BestSample(mean_objective(digit_description()), [{**before, **ended}])
    progress = Progress(open_storage(tmp_path), 3, 0, 1, digit_description(), best=best)
    row = {"trial_id": "a", "trial_name": EVIL, "reason": EVIL, "seconds": 1.0, **ended}
    accuracy = {"train_condition_accuracy": 0.2, "mean_accuracy": 0.05, "validation_accuracy": 0.3}
    for state in ("finished", "stopped", "failed"):
        progress.ended({**row, **accuracy, "status": state})
    progress.say(EVIL)
    progress.close()
    lines = clean(capsys.readouterr().out).splitlines()
    assert len(lines) == 4
    assert f"best so far: mean accuracy 10.0 % ({SHOWN})" in lines[0]
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
    planned["trials"][2]["trial_name"] = EVIL
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

    progress = Progress(open_storage(tmp_path), 3, 0, 1, digit_description())
    monkeypatch.setattr(sys, "stdout", Unread())
    with pytest.raises(KeyboardInterrupt):
        progress.say("one")
    progress.say("two")  # a second interrupt would not wait for what is running
    progress.close()


def test_the_storage_that_was_named_commands_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / EVIL
    folder.mkdir()
    assert main(["status", "--storage", str(folder)]) == 0
    write_trial(open_storage(folder).below("test"), Trial((0.5, 0.25)))
    assert main(["draw", "grids", "test", f"--storage={folder}", f"--output={folder}"]) == 0
    assert main(["data", "check", "digits", "--folder", str(folder)]) == 2
    output = capsys.readouterr()
    assert f"no searches in {tmp_path}/{SHOWN}" in output.out
    assert f"{tmp_path}/{SHOWN}/test-" in output.out
    clean(output.out + output.err)


def test_the_name_of_a_stray_file_commands_no_terminal(
    declared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    location = str(tmp_path / "my results")
    open_storage(location).write(b"damaged", "test", "trials", "\x1b[2J.parquet")
    for words in (["status"], ["status", "test"]):
        assert main([*words, "--storage", location]) == 0
        said = clean(capsys.readouterr().out)
        assert "is of no trial of this search: \ufffd[2J.parquet" in said


def test_letters_that_the_terminal_has_not_are_spelled(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fusion_search", "status", "--storage", str(tmp_path / "größe")],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert rf"no searches in {tmp_path}/gr\xf6\xdfe".encode() in done.stdout
