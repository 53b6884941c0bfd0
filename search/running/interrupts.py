"""What stops a search from outside, in the orderly way of Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_OUTPUTS: Final = (1, 2)


@contextmanager
def stopped_as_by_interrupt() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP when the terminal is closed, do what Ctrl-C does.

    Where SIGHUP is ignored, as under nohup, it stays so. SIGINT does not, as in the background of a
    script: it is what all the others come to, and Ray Tune hears it anyway.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    terminals = [one for one in _OUTPUTS if os.isatty(one)]

    def hang_up(*_: object) -> None:
        # Of a terminal that is gone, every further word would be an error.
        with Path(os.devnull).open("wb") as nowhere:
            for one in terminals:
                os.dup2(nowhere.fileno(), one)
        _interrupt()

    # Ray Tune leaves a handler of its own, which would swallow the first Ctrl-C after the search.
    before = {signal.SIGINT: signal.getsignal(signal.SIGINT)}
    if before[signal.SIGINT] is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before[signal.SIGTERM] = signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, hang_up)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)


_apart = False  # whether processes that are started now get a session of their own


def _leave() -> None:
    if _apart:
        os.setsid()


# Ray starts its processes with a function that they run first (``preexec_fn``), and so with this.
os.register_at_fork(after_in_child=_leave)


@contextmanager
def children_apart() -> Iterator[None]:
    """Have Ray's processes that are started meanwhile hear nothing that is meant for this one.

    SIGTERM goes to a whole process group (``timeout``, ``kill -TERM -- -PGID``, a shell that kills
    its job), and a closed terminal's SIGHUP to all that belong to it. Without Ray nothing ends in
    order. They get a session of their own, but where Ray ends them by the group of this process
    (not on Linux, whose kernel does it); SIGHUP is held back everywhere, for good.
    """
    global _apart
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    _apart = sys.platform == "linux"
    try:
        yield
    finally:
        _apart = False
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
