"""The best of a search against plain fusion, trained again with fresh seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.conditions import folds_apart, settings_sentence
from fusion_search.analysis.paired import (
    HIGHER,
    NOT_TOLD,
    PAIRED_COLUMNS,
    compare,
    difference_text,
    p_values,
    within,
)
from fusion_search.analysis.records.advice import command, go_on_command, read_options
from fusion_search.analysis.records.description import MetricDescription, TaskDescription
from fusion_search.analysis.records.plain_data import read_json
from fusion_search.analysis.records.samples import Objective, rows_of
from fusion_search.analysis.records.selection import (
    VARIED_SETTINGS,
    AnalysisError,
    Search,
    count_label,
)
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import CANDIDATES_FILE, CONFIRMATION_SUFFIX, FINISHED
from fusion_search.analysis.records.words.names import is_unnamed
from fusion_search.analysis.statistics import interval, seeds_needed

TOP: Final = "top"
OTHER_FOLDS: Final = "not comparable, other folds"
_GIVEN: Final = ("label", "role", "rank", "search_value")
_CANDIDATE_COLUMNS: Final = [
    *(*_GIVEN, "also", "split"),
    *("trials", "finished", "folds", "n", "mean", "low", "high", "deviation", "seeds", "values"),
]
COMPARED: Final = ["label", "rank", "baseline", "baseline_place", "unpaired"]


@dataclass(frozen=True)
class Measure:
    """A result of a trial that networks are compared by.

    Attributes:
        column: of ``trials``.
        metric: that it is of.
        name: what it is, such as "a mean accuracy".
        where: it is measured, with {split} in it.
    """

    column: str
    metric: MetricDescription
    name: str
    where: str

    @property
    def words(self) -> str:
        """For axes and tables."""
        return self.column.replace("_", " ").replace("mean mean", "average mean")


def measures(
    description: TaskDescription, metric: MetricDescription | None = None
) -> dict[str, Measure]:
    """By column: the mean over the grid, the value at the train condition, the worst.

    Without axes there is one condition, and these are one.

    Args:
        description: of the search.
        metric: the one that chooses by default.
    """
    metric = metric or description.metric
    words, size = metric.words, " x ".join(str(len(axis.test)) for axis in description.axes)
    over = "conditions" if len(description.axes) == 1 else "grid"
    average = f"a mean {words}".replace("a mean mean", "an average mean")
    if not description.axes:
        found = [(f"mean_{metric.name}", _a(words), "on the {split} split")]
    else:
        found = [
            (f"mean_{metric.name}", average, f"over the {size} {{split}} {over}"),
            (
                f"train_condition_{metric.name}",
                _a(words),
                "at the train condition on the {split} split",
            ),
            (f"worst_{metric.name}", f"a worst {words}", f"of the {size} {{split}} conditions"),
        ]
    return {column: Measure(column, metric, name, where) for column, name, where in found}


def measure_of(objective: Objective, description: TaskDescription) -> Measure:
    """What a search's networks are compared by: what it optimised, else the mean over the grid."""
    known = measures(description, objective.metric)
    return known.get(objective.name) or next(iter(known.values()))


def _a(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def read_candidates(folder: Storage) -> list[dict[str, Any]]:
    """What a confirmation compares, from its folder's ``candidates.json``.

    Raises:
        AnalysisError: it is missing or damaged.
    """
    where = folder.named(CANDIDATES_FILE)
    try:
        return read_json(folder, CANDIDATES_FILE, _mended(folder), _candidates)
    except FileNotFoundError as error:
        raise AnalysisError(f"{where} is missing; {_mended(folder)}") from error
    except ValueError as error:
        raise AnalysisError(str(error)) from error


def _candidates(plain: Any) -> list[dict[str, Any]]:
    try:
        found = [{name: one[name] for name in (*_GIVEN, "trial_ids")} for one in plain]
        return [{**one, "trial_ids": [*map(str, one["trial_ids"])]} for one in found]
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"it is not a list of candidates, each with {', '.join(_GIVEN)} and trial_ids"
        ) from error


def settings_words(trials: pd.DataFrame, candidates: Sequence[Mapping[str, Any]]) -> str:
    """In which settings candidates differ beside where their streams meet; empty where in none.

    Args:
        trials: the confirmation's ``trials`` table, as :class:`Search` holds it.
        candidates: as :func:`read_candidates` returns them.
    """
    by_trial = dict(zip(trials["trial_id"], trials[VARIED_SETTINGS], strict=True))
    told = {}
    for one, _ in _networks(candidates):
        found = [by_trial[trial] for trial in one["trial_ids"] if trial in by_trial]
        if found:
            rank = f"{one['rank']}. " if one["role"] == TOP else ""
            told[f"{rank}{one['label']}"] = found[0]
    return settings_sentence("networks", told)


def budget_words(confirmation: pd.DataFrame, search: pd.DataFrame) -> str:
    """A sentence where a confirmation trains for epochs that its search never did, else empty.

    Args:
        confirmation, search: their ``trials`` tables.
    """
    here, there = _epochs(confirmation), _epochs(search)
    if not there or here <= there:
        return ""
    own, others = (", ".join(map(str, sorted(one))) for one in (here, there))
    return (
        f"Its networks are trained for another number of epochs, up to {own}; in the search up to "
        f"{others}."
    )


def _epochs(trials: pd.DataFrame) -> set[int]:
    """As the trials' specifications declare them; early stopping may end one before."""
    texts = trials["specification"].dropna().unique()
    found = [json.loads(text).get("training", {}).get("epochs") for text in texts]
    return {one for one in found if isinstance(one, int)}


def _mended(folder: Storage) -> str:
    """The remedy; without numbers the confirmation goes on and chooses nothing again."""
    name = folder.location.partition("?")[0].rstrip("/").rpartition("/")[2]
    name = name.removesuffix(CONFIRMATION_SUFFIX)
    words = ("--top", "3", "--seeds", "6", *read_options(folder).words)
    again = command("confirm", name, *words, storage=folder.parent.location)
    return f"`{again}`, with the numbers that it had, writes it again"


def _networks(
    candidates: Sequence[Mapping[str, Any]],
) -> list[tuple[Mapping[str, Any], list[str]]]:
    """Candidates of the same trials once, by the first of them, with the others' labels.

    The best of a search may be a plain network itself.
    """
    found: dict[frozenset[str], tuple[Mapping[str, Any], list[str]]] = {}
    for one in candidates:
        first, also = found.setdefault(frozenset(one["trial_ids"]), (one, []))
        if one["label"] not in (first["label"], *also):
            also.append(one["label"])
    return list(found.values())


def network_label(row: Mapping[str, Any]) -> str:
    """A network of a confirmation, by every label that it has.

    Args:
        row: of the first table of :func:`compute_confirmation`.
    """
    return f"{row['label']} (the same network as {row['also']})" if row["also"] else row["label"]


def compute_confirmation(
    trials: pd.DataFrame, candidates: Sequence[Mapping[str, Any]], measure: Measure
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every network over its seeds, and the best against every plain network.

    A seed counts for a candidate when its trials at all train conditions and in all folds
    finished; its value is their mean. Differences are paired by seed. Intervals are Student's t
    over seeds, 95 %, within what the metric can be; p is of the sign-flip test over all comparisons
    made, which takes a seed's differences to be as likely with the opposite sign, all together. A
    candidate that is itself a plain network is not compared with itself.

    Args:
        trials: the confirmation's ``trials`` table.
        candidates: as :func:`read_candidates` returns them.
        measure: one of :func:`measures`.

    Returns:
        One row per network, by the first candidate that has its trials: its label, role, rank and
        ``search_value``; ``also`` (the labels of others that have them, empty without); ``split``
        (where the grid was measured), ``trials``, ``finished`` and ``folds`` (how many), ``n``
        seeds, ``mean``, ``low``, ``high``, ``deviation`` (sample standard deviation; NaN for one
        seed), ``seeds`` and ``values`` (tuples). And one row per comparison: ``label``, ``rank``,
        ``baseline`` and ``baseline_place`` (its number among the candidates), ``unpaired`` (why
        they share no folds, so that nothing is compared; empty where they do), and of the
        differences candidate - baseline the columns of :func:`analysis.paired.compare`.
    """
    column, metric = measure.column, measure.metric
    finished = trials[trials["status"] == FINISHED]
    wanted = finished[
        finished["trial_id"].isin([i for one in candidates for i in one["trial_ids"]])
    ]
    per_seed = len(wanted[["train", "fold"]].drop_duplicates())
    rows, by_network = [], {}
    for one, also in _networks(candidates):
        values = _by_seed(wanted, one["trial_ids"], column, per_seed)
        by_network[frozenset(one["trial_ids"])] = values
        own = wanted[wanted["trial_id"].isin(one["trial_ids"])]
        mean, low, high = interval(
            values.to_numpy(dtype=float), share=metric.share, minimize=metric.sign < 0
        )
        rows.append(
            {
                **{name: one[name] for name in _GIVEN},
                "also": ", ".join(also),
                "split": "+".join(sorted(own["split"].dropna().unique())),
                "trials": len(one["trial_ids"]),
                "finished": len(own),
                "folds": own["fold"].nunique(),
                "n": len(values),
                "mean": mean,
                "low": low,
                "high": high,
                "deviation": values.std(),
                "seeds": tuple(values.index),
                "values": tuple(values),
            }
        )
    table = pd.DataFrame(rows, columns=_CANDIDATE_COLUMNS)
    by_candidate = [by_network[frozenset(one["trial_ids"])] for one in candidates]
    return table, _compare(candidates, by_candidate, wanted)


def _by_seed(
    finished: pd.DataFrame, trial_ids: Sequence[str], column: str, per_seed: int
) -> pd.Series:
    """Seed -> mean over its so many trials, for the seeds that have all of them."""
    own = finished[finished["trial_id"].isin(list(trial_ids))]
    groups = own.groupby("seed")[column]
    return groups.mean()[groups.count() == per_seed]


def compared(
    candidates: Sequence[Mapping[str, Any]], trials: pd.DataFrame
) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
    """Every comparison to make: the two candidates' numbers, and the columns ``COMPARED``.

    A network that was sampled twice is compared once, and none with itself.
    """
    own = [trials[trials["trial_id"].isin(one["trial_ids"])] for one in candidates]
    keys = [(one["role"] == TOP, frozenset(one["trial_ids"])) for one in candidates]
    firsts = [number for number, key in enumerate(keys) if keys.index(key) == number]
    for number in firsts:
        for other in firsts:
            top, plain = candidates[number], candidates[other]
            (is_top, own_trials), (is_other, other_trials) = keys[number], keys[other]
            if is_top and not is_other and own_trials != other_trials:
                apart = folds_apart(own[number], own[other])
                values = (top["label"], top["rank"], plain["label"], other, apart)
                yield (number, other), dict(zip(COMPARED, values, strict=True))


def _compare(
    candidates: Sequence[Mapping[str, Any]],
    by_candidate: Sequence[pd.Series],
    trials: pd.DataFrame,
) -> pd.DataFrame:
    made = list(compared(candidates, trials))
    if not made:
        return pd.DataFrame(columns=[*COMPARED, *PAIRED_COLUMNS])
    # Subtraction aligns the seeds; those of one side alone become NaN, and all of other folds: a
    # seed is of initial weights, and says nothing of what another split would have given.
    differences = [
        (by_candidate[one] - by_candidate[other]) * (math.nan if names["unpaired"] else 1)
        for (one, other), names in made
    ]
    tested = compare(pd.DataFrame(differences).reset_index(drop=True))
    for place, (_, names) in enumerate(made):
        if names["unpaired"]:
            tested.loc[place, ["decision", "decision_holm"]] = OTHER_FOLDS
    return pd.concat([pd.DataFrame([names for _, names in made]), tested], axis=1)


def confirmation_sentence(table: pd.DataFrame, comparisons: pd.DataFrame, measure: Measure) -> str:
    """The search's best against every plain network, in a sentence or two, fit to print.

    The best is the first by the search's own ranking, not by these seeds: choosing among them
    here would favour luck. A difference counts as one when its max-T-adjusted p is at most 0.05;
    with too few seeds for that, the sentence says how many would do.
    """
    tops = table[table["role"] == TOP].sort_values("rank", kind="stable")
    if tops.empty:
        return "Nothing was confirmed: the confirmation has no candidate of the search."
    best = tops.iloc[0]
    if best["n"] == 0:
        return (
            f"The best network ({best['label']}) is not confirmed yet: none of its "
            f"{count_label(best['trials'], 'trial')} finished for a whole seed."
        )
    split = best["split"] or "test"
    words = [
        f"The best network ({best['label']}) reached {measure.name} of "
        f"{measure.metric.text(best['mean'])} ({_seeds_words(best, measure.metric)}) "
        f"{measure.where.format(split=split)}"
    ]
    missing = best["trials"] - best["finished"]
    if missing:
        words[0] += f" ({missing} of its {count_label(best['trials'], 'trial')} missing)"
    own = comparisons[
        (comparisons["label"] == best["label"]) & (comparisons["rank"] == best["rank"])
    ]
    # The last listed first: of fusion depths the latest, which is what a placement adds to.
    ordered = own.sort_values("baseline_place", ascending=False, kind="stable")
    count = int((comparisons["paired_seeds"] > 0).sum())
    first = ordered["p_max_t"].first_valid_index()  # there the test is named
    phrases = [
        _comparison_words(row, count, measure.metric, number == first, int(best["n"]))
        for number, row in zip(ordered.index, rows_of(ordered), strict=True)
    ]
    if phrases:
        *others, last = phrases
        words.append(f"{', '.join(others)} and {last}" if others else last)
    itself = f" It is itself a plain network, {best['also']}." if best["also"] else ""
    return f"{', '.join(words)}.{itself}"


# Holm's own words say how many it needs, over regions and conditions far more.
DECIDING: Final = f"{seeds_needed()} seeds could decide by max-T, Holm beside it may need more"


def deciding_command(comparisons: pd.DataFrame, search: Search, confirmation: Search) -> str:
    """The command with as many seeds as max-T needs; empty where there are enough.

    Args:
        comparisons: as :func:`compute_confirmation` gives them.
        search, confirmation: what was confirmed, and by which search.
    """
    seeds = comparisons["paired_seeds"]
    task = search.description.task
    if not ((seeds > 0) & (seeds < seeds_needed())).any() or is_unnamed(task):
        return ""
    return go_on_command(
        *("confirm", search.name, task, search.storage.parent.location),
        read_options(confirmation.storage),
        *("--seeds", str(seeds_needed())),
    )


def _comparison_words(
    row: Mapping[str, Any],
    comparisons: int,
    metric: MetricDescription,
    first: bool,
    usual_seeds: int,
) -> str:
    """One comparison; the test and the number of seeds are said where they are news."""
    name, seeds = row["baseline"], int(row["paired_seeds"])
    if row["unpaired"]:
        return f"not comparable with {name} (trained in other folds: {row['unpaired']})"
    if seeds == 0:
        return f"not comparable with {name} (no common seed finished)"
    bounds = within((row["low"], row["high"]), metric)
    low, high = (number_text(one, metric, "+") for one in bounds)
    signed = f"difference {difference_text(row['difference'], metric)}"
    if seeds > 1:
        signed += f", 95 % CI {low} to {high}"
    if math.isnan(row["p_max_t"]):
        return f"against {name} it {row['decision']} ({signed})"
    over = f"{row['sign_flips']} over {count_label(comparisons, 'comparison')}"
    test = f"test by {over}: " if first else ""
    paired = f", n = {count_label(seeds, 'paired seed')}" if seeds != usual_seeds else ""
    detail = f"{test}{p_values(row, comparisons)}{paired}"
    if row["decision"] == NOT_TOLD:
        return f"not distinguishable from {name} ({signed}, {detail})"
    by = difference_text(abs(row["difference"]), metric, ".1f")
    ends = bounds if row["decision"] == HIGHER else (-bounds[1], -bounds[0])
    low, high = (number_text(one, metric) for one in ends)
    way = "above" if row["decision"] == HIGHER else "below"
    return f"{by} {way} {name} (95 % CI {low} to {high}, {detail})"


def _seeds_words(best: pd.Series, metric: MetricDescription) -> str:
    if best["n"] == 1:
        folds = f" ({best['folds']} folds of it share examples)" if best["folds"] > 1 else ""
        return f"one seed{folds}, so no interval"
    low, high = (number_text(best[one], metric) for one in ("low", "high"))
    folds = f", each the mean over {best['folds']} folds" if best["folds"] > 1 else ""
    return f"95 % CI {low} to {high}, n = {best['n']} seeds{folds}"


def number_text(value: float, metric: MetricDescription, sign: str = "") -> str:
    """A value without its unit; shares in per cent."""
    return f"{100 * value:{sign}.1f}" if metric.share else f"{value:{sign}.3g}"
