"""One HTML page on a search: what was tried, what came out, how sure that is, how to repeat it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fusion_search.analysis.figures.course import best_samples
from fusion_search.analysis.records.samples import (
    Objective,
    objectives_of,
    placement_words,
    rows_of,
)
from fusion_search.analysis.records.selection import (
    AnalysisError,
    Search,
    count_label,
    read_specification,
)
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import FAILED, FINISHED, SPECIFICATION_FILE, STOPPED
from fusion_search.analysis.report import html
from fusion_search.analysis.report.sections import (
    best_section,
    confirmation_section,
    course_sections,
    importance_section,
    replay_section,
)


def build_report(
    search: Search,
    confirmation: Search | None = None,
    importance: pd.DataFrame | None = None,
    replay: pd.DataFrame | None = None,
) -> str:
    """A self-contained HTML page; it loads nothing from anywhere.

    What is not there yet is said with the command that makes it; a sweep, which has no space, gets
    the parts that make sense for it.

    Args:
        search: a search or a sweep, finished or not.
        confirmation: the search NAME-confirmation.
        importance: ``importance.parquet``: ``parameter``, ``importance``.
        replay: ``replay.parquet``, as :func:`analysis.replay.compute_replay` wants it.
    """
    try:
        specification = read_specification(search)
    except AnalysisError:
        specification = {}  # the last section says that it is missing
    objectives = objectives_of(specification)
    sections: dict[str, Sequence[str]] = {}
    is_search = "space" in specification or bool(search.trials["sample"].notna().any())
    if is_search:
        sections["Confirmation"] = confirmation_section(search, confirmation, objectives[0])
    sections["Best trials"] = best_section(search, objectives, specification)
    if is_search:
        sections |= course_sections(search, objectives)
        sections["Importance of the choices"] = importance_section(search, importance)
        sections["Searchers replayed"] = replay_section(search, replay, objectives[0])
    else:
        sections["Accuracy maps"] = [
            html.missing(
                "This is a sweep: its result are the accuracy maps.",
                f"fusion-search draw grids {search.name}",
            )
        ]
    sections["Failed trials"] = _failed(search)
    sections["How to reproduce"] = _reproduce(search, is_search)
    lead = _summary(search, specification, objectives)
    return html.page(f"{'Search' if is_search else 'Sweep'} {search.name}", lead, sections)


def _summary(
    search: Search, specification: Mapping[str, Any], objectives: Sequence[Objective]
) -> list[str]:
    trials = search.trials
    counts = {one: int((trials["status"] == one).sum()) for one in (FINISHED, STOPPED, FAILED)}
    waiting = int((~search.planned["trial_id"].isin(trials["trial_id"])).sum())
    words = [
        f"{search.name}: {count_label(len(trials), 'trial')} ended: {counts[FINISHED]} finished, "
        f"{counts[STOPPED]} stopped early, {counts[FAILED]} failed"
        + (f"; {waiting} not run yet." if waiting else ".")
    ]
    space = specification.get("space")
    if isinstance(space, Mapping):
        searcher, scheduler = specification.get("searcher", {}), specification.get("scheduler", {})
        tried = ", ".join(name.replace("_", " ") for name in _searched(space))
        goals = " and ".join(f"{one.words} ({one.direction})" for one in objectives)
        words.append(
            f"Searched: {tried or 'nothing'}, by {searcher.get('name', 'an unknown searcher')} "
            f"(seed {searcher.get('seed', '?')}, {searcher.get('samples', '?')} samples), "
            f"scheduler {scheduler.get('name', 'none')}, for {goals}."
        )
    best = best_samples(trials, objectives, 1)
    if best:
        value, placed = objectives[0].text(best[0]["value_0"]), placement_words(best[0])
        split = best[0].get("evaluation_split")
        where = f" on the {split} split" if isinstance(split, str) else ""
        words.append(f"Best {objectives[0].words}{where}: {value} ({placed}).")
    notes = trials["data_note"].dropna().unique()
    return [
        html.paragraph(" ".join(words), "lead"),
        html.paragraph(f"Data: {'; '.join(notes) or 'not recorded'}", "note"),
        html.facts(
            {
                "Compute": f"{trials['seconds'].sum() / 3600:.2f} hours of trials, one after "
                "another",
                "Began, last ended": f"{_time(trials['started_at'].min())}, "
                f"{_time(trials['ended_at'].max())}",
                "Device": _unique(trials["device"]),
                "Git commit": _unique(trials["git_commit"]),
                "Versions": "; ".join(map(_versions, trials["versions"].dropna().unique()))
                or "not recorded",
            }
        ),
    ]


def _searched(space: Mapping[str, Any]) -> list[str]:
    """The fields of a declared space that leave a choice."""
    return [
        name
        for name, value in space.items()
        if isinstance(value, Mapping) or (isinstance(value, list) and len(value) > 1)
    ]


def _failed(search: Search) -> list[str]:
    failed = search.trials[search.trials["status"] == FAILED]
    if failed.empty:
        return [html.paragraph("No trial failed.")]
    rows = [
        [row["trial_name"], row["trial_id"], row["reason"] or "no reason was recorded"]
        for row in rows_of(failed)
    ]
    again = html.missing("Run them again:", f"fusion-search retry {search.name}")
    return [html.table(["trial", "id", "reason"], rows), again]


def _reproduce(search: Search, is_search: bool) -> list[str]:
    commits = search.trials["git_commit"].dropna().unique()
    lines = [f"git checkout {commit}" for commit in commits[:1]]
    lines.append(f"fusion-search launch {search.name}.yaml")
    if is_search:
        lines += [
            f"fusion-search confirm {search.name}",
            f"fusion-search importance {search.name}",
            f"fusion-search replay {search.name}",
        ]
    text = _specification_text(search.storage)
    if text is None:
        said = f"{SPECIFICATION_FILE} is missing from the search's folder."
        return [html.missing(said, f"fusion-search launch {search.name}.yaml")]
    return [
        html.paragraph(f"Save the specification below as {search.name}.yaml, then:"),
        html.code("\n".join(lines)),
        html.details(f"The full {SPECIFICATION_FILE}", html.code(text)),
    ]


def _specification_text(folder: Storage) -> str | None:
    try:
        return folder.read(SPECIFICATION_FILE).decode(errors="replace")
    except FileNotFoundError:
        return None


def _unique(column: pd.Series) -> str:
    return ", ".join(map(str, column.dropna().unique())) or "not recorded"


def _versions(text: str) -> str:
    packages: dict[str, str] = json.loads(text)
    return ", ".join(f"{name} {version}" for name, version in packages.items())


def _time(moment: pd.Timestamp) -> str:
    return "-" if pd.isna(moment) else f"{moment:%Y-%m-%d %H:%M} UTC"
