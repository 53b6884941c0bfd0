"""Whether Ray can be started on this machine."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from ray._common.utils import get_default_ray_temp_dir

from fusion_search.search.trials.fields import ConfigurationError

# What Ray adds to its temporary folder, and what the name of a Unix socket may have, in bytes.
_SOCKET: Final = "/session_2000-01-01_00-00-00_000000_{process}/sockets/plasma_store"
_LONGEST_SOCKET: Final = 103 if sys.platform == "darwin" else 107
_ROOM: Final = 4 << 20  # bytes that Ray has to find there: its sockets, logs and ports
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


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
