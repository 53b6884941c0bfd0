"""``docs/configuration.md`` and a JSON schema for editors, from the dataclasses: ``make docs``.

python -m fusion_search.search.declaration.document docs
"""

from __future__ import annotations

import inspect
import itertools
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

from fusion_search.models.couplings.kinds import COUPLINGS
from fusion_search.models.couplings.options import (
    GATED,
    RANKS,
    Option,
    connection_options,
    coupling_options,
)
from fusion_search.models.couplings.transfer import (
    CROSS,
    RESIDUAL,
    Connection,
    connection_module,
)
from fusion_search.search.declaration.configuration import FIELDS
from fusion_search.search.declaration.specification import (
    Confirmation,
    Mlflow,
    Resources,
    SchedulerSettings,
    SearcherSettings,
)
from fusion_search.search.spaces.objectives import COSTS, OVER, Objective
from fusion_search.search.tasks.named import BUILT_IN, find_task
from fusion_search.search.trials.describe import column_text
from fusion_search.search.trials.plain import default_of
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings

MARKDOWN: Final = "configuration.md"
SCHEMA: Final = "configuration.schema.json"

TOP: Final = {
    "name": "Of the search: the folder of its records.",
    "task": "What is fused: "
    + ", ".join(f"`{one}`" for one in BUILT_IN)
    + ", or a class of yours as `module:Class` (docs/tasks.md).",
    "network": "Settings of the task's network; below for the built-in tasks.",
    "data": "Settings of the task's data; likewise.",
    "training": "Optimiser, schedule and budget.",
    "evaluation": "What a trained network is tested on.",
    "placement": "What couples the streams, and which there are.",
    "train": "Train conditions: what the inputs are like in training.",
    "folds": "Which folds are held out: a list of numbers from 0, or `all`. Default: `[0]`.",
    "seeds": "Of initial weights, drawn examples and noise. Default: `[0]`.",
    "sweep": "Several full products: a list of blocks, each with fields that stand in place of "
    "those above. Equal trials are run once. All run seed by seed and fold by fold, so that "
    "whatever part has run compares the blocks.",
    "listed": "Trials one by one, as a confirmation writes them.",
    "searcher": "Who proposes samples of the space. Without it every combination is run: a sweep.",
    "scheduler": "Who stops trials early. With a searcher alone.",
    "objectives": "What is optimised. With a searcher alone.",
    "confirmation": "The best again, beside plain fusion. With a searcher alone.",
    "resources": "What one trial gets.",
    "mlflow": "Where runs are shown.",
    "storage": "A folder, or a URI such as `s3://bucket/results`. Default: `results`.",
}
PLACEMENT: Final = {
    "couplings": "At every site `[none, mmtm]`, or by site `{level1: [none, mmtm]}`.",
    "connections": 'The same for each direction: `{"image>audio": [none, cross]}`.',
    "ends": "How the streams end, among those that the network offers.",
    "options": "Of couplings and connections, each kind its own, below; each like any setting a "
    'value, a list or a range: `{mmtm: {ratio: [2, 4]}, "cross image>audio": {size: 8}}`.',
    "streams": "Subsets, for baselines: `[[image, audio], [image]]`; `[]`, the default: all.",
}
_RANK_WORDS: Final = {(2, 0): "map to vector", (0, 2): "vector to map"}
_GATED_WORDS: Final = "streams that it changes, among those that the site allows; all when none."
_SETTINGS: Final = {"training": TrainingSettings, "evaluation": EvaluationSettings}
_PARTS: Final = {
    "searcher": SearcherSettings,
    "scheduler": SchedulerSettings,
    "objectives": Objective,
    "confirmation": Confirmation,
    "resources": Resources,
    "mlflow": Mlflow,
}


def markdown() -> str:
    """The whole of ``docs/configuration.md``."""
    lines = [
        "# The configuration of a search",
        "",
        "Made from the code by `make docs`; a test holds it fresh. An editor that knows JSON",
        "schemas completes and checks a file whose first line names the one beside this file:",
        "",
        f"    # yaml-language-server: $schema=docs/{SCHEMA}",
        "",
        "Every setting of `network`, `data` and `training` is a value, a list (a choice), or, if",
        "it is a number, a range: `{low: 0.001, high: 0.01, log: true}`.",
        "",
        *_table(TOP.items()),
        "## placement",
        "",
        *_table(PLACEMENT.items()),
        "A coupling of yours has the options of its constructor, each of its annotated type. Those",
        "of digits are settings of its network.",
        "",
        *_options(),
        "## train",
        "",
        "A list of conditions, each with an entry per axis of the task: a number, `original` (no",
        "noise), `absent` (the input is zero), `{low: 0, high: 20}` or `{any: [absent, 10]}`, both",
        "drawn for every example. `{audio_snr: [2, 1], visual_snr: [1, 0.5]}` is the product. In a",
        "search every sample is trained at each and judged by the mean; `{choose: ...}` makes them",
        "a choice instead.",
        "",
    ]
    for name, kind in {**_SETTINGS, **_PARTS}.items():
        lines += _section(name, kind)
    lines += [
        "An objective is called like its column of the `trials` table: "
        + ", ".join(f"`{over}_METRIC` ({words})" for over, words in OVER.items())
        + ", or a cost: "
        + ", ".join(f"`{one}`" for one in COSTS)
        + ".",
        "",
    ]
    for name in BUILT_IN:
        task = find_task(name)
        lines += _section(f"network of {name}", task.network)
        lines += _section(f"data of {name}", task.data)
        for field, kind in _named_settings(task.data):
            lines += _section(f"each of {field} of {name}", kind)
    return "\n".join(lines).rstrip() + "\n"


def schema() -> dict[str, Any]:
    """Of a configuration, for editors: settings of tasks other than the built-in are free."""
    properties: dict[str, Any] = {name: {"description": words} for name, words in TOP.items()}
    definitions: dict[str, Any] = {}
    for name, kind in {**_SETTINGS, **_PARTS}.items():
        definitions[name] = _of(kind, name in ("training",))
        properties[name] |= {"$ref": f"#/$defs/{name}"}
    properties["objectives"] = {
        "description": TOP["objectives"],
        "type": "array",
        "items": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/objectives"}]},
    }
    places = {name: {"description": words} for name, words in PLACEMENT.items()}
    properties["placement"] |= {
        "type": "object",
        "properties": places,
        "additionalProperties": False,
    }
    tasks = [_task_schema(name) for name in BUILT_IN]
    for task in tasks:
        for settings in task["then"]["properties"].values():
            definitions |= settings.pop("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A search of fusion-search",
        "type": "object",
        "properties": {name: properties[name] for name in FIELDS},
        "required": ["name", "task"],
        "additionalProperties": False,
        "allOf": tasks,
        "$defs": definitions,
    }


def _task_schema(name: str) -> dict[str, Any]:
    task = find_task(name)
    settings = {"network": _of(task.network, True), "data": _of(task.data, True)}
    return {
        "if": {"properties": {"task": {"const": name}}},
        "then": {"properties": settings},
    }


def _of(kind: type, searched: bool) -> dict[str, Any]:
    """A dataclass as JSON schema; with ``searched``, each field may be a choice or a range."""
    words = attributes(kind)
    made = TypeAdapter(kind).json_schema()
    properties = {}
    for name, one in made["properties"].items():
        plain = {key: value for key, value in one.items() if key not in ("title", "default")}
        options = [plain, {"type": "array", "items": plain, "minItems": 1}] if searched else [plain]
        if searched and plain.get("type") in ("integer", "number"):
            options.append(_range(plain))
        default = {"default": one["default"]} if "default" in one else {}
        properties[name] = {"description": words.get(name, ""), "anyOf": options, **default}
    found = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, **({"$defs": made["$defs"]} if "$defs" in made else {})}


def _range(plain: dict[str, Any]) -> dict[str, Any]:
    ends = {"low": plain, "high": plain, "log": {"type": "boolean"}}
    return {
        "type": "object",
        "properties": ends,
        "required": ["low", "high"],
        "additionalProperties": False,
    }


def _section(title: str, kind: type) -> list[str]:
    summary = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
    rows = "\n".join(_row(*one) for one in _fields(kind))
    head = "| field | type | default | meaning |\n|---|---|---|---|"
    return [f"## {title}", "", summary, "", head, rows, ""]


def _named_settings(kind: type) -> Iterator[tuple[str, type]]:
    """Fields that map names to settings, and of which class these are."""
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is dict and is_dataclass(get_args(hint)[1]):
            yield name, get_args(hint)[1]


def _fields(kind: type) -> Iterator[tuple[str, str, str, str]]:
    words, hints = attributes(kind), get_type_hints(kind)
    for one in fields(kind):
        default = default_of(one)
        text = "" if default is MISSING else column_text(default)
        shown = "required" if default is MISSING else f"`{text}`" if text else "none"
        hint = hints[one.name]
        yield one.name, _type_words(hint), shown, words.get(one.name, "")


def _options() -> list[str]:
    """Of couplings and connections; kinds that share one share its row."""
    made: list[tuple[str, type, Mapping[str, Option]]] = [
        (f"`{kind}`", one, coupling_options(kind)) for kind, one in COUPLINGS.items()
    ]
    for kind, ranks in itertools.product((CROSS, RESIDUAL), RANKS):
        one = connection_module(kind, *ranks)
        made.append((f"`{kind}` {_RANK_WORDS[ranks]}", one, connection_options(kind, *ranks)))
    rows: dict[str, list[str]] = {}
    for whose, one, options in made:
        words: dict[str, str] = {}
        for source in (*reversed(one.__mro__), Connection):
            words |= explained(source, "Args") | {GATED: _GATED_WORDS}
        for name, option in options.items():
            default = f"`{column_text(option.default)}`" if option.default is not None else "none"
            cells = (f"`{name}`", _type_words(option.type), default, words[name])
            rows.setdefault(" | ".join(cells), []).append(whose)
    body = [f"| {cells} | {', '.join(kinds)} |" for cells, kinds in rows.items()]
    return ["| option | type | default | meaning | of |", "|---|---|---|---|---|", *body, ""]


def _type_words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return ", ".join(map(str, get_args(hint)))
    if type(None) in get_args(hint):
        return " or ".join(_type_words(one) for one in get_args(hint))
    words = {
        "NoneType": "null",
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "true or false",
    }
    name = str(getattr(hint, "__name__", hint))
    if get_origin(hint) in (tuple, list):
        return "list"
    return words.get(name, "settings" if get_origin(hint) else name.replace("|", "or"))


def _row(name: str, kind: str, default: str, words: str) -> str:
    cells = (f"`{name}`", kind.replace("|", "or"), default, words.replace("|", "\\|"))
    return f"| {' | '.join(cells)} |"


def _table(rows: Any) -> list[str]:
    body = [f"| `{name}` | {words} |" for name, words in rows]
    return ["| field | meaning |", "|---|---|", *body, ""]


def attributes(kind: type) -> dict[str, str]:
    """What a dataclass's docstring, and those of its bases, say of its fields: ``Attributes:``."""
    found: dict[str, str] = {}
    for one in (each for each in reversed(kind.__mro__) if is_dataclass(each)):
        found |= explained(one, "Attributes")
    return found


def explained(kind: type, heading: str) -> dict[str, str]:
    """What a docstring says of each name under a heading."""
    _, _, part = (inspect.getdoc(kind) or "").partition(f"{heading}:\n")
    part = part.partition("\n\n")[0]
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \S)", f"\n{part}"):
        names, colon, words = entry.strip().partition(":")
        if colon:
            for name in names.split(","):
                found[name.strip()] = " ".join(words.split()).replace("``", "`")
    return found


def main() -> None:
    """Write both into the folder given."""
    folder = Path(sys.argv[1])
    (folder / MARKDOWN).write_text(markdown())
    (folder / SCHEMA).write_text(json.dumps(schema(), indent=1) + "\n")


if __name__ == "__main__":
    main()
