"""The one error a person can cause here: files that are missing or cannot be read."""

from __future__ import annotations


class DataError(ValueError):
    """A data file is missing or cannot be read; the message is one sentence with the remedy."""
