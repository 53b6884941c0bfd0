"""What a rule says of a claim, in the words that all tables share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

HELD: Final = "held"
REFUTED: Final = "refuted"
UNDECIDED: Final = "undecided"


def whole(verdicts: Sequence[str]) -> str:
    """Of a claim of several parts: held when all are, refuted when one is."""
    if REFUTED in verdicts:
        return REFUTED
    return HELD if verdicts and set(verdicts) == {HELD} else UNDECIDED
