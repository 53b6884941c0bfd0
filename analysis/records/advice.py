"""Commands that we print for a user to type: they find the search, and a shell takes them whole."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sized
from dataclasses import asdict, dataclass
from typing import Any, Final

from fusion_search.analysis.records.plain_data import read_json
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.words.names import (
    CANDIDATES_FILE,
    CONFIRMATION_SUFFIX,
    SPECIFICATION_FILE,
    UNNAMED,
)

STORAGE: Final = "results"  # folder of the searches when none is given
OPTIONS_FILE: Final = "options.json"
_WITH_FIGURES: Final = ("rgbd", "xflow")  # tasks with tables and figures called like them


@dataclass(frozen=True)
class RunOptions:
    """Where a search's data and machines are, as whoever ran it said.

    Attributes:
        data: folder of the real files; "" where none was named.
        address: of the Ray cluster; "" where Ray starts on the machine of the command.
        leave_out: nodes that run no trial.
    """

    data: str = ""
    address: str = ""
    leave_out: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """For a command line."""
        given = [("--address", self.address)]
        given += [("--leave-out", one) for one in self.leave_out]
        machines = (word for name, value in given if value for word in option(name, value))
        return (*self.data_words, *machines)

    @property
    def data_words(self) -> tuple[str, ...]:
        """Of them what a command takes that reads the data and runs no trial."""
        return option("--data", self.data) if self.data else ()

    @property
    def arguments(self) -> dict[str, Any]:
        """For ``fusion_search.resume``."""
        found = {"data_folder": self.data, "address": self.address, "leave_out": self.leave_out}
        return {name: value for name, value in found.items() if value}

    def write(self, storage: Storage) -> None:
        """Keep them in a search's folder: its next command is advised elsewhere, too."""
        storage.write(json.dumps(asdict(self)).encode(), OPTIONS_FILE)


def read_options(storage: Storage) -> RunOptions:
    """Those that a search last ran with; none where its folder does not tell."""
    try:
        return read_json(storage, OPTIONS_FILE, "delete it", _options)
    except (FileNotFoundError, ValueError):  # a command without them is still good
        return RunOptions()


def _options(plain: Any) -> RunOptions:
    found = plain if isinstance(plain, dict) else {}
    texts = [found.get(name) for name in ("data", "address")]
    hosts = found.get("leave_out")
    data, address = (one if isinstance(one, str) else "" for one in texts)
    listed = hosts if isinstance(hosts, list) else ()
    return RunOptions(data, address, tuple(one for one in listed if isinstance(one, str)))


def figures_of_results(streams: Iterable[Sized], task: str) -> list[str]:
    """What ``draw`` draws of a sweep's results; first what is called like its task.

    Args:
        streams: of its finished trials, empty for all of them; nothing is drawn without trials.
        task: of the search.
    """
    whole = {len(one) == 0 for one in streams}
    figures = ["grids"] * (True in whole) + ["unimodal"] * (False in whole)
    return [task, *figures] if figures and task in _WITH_FIGURES else figures


def go_on_command(
    verb: str, name: str, task: str, storage: str, options: RunOptions, *more: str
) -> str:
    """``resume``, ``retry`` or ``confirm`` of a search; a confirmation goes on by ``confirm``.

    No command knows a task that a notebook or script defined.

    Args:
        verb: of the command.
        name, task: of the search.
        storage: folder or URI of the searches, as the user wrote it.
        options: where its data and machines are.
        more: further options of the command.
    """
    module, _, defined = task.partition(":")
    if module != UNNAMED:
        confirmed = confirmed_search(name, storage) if verb == "resume" else None
        if confirmed is not None:
            verb, name = "confirm", confirmed
        return command(verb, name, *options.words, *more, storage=storage)
    words = [repr(open_storage(storage).named(name)), f"task={defined}"]
    words += ["failed=True"] if verb == "retry" else []
    words += [f"{one}={value!r}" for one, value in options.arguments.items()]
    return printable(f"fusion_search.resume({', '.join(words)})")


def confirmed_search(name: str, storage: str) -> str | None:
    """The search that the one of this name confirms; None where it confirms none that is there."""
    confirmed = name.removesuffix(CONFIRMATION_SUFFIX)
    if confirmed == name:
        return None
    try:
        folder = open_storage(storage)
        marks = ((name, CANDIDATES_FILE), (confirmed, SPECIFICATION_FILE))
        return confirmed if all(folder.is_there(*one) for one in marks) else None
    except (OSError, ValueError):  # which is told elsewhere; resume is good, too
        return None


def option(name: str, value: str) -> tuple[str, ...]:
    """An option with its value, in one word where the value would be taken for another option."""
    return (f"{name}={value}",) if value.startswith("-") else (name, value)


def command(*words: str, storage: str = STORAGE) -> str:
    """``fusion-search`` with these words, and with --storage where the search needs it.

    Args:
        words: verb, name and options, as the program shall get them.
        storage: folder or URI of the searches, as the user wrote it.
    """
    found = storage.removeprefix("./").rstrip("/") == STORAGE
    options = () if found else option("--storage", storage)
    return printable(shlex.join(["fusion-search", *words, *options]))
