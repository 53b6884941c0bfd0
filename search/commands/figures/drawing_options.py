"""What the figures' verbs share: opening a search, choosing from it, saving, saying."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from fusion_search.analysis.conditions import TrainCondition, train_conditions, train_label
from fusion_search.analysis.confirmation import read_candidates
from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.description import ABSENT, ORIGINAL, TaskDescription
from fusion_search.analysis.records.parquet.bounds import LARGEST_BYTES
from fusion_search.analysis.records.secrets import printable, sentence
from fusion_search.analysis.records.selection import (
    AnalysisError,
    Search,
    count_label,
    open_search,
    read_specification,
)
from fusion_search.analysis.records.selection.best import BestSample
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import CANDIDATES_FILE, parse_parquet
from fusion_search.analysis.records.words.data import data_sentence
from fusion_search.search.commands.options import storage_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def open_whole(
    options: argparse.Namespace,
    depths: Sequence[int] | None = None,
    chosen: Callable[[Search], Search] = lambda search: search,
) -> Search:
    """The search with networks of all streams; says what is missing.

    Args:
        options: name the search.
        depths: of fusion; None for all.
        chosen: of these networks, those that are wanted.

    Raises:
        AnalysisError: no such trial finished.
    """
    search = chosen(opened(options).whole(depths))
    at = "" if depths is None else f" at fusion depth {', '.join(map(str, depths))}"
    return _told(search, f"of all streams{at}")


def open_parts(options: argparse.Namespace) -> Search:
    """The search with networks of some of the streams; says what is missing.

    Raises:
        AnalysisError: no such trial finished.
    """
    return _told(opened(options).parts(), "of some streams alone")


def open_all(options: argparse.Namespace) -> Search:
    """The search with all its networks; says what is missing.

    Raises:
        AnalysisError: no trial finished.
    """
    return _told(opened(options), "at all")


def _told(search: Search, which: str) -> Search:
    if search.planned.empty:
        look = command("status", search.name, storage=search.storage.parent.location)
        raise AnalysisError(f"search {search.name} has no network {which}; `{look}` lists them")
    for line in (*search.notes, *search.gaps()):
        say(line)
    if search.finished.empty:
        raise AnalysisError(
            f"search {search.name} has no finished trial {which}; {search.to_finish()}"
        )
    return search


def plain_networks(search: Search) -> Search:
    """What maps by fusion depth can show: the trials of a sweep, the plain ones of a confirmation.

    Raises:
        AnalysisError: it is a search over a space, whose trials at one fusion depth differ.
    """
    if search.trials["sample"].notna().any():
        raise AnalysisError(
            f"{search.name} is a search over a space, not a sweep; its figures are in "
            f"`{command('report', search.name, storage=search.storage.parent.location)}`, and "
            "`draw grids` draws one network of it with `--trial best`, or a trial's name"
        )
    if not search.storage.exists(CANDIDATES_FILE):
        return search
    plain = {
        trial_id
        for one in read_candidates(search.storage)
        if one["role"] == "plain"
        for trial_id in one["trial_ids"]
    }
    left_out = len(search.planned) - len(plain)
    count = count_label(left_out, "trial")
    say(f"plain networks alone; left out: {count} of other candidates")
    return search.only(plain)


def wanted_conditions(search: Search, options: argparse.Namespace) -> list[TrainCondition]:
    """The train conditions to draw. Raises ``AnalysisError`` when none has a finished trial."""
    description = search.description
    known = train_conditions(search.planned, description)
    if not options.train:
        return known
    wanted = [_condition(one, description) for one in options.train]
    for one in wanted:
        if one not in known:
            label = train_label(one, description)
            say(f"not part of search {search.name}: train condition {label}")
    there = train_conditions(search.finished, description)
    if not set(wanted) & set(there):
        finished = "; ".join(train_label(one, description) for one in there)
        raise AnalysisError(
            f"no finished trial at these train conditions; finished are: {finished}"
        )
    return [one for one in dict.fromkeys(wanted) if one in known]


def _condition(given: Sequence[str], description: TaskDescription) -> TrainCondition:
    if len(given) != len(description.axes):
        axes = ", ".join(axis.name for axis in description.axes) or "none"
        raise AnalysisError(f"--train {' '.join(given)} needs an SNR per axis: {axes}")
    words = {"original": ORIGINAL, "absent": ABSENT}
    try:
        return tuple(words[one] if one in words else float(one) for one in given)
    except ValueError as error:
        raise AnalysisError(f"--train {' '.join(given)}: {error}") from error


def levels_of(search: Search) -> int:
    """The most levels of a finished trial's network; 0 where networks have no such setting."""
    return int(search.finished["levels"].max()) if "levels" in search.finished else 0


def data_caption(trials: pd.DataFrame) -> str:
    """What trials saw, for below a figure of these."""
    return data_sentence(trials["data_note"].dropna())


def opened(options: argparse.Namespace) -> Search:
    """The search that was named; says which records cannot be read. Raises ``AnalysisError``."""
    return open_search(storage_at(storage_of(options)), options.name, say_damage)


def chosen_trial(search: Search, wanted: str | None) -> pd.Series:
    """The row of a finished trial, as ``choose_trial`` finds it; says where others are best, too.

    Args:
        search: its trials.
        wanted: of an id or name; None for the best.
    """
    # Imports Matplotlib, which a verb that draws nothing does without.
    from fusion_search.analysis.figures.timeline import best_sample, choose_trial

    if wanted is not None:
        return choose_trial(search, wanted)
    best = best_sample(search)
    say_kinds(best)
    return choose_trial(search, best.trial_ids[0] if best.trial_ids else None)


def say_kinds(best: BestSample) -> None:
    """Say of which kind of data the best of all is that is taken, where a sweep has several."""
    kinds = {kind: own.trial_ids for kind, own in best.kinds().items()}
    taken = [kind for kind, ids in kinds.items() if ids == best.trial_ids]
    others = [f"{kind}: {ids[0]}" for kind, ids in kinds.items() if ids and kind not in taken]
    if others:
        say(f"the best of {taken[0]} is taken; that of others by --trial: {'; '.join(others)}")


def storage_at(location: str) -> Storage:
    """A folder or URI. Raises ``AnalysisError``."""
    try:
        return open_storage(location)
    except ValueError as error:
        raise AnalysisError(str(error)) from error


def save(options: argparse.Namespace, figure: Figure, table: pd.DataFrame, name: str) -> None:
    """Write a figure and its table into the output folder, and print where."""
    # Imports Matplotlib, which a verb that draws nothing does without.
    from fusion_search.analysis.figures.drawing import save_figure

    for path in save_figure(figure, table, storage_at(options.output), name):
        print(printable(path))


def save_numbers(options: argparse.Namespace, table: pd.DataFrame, name: str) -> None:
    """Write numbers that belong to several figures beside these, and print where."""
    from fusion_search.analysis.figures.drawing import save_table

    print(printable(save_table(table, storage_at(options.output), name)))


def write(options: argparse.Namespace, content: bytes, name: str) -> None:
    """Write one file into the output folder, and print where."""
    output = storage_at(options.output)
    output.write(content, name)
    print(printable(output.named(name)))


def write_text(options: argparse.Namespace, text: str, name: str) -> None:
    """Write Markdown beside the figures, and print it."""
    write(options, text.encode(), f"{name}.md")
    for line in text.splitlines():
        print(printable(line))


def finished_words(search: Search) -> str:
    """Of how many trials something is said."""
    finished = count_label(len(search.finished), "finished trial")
    return f"Of {finished} of {len(search.planned)} planned."


def say(line: str) -> None:
    """A remark that is not a result."""
    print(f"note: {printable(line)}", file=sys.stderr)


@cache
def say_damage(trial_id: str, damage: str) -> None:
    """Once for each record, however often it is looked at."""
    say(damage)


def specification_of(search: Search) -> dict[str, object]:
    """What was declared; empty, and said, when it cannot be read."""
    try:
        return read_specification(search)
    except AnalysisError as error:
        say(str(error))
        return {}


def read_beside(folder: Storage, name: str) -> pd.DataFrame | None:
    """A table beside the records; None when it is not there."""
    if not folder.exists(name):
        return None
    try:
        table: pd.DataFrame = parse_parquet(folder.read(name, most=LARGEST_BYTES)).to_pandas()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, ValueError, OSError) as error:
        raise AnalysisError(
            f"{folder.named(name)} is damaged ({sentence(error)}); delete it and make it again"
        ) from error
    return table
