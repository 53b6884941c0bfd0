"""The section of a report on the best, and its sentence: by the rule that all commands have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import pandas as pd

from fusion_search.analysis.conditions import train_conditions, train_label
from fusion_search.analysis.figures.course import best_samples
from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.samples import (
    Objective,
    choosing_objective,
    parse_sample,
    rows_of,
    site_of_choice,
)
from fusion_search.analysis.records.selection import (
    VARIED_SETTINGS,
    Search,
    confirmed_by,
    count_label,
)
from fusion_search.analysis.records.selection.best import BestSample, best_lines, planned_trials
from fusion_search.analysis.records.words.networks import (
    placement_words,
    setting_words,
    value_words,
    varied_words,
)
from fusion_search.analysis.report import html
from fusion_search.analysis.report.sections import Commands, nothing_yet

_BEST: Final = 10
_Told: TypeAlias = tuple[Mapping[str, Any], pd.DataFrame, Sequence[str]]
"""A sample: the row of a trial, all its trials, its values in words."""


def best_sentences(search: Search, objectives: Sequence[Objective], *, sampled: bool) -> list[str]:
    """What is best; of a sweep as ``status`` says it, of each kind of data.

    Args:
        search: whose best is wanted.
        objectives: of the search.
        sampled: whether a searcher proposed its trials, rather than a sweep.
    """
    if not sampled:
        lines = best_lines(_best_of_sweep(search), search.trials, search.description)
        return [f"{line[0].upper()}{line[1:]}." for line in lines]
    first = objectives[0]
    return [
        f"Best {first.words}{_split(row)}: {first.text(row['value_0'])} ({placement_words(row)})."
        for row in best_samples(search.trials, objectives, 1)
    ]


def best_section(
    search: Search, objectives: Sequence[Objective], commands: Commands, *, sampled: bool
) -> list[str]:
    """The samples with the best values; of a sweep, of each kind of data.

    Args:
        search, objectives, sampled: as of :func:`best_sentences`.
        commands: that work on the search.
    """
    if not sampled:
        return _section_of_sweep(search, objectives, commands)
    best = best_samples(search.trials, objectives, _BEST)
    if not best:
        return [nothing_yet(search, commands)]
    trials = search.trials
    told = []
    for row in best:
        alone = trials["trial_id"] == row["trial_id"]
        own = trials[alone | (trials["sample"] == row["sample"])]
        values = [one.text(row[f"value_{index}"]) for index, one in enumerate(objectives)]
        told.append((row, own, values))
    return [_table(search, told, [one.words for one in objectives])]


def _section_of_sweep(
    search: Search, objectives: Sequence[Objective], commands: Commands
) -> list[str]:
    """What a sweep chooses by stands first; what its tests gave is told and chooses nothing."""
    confirmed = confirmed_by(search)
    if confirmed is not None:
        report = command("report", confirmed, storage=search.storage.parent.location)
        return [html.missing(f"The networks that confirm {confirmed} are compared by:", report)]
    best, trials = _best_of_sweep(search), search.trials
    if best is None or search.finished.empty:
        return [nothing_yet(search, commands)]
    chosen = best.objective
    if chosen.values(trials).isna().all():
        return [html.paragraph(f"No {chosen.words} is recorded, by which to choose.", "absent")]
    pieces = []
    for kind, own in best.kinds().items():
        told: list[_Told] = []
        for ids in own.samples(_BEST):
            rows = trials.set_index("trial_id", drop=False).loc[ids]
            values = [one.text(one.values(rows).mean()) for one in (chosen, *objectives)]
            told.append((rows_of(rows)[0], rows, values))
        split = _split(rows_of(search.finished)[0])
        names = [chosen.words, *(f"{one.words}{split}" for one in objectives)]
        pieces += [html.paragraph(f"{kind[0].upper()}{kind[1:]}:")] if kind else []
        if told:
            pieces.append(_table(search, told, names))
            if own.not_whole:
                lacking = count_label(own.not_whole, "network")
                pieces.append(html.paragraph(f"Not judged: {lacking} with fewer finished trials."))
        else:
            pieces.append(html.paragraph("Of no network have all trials finished.", "absent"))
    said = f"Chosen by {chosen.words}, the mean over a network's trials; tests choose nothing."
    return [*pieces, html.paragraph(said, "note")]


def _best_of_sweep(search: Search) -> BestSample | None:
    """As the console has it; a confirmation has none."""
    if confirmed_by(search) is not None:
        return None
    planned = search.planned.drop(columns=list(search.description.train_columns), errors="ignore")
    counts = planned_trials(rows_of(planned.assign(settings="")))
    return BestSample(choosing_objective({}, search.description), rows_of(search.trials), counts)


def _split(row: Mapping[str, Any]) -> str:
    split = row.get("split")
    return f" on the {split} split" if isinstance(split, str) else ""


def _table(search: Search, told: Iterable[_Told], names: Sequence[str]) -> str:
    of, several = search.description, search.trials["fold"].nunique() > 1
    rows = []
    for rank, (row, own, values) in enumerate(told, start=1):
        train = [train_label(one, of) for one in train_conditions(own, of)]
        rows.append(
            [
                *(rank, placement_words(row), *values),
                _other_choices(row["sample"], of) or _told_of_sweep(row) or "-",
                *([_one_of(train)] if of.axes else []),
                *([_one_of(sorted(own["fold"].unique()))] if several else []),
                _one_of(sorted(own["seed"].unique())),
                f"{own['seconds'].sum():.0f}",
                row["trial_id"],
            ]
        )
    trained = ["trained at"] if of.axes else []
    trained += ["fold"] if several else []
    headings = ["", "placement", *names, "other choices", *trained, "seed", "seconds", "trial"]
    return html.table(headings, rows)


def _told_of_sweep(row: Mapping[str, Any]) -> str:
    """The other settings that tell a trial of a sweep; nothing of a sample, whose choices do."""
    return "" if isinstance(row["sample"], str) else varied_words(row.get(VARIED_SETTINGS))


def _one_of(values: Sequence[object]) -> str:
    return str(values[0]) if len(values) == 1 else f"mean of {len(values)}"


def _other_choices(sample: Any, description: TaskDescription) -> str:
    """What a sample chose besides the placement and the train condition, which are told apart."""
    told = ("streams", "end", "train_condition", *description.layout_fields)
    words = (
        # Of an option, as mmtm.relu, its default may be true.
        f"{name.replace('_', ' ')} {value_words(value)}"
        if "." in name
        else setting_words(name, value)
        for name, value in parse_sample(sample).items()
        if not name.startswith(told) and site_of_choice(name, description) is None
    )
    return ", ".join(filter(None, words))
