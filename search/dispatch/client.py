"""Commands through a Ray client's address, ``ray://HOST:PORT``.

Ray Tune runs on the head node when it is called by a client, so the whole command does: its console
is shown here, and it ends with this process.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import RayError

from fusion_search.analysis.records import advice
from fusion_search.analysis.records.secrets import printable, sentence, without_password
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.dispatch.connection import connection
from fusion_search.search.dispatch.head_command import CONFIG_FILE, HeadCommand, variables_of
from fusion_search.search.dispatch.start import ResourceError
from fusion_search.search.tasks.current_folder import COPY, copied_folder

_ON_HEAD: Final = {"node:__internal_head__": 0.001}
_WAIT_SECONDS: Final = 1.0


def run_on_head(address: str, command: HeadCommand) -> int:
    """Run a command on the head node, show what it prints, and return its exit code.

    Ctrl-C interrupts it there, as it would here.

    Raises:
        ValueError: there is no such cluster, or its head node does not see the storage.
    """
    with connection(address, command.sent):
        check_storage(open_storage(command.storage))
        print(f"on the head node of {printable(address)}:", flush=True)
        actor = ray.remote(num_cpus=0, resources=_ON_HEAD)(_Console)
        console: Any = actor.remote(command, variables_of(address))
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
            except (ConnectionError, RayError) as error:
                raise ResourceError(_lost(address, command, error)) from error


def _lost(address: str, command: HeadCommand, error: Exception) -> str:
    return (
        f"the head node at {printable(address)} was lost ({sentence(error)[:200]}); the search "
        "ends with this console, half a minute after a cut connection at the latest, and what has "
        f"ended is recorded. Go on with: {command.again(without_password(address))}"
    )


def check_storage(storage: Storage) -> None:
    """Raise :class:`ResourceError` when the head node does not see what is written here."""
    probe = f".seen-{uuid.uuid4().hex}"
    storage.write(b"", probe)
    try:
        trouble = ray.get(
            ray.remote(num_cpus=0, resources=_ON_HEAD)(_trouble).remote(storage, probe)
        )
    finally:
        storage.remove(probe)
    if trouble:
        raise ResourceError(
            f"the cluster's head node does not see storage {storage.location!r} of this machine "
            f"({trouble}); give --storage a folder that all machines share or a URI such as "
            f"s3://bucket/results, or use `{advice.command('submit', 'CONFIG.yaml')}`"
        )


def _trouble(storage: Storage, name: str) -> str:
    """Why this node does not see a file, or nothing."""
    try:
        return "" if storage.exists(name) else "what is written here is not there"
    except OSError as error:
        return " ".join(str(error).split())[:200]


class _Console:
    """A command that runs on this node: an actor."""

    def __init__(self, command: HeadCommand, variables: dict[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        if command.config is not None:
            (folder / CONFIG_FILE).write_text(command.config, encoding="utf-8")
        sent = copied_folder()
        own = folder / COPY  # of this command, which may write there
        own.mkdir() if sent is None else shutil.copytree(sent, own)
        output = folder / "output"
        address = ray.get_runtime_context().gcs_address
        with output.open("wb") as written:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-u", "-m", "fusion_search", *command.words],
                cwd=own,
                env={**os.environ, **variables, "RAY_ADDRESS": address},
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
