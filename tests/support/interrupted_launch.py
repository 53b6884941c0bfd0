"""A search launched by a process of its own, looked at by a stranger, ended as by ``timeout``."""

from __future__ import annotations

import http.client
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from search_processes import read_until, search_process, write_config

TRIALS = 40
"""So many that the search goes on while it is looked at."""

SECRET = "hunter2-of-this-test"


@dataclass(frozen=True)
class Interrupted:
    """What was seen.

    Attributes:
        folder: of the configuration, the results, a ``home``, and what a stranger's code leaves
            (``ran``).
        code, output: of the process.
        sockets: addresses and ports at which it and its processes accepted connections.
        answers: HTTP's, or None, to one without a token who asked each of them to run code.
    """

    folder: Path
    code: int
    output: str
    sockets: set[tuple[str, int]]
    answers: set[int | None]


def interrupted_launch(folder: Path) -> Interrupted:
    """Launch ``TRIALS`` trials with secrets in the environment, and end their process group."""
    home = folder / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        names = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY")
        for name in (*names, "PGPASSWORD", "GITHUB_TOKEN", "DATABASE_URL"):
            patch.setenv(name, SECRET)
        # As another test in this process may have left it.
        patch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", raising=False)
        # As somebody's shell may say, of a cluster.
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("HOME", str(home))
        config = write_config(folder, seeds=list(range(TRIALS)))
        with search_process("launch", str(config), group=0) as process:
            read_until(process, f"[1/{TRIALS}]")
            sockets = _listening(_descendants(process.pid))
            ask = partial(_asked_to_run_code, command=f"touch {folder / 'ran'}")
            with ThreadPoolExecutor(len(sockets) or 1) as pool:
                answers = set(pool.map(ask, [port for _, port in sockets]))
            os.killpg(process.pid, signal.SIGTERM)
            output, _ = process.communicate(timeout=300)
    return Interrupted(folder, process.returncode, output, sockets, answers)


def _descendants(root: int) -> set[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue

    def below(process: int) -> bool:
        return process == root or (process in parents and below(parents[process]))

    return {process for process in parents if below(process)}


def _listening(processes: set[int]) -> set[tuple[str, int]]:
    """The hexadecimal addresses and the ports at which these processes accept connections."""
    sockets = set()
    for process in processes:
        for descriptor in Path(f"/proc/{process}/fd").glob("*"):
            try:
                sockets.add(str(descriptor.readlink()))
            except OSError:
                continue
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                address, _, port = words[1].partition(":")
                found.add((address, int(port, 16)))
    return found


def _asked_to_run_code(port: int, command: str) -> int | None:
    """What one without the token is answered that posts a job; None when HTTP is not spoken."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/api/job_agent/jobs/", json.dumps({"entrypoint": command}))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
