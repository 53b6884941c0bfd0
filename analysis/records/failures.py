"""Why a trial failed, at length: a text file beside the records, named like the trial.

The row in ``trials`` has one sentence; the traceback, or what is known of a lost worker, is here.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any, Final

from fusion_search.analysis.records.filesystems.errors import RefusedError, StorageError, UnfitError
from fusion_search.analysis.records.secrets import without_password
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import FAILED, read_rows

FAILURES: Final = "failures"  # folder of the texts, <trial_id>.txt
LONGEST: Final = 64 * 1024  # characters
_FIRST: Final = LONGEST // 4  # of them; what was raised last stands at the end of a traceback


def write_failure(search: Storage, row: Mapping[str, Any], known: str) -> None:
    """Keep what is known of a failure.

    Text that cannot be kept although the storage works costs the trial its text, not its record.

    Args:
        search: the search's folder.
        row: of the failed trial in ``trials``.
        known: a traceback, or whatever else there is.

    Raises:
        StorageError: the storage is full or does not answer.
    """
    # Of a worker that died before it told of itself nobody knows where it was.
    where = f" on {row['host']}" if "host" in row else ""
    text = (
        f"trial: {row['trial_name']} ({row['trial_id']})\n"
        f"ended: {row['ended_at']:%Y-%m-%d %H:%M:%S} UTC{where}\n"
        f"reason: {row['reason']}\n\n{known.strip()}\n"
    )
    try:
        content = without_password(_bounded(text)).encode(errors="backslashreplace")
        search.write(content, FAILURES, _name(row["trial_id"]))
    except OSError as error:
        if _away(error):
            raise
        remove_failure(search, row["trial_id"])  # an older one would tell of another attempt


def read_failure(search: Storage, trial_id: str) -> str | None:
    """The text; None when there is none, or none that can be read.

    Raises:
        StorageError: the storage does not answer.
    """
    try:
        return search.read(FAILURES, _name(trial_id)).decode(errors="replace")
    except UnfitError:
        return None
    except OSError as error:
        if _away(error):
            raise
        return None


def remove_failure(search: Storage, trial_id: str) -> None:
    """Remove the text of an earlier attempt, if that can be done now."""
    with contextlib.suppress(OSError):
        search.patient(0).remove(FAILURES, _name(trial_id))


def remove_outlived_failures(search: Storage) -> None:
    """Remove the texts of trials that were tried again and ended otherwise, if that can be done.

    At the end of a search, and not of each trial: most never failed, and to ask costs a request.
    """
    with contextlib.suppress(OSError, ValueError):
        texts = failure_paths(search)
        ended = {name.removesuffix(".parquet") for name in search.names("trials")} if texts else ()
        for row in read_rows(search, "trials", sorted(texts.keys() & set(ended))):
            if row["status"] != FAILED:
                remove_failure(search, row["trial_id"])


def failure_paths(search: Storage) -> dict[str, str]:
    """Trial id -> where its text is, for people.

    Raises:
        StorageError: the storage does not answer.
    """
    try:
        names = search.names(FAILURES)
    except OSError as error:
        if _away(error):
            raise
        return {}
    return {name.removesuffix(".txt"): search.named(FAILURES, name) for name in names}


def where_failed(text: str) -> str:
    """The line of code that raised, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    code = [line for line in lines if line.startswith('File "')]
    return (code or lines or [""])[-1]


def _away(error: OSError) -> bool:
    """Whether the storage does not answer: a file where the folder should be is an answer."""
    return isinstance(error, StorageError) and not isinstance(error, RefusedError)


def _bounded(text: str) -> str:
    """Beginning and end of a long text.

    Cut between words: the half of an address would hide its password from who looks for it.
    """
    if len(text) <= LONGEST:
        return text
    first = re.sub(r"\S+\Z", "", text[:_FIRST])
    last = re.sub(r"\A\S+", "", text[_FIRST - LONGEST :])
    left_out = len(text) - len(first) - len(last)
    return f"{first}\n[... {left_out:,} characters are left out ...]\n{last}"


def _name(trial_id: str) -> str:
    return f"{trial_id}.txt"
