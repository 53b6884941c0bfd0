"""The best of a search against plain fusion, trained again with fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.plain_data import read_json
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import AnalysisError, count_label
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import CANDIDATES_FILE, CONFIRMATION_SUFFIX, FINISHED
from fusion_search.analysis.statistics import SIGNIFICANCE, holm, interval, paired_p

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
_COMPARISON_COLUMNS: Final = [
    *("label", "rank", "baseline", "baseline_depth"),
    *("paired_seeds", "difference", "low", "high", "p", "p_holm"),
]


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
    paired t-test, adjusted by Holm over all comparisons made. A candidate that is itself a plain
    network is not compared with itself.

    Args:
        trials: the confirmation's ``trials`` table.
        candidates: as :func:`read_candidates` returns them.
        metric: one of ``METRICS``.

    Returns:
        One row per candidate: its label, role, rank, depth, levels and ``search_value``; ``split``
        (where the grid was measured), ``trials`` and ``finished`` (how many), ``n`` seeds,
        ``mean``, ``low``, ``high``, ``deviation`` (sample standard deviation; NaN for one seed),
        ``seeds`` and ``values`` (tuples). And one row per comparison: ``label`` and ``rank``,
        ``baseline`` and ``baseline_depth``, ``paired_seeds``, ``difference`` (candidate -
        baseline), ``low``, ``high``, ``p`` and ``p_holm``, NaN where there are too few seeds.

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


def _compare(
    candidates: Sequence[Mapping[str, Any]], by_candidate: Sequence[pd.Series]
) -> pd.DataFrame:
    rows = []
    for top, top_values in zip(candidates, by_candidate, strict=True):
        for plain, plain_values in zip(candidates, by_candidate, strict=True):
            if top["role"] != TOP or plain["role"] == TOP or _same(top, plain):
                continue
            # Subtraction aligns the seeds; those of one side alone become NaN.
            differences = (top_values - plain_values).dropna().to_numpy()
            mean, low, high = interval(differences)
            p = paired_p(differences[None])[0] if len(differences) > 1 else math.nan
            rows.append(
                {
                    "label": top["label"],
                    "rank": top["rank"],
                    "baseline": plain["label"],
                    "baseline_depth": plain["fusion_depth"],
                    "paired_seeds": len(differences),
                    "difference": mean,
                    "low": low,
                    "high": high,
                    "p": p,
                }
            )
    table = pd.DataFrame(rows, columns=_COMPARISON_COLUMNS)
    table["p_holm"] = holm(table["p"].to_numpy(dtype=float))
    return table


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return set(one["trial_ids"]) == set(other["trial_ids"])


def confirmation_sentence(
    table: pd.DataFrame, comparisons: pd.DataFrame, metric: str = "mean_accuracy"
) -> str:
    """One sentence on the search's best against every plain network, fit to print.

    The best is the first by the search's own ranking, not by these seeds: choosing among them
    here would favour luck. A difference counts as one when its Holm-adjusted p is at most 0.05.
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
    count = int(comparisons["p"].notna().sum())
    phrases = [
        _comparison_words(row, count if number == 0 else 0, int(best["n"]))
        for number, row in enumerate(rows_of(ordered))
    ]
    if (table["role"] != TOP).sum() > len(own):
        phrases.append("it is itself one of the plain networks")
    if phrases:
        *others, last = phrases
        words.append(f"{', '.join(others)} and {last}" if others else last)
    return ", ".join(words) + "."


def _comparison_words(row: Mapping[str, Any], comparisons: int, usual_seeds: int) -> str:
    """One comparison; their number and that of seeds are said where they are news."""
    name, seeds = row["baseline"], int(row["paired_seeds"])
    if seeds == 0:
        return f"not comparable with {name} (no common seed finished)"
    points = f"{100 * abs(row['difference']):.1f} points"
    side = "above" if row["difference"] >= 0 else "below"
    if seeds == 1:
        return f"{points} {side} {name} with one common seed (no interval, no test)"
    tests = f" over {count_label(comparisons, 'comparison')}" if comparisons else ""
    paired = f", n = {seeds} paired seeds" if seeds != usual_seeds else ""
    if math.isnan(row["p"]):
        return f"{points} {side} {name} (the same in all {seeds} seeds, so no test is possible)"
    detail = (
        f"paired t-test p {_p_words(row['p'])}, "
        f"Holm-adjusted p {_p_words(row['p_holm'])}{tests}{paired}"
    )
    low, high = 100 * row["low"], 100 * row["high"]
    if row["p_holm"] <= SIGNIFICANCE:
        # Of what the words say: points below are positive.
        low, high = (low, high) if side == "above" else (-high, -low)
        return f"{points} {side} {name} (95 % CI {low:.1f} to {high:.1f}, {detail})"
    ends = f"difference {100 * row['difference']:+.1f} points, 95 % CI {low:+.1f} to {high:+.1f}"
    return f"not distinguishable from {name} ({ends}, {detail})"


def _seeds_words(best: pd.Series) -> str:
    if best["n"] == 1:
        return "one seed, so no interval"
    return f"95 % CI {_percent(best['low'])} to {_percent(best['high'])}, n = {best['n']} seeds"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _p_words(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"
