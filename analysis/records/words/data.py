"""What trials say of their data: its settings, and notes, said together each thing once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

_PARTS: Final = "; "  # between those of a note
_FOLD: Final = re.compile(r"\bfold (\d+) of ")


def data_settings(specification: Any) -> dict[str, Any]:
    """The settings of the data in a trial's specification, JSON; none where it has none."""
    found: dict[str, Any] = {}
    if isinstance(specification, str) and specification:
        found = json.loads(specification).get("data", {})
    return found


def data_kind(specification: Any) -> str:
    """All settings of the data but seeds, in which repetitions differ."""
    found = data_settings(specification)
    return json.dumps({name: found[name] for name in sorted(found) if not name.endswith("seed")})


def notes_words(notes: Iterable[str]) -> str:
    """What several trials say of their data; empty without notes.

    Parts that all notes have stand first, once; then what some have and others not. Notes that
    differ in the number of their fold alone are one, on these folds.
    """
    parts = [one.split(_PARTS) for one in _folds_joined(sorted(set(notes)))]
    common = [one for one in parts[0] if all(one in own for own in parts)] if parts else []
    rest = (_PARTS.join(one for one in own if one not in common) for own in parts)
    told = [one for one in rest if one]
    told = [f"of {'others' if place else 'some trials'} {one}" for place, one in enumerate(told)]
    return _PARTS.join([*common, *told])


def data_sentence(notes: Iterable[str]) -> str:
    """The same as a sentence, for below a figure."""
    return f"Data: {notes_words(notes) or 'not recorded'}."


def _folds_joined(notes: Iterable[str]) -> list[str]:
    folds: dict[tuple[str, str], set[int]] = {}
    for note in notes:
        found = _FOLD.search(note)
        ends = (note[: found.start()], note[found.end() :]) if found else (note, "")
        folds.setdefault(ends, set()).update([int(found[1])] if found else [])
    return [
        f"{before}{_numbers(sorted(numbers))} of {after}" if numbers else before
        for (before, after), numbers in folds.items()
    ]


def _numbers(folds: list[int]) -> str:
    if len(folds) == 1:
        return f"fold {folds[0]}"
    if len(folds) > 2 and folds[-1] - folds[0] == len(folds) - 1:
        return f"folds {folds[0]} to {folds[-1]}"
    return f"folds {', '.join(map(str, folds))}"
