"""A commented configuration for a table that was looked at."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from importlib.util import find_spec
from typing import Any, Final

from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.plain_data import to_yaml_line as line
from fusion_search.datasets.errors import count_label
from fusion_search.datasets.tables.looking import Broken, Looked, groups_of
from fusion_search.datasets.tables.settings import Input, TableData

_STEPS: Final = 1500  # of the optimiser, about, in a trial
_EPOCHS: Final = (5, 50)
_EPOCH_EXAMPLES: Final = 5000
_TESTED: Final = (100, 500)  # examples, at least and at most
_ANSWERS: Final = 20_000  # over all conditions, about
_FOLDS: Final = 5
_FEW_STREAMS: Final = 4  # of which each by itself is named as a baseline
_SHARES: Final = (0.7, 0.15, 0.15)
_NAMED: Final = 20  # broken cells


@dataclass(frozen=True)
class Measured:
    """What is known once a first configuration has been tried.

    Attributes:
        sizes: examples of train, validation and test; 0 while that is not known.
        samples: how many the searcher proposes.
        words: why so many.
    """

    sizes: tuple[int, int, int] = (0, 0, 0)
    samples: int = 1
    words: str = ""


def suggested(found: Looked, *, name: str, table: str, measured: Measured) -> str:
    """The text of a configuration that runs as it is.

    Args:
        found: what the table holds.
        name: of the search.
        table: its path, relative to the folder of the command.
        measured: how long a trial takes.
    """
    return "\n".join([*_data(found, name, table), *_search(found, measured)]) + "\n"


def _data(found: Looked, name: str, table: str) -> Iterator[str]:
    examples, groups = len(found.table), groups_of(found)
    yield f"# {count_label(examples, 'example')} of {table}. Change what you like; every field is"
    yield "# explained in docs/table.md and docs/configuration.md."
    yield "#"
    file = f"{name}.yaml"
    yield f"#   {command('check', file)}      whether all of it works together"
    yield f"#   {command('plan', file)}       how long it takes"
    yield f"#   {command('launch', file)}"
    yield f"#   {command('report', name)}"
    yield f"name: {line(name)}"
    yield "task: table"
    yield "data:"
    yield f"  table: {line(table)}"
    yield "  inputs:      # a stream each; its name is free"
    for stream, one in found.inputs.items():
        words = found.words.get(stream) or f"columns of numbers: {len(one.columns)}"
        yield f"    {line(stream)}:      # {words}"
        for field, value in _settings(one):
            yield f"      {field}: {line(value)}"
        if one.kind in ("image", "clip"):
            yield f"      # {_backbone_words()}"
    for column, why in found.unused.items():
        yield f"  # not used: column {_comment(column)} {_comment(why)}"
    yield f"  target: {line(found.target)}"
    if found.target_kind == "number":
        yield "  target_kind: number      # or class; judged by the mean absolute error"
    else:
        yield "  target_kind: class       # or number; judged by accuracy and macro_f1"
    if found.group:
        yield f"  group: {line(found.group)}      # {groups:,} of them; no split cuts one"
    else:
        yield "  # group: COLUMN      # whose an example is (person, session); no split cuts one"
    if found.split_column:
        yield f"  split_column: {line(found.split_column)}      # says train, validation or test"
    elif _folds(found):
        yield f"  folds: {_folds(found)}      # each holds out other {found.group} groups as test"
    else:
        yield f"  fractions: {line(list(_SHARES))}      # train, validation, test; or folds: 5"
    if found.broken:
        yield "  # Rows with a cell that cannot be read. Mend them, and take them out of this list."
        for words in _shown(found.broken):
            yield f"  #   {_comment(words)}"
        yield f"  leave_out: {line(list(found.broken_rows))}"
    snrs = ["original" if math.isinf(one) else one for one in _data_settings(found).snrs]
    yield f"  test_snrs: {line(snrs)}      # of every input in the grid; beside it each one absent"


def _search(found: Looked, measured: Measured) -> Iterator[str]:
    streams, number = list(found.inputs), len(found.inputs)
    judged = "mean_absolute_error" if found.target_kind == "number" else "accuracy"
    train, validation, test = measured.sizes
    train = max(train, 1)
    batch = 16 if train < 2000 else 32
    epoch = min(train, _EPOCH_EXAMPLES)
    epochs = min(max(round(_STEPS * batch / epoch), _EPOCHS[0]), _EPOCHS[1])
    yield "network:"
    yield "  levels: 3                # of every encoder; behind each is a site"
    yield "  width: [8, 16]           # a list is a choice, {low, high, log} a range"
    yield "  dropout: [0.0, 0.2]"
    if number > 1:
        yield "placement:"
        yield "  # What may sit behind each level, between the streams that fit."
        yield "  couplings: [none, mmtm, squeeze_excitation, bottleneck]"
        yield f"  streams: {line([streams])}"
        alone = [[one] for one in (streams if number <= _FEW_STREAMS else streams[:1])]
        yield "  # What a stream alone can do is what fusion has to beat; to search that, too:"
        yield f"  #   streams: {line([streams, *alone])}"
        yield "  # Each subset takes its share of the samples from fusion: for as many with all"
        yield f"  # streams, propose {len(alone) + 1} times as many."
    axes = ", ".join(f"{one}_snr" for one in streams)
    yield from textwrap.wrap(
        f"Train conditions, an entry per axis: {axes}.",
        96,
        initial_indent="# ",
        subsequent_indent="# ",
    )
    yield "# An amplitude ratio such as 2, original (no noise), absent, or drawn for every example:"
    yield "# {any: [original, absent]} leaves the input out half the time (modality dropout)."
    yield f"train: [{line(['original'] * number)}]"
    if _folds(found) and not found.split_column:
        yield f"folds: [0]                 # all: every one, {_folds(found)} times as long"
    yield "seeds: [0]"
    yield "training:"
    yield f"  epochs: {epochs}"
    if train > epoch:
        yield f"  epoch_examples: {epoch}      # of about {train:,}"
    yield f"  batch_size: {batch}"
    yield "  learning_rate: {low: 0.0005, high: 0.01, log: true}"
    yield "# Drawn for validation and for the grid of test conditions; 0 for all."
    most = min(max(_ANSWERS // _data_settings(found).conditions, _TESTED[0]), _TESTED[1])
    drawn = [most if size > most else 0 for size in (validation, test)]
    yield f"evaluation: {{validation_examples: {drawn[0]}, test_examples: {drawn[1]}}}"
    yield from textwrap.wrap(measured.words, 96, initial_indent="# ", subsequent_indent="# ")
    yield f"searcher: {{name: tpe, samples: {measured.samples}}}"
    yield f"objectives: [mean_{judged}]      # over the grid; or train_condition_{judged}"
    yield "confirmation: {top: 1, seeds: 6}      # the best again, beside plain fusion, on test"


def _settings(one: Input) -> Iterator[tuple[str, Any]]:
    """Those of its kind."""
    own = {
        "sound": ("seconds", "rate", "mels"),
        "series": ("length",),
        "image": ("size", "colour"),
        "clip": ("length", "size", "colour"),
    }.get(one.kind, ())
    for field in fields(Input):
        value = getattr(one, field.name)
        assert field.default is not MISSING or field.name == "kind"
        if field.name in ("kind", "encoder", *own) or (field.name.startswith("column") and value):
            yield field.name, list(value) if isinstance(value, tuple) else value


def _backbone_words() -> str:
    if find_spec("torchvision") is None:
        return (
            "torchvision's backbones: pip install 'fusion-search[vision]', then encoder: resnet18"
        )
    return "or encoder: resnet18, with weights: default (downloaded) or a file, and frozen: true"


def _folds(found: Looked) -> int:
    groups = groups_of(found)
    return min(groups, _FOLDS) if groups > 2 and not found.split_column else 0


def _data_settings(found: Looked) -> TableData:
    return TableData(table=found.table.path.name, target=found.target, inputs=found.inputs)


def _shown(broken: Sequence[Broken]) -> Iterator[str]:
    for one in broken[:_NAMED]:
        yield f"row {one.row}, column {one.column}: {one.reason}"
    if len(broken) > _NAMED:
        yield f"and {len(broken) - _NAMED:,} more"


def _comment(text: str) -> str:
    """On one line, without what YAML refuses."""
    return "".join(one if one.isprintable() else " " for one in text)
