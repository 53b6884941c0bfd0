"""The sections of a search's report, each a list of pieces of HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import pandas as pd

from fusion_search.analysis.figures.course import (
    best_samples,
    compute_history,
    compute_pareto,
    draw_history,
    draw_importance,
    draw_pareto,
    pareto_objectives,
)
from fusion_search.analysis.figures.parallel import compute_parallel, draw_parallel
from fusion_search.analysis.figures.placement import draw_count, draw_placement
from fusion_search.analysis.figures.replay import compute_replay, draw_replay
from fusion_search.analysis.placement_effects import (
    compute_count,
    compute_placement,
    confounding_sentences,
)
from fusion_search.analysis.records.samples import (
    FEWEST_SAMPLES,
    Objective,
    few_samples_words,
    finished_samples,
    rows_of,
)
from fusion_search.analysis.records.selection import Search
from fusion_search.analysis.records.tables import FAILED
from fusion_search.analysis.records.words.data import data_sentence
from fusion_search.analysis.report import html

Commands: TypeAlias = Mapping[str, str]  # verb -> command, of those that work on the search

_WITHIN: Final = 0.005  # half a point of a share; of other objectives, half a per cent


def course_sections(
    search: Search, objectives: Sequence[Objective], commands: Commands
) -> dict[str, Sequence[str]]:
    """The sections that need finished samples of a space."""
    trials, first, data = search.trials, objectives[0], data_words(search)
    of = search.description
    names = (
        "Course of the search",
        "Trade-offs",
        "Placement",
        "Number of couplings",
        "All choices",
    )
    if not best_samples(trials, objectives, 1):
        return {name: [nothing_yet(search, commands)] for name in names}
    history = draw_history(compute_history(trials, first), first, caption=data)
    front = compute_pareto(trials, objectives, of)
    goals = pareto_objectives(objectives, of)
    effects = compute_placement(trials, first, of)
    placement = draw_placement(effects, first, of, caption=data)
    count, choices = compute_count(trials, first, of), compute_parallel(trials, first, of)
    contents = (
        [
            html.picture(
                history,
                "Every dot is a finished sample, the line the best so far. Left: by number; right: "
                "by the time spent on training, which early stopping saves.",
            )
        ],
        [
            html.picture(
                draw_pareto(front, objectives, of, caption=data),
                "Samples in red are the choices worth having: whatever is better in one objective "
                "is worse in another. Of these, the table:",
            ),
            html.table(
                ["placement", *(one.words for one in goals), "trial"],
                [
                    [
                        row["placement"],
                        *(one.text(row[one.name]) for one in goals),
                        row["trial_id"],
                    ]
                    for row in rows_of(front[front["front"]])
                ],
            ),
        ],
        [
            html.picture(
                placement,
                "The streams from left to right, and what was tried between them at each "
                "site. Blue helped on average, red harmed; trust what is larger than twice its "
                "standard error, and little of that when many options are compared.",
            ),
            *map(html.paragraph, confounding_sentences(effects)),
        ],
        [
            html.picture(
                draw_count(count, first, caption=data),
                "Where the blue line peaks is how many modules are worth having. The MMTM paper "
                "(figure 6) found its peak near the middle."
                if count.groupby("counted")["count"].nunique().max() > 1
                else "All samples have as many modules: this search does not say how many are "
                "worth having.",
            )
            if len(count)
            else html.paragraph(
                "No finished sample has a site where streams are coupled.", "absent"
            )
        ],
        [
            html.picture(
                draw_parallel(choices, first, caption=data),
                "Follow the bright lines: choices that they share are those that did well.",
            )
            if len(choices.columns) > 3
            else html.paragraph("No choices are recorded.", "absent")
        ],
    )
    return dict(zip(names, contents, strict=True))


def importance_section(
    search: Search, importance: pd.DataFrame | None, commands: Commands
) -> list[str]:
    """How much every choice mattered."""
    if importance is None or importance.empty or "samples" not in importance:  # an earlier file
        count = finished_samples(search.trials)
        if count < FEWEST_SAMPLES:
            said = (
                f"The importance of the choices needs {FEWEST_SAMPLES} finished samples or more; "
                f"{count} {'has' if count == 1 else 'have'} finished."
            )
            return [html.paragraph(said, "absent")]
        said = "The importance of the choices is not computed yet."
        return [html.missing(said, commands.get("importance"))]
    warning = few_samples_words(int(importance["samples"].iloc[0]), len(importance))
    return [
        *([html.paragraph(warning)] if warning else []),
        html.picture(
            draw_importance(importance, caption=data_words(search)),
            "How much of the objective's variance over the whole space each choice explains by "
            "itself, after a random forest fitted to the finished samples (fANOVA).",
        ),
    ]


def replay_section(
    search: Search, replay: pd.DataFrame | None, objective: Objective, commands: Commands
) -> list[str]:
    """How soon searchers would have found the best of these records."""
    if replay is None or replay.empty:
        again = commands.get("replay")
        if commands and again is None:
            said = "Its space has numbers drawn from ranges, which records cannot fill: no replay."
            return [html.paragraph(said, "absent")]
        return [html.missing("No searcher was replayed against the records yet.", again)]
    optimum = float(replay["best"].max() if objective.sign > 0 else replay["best"].min())
    within = _WITHIN if objective.is_share else _WITHIN * abs(optimum)
    curves, runs, summary = compute_replay(replay, optimum, within, objective=objective)
    figure = draw_replay(
        curves, runs, summary, optimum, within, objective=objective, caption=data_words(search)
    )
    headings = ["searcher", "seeds", "arrived", "median trials", "quartiles", "p", "Holm p"]
    rows = [
        [
            row["searcher"],
            row["seeds"],
            f"{row['reached']:.0%}",
            _count(row["median"]),
            f"{_count(row['lower_quartile'])} to {_count(row['upper_quartile'])}",
            p_text(row["p"]),
            row["undecided"] or p_text(row["p_holm"]),
        ]
        for row in rows_of(summary)
    ]
    caption = (
        "Searchers run against the recorded samples, without training. A searcher is worth its "
        "while when it needs fewer trials than random search, the baseline."
    )
    return [html.picture(figure, caption), html.table(headings, rows)]


def data_words(search: Search) -> str:
    """The records' own words on the data, as in every figure."""
    return data_sentence(search.trials["data_note"].dropna())


def nothing_yet(search: Search, commands: Commands) -> str:
    """With the verb that runs something: ``resume`` leaves failed trials as they are."""
    if (search.trials["status"] == FAILED).any() and search.waiting.empty:
        return html.missing("None of the trials finished.", commands.get("retry"))
    return html.missing("No trial has finished yet.", commands.get("resume"))


def p_text(p: float) -> str:
    """A p-value in a table; a dash where there is none."""
    return "-" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _count(trials: float) -> str:
    return f"{trials:.0f}" if math.isfinite(trials) else "never"
