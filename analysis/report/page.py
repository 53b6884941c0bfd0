"""One HTML page on a search: what was tried, what came out, how sure that is, how to repeat it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.records.advice import STORAGE, command, read_options
from fusion_search.analysis.records.failures import FAILURES, read_failure, where_failed
from fusion_search.analysis.records.filesystems.errors import UnfitError
from fusion_search.analysis.records.plain_data import read_json
from fusion_search.analysis.records.samples import Objective, objectives_of, rows_of
from fusion_search.analysis.records.selection import (
    DROPPED_AFTER,
    AnalysisError,
    Search,
    confirmed_by,
    count_label,
    dropped_words,
    read_specification,
)
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import (
    CODE_FILE,
    FAILED,
    FINISHED,
    SPECIFICATION_FILE,
    STOPPED,
)
from fusion_search.analysis.records.words.durations import duration
from fusion_search.analysis.report import html
from fusion_search.analysis.report.advised import (
    advised,
    declared_confirmation,
    figures_of_sweep,
    is_space,
    searched,
    varied_settings,
)
from fusion_search.analysis.report.best import best_section, best_sentences
from fusion_search.analysis.report.confirmation import confirmation_section
from fusion_search.analysis.report.sections import (
    course_sections,
    data_words,
    importance_section,
    replay_section,
)

_FILES: Final = 10
"""So many are named in a command."""


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
        replay: ``replay.parquet``, as :func:`compute_replay` wants it.
    """
    try:
        specification = read_specification(search)
    except AnalysisError:
        specification = {}  # the last section says that it is missing
    objectives = objectives_of(specification, search.description)
    commands = advised(search, specification, search.storage.parent.location)
    sections: dict[str, Sequence[str]] = {}
    is_search = is_space(specification) or bool(search.trials["sample"].notna().any())
    if is_search:
        sections["Confirmation"] = confirmation_section(
            *(search, confirmation, objectives[0], commands),
            declared=declared_confirmation(specification),
        )
    sections["Best trials"] = best_section(search, objectives, commands, sampled=is_search)
    if is_search:
        sections |= course_sections(search, objectives, commands)
        sections["Importance of the choices"] = importance_section(search, importance, commands)
        sections["Searchers replayed"] = replay_section(search, replay, objectives[0], commands)
    else:
        shown = ("intervals", "curves", "maps")[min(len(search.description.axes), 2)]
        words = f"{search.description.metric.words} {shown}"
        first, *others = figures_of_sweep(search)
        sections[words.capitalize()] = [
            html.missing(f"This is a sweep: its results are the {words}.", first),
            *(html.missing("Also:", one) for one in others),
        ]
        if search.finished["fold"].nunique() > 1:
            folds = command("draw", "folds", search.name, storage=search.storage.parent.location)
            sections["Over folds"] = [
                html.missing("Its networks are compared over all their folds by:", folds)
            ]
    sections["Failed trials"] = _failed(search, commands)
    if search.damaged or search.notes:
        left_out = [*search.damaged.values(), *search.notes]
        sections["Left out"] = [html.paragraph(one) for one in left_out]
    sections["How to reproduce"] = _reproduce(search, specification)
    lead = _summary(search, specification, objectives, sampled=is_search)
    return html.page(f"{'Search' if is_search else 'Sweep'} {search.name}", lead, sections)


def _summary(
    search: Search,
    specification: Mapping[str, Any],
    objectives: Sequence[Objective],
    *,
    sampled: bool,
) -> list[str]:
    trials = search.trials
    counts = {one: int((trials["status"] == one).sum()) for one in (FINISHED, STOPPED, FAILED)}
    waiting, unreadable = len(search.waiting), len(search.damaged)
    words = [
        f"{search.name}: {count_label(len(trials), 'trial')} ended: {counts[FINISHED]} finished, "
        f"{counts[STOPPED]} stopped early, {counts[FAILED]} failed"
        + _dropped(trials)
        + (f"; {unreadable} unreadable" if unreadable else "")
        + (f"; {waiting} not run yet." if waiting else ".")
    ]
    if is_space(specification):
        searcher, scheduler = specification.get("searcher", {}), specification.get("scheduler", {})
        names = searched(specification, varied_settings(trials))
        tried = ", ".join(name.replace("_", " ") for name in names)
        goals = " and ".join(f"{one.words} ({one.direction})" for one in objectives)
        words.append(
            f"Searched: {tried or 'nothing'}, by {searcher.get('name', 'an unknown searcher')} "
            f"(seed {searcher.get('seed', '?')}, {_samples(searcher)}), "
            f"scheduler {scheduler.get('name', 'none')}, for {goals}."
        )
    words += best_sentences(search, objectives, sampled=sampled)
    return [
        html.paragraph(" ".join(words), "lead"),
        html.paragraph(data_words(search), "note"),
        html.facts(
            {
                "Compute": f"{duration(trials['seconds'].sum())} of trials, one after another",
                "Began, last ended": f"{_time(trials['started_at'].min())}, "
                f"{_time(trials['ended_at'].max())}",
                "Device": _unique(trials["device"]),
                "Git commit": _unique(trials["git_commit"]),
                "Versions": "; ".join(map(_versions, trials["versions"].dropna().unique()))
                or "not recorded",
            }
        ),
    ]


def _dropped(trials: pd.DataFrame) -> str:
    if DROPPED_AFTER not in trials:
        return ""
    folds = trials.drop_duplicates("sample")[DROPPED_AFTER].dropna().astype(int).tolist()
    return f"; {dropped_words(folds)}" if folds else ""


def _failed(search: Search, commands: Mapping[str, str]) -> list[str]:
    failed = search.trials[search.trials["status"] == FAILED]
    if failed.empty:
        return [html.paragraph("No trial failed.")]
    rows = [
        [
            row["trial_name"],
            row["trial_id"],
            row["reason"] or "no reason was recorded",
            where_failed(read_failure(search.storage, row["trial_id"]) or "") or "-",
        ]
        for row in rows_of(failed)
    ]
    known = f"The whole tracebacks are in the search's folder {FAILURES}."
    table = html.table(["trial", "id", "reason", "where, by the traceback's end"], rows)
    parts = [table, html.paragraph(known, "note")]
    again = commands.get("retry")
    return [*parts, html.missing("Run them again:", again)] if again else parts


def _reproduce(search: Search, specification: Mapping[str, Any]) -> list[str]:
    """Launched from its specification, a search lies in the storage that is declared there."""
    text = _specification_text(search.storage)
    file = f"{search.name}.yaml"
    commits = search.trials["git_commit"].dropna().unique()
    lines = [shlex.join(["git", "checkout", commit]) for commit in commits[:1]]
    details = html.details(f"The full {SPECIFICATION_FILE}", html.code(text or "missing"))
    own, options = _own_code(search), read_options(search.storage).words
    confirmed = confirmed_by(search)
    if confirmed is not None:
        storage = search.storage.parent.location
        lines.append(command("confirm", confirmed, *options, storage=storage))
        said = f"These trials confirm the search {confirmed}. Where that is:"
        return [*own, html.paragraph(said), html.code("\n".join(lines)), details]
    if text is None:
        said = f"{SPECIFICATION_FILE} is missing from the search's folder, or is no file."
        launch = command("launch", file, *options, storage=search.storage.parent.location)
        return [*own, html.missing(said, launch)]
    lines.append(command("launch", file, *options))
    commands = advised(search, specification, str(specification.get("storage", STORAGE)))
    # A search that declares a confirmation runs it by itself.
    confirm = [] if declared_confirmation(specification) else ["confirm"]
    verbs = [*confirm, "importance", "replay"]
    lines += [commands[verb] for verb in verbs if verb in commands]
    return [
        *own,
        html.paragraph(f"Save the specification below as {file}, then:"),
        html.code("\n".join(lines)),
        details,
    ]


def _own_code(search: Search) -> list[str]:
    """Which files of its author's a task is, and how to compare them; nothing of our own tasks."""
    task = search.description.task
    if ":" not in task:
        return []
    known = search.trials["code_fingerprint"].value_counts()
    told = ", ".join(
        f"{one} of {count_label(count, 'trial')}" if len(known) > 1 else str(one)
        for one, count in known.items()
    )
    said = f"The task {task} is no part of this program: the commit does not say what it was. "
    try:
        files = read_json(
            search.storage, CODE_FILE, "delete it", lambda plain: dict(plain["files"])
        )
    except (OSError, ValueError):
        files = {}
    if not files:
        return [html.paragraph(f"{said}Nor does the search's folder, which has no {CODE_FILE}.")]
    said += (
        f"Its code has the fingerprint {told or 'that no record tells'} (code_fingerprint of the "
        "trials). What sha256sum prints of its files begins with these digits:"
    )
    rows = [[name, digits] for name, digits in files.items()]
    names = shlex.join(files) if len(files) <= _FILES else f"{shlex.quote(next(iter(files)))} ..."
    return [
        html.paragraph(said),
        html.table(["file", "SHA-256, its first 16 digits"], rows),
        html.code(f"sha256sum {names}"),
    ]


def _specification_text(folder: Storage) -> str | None:
    try:
        return folder.read(SPECIFICATION_FILE).decode(errors="replace")
    except (FileNotFoundError, UnfitError):
        return None


def _samples(searcher: Mapping[str, Any]) -> str:
    samples = searcher.get("samples")
    return count_label(samples, "sample") if isinstance(samples, int) else "? samples"


def _unique(column: pd.Series) -> str:
    return ", ".join(map(str, column.dropna().unique())) or "not recorded"


def _versions(text: str) -> str:
    packages: dict[str, str] = json.loads(text)
    return ", ".join(f"{name} {version}" for name, version in packages.items())


def _time(moment: pd.Timestamp) -> str:
    return "-" if pd.isna(moment) else f"{moment:%Y-%m-%d %H:%M} UTC"
