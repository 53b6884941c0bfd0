"""``new TABLE`` writes a configuration for it, ``new --example FOLDER`` a table to try."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Final

from tqdm import tqdm

from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.words.counts import count_label
from fusion_search.analysis.records.words.durations import duration
from fusion_search.datasets.batch import SPLITS
from fusion_search.datasets.errors import DataError
from fusion_search.datasets.tables.looking import Looked, look
from fusion_search.datasets.tables.sample import write_sample
from fusion_search.search.declaration.configuration import build_search, parse_yaml
from fusion_search.search.declaration.specification import SearchSpecification
from fusion_search.search.planning.plan import Plan, make_plan
from fusion_search.search.planning.units import count_kinds, unit_seconds
from fusion_search.search.tasks.opened import open_task
from fusion_search.search.tasks.table.suggested import Measured, suggested
from fusion_search.search.trials.fields import ConfigurationError

_HOUR: Final = 3600
_SAMPLES: Final = (4, 100)  # that are suggested, at least and at most
_MEASURED: Final = 4  # samples, of as many kinds at most
_SECONDS: Final = 20.0
_BROKEN_SHOWN: Final = 10


def new(arguments: argparse.Namespace) -> int:
    """Write one of the two."""
    if arguments.example is not None:
        return _example(arguments)
    if arguments.table is None:
        raise ConfigurationError("name a table, or --example FOLDER for one to try")
    path = Path(arguments.table)
    output = arguments.output or Path(f"{_name(path)}.yaml")
    if output.exists():
        raise ConfigurationError(f"{output} is there already; name another file with --output")
    found = _looked(path, arguments)
    table = os.path.relpath(path) if not path.is_absolute() else str(path)
    text = _measured_text(found, name=_name(output), table=table)
    _write(output, text)
    print(f"\nwritten: {output}; look at it, then:\n")
    for verb in ("check", "launch"):
        print(f"    {command(verb, str(output))}")
    return 0


def _example(arguments: argparse.Namespace) -> int:
    if arguments.table is not None:
        raise ConfigurationError("--example writes a table of its own; leave the other one out")
    table = write_sample(Path(arguments.example))
    print(f"written: {table} with its files; every row is one example, made up\n")
    for line in table.read_text().splitlines()[:3]:
        print(f"    {line}")
    print(f"\nnext:\n\n    {command('new', str(table))}")
    return 0


def _looked(path: Path, arguments: argparse.Namespace) -> Looked:
    with tqdm(unit="file", disable=not sys.stderr.isatty(), leave=False) as bar:
        found = look(path, arguments.target or "", arguments.group or "", bar.update)
    print(f"{path.name}: {count_label(len(found.table), 'example')}")
    print(f"  {found.target:20} the {found.target_kind} to be predicted")
    if found.group:
        print(f"  {found.group:20} whose an example is: no split cuts one")
    if found.split_column:
        print(f"  {found.split_column:20} says in which split an example is")
    for stream, one in found.inputs.items():
        words = found.words.get(stream) or ", ".join(one.columns)
        print(f"  {stream:20} {one.kind}: {printable(words)}")
    for column, why in found.unused.items():
        print(f"  {printable(column):20} not used: it {printable(why)}")
    if found.broken:
        rows = len(found.broken_rows)
        print(
            f"{len(found.broken):,} cell{'s' * (len(found.broken) > 1)} cannot be read; "
            f"{rows:,} row{'s are' if rows > 1 else ' is'} left out, by leave_out:"
        )
        for broken in found.broken[:_BROKEN_SHOWN]:
            print(f"  row {broken.row}, column {broken.column!r}: {printable(broken.reason)}")
        if len(found.broken) > _BROKEN_SHOWN:
            print(f"  and {len(found.broken) - _BROKEN_SHOWN:,} more")
    return found


def _measured_text(found: Looked, *, name: str, table: str) -> str:
    """The configuration with as many samples as fit in an hour, which takes measuring."""

    def text(measured: Measured) -> str:
        return suggested(found, name=name, table=table, measured=measured)

    search = _search(text(Measured()))
    assert search.space is not None
    data = open_task(search.definition, search.space.any_trial().data)
    train, validation, test = (len(data.split(one)) for one in SPLITS)  # type: ignore[arg-type]
    known = Measured((train, validation, test), _MEASURED)
    print("\nhow many trials fit in an hour? Some are measured, nothing is written")
    return text(_reckoned(known, make_plan(_search(text(known)), seconds=_SECONDS)))


def _search(text: str) -> SearchSpecification:
    return build_search(parse_yaml(text, "the new configuration"), None)


def _reckoned(known: Measured, plan: Plan) -> Measured:
    """The hour less what the confirmation takes, over what a sample takes."""
    searched, *confirmed = plan.phases
    seconds = [unit_seconds(one, plan.costs) for one in searched]
    mean = sum(seconds) / len(seconds)
    confirming = sum(unit_seconds(one, plan.costs) for units in confirmed for one in units)
    least, most = _SAMPLES
    fitting = int(plan.slots * (_HOUR - plan.start_seconds) / mean)
    samples = min(max(int((plan.slots * _HOUR - confirming) / mean), least), most)
    kinds = len(count_kinds(searched))
    words = (
        f"Measured on {count_label(kinds, 'kind')} of trials: one takes {duration(mean)} on "
        "average and "
        f"{plan.slots} run at once, so {fitting:,} fit in an hour of this machine, idle; the "
        f"confirmation takes {duration(confirming / plan.slots)}."
    )
    print(words)
    return Measured(known.sizes, samples, words)


def _name(path: Path) -> str:
    """A search's name from a file's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:100] or "table"


def _write(path: Path, text: str) -> None:
    unnamed = path.with_name(f".{path.name}.part")
    try:
        unnamed.write_text(text, encoding="utf-8")
        unnamed.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error
