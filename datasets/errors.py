"""The one error a person can cause here: files that are missing or damaged."""

from __future__ import annotations


class DataError(ValueError):
    """A data file is missing or damaged; the message is one sentence with the remedy."""
