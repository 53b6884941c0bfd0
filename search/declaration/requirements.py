"""What a task needs of a package index, as ``resources.requirements`` says it to pip."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from fusion_search.analysis.records.secrets import refuse_password
from fusion_search.analysis.records.storage import LARGEST_TEXT

_FILE: Final = "-r "  # as pip has it
_OURS: Final = ("fusion-search", "ray")  # the same on all machines, or nothing runs
_REMEDY: Final = "let the nodes' own pip configuration or ~/.netrc hold it"


def check_requirement(text: str, where: str) -> None:
    """Raise ``ValueError`` where pip could not be told so, or should not."""
    try:
        wanted = Requirement(text)
    except InvalidRequirement as error:
        raise ValueError(
            f"{where} is {text!r}; allowed: what pip takes for one package, such as einops==0.8, "
            "or -r FILE with such lines (an index is told to the nodes' own pip)"
        ) from error
    if wanted.name.endswith(".txt"):
        raise ValueError(f"{where} is {text!r}, which would be a package; a file is -r {text}")
    if canonicalize_name(wanted.name) in _OURS:
        raise ValueError(
            f"{where} is {text!r}; allowed: all but {' and '.join(_OURS)}, which are installed on "
            "every machine before"
        )
    if wanted.url:
        refuse_password(wanted.url, where, _REMEDY)


def with_files_read(texts: Sequence[str], where: str) -> list[str]:
    """Requirements with the lines of files in the place of ``-r FILE``.

    Raises:
        ValueError: there is no such file.
    """
    found: list[str] = []
    for text in texts:
        if not text.startswith(_FILE):
            found.append(text)
            continue
        file = Path(text.removeprefix(_FILE).strip())
        try:
            with file.open(encoding="utf-8") as opened:
                lines = opened.read(LARGEST_TEXT).splitlines()
        except (OSError, ValueError) as error:
            raise ValueError(f"{where} is {text!r}, which cannot be read: {error}") from error
        lines = [line.partition(" #")[0].strip() for line in lines]
        found += [line for line in lines if line and not line.startswith("#")]
    return found


def not_installed(requirements: Sequence[str]) -> str:
    """What of them this environment lacks, in words, with pip's remedy; nothing where it has all.

    A search's task is imported by the machine that drives it, too.
    """
    for text in requirements:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            there = version(wanted.name)
        except PackageNotFoundError:
            there = ""
        if not there or not wanted.specifier.contains(there, prereleases=True):
            found = f"{wanted.name} {there} is installed" if there else "it is not installed"
            return (
                f"resources.requirements asks for {text!r}, and {found} here, where the task is "
                f"imported too; run: pip install {text!r}"
            )
    return ""
