"""Trying again while a storage does not answer, and saying so once."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Final, TypeVar

from fusion_search.analysis.records.filesystems.errors import (
    OF_A_FILE,
    StorageError,
    is_full,
    is_refusal,
    reason,
    refused,
    unanswered,
)
from fusion_search.analysis.records.secrets import printable

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 10.0

_Value = TypeVar("_Value")
_awaited: set[str] = set()  # locations that somebody here waits for, and has said so
_given_up: dict[str, float] = {}  # those waited for in vain, and the clock when that wait began
_say: ContextVar[Callable[[str], None]] = ContextVar("_say")  # where people hear it


@contextlib.contextmanager
def waiting_told(say: Callable[[str], None]) -> Iterator[None]:
    """Have it told by ``say``, and not on stderr, when this thread waits for storage."""
    before = _say.set(say)
    try:
        yield
    finally:
        _say.reset(before)


def patiently(
    action: Callable[[], _Value],
    location: str,
    patience_seconds: float,
    full: Callable[[], StorageError],
) -> _Value:
    """What ``action`` returns, tried again while the storage does not answer.

    Args:
        action: asks the storage.
        location: of the storage; who waits for the same one side by side says so once.
        patience_seconds: how long to try; 0 tries once. Where somebody here has waited in vain,
            whoever asks next tries once.
        full: what to raise when there is no room.

    Raises:
        StorageError: it refuses, is full, or did not answer.
        OSError: of the file that was asked for, as :data:`OF_A_FILE`.
    """
    began = time.monotonic()
    pause, told = FIRST_PAUSE_SECONDS, False
    while True:
        try:
            value = action()
            if told and location in _awaited:
                _tell(f"storage {printable(location)} answers again")
            _awaited.discard(location)
            _given_up.pop(location, None)
            return value
        except OF_A_FILE:
            raise
        except OSError as error:
            if is_full(error):
                raise full() from error
            if is_refusal(error):
                raise refused(location, error) from error
            since = _given_up.get(location, began) if patience_seconds else began
            left = since + patience_seconds - time.monotonic()
            if left <= 0:
                waited = ""
                if patience_seconds:
                    _given_up[location] = since
                    waited = f" for {time.monotonic() - since:.0f} s"
                raise unanswered(location, waited, error) from error
            if not told:
                _say_waiting(location, patience_seconds, error)
            told = True
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _say_waiting(location: str, patience_seconds: float, error: OSError) -> None:
    """Once for all that wait for the same storage side by side."""
    if location not in _awaited:
        _awaited.add(location)
        _tell(
            f"waiting up to {patience_seconds:g} s for storage {printable(location)}: "
            f"{reason(error)}"
        )


def _tell(text: str) -> None:
    say = _say.get(None)
    if say is None:
        print(text, file=sys.stderr, flush=True)
    else:
        say(text)
