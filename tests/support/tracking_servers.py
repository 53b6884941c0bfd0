"""MLflow's own server, and PostgreSQL below it, for as long as a test needs them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

POSTGRES_PROGRAMS = Path("/usr/lib/postgresql")  # where Debian puts them, by version
PASSWORD = "hunter2"  # of the database: it must be seen nowhere


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_until(true: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(0.1)


def postgres_programs() -> Path | None:
    """The folder of the newest PostgreSQL, ``None`` when there is none."""
    found = sorted(POSTGRES_PROGRAMS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A new PostgreSQL cluster on localhost with a password; its URI for SQLAlchemy."""
    programs = postgres_programs()
    assert programs is not None
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        secret = home / "password"
        secret.write_text(PASSWORD)
        prefix = []
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            prefix = ["runuser", "-u", "postgres", "--"]
            for one in (home, secret):
                shutil.chown(one, "postgres", "postgres")
        options = ["--username=tracking", "--auth=scram-sha-256", f"--pwfile={secret}"]
        initialise = [*prefix, programs / "initdb", "-D", home / "data", *options, "--no-sync"]
        subprocess.run(initialise, check=True, capture_output=True, cwd="/")
        command = [
            programs / "pg_ctl", "-D", home / "data", "-l", home / "log", "--wait",
            "-o", f"-p {port} -c listen_addresses=127.0.0.1 -k {home}",
        ]  # fmt: skip
        # pg_ctl's server would keep a captured pipe open.
        subprocess.run([*prefix, *command, "start"], check=True, cwd="/", stdout=subprocess.DEVNULL)
        try:
            # SQLAlchemy 2.1 means psycopg 3 by "postgresql://".
            yield f"postgresql+psycopg2://tracking:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            stop = [*prefix, *command, "-m", "fast", "stop"]
            subprocess.run(stop, check=True, cwd="/", stdout=subprocess.DEVNULL)


@dataclass
class Server:
    """An MLflow server that passes artifacts through; it can be paused, stopped and started."""

    folder: Path
    store: str
    workers: int = 1
    port: int = 0

    def __post_init__(self) -> None:
        self.port = self.port or free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.log = self.folder / "server.log"

    def start(self) -> None:
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
            "--port", str(self.port), "--workers", str(self.workers), "--serve-artifacts",
            "--artifacts-destination", str(self.folder / "files"),
        ]  # fmt: skip
        # By the environment, where other users do not see the password in the list of processes.
        environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": self.store}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True,
                cwd=self.folder,
            )  # fmt: skip
        wait_until(self._answers, "MLflow's server", 300)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
        except OSError:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        """To the server and its workers."""
        os.killpg(self.process.pid, number)

    def stop(self) -> None:
        if self.process.poll() is None:
            for number in (signal.SIGCONT, signal.SIGKILL):
                self.signal(number)
            self.process.wait(60)


@contextlib.contextmanager
def running(folder: Path, store: str, workers: int = 1) -> Iterator[Server]:
    server = Server(folder, store, workers)
    try:
        server.start()
        yield server
    finally:
        server.stop()
