"""What a rule says of a claim, in the words that all tables share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

HELD: Final = "held"
REFUTED: Final = "refuted"
UNDECIDED: Final = "undecided"


def whole(verdicts: Sequence[str]) -> str:
    """Of a claim of several parts: held when all are, refuted when one is.

    Else as its first open part says it.
    """
    if REFUTED in verdicts:
        return REFUTED
    return next((one for one in verdicts if one != HELD), HELD if verdicts else UNDECIDED)
