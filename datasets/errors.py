"""The one error a person can cause here: files missing or not readable; and how it is said."""

from __future__ import annotations

from pathlib import Path


class DataError(ValueError):
    """A data file is missing or cannot be read; the message is one sentence with the remedy."""


def said(error: Exception) -> str:
    """What an error of a library says, in one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def damaged(path: str | Path, reason: str) -> DataError:
    """Build the error for a file that is not whole."""
    return DataError(f"{path} is damaged ({reason}): put a whole copy in its place")
