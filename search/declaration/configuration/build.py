"""A search as YAML declares it: checked field by field, then frozen."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from fusion_search.analysis.records import plain_data
from fusion_search.analysis.records.secrets import shown
from fusion_search.analysis.records.tables import CONFIRMATION_SUFFIX
from fusion_search.search.declaration.layouts import Layouts
from fusion_search.search.declaration.listed import listed_trials
from fusion_search.search.declaration.requirements import not_installed
from fusion_search.search.declaration.setting_fields import all_differ
from fusion_search.search.declaration.setting_names import check_columns, check_names
from fusion_search.search.declaration.space_fields import PARTS, build_space
from fusion_search.search.declaration.specification import (
    Confirmation,
    Mlflow,
    Resources,
    SchedulerSettings,
    SearcherSettings,
    SearchOutline,
    SearchSpecification,
    most_loader_workers,
)
from fusion_search.search.declaration.sweeps import most_trials
from fusion_search.search.spaces.objectives import Objective, with_direction
from fusion_search.search.spaces.space import Space
from fusion_search.search.tasks.base import Task, TaskError
from fusion_search.search.tasks.named import find_task
from fusion_search.search.trials.fields import (
    ConfigurationError,
    checked,
    known,
    listed,
    typed,
    value_of,
)
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings
from fusion_search.search.trials.specification import GROUPS
from fusion_search.search.trials.training import loading_trouble

_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_TAKEN: Final = ("mlflow.db", "mlflow-artifacts")  # MLflow's, beside the searches
_PARTS_OF: Final = {
    "resources": Resources,
    "mlflow": Mlflow,
    "searcher": SearcherSettings,
    "scheduler": SchedulerSettings,
}
_NEEDED: Final = ("name", "task", "storage")
_EARLIER: Final = ("trials", "space")
FIELDS: Final = [
    *("name", "task", *PARTS, "sweep", "listed"),
    *("searcher", "scheduler", "objectives", "confirmation", "resources", "mlflow", "storage"),
]


def build_outline(raw: Mapping[str, Any]) -> SearchOutline:
    """What a configuration says beside its trials, without asking its task.

    Raises:
        ConfigurationError: names the field and the allowed values.
    """
    return SearchOutline(**_outline(_filled(raw, FIELDS)))


def build_search(
    raw: Mapping[str, Any], data_folder: Path | None = None, task: Task | None = None
) -> SearchSpecification:
    """Check a configuration and freeze it. Its task's code is run.

    Args:
        raw: as YAML has it.
        data_folder: where the command line says that real data lie.
        task: the one that is named; found by its name when None.

    Raises:
        ConfigurationError: names the field and the allowed values.
    """
    raw = _filled(raw, FIELDS)
    outline = _outline(raw)
    try:
        if lacking := not_installed(outline.get("resources", Resources()).requirements):
            raise ConfigurationError(lacking)
        task = task or find_task(outline["task"], data_folder)
        check_names(task)
        parts = _trials_of(raw, outline, task)
        check_columns(task)
        if outline["searched"]:
            objectives = outline["objectives"] or (Objective(name=f"mean_{task.metrics[0].name}"),)
            outline["objectives"] = _with_directions(objectives, task)
        _check_confirmation(outline["confirmation"], task)
        search = SearchSpecification(**outline, **parts, definition=task)
    except TaskError as error:
        raise ConfigurationError(str(error)) from error
    except ConfigurationError:
        raise
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    return search


def _filled(raw: Any, sections: Collection[str]) -> Any:
    """Without the sections that have no value, null in YAML: as if they were not there."""
    if not isinstance(raw, Mapping):
        return raw  # said by whoever checks it
    left_out = set(sections) - set(_NEEDED)
    return {name: one for name, one in raw.items() if one is not None or name not in left_out}


def _outline(raw: Mapping[str, Any]) -> dict[str, Any]:
    for name in _EARLIER:
        if isinstance(raw, Mapping) and name in raw:
            raise ConfigurationError(
                f"{name} belongs to configurations of an earlier version; what was in it stands "
                "under network, data, training, evaluation, placement and train "
                "(docs/configuration.md)"
            )
    values = known(FIELDS, raw, "")
    _check_names(values)
    _check_form(values)
    found: dict[str, Any] = {
        "name": values["name"],
        "task": value_of(str, values.get("task", ""), "task"),
        "searched": "searcher" in values,
    }
    if not found["task"]:
        raise ConfigurationError("task is missing; say what is fused, such as task: digits")
    if "storage" in values:
        found["storage"] = values["storage"]
    found["objectives"] = _objectives(values["objectives"]) if "objectives" in values else ()
    found["confirmation"] = _confirmation(values.get("confirmation", {}))
    for name, kind in _PARTS_OF.items():
        if name in values:
            found[name] = typed(kind, values[name], f"{name}.")
    return found


_MAPPINGS: Final = (*GROUPS, "placement")


def _trials_of(raw: Mapping[str, Any], outline: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """The space, sweep or list of a configuration."""
    own = {name: raw[name] for name in PARTS if name in raw}
    for name in _MAPPINGS:
        # Where every block of a sweep says it anew, nothing else reads it.
        if not isinstance(own.get(name, {}), Mapping):
            raise ConfigurationError(f"{name} must be a mapping")
    if "listed" in raw:
        found = listed_trials(raw["listed"], task, outline["task"])
        return {"listed": found, "declared": {"listed": raw["listed"]}}
    layout = Layouts(task, own.get("data", {}))
    layout.open()
    name = outline["task"]
    if outline["searched"]:
        # A search chooses by the validation split; confirmations use the test split.
        space = build_space(own, name, task, layout, split="validation", folds=layout.folds)
        _check_loading(space, layout)
        return {"space": space, "declared": own}
    blocks = raw.get("sweep", [{}])
    blocks = blocks if isinstance(blocks, list) else [blocks]
    if not blocks:
        raise ConfigurationError("sweep is empty; give at least one block")
    found_blocks = tuple(
        _block(own, block, f"sweep.{index}.", name, task, layout)
        for index, block in enumerate(blocks)
    )
    declared = {**own, "sweep": raw["sweep"]} if "sweep" in raw else own
    return {"sweep": found_blocks, "declared": declared}


def _block(
    own: Mapping[str, Any], block: Any, where: str, name: str, task: Task, layout: Layouts
) -> Space:
    """What is declared for all blocks, with what one says instead."""
    merged = dict(own)
    for part, value in known(list(PARTS), block, where).items():
        both = part in _MAPPINGS and isinstance(value, Mapping)
        merged[part] = {**own.get(part, {}), **value} if both else value
    if merged.get("data") != own.get("data"):
        layout = Layouts(task, merged.get("data", {}))
    space = build_space(merged, name, task, layout, split="test", folds=layout.folds)
    most_trials(space, where.rstrip("."))
    _check_loading(space, layout)
    return space


def _check_loading(space: Space, layouts: Layouts) -> None:
    """Where the data have been opened for something else; else it is said when they are."""
    opened = layouts.opened
    trouble = "" if opened is None else loading_trouble(most_loader_workers([space]), opened)
    if trouble:
        raise ConfigurationError(f"training.{trouble}")


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
    forms = [name for name in ("sweep", "listed", "searcher") if name in values]
    if len(forms) > 1:
        raise ConfigurationError(f"{' and '.join(forms)} are both there; keep one of them")
    if "searcher" not in values:
        for name in ("scheduler", "objectives", "confirmation"):
            if name in values:
                raise ConfigurationError(
                    f"{name} is there without a searcher; without one every trial is run: give "
                    f"one, as searcher: {{name: tpe}}, or leave {name} out, as {name}: null does"
                )
    if "listed" in values and (twice := [name for name in PARTS if name in values]):
        raise ConfigurationError(f"{twice[0]} is there beside listed, whose trials are whole")


def _objectives(raw: Any) -> tuple[Objective, ...]:
    """A list of names, or of mappings with name, direction and quantile."""
    return tuple(
        typed(Objective, {"name": one} if isinstance(one, str) else one, f"objectives.{index}.")
        for index, one in enumerate(listed(raw, "objectives"))
    )


def _with_directions(objectives: Sequence[Objective], task: Task) -> tuple[Objective, ...]:
    found = []
    for index, one in enumerate(objectives):
        try:
            found.append(with_direction(one, task.metrics))
        except ValueError as error:
            raise ConfigurationError(f"objectives.{index}.{error}") from error
    # Whatever their directions; a name may stand for several quantiles.
    all_differ([_told(one) for one in found], "objectives")
    return tuple(found)


def _told(objective: Objective) -> str:
    return f"{objective.name} {objective.quantile:g}" if objective.is_quantile else objective.name


def _confirmation(raw: Any) -> Confirmation:
    values = known(Confirmation, _filled(raw, ("training", "evaluation", "data")), "confirmation.")
    groups = {
        name: dict(known(kind, values.pop(name), f"confirmation.{name}."))
        for name, kind in (("training", TrainingSettings), ("evaluation", EvaluationSettings))
        if name in values
    }
    data = values.pop("data", {})
    if not isinstance(data, Mapping):
        raise ConfigurationError("confirmation.data must be a mapping")
    numbers = {name: value_of(int, value, f"confirmation.{name}") for name, value in values.items()}
    try:
        return Confirmation(**numbers, data=dict(data), **groups)  # type: ignore[arg-type]
    except ValueError as error:
        raise ConfigurationError(f"confirmation.{error}") from error


def _check_confirmation(settings: Confirmation, task: Task) -> None:
    kinds = {
        "training": TrainingSettings,
        "evaluation": EvaluationSettings,
        "data": task.data,
    }
    for name, kind in kinds.items():
        given = getattr(settings, name)
        typed(kind, given, f"confirmation.{name}.") if given else None
        checked(kind, given, f"confirmation.{name}.")


def to_plain(search: SearchSpecification) -> dict[str, Any]:
    """As YAML would hold it; :func:`build_search` gives the same search back."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        if hasattr(value, "__dataclass_fields__"):
            return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
        return value

    searched = ("searcher", "scheduler", "objectives", "confirmation") if search.searched else ()
    names = (*searched, "resources", "mlflow", "storage")
    return {
        "name": search.name,
        "task": search.task,
        **plain(search.declared),
        **{name: plain(getattr(search, name)) for name in names},
    }


def to_yaml(search: SearchSpecification) -> str:
    """The whole specification as YAML."""
    return plain_data.to_yaml(to_plain(search))
