"""A search as declared in YAML: loaded safely, checked field by field, then frozen."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from fusion_search.analysis.records import plain_data
from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.plain_data import shown, shown_name
from fusion_search.analysis.records.storage import LARGEST_TEXT
from fusion_search.analysis.records.tables import CONFIRMATION_SUFFIX
from fusion_search.search.declaration.fields import (
    ConfigurationError,
    checked,
    known,
    listed,
    not_text,
    train_pair,
    typed,
    value_of,
)
from fusion_search.search.declaration.space_fields import build_space, space_to_plain
from fusion_search.search.declaration.specification import (
    SEARCHED,
    Confirmation,
    Mlflow,
    Resources,
    SchedulerSettings,
    SearcherSettings,
    SearchSpecification,
    SweepBlock,
)
from fusion_search.search.spaces.objectives import Objective
from fusion_search.search.spaces.space import Space
from fusion_search.search.trials.specification import TRAIN_PAIRS, TrialSpecification

_OWN: Final = Path(__file__).parents[1] / "configs"
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_TAKEN: Final = ("mlflow.db", "mlflow-artifacts")  # MLflow's, beside the searches
_MOST_TRIALS: Final = 100_000
SWEPT: Final = ("modality", "fusion_depth", "train_audio_snr", "train_visual_snr", "seed")
_PARTS: Final = {
    "resources": Resources,
    "mlflow": Mlflow,
    "searcher": SearcherSettings,
    "scheduler": SchedulerSettings,
}


def load_configuration(
    path: Path, overrides: Sequence[str] = (), asked: Sequence[str] = ("launch",)
) -> dict[str, Any]:
    """Read a YAML file and apply ``field=value`` overrides (``trials.examples=2000``).

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
        _apply(raw, override)
    _check_text(raw, content, overrides)
    return raw


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


def _apply(raw: dict[str, Any], override: str) -> None:
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


def build_search(raw: Mapping[str, Any]) -> SearchSpecification:
    """Check a configuration and freeze it.

    Raises:
        ConfigurationError: names the field and the allowed values.
    """
    values = known(SearchSpecification, raw, "")
    _check_names(values)
    if "trials" in values:
        values["trials"] = _trial_fields(values["trials"])
    _check_form(values)
    if "sweep" in values:
        values["sweep"] = _sweep(values["sweep"])
    if "listed" in values:
        trials = listed(values["listed"], "listed")
        values["listed"] = tuple(
            typed(TrialSpecification, one, f"listed.{index}.") for index, one in enumerate(trials)
        )
    if "space" in values:
        # A search over a space chooses by the validation split; confirmations use the test split.
        shared = {"evaluation_split": "validation", **values.get("trials", {})}
        values["trials"] = shared
        values["space"] = build_space(values["space"], shared)
    if "objectives" in values:
        values["objectives"] = _objectives(values["objectives"])
    if "confirmation" in values:
        values["confirmation"] = _confirmation(values["confirmation"])
    for name, kind in _PARTS.items():
        if name in values:
            values[name] = typed(kind, values[name], f"{name}.")
    try:
        search = SearchSpecification(**values)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    if search.space is None:
        try:
            search.planned_trials()
        except ValueError as error:
            raise ConfigurationError(f"a trial of the search: {error}") from error
    return search


def _check_names(values: Mapping[str, Any]) -> None:
    if "name" not in values:
        raise ConfigurationError("name is missing; give the search a name")
    name = value_of(str, values["name"], "name")
    if not is_name(name):
        raise ConfigurationError(
            f"name is {shown(name)}; allowed: up to 100 letters (a to z, A to Z), "
            "digits, dots, dashes and underscores, of which a letter or digit comes first, but "
            f"{' and '.join(_TAKEN)}"
        )
    storage = value_of(str, values.get("storage", "results"), "storage")
    if not storage:
        raise ConfigurationError("storage is ''; allowed: a folder or a URI")


def is_name(name: Any) -> bool:
    """Whether a search can be called so: it is a folder's name, of the confirmation too."""
    return (
        isinstance(name, str)
        and name not in _TAKEN
        and re.fullmatch(_NAME, name.removesuffix(CONFIRMATION_SUFFIX)) is not None
    )


def _check_form(values: Mapping[str, Any]) -> None:
    """A search is one of three things; what belongs to another is a mistake, not ignored."""
    forms = [name for name in ("sweep", "listed", "space") if name in values]
    if len(forms) > 1:
        raise ConfigurationError(f"{' and '.join(forms)} are both there; keep one of them")
    if "space" not in values:
        for name in ("searcher", "scheduler", "objectives", "confirmation"):
            if name in values:
                raise ConfigurationError(f"{name} is there without a space to search; declare one")


def _trial_fields(raw: Any) -> dict[str, Any]:
    """The shared fields, typed; their ranges are checked when the trials are made."""
    if isinstance(raw, Mapping):
        for name in SWEPT:
            if name in raw:
                raise ConfigurationError(
                    f"trials.{name} is swept; declare it under sweep (or space)"
                )
    return checked(TrialSpecification, raw, "trials.")


def _sweep(raw: Any) -> tuple[SweepBlock, ...]:
    blocks = raw if isinstance(raw, list) else [raw]
    if not blocks:
        raise ConfigurationError("sweep is empty; give at least one block")
    return tuple(_sweep_block(block, f"sweep.{index}.") for index, block in enumerate(blocks))


def _sweep_block(raw: Any, where: str) -> SweepBlock:
    values = known(SweepBlock, raw, where)
    elements = {"fusion_depths": int, "modalities": str, "seeds": int}
    for name, value in values.items():
        if name == "train_pairs" and value == "all":
            values[name] = TRAIN_PAIRS
            continue
        hint = ", or all" if name == "train_pairs" else ""
        given = listed(value, f"{where}{name}", hint=hint)
        if name == "train_pairs":
            values[name] = tuple(train_pair(one, f"{where}{name}") for one in given)
        else:
            values[name] = tuple(value_of(elements[name], one, where + name) for one in given)
    block = SweepBlock(**values)
    trials = math.prod(len(getattr(block, one.name)) for one in fields(block))
    if trials > _MOST_TRIALS:
        raise ConfigurationError(
            f"{where.rstrip('.')} has {trials:,} trials; allowed: up to {_MOST_TRIALS:,}"
        )
    return block


def _objectives(raw: Any) -> tuple[Objective, ...]:
    """A list of names, or of mappings with name, direction and quantile."""
    objectives = tuple(
        typed(Objective, {"name": one} if isinstance(one, str) else one, f"objectives.{index}.")
        for index, one in enumerate(listed(raw, "objectives"))
    )
    if len(set(objectives)) < len(objectives):
        raise ConfigurationError("objectives holds the same objective twice; keep one")
    return objectives


def _confirmation(raw: Any) -> Confirmation:
    values = known(Confirmation, raw, "confirmation.")
    overrides = checked(TrialSpecification, values.pop("trials", {}), "confirmation.trials.")
    for name in (*SWEPT, *SEARCHED):
        if name in overrides:
            raise ConfigurationError(
                f"confirmation.trials.{name} is what the search found; drop it"
            )
    settings: Confirmation = typed(Confirmation, values, "confirmation.")
    return Confirmation(top=settings.top, seeds=settings.seeds, trials=overrides)


def to_plain(search: SearchSpecification) -> dict[str, Any]:
    """As YAML would hold it; :func:`build_search` gives the same search back."""

    def plain(value: Any) -> Any:
        if isinstance(value, Space):
            return space_to_plain(value)
        if isinstance(value, TrialSpecification):
            return value.to_plain()
        if isinstance(value, Mapping):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, tuple):
            return [plain(one) for one in value]
        if hasattr(value, "__dataclass_fields__"):
            return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
        return "original" if isinstance(value, float) and value == float("inf") else value

    own = {"space", "searcher", "scheduler", "objectives", "confirmation"}
    skipped = {"listed"} | own if not search.listed else {"sweep"} | own
    if search.space is not None:
        skipped = {"sweep", "listed"}
    return {
        one.name: plain(getattr(search, one.name))
        for one in fields(search)
        if one.name not in skipped
    }


def to_yaml(search: SearchSpecification) -> str:
    """The whole specification as YAML."""
    return plain_data.to_yaml(to_plain(search))
