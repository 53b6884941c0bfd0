"""A command that runs on a cluster's head node instead of here, and how it gets there."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fusion_search.analysis.records.storage import local_folder
from fusion_search.search.declaration.configuration import to_yaml
from fusion_search.search.declaration.specification import SearchSpecification

CONFIG_FILE: Final = "search.yaml"
ADDRESS_VARIABLE: Final = "FUSION_SEARCH_ADDRESS"  # that a command came through to a head node


@dataclass(frozen=True, kw_only=True)
class HeadCommand:
    """Words of ``fusion-search``, to be run in a folder of the head node.

    Args:
        words: the command and its options.
        config: content of ``CONFIG_FILE`` in that folder; None when the command reads none.
        name: of the search.
        storage: where the head node finds the searches.
    """

    words: tuple[str, ...]
    config: str | None
    name: str
    storage: str


def head_command(
    arguments: argparse.Namespace, search: SearchSpecification | None, storage: str
) -> HeadCommand:
    """What the command line asks for, to be run elsewhere.

    Args:
        arguments: of launch, submit, resume, retry or confirm.
        search: to be launched; None when the command goes on with one that is there.
        storage: where the head node finds the searches.
    """
    # One word each: a value that begins with a dash is no option.
    options = [f"--storage={storage}"]
    if arguments.data:
        options.append(f"--data={arguments.data}")
    if search is not None:
        words = ["launch", CONFIG_FILE, *options]
        return HeadCommand(
            words=tuple(words), config=to_yaml(search), name=search.name, storage=storage
        )
    words = [arguments.verb, arguments.name, *options]
    if arguments.verb == "confirm":
        for option, number in (("--top", arguments.top), ("--seeds", arguments.seeds)):
            words += [option, str(number)] if number else []
    return HeadCommand(words=tuple(words), config=None, name=arguments.name, storage=storage)


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
    given = bool(environ.get("RAY_AUTH_TOKEN") or environ.get("RAY_AUTH_TOKEN_PATH"))
    with contextlib.suppress(RuntimeError):  # no home folder: no token in it
        given |= _token_file().is_file()
    if given:
        environ.setdefault("RAY_AUTH_MODE", "token")


def close_token_file() -> None:
    """Let nobody else read the token that Ray keeps, which it writes with the usual permissions."""
    with contextlib.suppress(OSError, RuntimeError):  # there is none, or no home, or another's
        file = _token_file()
        if file.stat().st_mode & 0o077:
            file.chmod(0o600)
            print(
                f"warning: {file} was readable by others, who can run code as you on the clusters "
                "that ask for it; it is now readable by you alone: if this machine has other "
                f"users, make a new one (rm {file}; ray get-auth-token --generate; chmod 600 "
                f"{file}) and start your clusters again",
                file=sys.stderr,
            )


def _token_file() -> Path:
    return Path.home() / ".ray" / "auth_token"
