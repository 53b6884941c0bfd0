"""Starting Ray on this machine: whether it can, and what it must not find or ask for."""

from __future__ import annotations

import errno
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ray._common.utils import get_default_ray_temp_dir
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

from fusion_search.search.trials.fields import ConfigurationError

# What Ray adds to its temporary folder, and what the name of a Unix socket may have, in bytes.
_SOCKET: Final = "/session_2000-01-01_00-00-00_000000_{process}/sockets/plasma_store"
_LONGEST_SOCKET: Final = 103 if sys.platform == "darwin" else 107
# Ray's own processes do not start where warnings are errors.
_OF_THE_SHELL: Final = ("PYTHONWARNINGS",)
_ROOM: Final = 4 << 20  # bytes that Ray has to find there: its sockets, logs and ports
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class ResourceError(ValueError):
    """The machines cannot run the trials as asked; the message is one sentence."""


def check_home() -> None:
    """Raise :class:`ResourceError` where Ray would not find a home folder."""
    try:
        Path.home()
    except RuntimeError as error:
        raise ResourceError(
            "Ray looks into the home folder, and that of this user is not known: set HOME to "
            "a folder that it may write to"
        ) from error


def check_docstrings() -> None:
    """Raise :class:`ResourceError` where Ray would be imported without them."""
    if sys.flags.optimize > 1:
        raise ResourceError(
            "Ray cannot be imported without docstrings: unset PYTHONOPTIMIZE, or set it to 1"
        )


def check_temporary_folder() -> None:
    """Raise :class:`ConfigurationError` where Ray has no place for its sockets and logs.

    Ray itself finds out late, and says it in words of its own.
    """
    own = Path(get_default_ray_temp_dir())
    folder = own.parent
    longest = _LONGEST_SOCKET - len(_SOCKET.format(process=os.getpid())) - len("/ray")
    remedy = f"set RAY_TMPDIR to a folder whose path has at most {longest} bytes, such as /tmp"
    if len(os.fsencode(folder)) > longest:
        raise ConfigurationError(
            f"the path of Ray's temporary folder is too long for its sockets: {folder}; {remedy}"
        )
    try:
        own.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=own) as file:
            file.write(bytes(_ROOM))
    except OSError as error:
        if error.errno in _FULL:
            raise ConfigurationError(
                f"Ray's temporary folder {folder} has no room for the {_ROOM >> 20} MiB that Ray "
                f"needs there to start; make room, or {remedy}"
            ) from error
        raise ConfigurationError(
            f"Ray cannot write to its temporary folder {folder} ({error.strerror}); {remedy}"
        ) from error


@contextmanager
def without_variables() -> Iterator[None]:
    """Start processes without what they would trip over."""
    before = {name: os.environ.pop(name) for name in _OF_THE_SHELL if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


@contextmanager
def own_token() -> Iterator[None]:
    """Let a Ray that is started here ask for a secret that only this process's children know.

    Ray's own would lie in a file that others may be able to read, and let them run code as us
    through any of its ports. Nor does it ask for one where the environment says so.
    """
    loader = AuthenticationTokenLoader.instance()
    before = {name: os.environ.pop(name, None) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE")}
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    loader.reset_cache()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        loader.reset_cache()
