"""Searches on a real Ray cluster of one node that wants a token, by all kinds of address."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import search_processes
from ray_heads import BIN, TOKEN, Head, clean_environment, ray_head, wait_for
from search_processes import ROOT

from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import read_table
from fusion_search.search.running.travelling import code_to_send

TIMES = ["started_at", "ended_at", "peak_memory_bytes", "milliseconds_per_example"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with ray_head() as one:
        yield one


def write_config(folder: Path, seeds: int = 2, epochs: int = 2, **fields: object) -> Path:
    small = {"epochs": epochs, "seeds": list(range(seeds))}
    return search_processes.write_config(folder, **{**small, **fields})


def start(*words: str, token: str = TOKEN, program: str = "") -> subprocess.Popen[str]:
    how = ["-c", program] if program else ["-m", "fusion_search"]
    return subprocess.Popen(
        [sys.executable, "-u", *how, *words],
        cwd=ROOT,
        # The token alone: that Ray is to send it is ours to find out.
        env=clean_environment(RAY_AUTH_TOKEN=token),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(*words: str, token: str = TOKEN, program: str = "") -> tuple[int, str]:
    with start(*words, token=token, program=program) as process:
        output, _ = process.communicate(timeout=400)
        return process.returncode, output


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    """All records but times, which no two runs share."""
    found = {}
    for name in ("trials", "epochs", "grid"):
        table = read_table(open_storage(folder / "test"), name)
        times = [one for one in table if one in TIMES or one.endswith("seconds")]
        table = table.drop(columns=times)
        found[name] = table.sort_values(list(table)[:3]).reset_index(drop=True)
    return found


def test_every_address_leaves_the_records_of_a_local_launch(head: Head, tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    code, output = run("launch", str(write_config(tmp_path / "local")))
    assert code == 0, output
    expected = tables(tmp_path / "local" / "results")
    assert len(expected["trials"]) == 2
    assert len(expected["grid"]) == 200
    for kind, address in (
        ("port", head.address),
        ("client", head.client),
        ("job", head.dashboard),
    ):
        folder = tmp_path / kind
        folder.mkdir()
        code, output = run("launch", str(write_config(folder)), "--address", address)
        assert code == 0, output
        assert "warning" not in output
        for name, table in tables(folder / "results").items():
            pd.testing.assert_frame_equal(table, expected[name])


@pytest.mark.parametrize("kind", ["address", "client", "dashboard"])
def test_a_changed_line_of_code_reaches_a_worker(head: Head, tmp_path: Path, kind: str) -> None:
    """The node has the package installed; what is launched is a copy with another line.

    So does a variable for memory, as the user has it.
    """
    with code_to_send() as (folder,):
        shutil.copytree(folder, tmp_path / "changed" / "fusion_search")
    with (tmp_path / "changed/fusion_search/search/trials/trial.py").open("a") as file:
        file.write(
            "\n\ndef run_trial(*_, **__):\n    import os\n"
            "    raise TrialError('a changed line, arenas ' + os.environ['MALLOC_ARENA_MAX'])\n"
        )
    words = ["launch", str(write_config(tmp_path, seeds=1)), "--address", getattr(head, kind)]
    done = subprocess.run(
        [sys.executable, "-m", "fusion_search", *words],
        cwd=tmp_path,
        env=clean_environment(
            RAY_AUTH_TOKEN=TOKEN, PYTHONPATH=str(tmp_path / "changed"), MALLOC_ARENA_MAX="3"
        ),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert "FAILED: a changed line, arenas 3" in done.stdout, done.stdout + done.stderr


def test_ctrl_c_reaches_a_search_behind_a_client_and_resume_goes_on(
    head: Head, tmp_path: Path
) -> None:
    # Long enough that the signal arrives before the end.
    config = write_config(tmp_path, seeds=3, epochs=40)
    with start("launch", str(config), "--address", head.client) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "[1/3]" in line:
                process.send_signal(signal.SIGINT)
                break
        output = process.stdout.read()
        assert process.wait(timeout=120) == 130, output
    assert "interrupted; go on with" in output
    before = len(tables(tmp_path / "results")["trials"])
    assert 1 <= before < 3
    code, output = run(
        "resume", "test", "--storage", str(tmp_path / "results"), "--address", head.client
    )
    assert code == 0, output
    assert f"{before} of 3 trials have ended before" in output
    assert len(tables(tmp_path / "results")["trials"]) == 3


def test_a_job_goes_on_when_its_console_is_left_and_is_found_again(
    head: Head, tmp_path: Path
) -> None:
    config = write_config(tmp_path, seeds=6, storage="mine")
    with start("submit", str(config), "--address", head.dashboard) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "[1/6]" in line:
                process.send_signal(signal.SIGINT)
                break
        output = process.stdout.read()
        assert process.wait(timeout=60) == 130, output
    found = re.search(r"fusion-search (attach \S+ --address \S+)", output)
    assert found, output
    code, output = run(*found.group(1).split())
    assert code == 0, output
    assert "6 of 6 trials finished" in output
    # A relative storage is the head node's, and no folder of a job that is cleaned away.
    assert len(tables(head.home / "mine")["trials"]) == 6
    # The same name again: the job fails, and so does the command.
    code, output = run("submit", str(config), "--address", head.dashboard)
    assert code == 2, output
    assert "search 'test' exists in ~/mine" in output


def test_no_job_by_that_name(head: Head) -> None:
    code, output = run("attach", "nothing", "--address", head.dashboard)
    assert code == 2
    assert "no such job; list them with: RAY_AUTH_MODE=token ray job list" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("kind", ["address", "client", "dashboard"])
def test_a_wrong_token_is_said_in_one_sentence(head: Head, tmp_path: Path, kind: str) -> None:
    words = ("launch", str(write_config(tmp_path)), "--address", getattr(head, kind))
    code, output = run(*words, token="another-token-0123456789")
    assert code == 2
    last = output.strip().splitlines()[-1]
    assert last.startswith("error: the Ray cluster at")
    assert "refuses the token" in last
    assert "RAY_AUTH_TOKEN" in last
    assert "Traceback" not in output
    assert not (tmp_path / "results" / "test").exists()


@pytest.mark.parametrize("kind", ["address", "client"])
def test_another_version_of_ray_is_said_in_one_sentence(
    head: Head, tmp_path: Path, kind: str
) -> None:
    program = (
        "import os, sys; os.environ['RAY_AUTH_MODE'] = 'token'; import ray; "
        "ray.__version__ = '2.1.0'; from fusion_search.search.commands import command_line; "
        "sys.exit(command_line.main(sys.argv[1:]))"
    )
    words = ("launch", str(write_config(tmp_path)), "--address", getattr(head, kind))
    code, output = run(*words, program=program)
    assert code == 2, output
    last = output.strip().splitlines()[-1]
    assert "different versions of Ray or Python; install the same on both" in last
    assert "Traceback" not in output


def test_slurm_brings_up_a_head_and_a_worker_and_runs_a_search(tmp_path: Path) -> None:
    """With stand-ins for Slurm's two commands, which run everything on this machine."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "srun").write_text('#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n')
    (tools / "scontrol").write_text("#!/bin/bash\nprintf '127.0.0.1\\nanother\\n'\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    environment = clean_environment(
        PATH=f"{tools}:{BIN}:{os.environ['PATH']}",
        SLURM_JOB_ID=str(os.getpid()),
        SLURM_JOB_NODELIST="two",
        SLURM_CPUS_PER_TASK="1",
    )
    script = str(ROOT / "search" / "cluster" / "slurm.sh")
    process = subprocess.Popen(
        ["bash", script, "launch", str(write_config(tmp_path, resources={"cpus_per_trial": 1}))],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=400)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output
    assert "2 nodes at 127.0.0.1:" in output
    assert "warning" not in output
    assert len(tables(tmp_path / "results")["trials"]) == 2
    wait_for(lambda: not _processes_with(f"ray-{environment['SLURM_JOB_ID']}/"), 60)


def _processes_with(text: str) -> list[str]:
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = command.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found
