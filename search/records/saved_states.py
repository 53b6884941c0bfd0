"""The states of running trials, kept in the search's folder.

A trial whose worker, node or driver is lost goes on from its last saved epoch, wherever it is run
next. A state is written whole and removed when its trial has a record.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from fusion_search.analysis.records.filesystems.errors import StorageError, UnfitError
from fusion_search.analysis.records.parquet.bounds import LARGEST_BYTES
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.torch_file import TorchFileError, load_torch
from fusion_search.search.trials.specification import TrialSpecification

RUNNING: Final = "running"  # folder of the states, <trial_id>.pt
SaveState = Callable[[bytes], None]


class StateError(ValueError):
    """A saved state cannot be used; the message says why."""


def load_state(storage: Storage, trial: TrialSpecification, fingerprint: str) -> bytes | None:
    """What an earlier run of the trial saved last; None when it saved nothing.

    Raises:
        StateError: the file is damaged, or belongs to another trial or other data.
        StorageError: the storage does not answer.
    """
    try:
        content = storage.read(RUNNING, _name(trial.trial_id), most=LARGEST_BYTES)
    except FileNotFoundError:
        return None
    except StorageError:
        raise  # it does not answer: the records could not be written either
    except (OSError, UnfitError) as error:
        raise StateError(f"it cannot be read ({error})") from error
    try:
        state = load_torch(content)
        own, made_with = trial.is_told_in(state["specification"]), state["data_fingerprint"]
    except TorchFileError as error:
        raise StateError(f"it is damaged: {error}") from error
    except (LookupError, TypeError, ValueError) as error:
        raise StateError(f"it is damaged: {type(error).__name__}") from error
    if not own:
        raise StateError("it belongs to another trial")
    if made_with != fingerprint:
        raise StateError("it was made with other data")
    return content


def saver(storage: Storage, trial: TrialSpecification, say: Callable[[str], None]) -> SaveState:
    """A function that keeps a trial's state.

    A state that cannot be written costs the trial its way back, not its life: ``say`` is told
    so once.
    """
    told = False

    def save(state: bytes) -> None:
        nonlocal told
        try:
            # At once or not: only records are worth waiting for.
            storage.patient(0).write(state, RUNNING, _name(trial.trial_id))
        except OSError as error:
            if not told:
                say(f"its state cannot be saved ({error}); if it is lost it begins again")
            told = True

    return save


def forget(storage: Storage, trial_id: str) -> None:
    """Remove the state of a trial that has ended; what cannot be removed now is removed later."""
    with contextlib.suppress(OSError):
        storage.patient(0).remove(RUNNING, _name(trial_id))


def forget_ended(storage: Storage) -> None:
    """Remove states that trials left behind which have ended, if that can be done now."""
    with contextlib.suppress(OSError):
        for name in storage.names(RUNNING):
            if storage.exists("trials", f"{name.removesuffix('.pt')}.parquet"):
                forget(storage, name.removesuffix(".pt"))


def forget_all(storage: Storage) -> None:
    """Remove every state: their trials begin again."""
    for name in storage.names(RUNNING):
        storage.remove(RUNNING, name)


def _name(trial_id: str) -> str:
    return f"{trial_id}.pt"
