"""The code of a search's task: what it was when the search began, and whether it still is.

``code.json`` in a search's folder names the task's files and those they import beside them, with a
hash of each, and where the command was given. A built-in task has none: its code is this program's.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fusion_search.analysis.records.plain_data import read_json
from fusion_search.analysis.records.secrets import shown_name
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import CODE_FILE
from fusion_search.search.tasks.current_folder import FOLDER_VARIABLE
from fusion_search.search.tasks.named import MissingTaskError
from fusion_search.search.tasks.task_files import code_files

CHANGED_CODE: Final = "--changed-code"
_DIGITS: Final = 16  # of a hash
_NAMED: Final = 3  # files, in a sentence


class ChangedCodeError(ValueError):
    """The code of a task is not that with which its search began; one sentence."""


@dataclass(frozen=True, kw_only=True)
class TaskCode:
    """Of a task.

    Attributes:
        files: name -> 16 hexadecimal digits of its content's SHA-256.
        folder, host: where the command was given.
    """

    files: Mapping[str, str]
    folder: str
    host: str

    @property
    def fingerprint(self) -> str | None:
        """16 hexadecimal digits of names and contents; None of a built-in task."""
        if not self.files:
            return None
        text = json.dumps(dict(self.files), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def task_code(task: str) -> TaskCode:
    """As it is here.

    Raises:
        TaskError: there is no such task.
    """
    contents = {name: path.read_bytes() for name, path in code_files(task).items()}
    return TaskCode(
        files={name: hashlib.sha256(one).hexdigest()[:_DIGITS] for name, one in contents.items()},
        folder=os.environ.get(FOLDER_VARIABLE) or str(Path.cwd()),
        host=platform.node(),
    )


def write_task_code(storage: Storage, code: TaskCode) -> None:
    """Keep it in the search's folder; of a built-in task there is nothing to keep."""
    if code.files:
        plain = {"folder": code.folder, "host": code.host, "files": dict(code.files)}
        storage.write(json.dumps(plain, indent=1).encode(), CODE_FILE)


def read_task_code(storage: Storage) -> TaskCode | None:
    """What :func:`write_task_code` wrote; None when it never did.

    Raises:
        ValueError: the file is damaged.
    """
    remedy = (
        "put a copy back, or delete it to go on without knowing whether the task's code has changed"
    )
    try:
        return read_json(storage, CODE_FILE, remedy, _code)
    except FileNotFoundError:
        return None


def _code(plain: Any) -> TaskCode:
    if not _is_code(plain):
        raise ValueError("it names no files of a task")
    return TaskCode(**plain)


def _is_code(plain: Any) -> bool:
    return (
        isinstance(plain, dict)
        and set(plain) == {"folder", "host", "files"}
        and isinstance(plain["folder"], str)
        and isinstance(plain["host"], str)
        and isinstance(plain["files"], dict)
        and all(isinstance(one, str) for one in plain["files"].values())
    )


def check_task_code(storage: Storage, task: str, go_on: str, *, changed: bool) -> None:
    """Refuse to go on with a search whose task's code has changed, unless that is wanted.

    Args:
        storage: the search's folder.
        task: its name.
        go_on: the command that goes on all the same.
        changed: go on, with the code as it is now.

    Raises:
        ChangedCodeError: names the files, and both ways on.
        TaskError: there is no such task here.
    """
    before = read_task_code(storage)
    if before is None or changed:
        return
    try:
        now = task_code(task)
    except MissingTaskError as error:
        raise MissingTaskError(f"{error}{launched_elsewhere(storage)}") from error
    if now.fingerprint == before.fingerprint:
        return
    names = [
        name
        for name in sorted({*before.files, *now.files})
        if before.files.get(name) != now.files.get(name)
    ]
    told = ", ".join(shown_name(one) for one in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    raise ChangedCodeError(
        f"the code of task {shown_name(task)} has changed since the search began or went on "
        f"({told}{more}); put it back as it was, or go on with: {go_on}; each record tells which "
        "code it has (code_fingerprint)"
    )


def launched_elsewhere(storage: Storage) -> str:
    """Where a search was launched, to be added to a sentence; nothing when that is unknown."""
    try:
        before = read_task_code(storage)
    except (OSError, ValueError):
        return ""
    if before is None or before.folder == str(Path.cwd()):
        return ""
    return f" (the search was launched in {shown_name(before.folder)} on {shown_name(before.host)})"
