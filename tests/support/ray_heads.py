"""A real Ray head node as `ray start` makes it, with ports, a folder and a token of its own."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOKEN = "a-token-for-tests-alone-0123456789abcdef"
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Head:
    """Addresses of a head node, and its home folder."""

    port: int
    client_port: int
    dashboard_port: int
    home: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def client(self) -> str:
        return f"ray://127.0.0.1:{self.client_port}"

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.dashboard_port}"


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


def clean_environment(**variables: str) -> dict[str, str]:
    """This environment without what it says about Ray and where code lies."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RAY_") and name != "PYTHONPATH"
    }
    return {**kept, **variables}


@contextlib.contextmanager
def ray_head(hidden: Path | None = None) -> Iterator[Head]:
    """Args: hidden: a folder that is empty for the head node and all that it starts."""
    # Below /tmp: the paths of Ray's sockets may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    home = folder / "home"
    home.mkdir()
    head = Head(*free_ports(3), home=home)
    environment = clean_environment(
        HOME=str(home),
        PATH=f"{BIN}:{os.environ['PATH']}",
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=TOKEN,
        RAY_worker_niceness="0",  # as in conftest.py
    )
    command = [
        str(BIN / "ray"),
        *("start", "--head", "--block", "--disable-usage-stats", "--num-cpus=2", "--num-gpus=0"),
        f"--port={head.port}",
        f"--ray-client-server-port={head.client_port}",
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={head.dashboard_port}"),
        f"--dashboard-agent-listen-port={free_ports(1)[0]}",
        f"--temp-dir={folder}/t",
    ]
    if hidden is not None:
        (folder / "empty").mkdir()
        mount = shlex.join(["mount", "--bind", f"{folder}/empty", str(hidden)])
        command = ["unshare", "-rm", "sh", "-c", f"{mount} && exec {shlex.join(command)}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: b"Ray runtime started" in (folder / "log").read_bytes(), 120)
        yield head
    finally:
        process.terminate()  # which ends its own processes, and in time
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(condition: object, seconds: float) -> None:
    assert callable(condition)
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.1)
