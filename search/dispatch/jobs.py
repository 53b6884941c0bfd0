"""Commands as jobs of a Ray cluster: they go on when this machine is switched off."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import ray
from aiohttp import ClientError
from ray.job_submission import JobStatus, JobSubmissionClient

from fusion_search.analysis.records import advice
from fusion_search.analysis.records.secrets import printable, without_password
from fusion_search.search.dispatch.connection import (
    reach_port,
    runtime_environment,
    warn_open,
    wrong_token,
)
from fusion_search.search.dispatch.head_command import CONFIG_FILE, HeadCommand, variables_of
from fusion_search.search.dispatch.start import ResourceError
from fusion_search.search.running.interrupts import interrupted_by
from fusion_search.search.running.travelling import code_to_send

_FOLDER: Final = "folder-of-the-command"  # no module's name
_AGAIN: Final = "go_on"  # of a job's metadata: what to type to go on with its search


def submit(address: str, command: HeadCommand, *, detach: bool) -> int:
    """Have a command run on the cluster's head node; returns its exit code, or 0 when detached.

    Args:
        address: of the cluster's dashboard, ``http://HOST:8265``.
        command: what to run.
        detach: do not wait for its end.

    Raises:
        ValueError: there is no such cluster, it refuses us, or the code is too large.
    """
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    with (
        _client(address) as client,
        tempfile.TemporaryDirectory() as folder,
        code_to_send(command.sent.folder) as modules,
    ):
        if command.config is not None:
            (Path(folder) / CONFIG_FILE).write_text(command.config, encoding="utf-8")
        # Not as a module: in a job's import path it would come first.
        for copy in modules[1:]:
            shutil.move(copy, Path(folder, _FOLDER))
        environment = runtime_environment(modules[:1], command.sent.requirements)
        # Without a password: jobs are there for all.
        variables = {**environment["env_vars"], **variables_of(without_password(address))}
        words = shlex.join(["python", "-P", "-m", "fusion_search", *command.words])
        job = client.submit_job(
            entrypoint=f"mkdir -p {_FOLDER} && cd {_FOLDER} && exec {words}",
            submission_id=f"{command.name}-{moment}-{os.getpid()}",
            metadata={"search": command.name, _AGAIN: command.again(without_password(address))},
            runtime_env={**environment, "working_dir": folder, "env_vars": variables},
        )
    print(
        f"job {job} on {printable(address)}; storage {command.storage!r} is its head node's",
        flush=True,
    )
    if detach:
        print(_how_to_go_on(address, job))
        return 0
    return attach(address, job)


def attach(address: str, job: str) -> int:
    """Show what a job prints, from its beginning, and return its exit code.

    Ctrl-C ends the showing, not the job; the exit code is 130 then.

    Raises:
        ValueError: there is no such cluster or job, or the cluster refuses us.
        OSError: the connection broke; the message says whether the job goes on.
    """
    with _client(address) as client:
        again = (client.get_job_info(job).metadata or {}).get(_AGAIN, "")  # or there is no such job
        try:
            with contextlib.suppress(OSError, RuntimeError, ClientError):  # asked about below
                asyncio.run(_show(client, job))
        except KeyboardInterrupt:
            by = interrupted_by()
            print(
                f"\ninterrupted by {by}, detached; the job goes on\n{_how_to_go_on(address, job)}"
            )
            return 130
        try:
            info = client.get_job_info(job)
        except (OSError, RuntimeError) as error:
            raise ResourceError(_lost(address, job, again)) from error
        status, code, message = info.status, info.driver_exit_code, info.message
    if not status.is_terminal():
        raise OSError(f"the connection to job {job} broke; {_how_to_go_on(address, job)}")
    if status == JobStatus.SUCCEEDED:
        return 0
    why = f" ({' '.join(str(message).split())[-300:]})" if code is None and message else ""
    print(f"job {job}: {status.value.lower()}{printable(why)}", file=sys.stderr)
    return code or 1


def _lost(address: str, job: str, again: str) -> str:
    return (
        f"the head node at {printable(address)} answers no more. If only the way there is cut, job "
        f"{job} goes on: {advice.command('attach', job, '--address', address)} shows it. If its "
        "Ray is gone, so is the job; what has ended is recorded, and once Ray runs again there, "
        f"the search goes on with: {again or advice.command('resume', 'NAME')}"
    )


async def _show(client: JobSubmissionClient, job: str) -> None:
    async for text in client.tail_job_logs(job):
        print(text, end="", flush=True)


def _how_to_go_on(address: str, job: str) -> str:
    stop = advice.command("stop", job.rsplit("-", 2)[0])  # a job is called as its search, and more
    return (
        f"follow it with: {advice.command('attach', job, '--address', address)}\n"
        f"stop it in order with: {stop} --storage ..., on a machine that sees its storage"
    )


@contextmanager
def _client(address: str) -> Iterator[JobSubmissionClient]:
    """A client, and one sentence for whatever goes wrong with it."""
    # Ray would prefer them to what it is told.
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(name, None)
    logging.disable(logging.INFO)  # what it uploads
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        _pass_by_proxies(host)
        reach_port(host, parts.port or (443 if parts.scheme == "https" else 80))
        if _asks_for_no_token(address):
            warn_open(host, address)
        yield JobSubmissionClient(address)
    except ResourceError:
        raise
    except ray.exceptions.AuthenticationError as error:
        raise ResourceError(wrong_token(address)) from error
    except (RuntimeError, ValueError, OSError) as error:
        detail = " ".join(str(error).split())[:300]
        if "does not exist" in detail and "404" in detail:
            detail = (
                f"no such job; list them with: RAY_AUTH_MODE=token ray job list --address {address}"
            )
        what = "cannot be reached" if isinstance(error, OSError) else "refuses"
        raise ResourceError(f"the Ray dashboard at {address} {what}: {detail}") from error
    finally:
        logging.disable(logging.NOTSET)


def _pass_by_proxies(host: str) -> None:
    """Have this process's HTTP go straight to a host, as all else that Ray asks of it does."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    for name in ("no_proxy", "NO_PROXY"):  # some libraries read one, some the other
        os.environ[name] = f"{known},{host}" if known else host


def _asks_for_no_token(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/api/jobs/", timeout=10):
            return True
    except urllib.error.HTTPError:
        return False
