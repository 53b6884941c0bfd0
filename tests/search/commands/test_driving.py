"""``stop``, ``attach`` and ``status`` of a search that another process drives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from damage import NAME, sweep_folder
from drivers import Clock, write_driver

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.commands import driving, launch
from fusion_search.search.commands.command_line import main
from fusion_search.search.records.driver_file import read_driver_file
from fusion_search.search.records.lease import asked_to_stop

OURS: dict[str, Any] = {"pid": os.getppid(), "process_start": None}  # another process, that lives

# Drives a search until it is interrupted; if it is told so, it does not end.
DRIVE = """
import sys
from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.records import lease
from fusion_search.search.records.claim import claimed

lease.LOOK_SECONDS = 0.05
try:
    with claimed(open_storage(sys.argv[1]), "damaged", "launch"):
        print("drives", flush=True)
        sys.stdin.read()
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = sweep_folder(tmp_path)
    storage.remove("driver.json")
    return storage


@pytest.fixture
def left(storage: Storage) -> str:
    """A trial that has not ended yet."""
    trial_id = storage.names("trials")[0].removesuffix(".parquet")
    storage.remove("trials", f"{trial_id}.parquet")
    return trial_id


@pytest.fixture
def at(tmp_path: Path) -> tuple[str, str]:
    return ("--storage", str(tmp_path))


@pytest.fixture
def driver(storage: Storage) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVE, storage.root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "drives\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_stop_ends_a_driver_in_order_and_waits_for_it(
    storage: Storage,
    at: tuple[str, str],
    driver: subprocess.Popen[str],
    left: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["stop", NAME, *at]) == 0
    assert driver.wait(60) == 130
    assert not storage.exists("driver.json")
    assert not storage.exists("stop.json")
    asked, stopped = capsys.readouterr().out.splitlines()
    assert asked.startswith(f"search {NAME}: process {driver.pid} on ")
    assert asked.endswith(" was asked to stop")
    resume = f"fusion-search resume {NAME} --storage {at[1]}"
    assert stopped == f"search {NAME} has stopped; go on with: {resume}"
    assert main(["stop", NAME, *at]) == 0
    assert capsys.readouterr().out == f"no process runs search {NAME}; go on with: {resume}\n"
    write_driver(storage, process_start=1)  # killed
    for words in (["status", NAME], ["status"]):
        assert main([*words, *at]) == 0
        assert f"go on with: {resume}" in [
            one.strip() for one in capsys.readouterr().out.splitlines()
        ]


def test_stop_of_what_cannot_be_stopped_says_so(
    storage: Storage,
    at: tuple[str, str],
    left: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(driving.time, "monotonic", lambda: clock.now)
    assert main(["stop", "none", *at]) == 2
    assert f"no search 'none' in {at[1]}" in capsys.readouterr().err
    write_driver(storage, **OURS)
    assert main(["stop", NAME, *at, "--wait", "5"]) == 1
    assert clock.now == 5
    told = capsys.readouterr()
    assert told.err.startswith(f"search {NAME} has not stopped within 5 s, but will when it can")
    assert f"kill process {os.getppid()} on " in told.err
    assert asked_to_stop(storage, "f" * 32) is not None
    write_driver(storage, process_start=1)  # killed
    assert main(["stop", NAME, *at]) == 0
    assert "is dead; go on with: fusion-search resume" in capsys.readouterr().out


def test_stop_leaves_its_request_to_a_silent_driver(
    storage: Storage,
    at: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock(monkeypatch)
    there = write_driver(storage, 3 * 3600, host="node-3")
    assert main(["stop", NAME, *at]) == 1
    assert sum(clock.waits) == 15  # as docs/cluster.md has it
    listened, _, told = capsys.readouterr().err.partition("\n")
    assert listened.startswith("looking for 15 s whether process ")
    assert told == (
        "last heard 3 h ago from node-3: its machine is probably gone; `fusion-search resume "
        f"{NAME} --storage {at[1]}` takes it over\nif it is heard again, it stops\n"
    )
    assert asked_to_stop(storage, there["lease"]) is not None


def test_stop_tells_a_driver_that_dies_meanwhile(
    storage: Storage,
    at: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_driver(storage, **OURS)
    monkeypatch.setattr(driving.time, "sleep", lambda _: write_driver(storage, process_start=1))
    assert main(["stop", NAME, *at]) == 0
    assert capsys.readouterr().out.endswith("died before it had stopped in order\n")


def test_attach_prints_what_ends_elsewhere_and_the_searchs_own_exit_code(
    storage: Storage,
    at: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = storage.names("trials")
    later = {name: storage.read("trials", name) for name in names[1:]}
    for name in later:
        storage.remove("trials", name)
    told = storage.read("specification.yaml").replace(b"enabled: false", b"enabled: true")
    storage.write(told, "specification.yaml")
    said = [[1, "node 2 is slow"], [2, "a: goes on after epoch 3 of 4"]]
    write_driver(storage, host="node-3", pid=7, said=said[:1], doing="checking the nodes")

    def work(_: float) -> None:
        write_driver(storage, host="node-3", pid=7, said=said, page="http://m/#/experiments/1")
        if not later:
            storage.remove("driver.json")
        else:
            name, content = later.popitem()
            storage.write(content, "trials", name)

    monkeypatch.setattr(driving.time, "sleep", work)
    assert main(["attach", NAME, *at]) == 1  # none finished
    first, count, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith(f"search {NAME}: process 7 on node-3 (launch since ")
    assert count == "1 of 4 trials have ended before"
    trials = [one for one in lines if one.startswith("[")]
    assert [one.split()[0] for one in trials] == ["[2/4]", "[3/4]", "[4/4]"]
    assert sum("FAILED: the loss became nan" in one for one in trials) in (1, 2)
    assert sum("stopped by asha, accuracy 20.0 % in validation" in one for one in trials) in (1, 2)
    assert "0 of 4 trials finished, 2 stopped early, 2 failed, 0 not run" in lines
    assert lines[:2] == ["node 2 is slow", "checking the nodes ..."]
    assert lines.count("a: goes on after epoch 3 of 4") == 1
    assert "        then open http://m/#/experiments/1" in lines


def test_attach_knows_no_search_of_another_name(
    storage: Storage, at: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attach", "none", *at]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "there is no search 'none'" in told.err


@pytest.mark.parametrize(
    ("fields", "silent", "state", "words"),
    [
        (OURS, 0, "beginning", "which is starting Ray; wait, follow it with `fusion-search attach"),
        ({"process_start": 1}, 0, "not begun", "launch it again: fusion-search launch CONFIG.yaml"),
        ({"host": "node-3"}, 300, "silent", "launch it again: fusion-search launch CONFIG.yaml"),
    ],
    ids=["alive", "dead", "silent"],
)
def test_a_search_that_is_not_written_yet_is_told_by_all(
    fields: dict[str, Any],
    silent: float,
    state: str,
    words: str,
    tmp_path: Path,
    at: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Clock(monkeypatch)
    begun = open_storage(tmp_path).below("begun")
    write_driver(begun, silent, **fields, doing="starting Ray")
    assert main(["status", *at]) == 0
    _, line, note, _ = capsys.readouterr().out.splitlines()
    assert line.split(maxsplit=1) == ["begun", state]
    assert words in note
    for code, verb in ((0, "status"), (2, "resume"), (2, "confirm"), (2, "sync-mlflow")):
        assert main([verb, "begun", *at]) == code
        told = capsys.readouterr()
        assert words in told.out + told.err
        assert "process" in told.out + told.err
    begun.remove("driver.json")
    assert main(["status", "begun", *at]) == 2


def test_a_confirmation_that_is_not_written_yet_begins_by_confirm(
    storage: Storage, at: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_driver(storage.parent.below(f"{NAME}-confirmation"), process_start=1)
    assert main(["status", f"{NAME}-confirmation", *at]) == 0
    assert f": fusion-search confirm {NAME} --storage" in capsys.readouterr().out


def test_attach_leaves_the_search_alone_at_ctrl_c(
    storage: Storage,
    at: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(_: float) -> None:
        signal.raise_signal(signal.SIGINT)

    there = write_driver(storage, **OURS)
    monkeypatch.setattr(driving.time, "sleep", interrupt)
    assert main(["attach", NAME, *at]) == 130
    told = capsys.readouterr().out
    assert told.endswith(
        "\ninterrupted by Ctrl-C (SIGINT), detached; the search goes on\n"
        f"follow it with: fusion-search attach {NAME} --storage "
        f"{at[1]}\nstop it with: fusion-search stop {NAME} --storage {at[1]}\n"
    )
    assert read_driver_file(storage) == there
    assert not storage.exists("stop.json")


@pytest.mark.parametrize(
    ("fields", "silent", "words"),
    [
        ({"process_start": 1}, 0, "is dead"),
        ({"host": "node-3"}, 300, "last heard 5 min ago from node-3: its machine is probably gone"),
    ],
    ids=["dead", "silent"],
)
def test_attach_ends_when_its_driver_is_gone(
    fields: dict[str, Any],
    silent: float,
    words: str,
    storage: Storage,
    at: tuple[str, str],
    left: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Clock(monkeypatch)
    write_driver(storage, silent, **fields)
    assert main(["attach", NAME, *at]) == 130
    told = capsys.readouterr().out
    assert words in told
    assert "go on with: fusion-search resume" in told


@pytest.mark.parametrize(
    ("fields", "silent", "words"),
    [
        ({"process_start": 1}, 0, "is dead, and has not written what it runs"),
        ({"host": "node-3"}, 300, "is not heard any more, and has not written what it runs"),
    ],
    ids=["dead", "silent"],
)
def test_who_is_gone_before_it_wrote_what_it_runs_is_not_waited_for(
    fields: dict[str, Any],
    silent: float,
    words: str,
    tmp_path: Path,
    at: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Clock(monkeypatch)
    write_driver(open_storage(tmp_path).below(NAME), silent, **fields)
    assert main(["attach", NAME, *at]) == 1
    told = capsys.readouterr().out
    assert words in told
    again = f"fusion-search launch CONFIG.yaml --storage {at[1]}"
    assert again in told
    main(["stop", NAME, *at])
    said = capsys.readouterr()
    assert again in said.out + said.err
    assert "resume" not in said.out + said.err


@pytest.mark.parametrize(
    ("words", "job"),
    [
        (["paper"], False),
        (["paper-20261121"], False),
        (["paper-20261121T140645-16745"], True),
        (["paper", "--address", "http://head:8265"], True),
    ],
)
def test_attach_tells_a_search_from_a_job(
    words: list[str], job: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fusion_search.search.dispatch import jobs

    monkeypatch.setattr(jobs, "attach", lambda *_: 7)
    monkeypatch.setattr(launch, "follow", lambda *_: 8)
    assert main(["attach", *words]) == (7 if job else 8)


@pytest.mark.parametrize(
    ("fields", "silent", "state", "words"),
    [
        (OURS, 0, "running", "last heard 0 s ago)"),
        ({"host": "node-3"}, 200, "running", "last heard 3 min ago)"),
        (
            {"host": "node-3"},
            3 * 3600,
            "silent",
            "last heard 3 h ago from node-3: its machine is probably gone; `fusion-search resume",
        ),
        (OURS, 3 * 3600, "silent", ": it is halted or hangs; `fusion-search resume"),
        ({"process_start": 1}, 3 * 3600, "interrupted", ""),
        ({"boot": "another"}, 3 * 3600, "interrupted", ""),
    ],
)
def test_status_says_who_drives_and_when_it_was_last_heard(
    fields: dict[str, Any],
    silent: float,
    state: str,
    words: str,
    storage: Storage,
    at: tuple[str, str],
    left: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Clock(monkeypatch)
    running = {left: {"trial_name": "a", "epoch": 2, "epochs": 3}}
    write_driver(storage, silent, **fields, running=running)
    assert main(["status", NAME, *at]) == 0
    first, second, *lines = capsys.readouterr().out.splitlines()
    assert first == f"search {NAME}: {state}, {storage.location}"
    said = f"driven by process {fields.get('pid', os.getpid())} on "
    if state == "interrupted":
        assert not second.startswith("driven by")
    else:
        assert second.startswith(said)
        assert "(launch since 2026-01-01 " in second
        assert words in (second if state == "running" else lines[0])
    (row,) = [one for one in lines if one.startswith(left)]
    ends = {"running": "running, epoch 2 of 3", "silent": "was running, epoch 2 of 3"}
    assert row.endswith(f" {ends.get(state, 'not run')}")
    assert main(["status", *at]) == 0
    _, line, *notes = capsys.readouterr().out.splitlines()
    assert line.split()[:2] == [NAME, state]
    assert any("last heard" in note for note in notes) == (state == "silent")
    assert state != "silent" or words in notes[0]
