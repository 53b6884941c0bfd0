"""The one error a person can cause here: files missing or not readable; and what others say."""

from __future__ import annotations


class DataError(ValueError):
    """A data file is missing or cannot be read; the message is one sentence with the remedy."""


def said(error: Exception) -> str:
    """What an error of a library says, in one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
