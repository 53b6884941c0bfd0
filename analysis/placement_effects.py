"""What each coupling is worth at each site: tables of marginal effects."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pandas as pd

from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.samples import (
    COUPLING,
    DEFAULT_END,
    NONE,
    Objective,
    option_order,
    parse_sample,
    rows_of,
    sample_table,
    site_of_choice,
)
from fusion_search.analysis.records.tables import FINISHED, STOPPED
from fusion_search.analysis.records.words.networks import (
    connection_words,
    kind_words,
    placed,
    site_order,
)

END: Final = "end"
COUNTED: Final = ("MMTM", "any coupling")
"""What :func:`compute_count` counts."""

_COLUMNS: Final = [
    "part",
    "site",
    "option",
    "n",
    "mean",
    "mean_error",
    "n_without",
    "mean_without",
    "effect",
    "effect_error",
    "stopped",
    "all_stopped",
    "confounded_with",
]


def compute_placement(
    trials: pd.DataFrame, objective: Objective, description: TaskDescription
) -> pd.DataFrame:
    """Marginal effect of every coupling and connection at every site.

    The effect of an option at a site is the mean objective of the finished samples that have
    exactly this option there, minus the mean of the finished samples that have the site (their
    streams and layout do) and anything else there, nothing included. It is an average
    over whatever else the searcher chose with it, not a controlled comparison. ``effect_error``
    is the standard error of that difference, sqrt(s1^2 / n1 + s2^2 / n2). In the same way a
    layout setting or set of streams is set against all others, and a way to end against the other
    ways where there are several. Stopped samples have no objective: they are left out and counted.
    Since schedulers stop bad ones, an option with many stopped is worse than its effect says.

    Of few samples, those that have an option may all differ from the others in another choice, too:
    no value of it was met on both sides (of numbers from a range: all with it are smaller, or
    larger). Then the effect may be that choice's, and no analysis can say whose it is. Choices are
    looked at one by one, and only those that all samples of both sides have.

    Returns:
        One row per ``part`` (coupling, a connection such as "a>b", end, streams, a layout
        setting), ``site`` (empty for the last three) and ``option`` that some sample has: ``n``,
        ``mean`` and ``mean_error`` (its standard error; NaN for n = 1) of the samples having it,
        ``n_without`` and ``mean_without`` of the others, ``effect``, ``effect_error`` (NaN where
        a side has none, or one for the error), ``stopped`` (how many of those having it were
        stopped), ``all_stopped`` (how many of all were) and ``confounded_with`` (names of such
        choices, joined by ", ").
    """
    table = sample_table(trials, [objective])
    table = table[table["status"].isin([FINISHED, STOPPED])]
    value, stopped = table["value_0"], table["status"] == STOPPED
    choices = _choices(table, description)
    rows = []
    for part, site, option, having, possible in _options(table, description):
        with_it, without = value[having].dropna(), value[possible & ~having].dropna()
        own = choices.drop(columns=_choice_of(part, site), errors="ignore")
        rows.append(
            {
                "part": part,
                "site": site,
                "option": option,
                "n": len(with_it),
                "mean": with_it.mean(),
                "mean_error": with_it.sem(),
                "n_without": len(without),
                "mean_without": without.mean(),
                "effect": with_it.mean() - without.mean(),
                "effect_error": _difference_error(with_it, without),
                "stopped": int(stopped[having].sum()),
                "all_stopped": int(stopped.sum()),
                "confounded_with": ", ".join(
                    _readable(name, description)
                    for name in map(str, own)
                    if _apart(own.loc[with_it.index, name], own.loc[without.index, name])
                ),
            }
        )
    return pd.DataFrame(rows, columns=_COLUMNS)


def confounding_sentences(table: pd.DataFrame) -> list[str]:
    """What the effects of :func:`compute_placement` cannot say, a sentence for each."""
    return [
        f"The effect of {_option_words(row)} (n={row['n']}, without it {row['n_without']}) cannot "
        f"be told apart from that of {row['confounded_with']}: no value of it was tried both with "
        "and without. More samples would."
        for row in rows_of(table[table["confounded_with"] != ""])
    ]


def _option_words(row: dict[str, Any]) -> str:
    where = f"at {row['site']}" if row["site"] else ""
    if row["part"] == COUPLING or ">" in row["part"]:
        return f"{kind_words(row['option'])} {connection_words(row['part'])}{where}"
    return f"{row['part'].replace('_', ' ')} {kind_words(row['option'])}"


def _choices(table: pd.DataFrame, description: TaskDescription) -> pd.DataFrame:
    """What was chosen for every sample, a column each; None where it was not asked for."""
    layout = ("streams", *description.layout_fields)
    chosen = [
        {
            name: one
            for name, one in parse_sample(text).items()
            # Layouts have columns: in samples one may depend on another.
            if not any(f"{name}_of_".startswith(f"{field}_of_") for field in layout)
        }
        for text in table["sample"]
    ]
    found = pd.DataFrame(chosen, index=table.index, dtype=object)
    return found.assign(**{name: table[name] for name in layout})


def _choice_of(part: str, site: str) -> str:
    """What a part is called among the choices."""
    source, arrow, target = part.partition(">")
    name = f"to_{target}_from_{source}" if arrow else part
    return f"{name}_{site}" if site else name


def _readable(name: str, description: TaskDescription) -> str:
    """A choice, what is placed at a site as "coupling at s1" or "image>audio at s1"."""
    site = site_of_choice(name, description)
    if site is None:
        return name.replace("_", " ")
    target, _, source = name.removesuffix(f"_{site}").removeprefix("to_").partition("_from_")
    return f"{source}>{target} at {site}" if source else f"{target} at {site}"


def _apart(one: pd.Series, other: pd.Series) -> bool:
    """Whether two groups of samples, both with a choice, have no value of it in common."""
    mine, its = one.to_list(), other.to_list()
    every = [*mine, *its]
    if not (mine and its) or any(value is None or value != value for value in every):
        return False
    numbers = all(isinstance(value, int | float) for value in every)
    if numbers and len(set(every)) == len(every):  # from a range
        return bool(max(mine) < min(its) or max(its) < min(mine))
    return {str(value) for value in mine}.isdisjoint(str(value) for value in its)


def _difference_error(one: pd.Series, other: pd.Series) -> float:
    """The standard error of the difference of two means; NaN when a side has less than two."""
    if min(len(one), len(other)) < 2:
        return math.nan
    return math.sqrt(one.var() / len(one) + other.var() / len(other))


def _options(
    table: pd.DataFrame, description: TaskDescription
) -> Iterator[tuple[str, str, str, pd.Series, pd.Series]]:
    """Part, site, option, which samples have it, and which could."""
    rows, index = rows_of(table), table.index
    sites = sample_sites(rows, description)
    placements = [placed(row) for row in rows]
    for site in sorted(set().union(*sites), key=site_order):
        possible = pd.Series([site in one for one in sites], index, dtype=bool)
        for part in _parts(placements, site, description):
            there = pd.Series([one.get(site, {}).get(part, NONE) for one in placements], index)
            for option in sorted(set(there) - {NONE}, key=option_order):
                yield part, site, option, there == option, possible
    every = pd.Series(True, index)
    for name in ("streams", *description.layout_fields):
        values = table[name]
        for option in sorted(set(values)) if values.nunique() > 1 else ():
            yield name, "", str(option) or "all", values == option, every
    ends = pd.Series(_ends(rows, description), index, dtype=object)
    for option in sorted(set(ends.dropna()), key=option_order):
        yield END, "", option, ends == option, ends.notna()


def _parts(
    placements: list[dict[str, dict[str, str]]], site: str, description: TaskDescription
) -> list[str]:
    """The coupling, and connections in the streams' order, that some sample has at a site."""
    found = {name for one in placements for name in one.get(site, {})}
    order = {stream: number for number, stream in enumerate(description.streams)}

    def place(name: str) -> tuple[bool, list[int]]:
        return name != COUPLING, [order.get(one, len(order)) for one in name.split(">")]

    return sorted(found, key=place)


def sample_sites(rows: list[dict[str, Any]], description: TaskDescription) -> list[set[str]]:
    """The sites that the networks of samples have.

    Those with the same streams and layout have the same: all at which one of them has something,
    or was asked for a choice.
    """
    found: dict[tuple[Any, ...], set[str]] = {}
    for row in rows:
        chosen = [site_of_choice(name, description) for name in parse_sample(row.get("sample"))]
        own = {one for one in chosen if one is not None} | set(placed(row))
        found.setdefault(_layout(row, description), set()).update(own)
    return [found[_layout(row, description)] for row in rows]


def _layout(row: dict[str, Any], description: TaskDescription) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("streams", *description.layout_fields))


def _ends(rows: list[dict[str, Any]], description: TaskDescription) -> list[str | None]:
    """How the streams of every sample end; None where its layout leaves no choice."""
    choices = [parse_sample(row.get("sample")).get(END) for row in rows]
    free = {
        _layout(row, description)
        for row, chosen in zip(rows, choices, strict=True)
        if chosen is not None or row["end"]
    }
    return [
        (chosen or row["end"] or DEFAULT_END) if _layout(row, description) in free else None
        for row, chosen in zip(rows, choices, strict=True)
    ]


def compute_count(
    trials: pd.DataFrame, objective: Objective, description: TaskDescription
) -> pd.DataFrame:
    """The objective over the number of couplings (MMTM, arXiv:1911.08670, figure 6).

    Only finished samples whose networks have sites count: without these there is no place for a
    coupling, and a count of 0 would mix in the layout's own effect.

    Returns:
        Two rows per sample, one each for MMTM modules (where some sample has one) and for
        couplings of any kind (connections and ends are not couplings): ``counted``, ``count``,
        ``trial_name``, ``value``, and of all samples with this count ``n``, ``mean`` and
        ``mean_error`` (NaN for n = 1).
    """
    table = sample_table(trials, [objective])
    table = table[table["status"] == FINISHED]
    sites = sample_sites(rows_of(table), description)
    table = table[[bool(one) for one in sites]]
    couplings = [
        [one[COUPLING] for one in placed(row).values() if COUPLING in one] for row in rows_of(table)
    ]
    tables = []
    some = any("mmtm" in kinds for kinds in couplings)
    for counted in COUNTED if some else COUNTED[1:]:
        wanted = (lambda kind: kind == "mmtm") if counted == "MMTM" else (lambda kind: kind != NONE)
        counts = np.array([sum(map(wanted, kinds)) for kinds in couplings], dtype=int)
        part = pd.DataFrame(
            {
                "counted": counted,
                "count": counts,
                "trial_name": table["trial_name"].to_numpy(),
                "value": table["value_0"].to_numpy(dtype=float),
            }
        )
        groups = part.groupby("count")["value"]
        tables.append(
            part.assign(
                n=groups.transform("count"),
                mean=groups.transform("mean"),
                mean_error=groups.transform("sem"),
            )
        )
    return pd.concat(tables, ignore_index=True).sort_values(
        ["counted", "count"], ascending=[False, True], kind="stable", ignore_index=True
    )
