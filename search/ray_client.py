"""Commands through a Ray client's address, ``ray://HOST:PORT``.

Ray Tune runs on the head node when it is called by a client, so the whole command does: its console
is shown here, and it ends with this process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import ray

from analysis.storage import open_storage
from search.head_command import CONFIG_FILE, HeadCommand
from search.provenance import COMMIT_VARIABLE, git_commit
from search.ray_cluster import check_storage, connection

_ON_HEAD: Final = {"node:__internal_head__": 0.001}
_WAIT_SECONDS: Final = 1.0


def run_on_head(address: str, command: HeadCommand) -> int:
    """Run a command on the head node, show what it prints, and return its exit code.

    Ctrl-C interrupts it there, as it would here.

    Raises:
        ValueError: there is no such cluster, or its nodes do not see the storage.
    """
    with connection(address):
        check_storage(open_storage(command.storage), cpus=0)
        print(f"on the head node of {address}:", flush=True)
        actor = ray.remote(num_cpus=0, resources=_ON_HEAD)(_Console)
        console: Any = actor.remote(command, git_commit())
        asked = console.follow.remote()
        while True:
            try:
                text, code = ray.get(asked)
                print(text, end="", flush=True)
                if code is not None:
                    return int(code)
                asked = console.follow.remote()
            except KeyboardInterrupt:
                console.interrupt.remote()


class _Console:
    """A command that runs on this node: an actor."""

    def __init__(self, command: HeadCommand, commit: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        if command.config is not None:
            (folder / CONFIG_FILE).write_text(command.config)
        output = folder / "output"
        address = ray.get_runtime_context().gcs_address
        with output.open("wb") as written:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", "search", *command.words],
                cwd=folder,
                env={**os.environ, COMMIT_VARIABLE: commit, "RAY_ADDRESS": address},
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
            )
        self._output = output.open(encoding="utf-8", errors="replace")

    def follow(self) -> tuple[str, int | None]:
        """What was printed since the last call, and the exit code when it is over."""
        until = time.monotonic() + _WAIT_SECONDS
        while True:
            code = self._process.poll()
            text = self._output.read()
            if text or code is not None or time.monotonic() > until:
                return text, code
            time.sleep(0.05)

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)
