"""A command that runs on a cluster's head node instead of here, and how it gets there."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fusion_search.analysis.records.advice import option
from fusion_search.analysis.records.filesystems.opening import local_folder
from fusion_search.analysis.records.secrets import printable
from fusion_search.search.declaration.configuration import to_yaml
from fusion_search.search.declaration.specification import SearchSpecification
from fusion_search.search.records.provenance import COMMIT_VARIABLE, git_commit
from fusion_search.search.records.task_code import CHANGED_CODE
from fusion_search.search.running.travelling import NOTHING, Sent
from fusion_search.search.tasks.current_folder import FOLDER_VARIABLE

_TOKEN_PATH: Final = "RAY_AUTH_TOKEN_PATH"  # Ray's own
CONFIG_FILE: Final = "search.yaml"
ADDRESS_VARIABLE: Final = "FUSION_SEARCH_ADDRESS"  # that a command came through to a head node


@dataclass(frozen=True, kw_only=True)
class HeadCommand:
    """Words of ``fusion-search``, to be run in a copy of the folder of the command.

    Args:
        words: the command and its options.
        config: content of ``CONFIG_FILE`` beside that folder; None when the command reads none.
        name: of the search.
        storage: where the head node finds the searches.
        sent: the folder that the command is given in, and what its task needs installed.
    """

    words: tuple[str, ...]
    config: str | None
    name: str
    storage: str
    sent: Sent = NOTHING

    def again(self, address: str) -> str:
        """What to type where this machine was told to run it, to go on with what it began."""
        verb, _, *options = self.words
        verb = "resume" if verb == "launch" else verb
        words = ["fusion-search", verb, self.name, *option("--address", address), *options]
        return printable(shlex.join(words))


def head_command(
    arguments: argparse.Namespace,
    search: SearchSpecification | None,
    storage: str,
    sent: Sent = NOTHING,
) -> HeadCommand:
    """What the command line asks for, to be run elsewhere.

    Args:
        arguments: of launch, submit, resume, retry or confirm.
        search: to be launched; None when the command goes on with one that is there.
        storage: where the head node finds the searches.
        sent: what goes there with it.
    """
    options = list(option("--storage", storage))
    if arguments.data:
        options += option("--data", arguments.data)
    options += [word for one in arguments.leave_out for word in option("--leave-out", one)]
    if search is not None:
        words = ["launch", f"../{CONFIG_FILE}", *options]
        return HeadCommand(
            words=tuple(words), config=to_yaml(search), name=search.name, storage=storage, sent=sent
        )
    words = [arguments.verb, arguments.name, *options]
    if arguments.verb == "confirm":
        for name, number in (("--top", arguments.top), ("--seeds", arguments.seeds)):
            words += [name, str(number)] if number else []
        words += [word for one in _overrides(arguments.set or (), sent) for word in ("--set", one)]
    words += [CHANGED_CODE] if arguments.changed_code else []
    return HeadCommand(
        words=tuple(words), config=None, name=arguments.name, storage=storage, sent=sent
    )


def _overrides(given: Sequence[str], sent: Sent) -> list[str]:
    """What ``--set`` says, with the lines of requirements' files, which lie here, as the last."""
    if not any(re.match(r"resources(\.requirements.*)?=", one) for one in given):
        return list(given)
    return [*given, f"resources.requirements={json.dumps(sent.requirements)}"]


def variables_of(address: str) -> dict[str, str]:
    """What a command on a head node is to know of the machine where it was given."""
    return {
        COMMIT_VARIABLE: git_commit(),
        ADDRESS_VARIABLE: address,
        FOLDER_VARIABLE: str(Path.cwd()),
    }


def storage_here(storage: str) -> str:
    """A storage that means the same on all machines which share this one's folders."""
    return storage if "://" in storage else local_folder(storage)


def storage_of_head(storage: str) -> str:
    """A storage as the head node reads it: a relative folder is one of its home folder."""
    relative = "://" not in storage and not storage.startswith(("/", "~"))
    return f"~/{storage}" if relative else storage


def use_token(environ: MutableMapping[str, str]) -> None:
    """Have Ray send the token of its cluster where there is one; to be called before its import.

    Ray itself does so only when it finds the cluster by itself.
    """
    given = bool(environ.get("RAY_AUTH_TOKEN") or environ.get(_TOKEN_PATH))
    with contextlib.suppress(RuntimeError):  # no home folder: no token in it
        given |= _token_file().is_file()
    if given:
        environ.setdefault("RAY_AUTH_MODE", "token")


def close_token_file() -> None:
    """Let nobody else read the tokens that Ray is given, which it writes as any other file."""
    for file, make in _token_files():
        with contextlib.suppress(OSError):  # there is none
            if file.stat().st_mode & 0o077:
                print(_closed(file, make), file=sys.stderr)


def _closed(file: Path, make: str) -> str:
    """Close a file that others can read, and say what that means."""
    try:
        file.chmod(0o600)
        told, remedy = "was", "it is now readable by you alone"
    except OSError:  # another's, or on a disk that cannot be written to
        told, remedy = "is", "let nobody else read it"
    return (
        f"warning: {printable(file)} {told} readable by others, who can run code as you on the "
        f"clusters that ask for it; {remedy}: if this machine has other users, make a new one "
        f"({printable(make)}) and start your clusters again"
    )


def _token_files() -> Iterator[tuple[Path, str]]:
    """Where Ray looks for a token, and how a new one comes there."""
    with contextlib.suppress(RuntimeError):  # no home folder: no token in it
        file = _token_file()
        yield file, f"rm {file}; ray get-auth-token --generate; chmod 600 {file}"
    named = os.environ.get(_TOKEN_PATH)
    if named:
        quoted = shlex.quote(named)
        yield Path(named), f"rm {quoted}; (umask 077; openssl rand -hex 32 > {quoted})"


def _token_file() -> Path:
    return Path.home() / ".ray" / "auth_token"
