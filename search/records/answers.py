"""What machines say of themselves before a search, and what people are told of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What a machine says of itself.

    Attributes:
        trouble: why it cannot run trials, after the words "node NAME"; None is best.
        differences: what may change some numbers there, after the same words.
        processor: what its trials compute on; "" where that was not asked.
    """

    trouble: str | None = None
    differences: tuple[str, ...] = ()
    processor: str = ""


def joined(answers: Iterable[Answer]) -> Answer:
    """One machine's answers to several questions."""
    whole = Answer()
    for one in answers:
        whole = Answer(
            whole.trouble or one.trouble,
            (*whole.differences, *one.differences),
            one.processor or whole.processor,
        )
    return whole


def notes(answers: Iterable[tuple[str, Answer]]) -> list[str]:
    """What may change numbers, in words, each once for all machines that it is true of.

    Args:
        answers: with the names of the machines.
    """
    having: dict[str, list[str]] = defaultdict(list)
    computing: dict[str, list[str]] = defaultdict(list)
    for name, answer in answers:
        for difference in answer.differences:
            having[difference].append(name)
        if answer.processor:
            computing[answer.processor].append(name)
    told = [difference_note(names, difference) for difference, names in having.items()]
    if len(computing) > 1:
        products = (f"{product} ({', '.join(names)})" for product, names in computing.items())
        told.append(
            "note: trials run on different processors, between which the last digits of numbers "
            f"differ; each record names its own as device_name: {'; '.join(products)}"
        )
    return told


def difference_note(names: Sequence[str], difference: str) -> str:
    """A sentence on what may change numbers on machines of these names."""
    which = "node" if len(names) == 1 else "each of the nodes"
    return (
        f"note: {which} {', '.join(names)} {difference}; numbers may differ there, and each record "
        "has the versions it was made with"
    )
