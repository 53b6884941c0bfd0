"""A configuration's YAML: loaded safely, with the overrides of a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fusion_search.analysis.records import plain_data
from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.secrets import shown, shown_name
from fusion_search.analysis.records.storage import LARGEST_TEXT
from fusion_search.search.declaration.requirements import with_files_read
from fusion_search.search.trials.fields import (
    ConfigurationError,
    not_text,
)

_OWN: Final = Path(__file__).parents[2] / "configs"


def load_configuration(
    path: Path, overrides: Sequence[str] = (), asked: Sequence[str] = ("launch",)
) -> dict[str, Any]:
    """Read a YAML file and apply ``field=value`` overrides (``training.examples=2000``).

    Args:
        path: the file.
        overrides: as given to ``--set``.
        asked: words of the command in front of the path, for an advice.

    Raises:
        ConfigurationError: the file is missing or is not a YAML mapping, or an override is off.
    """
    where = f"configuration {shown_name(str(path))}"
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_TEXT + 1)
    except FileNotFoundError as error:
        own = _OWN / path.name
        known = own if own.is_file() else _OWN / "demo.yaml"
        raise ConfigurationError(
            f"{where} cannot be read: no such file; the program's own are in {_OWN}, as in "
            f"`{command(*asked, str(known))}`"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{where} cannot be read: {error}") from error
    raw = parse_yaml(content, where)
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{where} must be a mapping with a name")
    for override in overrides:
        apply_override(raw, override)
    _check_text(raw, content, overrides)
    read_requirements(raw)
    return raw


def read_requirements(raw: Mapping[str, Any]) -> None:
    """Put the lines of files that a user names into their place; records name none.

    Raises:
        ConfigurationError: there is no such file.
    """
    resources = raw.get("resources")
    if not isinstance(resources, dict):
        return
    texts = resources.get("requirements")
    if isinstance(texts, list) and all(isinstance(one, str) for one in texts):
        try:
            resources["requirements"] = with_files_read(texts, "resources.requirements")
        except ValueError as error:
            raise ConfigurationError(str(error)) from error


def _check_text(raw: Mapping[str, Any], content: bytes, overrides: Sequence[str]) -> None:
    """Refuse a name that YAML takes for a number, a date or a truth value, as it was written."""
    name = raw.get("name")
    if name is None or isinstance(name, str | list | Mapping):
        return  # said by build_search
    given = [one.partition("=")[2] for one in overrides if one.partition("=")[0] == "name"]
    text = given[-1] if given else content
    written = plain_data.parse_yaml(text, "the configuration", as_written=True)
    raise ConfigurationError(not_text("name", name, written if given else written["name"]))


def parse_yaml(content: str | bytes, where: str) -> Any:
    """Plain data from YAML. Raises ``ConfigurationError``."""
    try:
        return plain_data.parse_yaml(content, where)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Take one ``field=value`` over, as given to ``--set``.

    Raises:
        ConfigurationError: it has another form, or names no field.
    """
    path, equals, value = override.partition("=")
    where = f"--set {shown(override)}"
    if not equals or not path:
        raise ConfigurationError(f"{where} must have the form field=value")
    given = parse_yaml(value, where)
    if isinstance(given, str) and value.strip()[:1] not in ("'", '"') and given != value.strip():
        raise ConfigurationError(  # "run #2" would be "run"
            f"{where} would be read as {shown(given)}; put the text in quotes, as in "
            "--set 'FIELD=\"VALUE\"'"
        )
    set_field(raw, path, given, where)


def set_field(raw: dict[str, Any], path: str, given: Any, where: str) -> None:
    """Override a field of a configuration, ``training.epochs``.

    Raises:
        ConfigurationError: it names none; begins with ``where``.
    """
    *parents, last = path.split(".")
    target: Any = raw
    for parent in parents:
        if isinstance(target, list) and (at := _index(parent, target)) is not None:
            target = target[at]
        elif isinstance(target, dict):
            target = target.setdefault(parent, {})
        else:
            target = None
    if isinstance(target, list) and (at := _index(last, target)) is not None:
        target[at] = given
    elif isinstance(target, dict):
        target[last] = given
    else:
        raise ConfigurationError(f"{where} names no field of the configuration")


def _index(text: str, target: list[Any]) -> int | None:
    """The position that a part of an override names, if it is in the list."""
    there = re.fullmatch("[0-9]{1,6}", text) and int(text) < len(target)
    return int(text) if there else None
