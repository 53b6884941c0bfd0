"""Counts in words."""

from __future__ import annotations

from typing import Final

_LARGE: Final = 10**9  # from here on a number is said by its power of ten


def large_count(count: int) -> str:
    """A number of any size in a few characters."""
    return f"{count:,}" if count < _LARGE else f"about 10^{len(str(count)) - 1}"


def count_label(count: int, noun: str, nouns: str = "") -> str:
    """A number with its noun, in the plural where it belongs: with an s, or as given."""
    return f"{large_count(count)} {noun if count == 1 else nouns or f'{noun}s'}"


def best_label(top: int, seeds: int) -> str:
    """What a confirmation trains of a search: "its best, with 6 fresh seeds", or of the best 3."""
    fresh = count_label(seeds, "fresh seed")
    return f"its best, with {fresh}" if top == 1 else f"its best {top}, with {fresh} each"
