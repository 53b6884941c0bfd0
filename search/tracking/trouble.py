"""What is wrong with MLflow's store, in one sentence, and what to do."""

from __future__ import annotations

import textwrap
from typing import Final

from fusion_search.analysis.records.secrets import without_password

_REASON_LENGTH: Final = 200
_DAMAGED: Final = "put a copy of the file back, or move it away and all is written anew"
_OTHER_VERSION: Final = (
    "another version of MLflow made the database: copy it and run `mlflow db upgrade` with this "
    "address, or use that version"
)
_REMEDIES: Final = {
    "database is locked": "another program holds it",
    "readonly database": "make the file and its folder writable",
    "is not a database": _DAMAGED,
    "disk image is malformed": _DAMAGED,
    "out-of-date database schema": _OTHER_VERSION,
    "Can't locate revision": _OTHER_VERSION,
}


def trouble(uri: str, error: Exception) -> str:
    """Why MLflow cannot be written: the innermost cause, without secrets, and a remedy if known."""
    cause: BaseException = error  # what MLflow wraps: "Connection refused", not its long story
    while inner := cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__):
        cause = inner
    reason = " ".join(f"{type(cause).__name__}: {cause}".split())
    remedies = [remedy for words, remedy in _REMEDIES.items() if words in reason]
    reason = textwrap.shorten(without_password(reason), _REASON_LENGTH, placeholder=" …")
    return "; ".join([f"MLflow at {without_password(uri)} cannot be written ({reason})", *remedies])
