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
_CTRL_C: Final = "Ctrl-C (SIGINT)"
_TERMINATED: Final = "SIGTERM"
_causes: Final[list[str]] = []
"""What interrupted, in words, as it came; empty words where they have been told."""


def interrupted_by() -> str:
    """What interrupted the command, in words; empty where nothing did, or it has been told."""
    return _causes[0] if _causes else ""


def was_interrupted() -> bool:
    """Whether anything did."""
    return bool(_causes)


def interrupt(cause: str = "") -> None:
    """Do what Ctrl-C does, from any thread.

    Args:
        cause: what interrupts, in words; empty where that has been told.
    """
    _causes.append(cause)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


@contextmanager
def stopped_as_by_interrupt() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP when the terminal is closed, do what Ctrl-C does.

    Where SIGHUP is ignored, as under nohup, it stays so. SIGINT does not, as in the background of a
    script: it is what all the others come to, and Ray Tune hears it anyway.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    if before[signal.SIGINT] is not _interrupted:  # else it is of a command that has begun
        _causes.clear()
    # Ray blocks Ctrl-C's signal in all that its nodes start, thus in jobs and behind a client.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    hear_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def hear_signals() -> None:
    """Take the signals again within :func:`stopped_as_by_interrupt`, after Ray has taken them."""
    if threading.current_thread() is not threading.main_thread():
        return
    terminals = [one for one in _OUTPUTS if os.isatty(one)]

    def hang_up(*_: object) -> None:
        # Of a terminal that is gone, every further word would be an error.
        with Path(os.devnull).open("wb") as nowhere:
            for one in terminals:
                os.dup2(nowhere.fileno(), one)
        interrupt("a closed terminal (SIGHUP)")

    signal.signal(signal.SIGINT, _interrupted)
    signal.signal(signal.SIGTERM, lambda *_: interrupt(_TERMINATED))
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, hang_up)


@contextmanager
def interrupt_lent() -> Iterator[None]:
    """Let Ray Tune take SIGINT: it ends in order, and gives it back once it has heard one."""
    before = signal.getsignal(signal.SIGINT)
    yield
    if threading.current_thread() is threading.main_thread():
        if signal.getsignal(signal.SIGINT) is before:
            _causes.append(_CTRL_C)
        # Else it would swallow the first Ctrl-C after the search.
        signal.signal(signal.SIGINT, before)


def _interrupted(*_: object) -> None:
    _causes.append(_CTRL_C)
    raise KeyboardInterrupt


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
    (not on Linux, whose kernel does it); SIGHUP is held back everywhere, for good. SIGTERM, which
    Ray takes while it starts, interrupts, as within :func:`stopped_as_by_interrupt`.
    """
    global _apart
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    _apart = sys.platform == "linux"
    try:
        yield
    except SystemExit as error:  # what Ray answers SIGTERM with
        _causes.append(_TERMINATED)
        raise KeyboardInterrupt from error
    finally:
        _apart = False
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
