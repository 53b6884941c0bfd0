"""The best of a search against plain fusion, trained again with fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.paired import HIGHER, NOT_TOLD, PAIRED_COLUMNS, compare, p_values
from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.plain_data import read_json
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import AnalysisError, count_label
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import CANDIDATES_FILE, CONFIRMATION_SUFFIX, FINISHED
from fusion_search.analysis.statistics import interval

METRICS: Final = {
    "mean_accuracy": "over the 10 x 10 {split} SNR grid",
    "train_pair_accuracy": "at the train SNRs on the {split} split",
    "worst_accuracy": "of the 10 x 10 {split} SNR conditions",
}
"""Column of ``trials`` -> where it is measured."""

_NAMES: Final = {
    "mean_accuracy": "a mean accuracy",
    "train_pair_accuracy": "an accuracy",
    "worst_accuracy": "a worst accuracy",
}
TOP: Final = "top"
_CANDIDATE_COLUMNS: Final = [
    *("label", "role", "rank", "fusion_depth", "levels", "search_value", "split"),
    *("trials", "finished", "n", "mean", "low", "high", "deviation", "seeds", "values"),
]
COMPARED: Final = ["label", "rank", "baseline", "baseline_depth"]


def read_candidates(folder: Storage) -> list[dict[str, Any]]:
    """What a confirmation compares, from its folder's ``candidates.json``.

    Raises:
        AnalysisError: it is missing or damaged.
    """
    where = folder.named(CANDIDATES_FILE)
    try:
        raw = read_json(folder, CANDIDATES_FILE)
        return [{name: one[name] for name in (*_CANDIDATE_COLUMNS[:6], "trial_ids")} for one in raw]
    except FileNotFoundError as error:
        raise AnalysisError(f"{where} is missing; `{_again(folder)}` writes it") from error
    except (ValueError, TypeError, KeyError) as error:
        raise AnalysisError(
            f"{where} is damaged ({error}); run `{_again(folder)}` again"
        ) from error


def _again(folder: Storage) -> str:
    name = folder.location.partition("?")[0].rstrip("/").rpartition("/")[2]
    name = name.removesuffix(CONFIRMATION_SUFFIX)
    return command("confirm", name, storage=folder.parent.location)


def compute_confirmation(
    trials: pd.DataFrame, candidates: Sequence[Mapping[str, Any]], metric: str = "mean_accuracy"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every candidate over its seeds, and the best against every plain network.

    A seed counts for a candidate when its trials at all train pairs finished; its value is their
    mean. Differences are paired by seed. Intervals are Student's t over seeds, 95 %; p is of the
    sign-flip test over all comparisons made, which takes a seed's differences to be as likely with
    the opposite sign, all together. A candidate that is itself a plain network is not compared
    with itself.

    Args:
        trials: the confirmation's ``trials`` table.
        candidates: as :func:`read_candidates` returns them.
        metric: one of ``METRICS``.

    Returns:
        One row per candidate: its label, role, rank, depth, levels and ``search_value``; ``split``
        (where the grid was measured), ``trials`` and ``finished`` (how many), ``n`` seeds,
        ``mean``, ``low``, ``high``, ``deviation`` (sample standard deviation; NaN for one seed),
        ``seeds`` and ``values`` (tuples). And one row per comparison: ``label`` and ``rank``,
        ``baseline`` and ``baseline_depth``, and of the differences candidate - baseline the
        columns of :func:`analysis.paired.compare`.

    Raises:
        AnalysisError: the metric is unknown.
    """
    if metric not in METRICS:
        raise AnalysisError(f"metric is {metric!r}; allowed: {', '.join(METRICS)}")
    finished = trials[trials["status"] == FINISHED]
    wanted = finished[
        finished["trial_id"].isin([i for one in candidates for i in one["trial_ids"]])
    ]
    pairs = len(wanted[["train_audio_snr", "train_visual_snr"]].drop_duplicates())
    by_candidate = [_by_seed(wanted, one["trial_ids"], metric, pairs) for one in candidates]
    rows = []
    for one, values in zip(candidates, by_candidate, strict=True):
        own = wanted[wanted["trial_id"].isin(one["trial_ids"])]
        mean, low, high = interval(values.to_numpy())
        rows.append(
            {
                **{name: one[name] for name in _CANDIDATE_COLUMNS[:6]},
                "split": "+".join(sorted(own["evaluation_split"].dropna().unique())),
                "trials": len(one["trial_ids"]),
                "finished": len(own),
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
    return table, _compare(candidates, by_candidate)


def _by_seed(
    finished: pd.DataFrame, trial_ids: Sequence[str], metric: str, pairs: int
) -> pd.Series:
    """Seed -> mean over train pairs, for the seeds that have all of them."""
    own = finished[finished["trial_id"].isin(list(trial_ids))]
    groups = own.groupby("seed")[metric]
    return groups.mean()[groups.count() == pairs]


def compared(
    candidates: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
    """Every comparison to make: the two candidates' numbers, and the columns ``COMPARED``."""
    for number, top in enumerate(candidates):
        for other, plain in enumerate(candidates):
            same = set(top["trial_ids"]) == set(plain["trial_ids"])
            if top["role"] == TOP and plain["role"] != TOP and not same:
                values = (top["label"], top["rank"], plain["label"], plain["fusion_depth"])
                yield (number, other), dict(zip(COMPARED, values, strict=True))


def _compare(
    candidates: Sequence[Mapping[str, Any]], by_candidate: Sequence[pd.Series]
) -> pd.DataFrame:
    made = list(compared(candidates))
    if not made:
        return pd.DataFrame(columns=[*COMPARED, *PAIRED_COLUMNS])
    # Subtraction aligns the seeds; those of one side alone become NaN.
    differences = [by_candidate[one] - by_candidate[other] for (one, other), _ in made]
    tested = compare(pd.DataFrame(differences).reset_index(drop=True))
    return pd.concat([pd.DataFrame([names for _, names in made]), tested], axis=1)


def confirmation_sentence(
    table: pd.DataFrame, comparisons: pd.DataFrame, metric: str = "mean_accuracy"
) -> str:
    """One sentence on the search's best against every plain network, fit to print.

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
            f"The best placement ({best['label']}) is not confirmed yet: none of its "
            f"{count_label(best['trials'], 'trial')} finished for a whole seed."
        )
    split = best["split"] or "test"
    words = [
        f"The best placement ({best['label']}) reached {_NAMES[metric]} of "
        f"{_percent(best['mean'])} % ({_seeds_words(best)}) {METRICS[metric].format(split=split)}"
    ]
    missing = best["trials"] - best["finished"]
    if missing:
        words[0] += f" ({missing} of its {count_label(best['trials'], 'trial')} missing)"
    own = comparisons[
        (comparisons["label"] == best["label"]) & (comparisons["rank"] == best["rank"])
    ]
    # The latest fusion first: that is what the placement adds to.
    ordered = own.sort_values("baseline_depth", ascending=False, kind="stable")
    count = int((comparisons["paired_seeds"] > 0).sum())
    first = ordered["p_max_t"].first_valid_index()  # there the test is named
    phrases = [
        _comparison_words(row, count, number == first, int(best["n"]))
        for number, row in zip(ordered.index, rows_of(ordered), strict=True)
    ]
    if (table["role"] != TOP).sum() > len(own):
        phrases.append("it is itself one of the plain networks")
    if phrases:
        *others, last = phrases
        words.append(f"{', '.join(others)} and {last}" if others else last)
    return ", ".join(words) + "."


def _comparison_words(
    row: Mapping[str, Any], comparisons: int, first: bool, usual_seeds: int
) -> str:
    """One comparison; the test and the number of seeds are said where they are news."""
    name, seeds = row["baseline"], int(row["paired_seeds"])
    if seeds == 0:
        return f"not comparable with {name} (no common seed finished)"
    low, high = 100 * row["low"], 100 * row["high"]
    signed = f"difference {100 * row['difference']:+.1f} points"
    if seeds > 1:
        signed += f", 95 % CI {low:+.1f} to {high:+.1f}"
    if math.isnan(row["p_max_t"]):
        return f"against {name} it {row['decision']} ({signed})"
    over = f"{row['sign_flips']} over {count_label(comparisons, 'comparison')}"
    test = f"test by {over}: " if first else ""
    paired = f", n = {seeds} paired seeds" if seeds != usual_seeds else ""
    detail = f"{test}{p_values(row, comparisons)}{paired}"
    if row["decision"] == NOT_TOLD:
        return f"not distinguishable from {name} ({signed}, {detail})"
    points = f"{100 * abs(row['difference']):.1f} points"
    if row["decision"] == HIGHER:
        return f"{points} above {name} (95 % CI {low:.1f} to {high:.1f}, {detail})"
    return f"{points} below {name} (95 % CI {-high:.1f} to {-low:.1f}, {detail})"


def _seeds_words(best: pd.Series) -> str:
    if best["n"] == 1:
        return "one seed, so no interval"
    return f"95 % CI {_percent(best['low'])} to {_percent(best['high'])}, n = {best['n']} seeds"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
