"""Which trials were in one fold, and what is said of networks that share none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from xflow_records import TESTED, TRAINED, opened, write_variant

from fusion_search.analysis.conditions import distinct_folds, folds_apart
from fusion_search.analysis.confirmation import compute_confirmation, confirmation_sentence
from fusion_search.analysis.confirmation import measures as confirmation_measures
from fusion_search.analysis.folds.comparison import compute_folds
from fusion_search.analysis.folds.text import folds_text
from fusion_search.analysis.paired import compare
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.statistics import corrected_welch_test

RANDOM = [0.62, 0.55, 0.60, 0.58, 0.66, 0.57]
INSTANCE = [0.41, 0.52, 0.38, 0.47, 0.50, 0.36]
GATE = [0.44, 0.53, 0.43, 0.49, 0.54, 0.40]


def specification(**data: Any) -> str:
    """As a record has it, of data with these settings."""
    groups = {"data": data, "network": {}, "training": {}, "evaluation": {}}
    return json.dumps({**groups, "varied": [*data]})


def rows(folds: int = 3, fingerprint: str = "a", **data: Any) -> pd.DataFrame:
    text = specification(**data)
    return pd.DataFrame(
        [
            {"fold": fold, "specification": text, "data_fingerprint": fingerprint}
            for fold in range(folds)
        ]
    )


def test_a_fold_is_its_number_on_data_of_equal_settings_and_content() -> None:
    trials = [rows(fold_by="random"), rows(fold_by="instance"), rows(fold_by="random")]
    assert distinct_folds(pd.concat(trials, ignore_index=True)).tolist() == [
        *(1, 3, 5),
        *(0, 2, 4),
        *(1, 3, 5),
    ]
    assert distinct_folds(rows(fold_by="random")).tolist() == [0, 1, 2]
    assert distinct_folds(pd.DataFrame({"fold": [2, 4, 2]})).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (rows(fold_by="random", folds_made=6), ""),
        (rows(2, fold_by="random", folds_made=6), ""),
        (rows(fold_by="instance", folds_made=6), "fold by random against instance"),
        (rows(fold_by="random", folds_made=10), "folds made 6 against 10"),
        (rows(fingerprint="b", fold_by="random", folds_made=6), "other content of the data"),
        (pd.DataFrame(columns=["fold", "specification", "data_fingerprint"]), ""),
    ],
)
def test_why_folds_are_not_shared_is_said(other: pd.DataFrame, said: str) -> None:
    assert folds_apart(rows(fold_by="random", folds_made=6), other) == said


def named(split: str = "s", **data: Any) -> pd.DataFrame:
    """Of data whose examples have names: a fingerprint of the splits of every fold."""
    found = rows(fingerprint=f"{data}", **data)
    return found.assign(split_fingerprint=[f"{split}{fold}" for fold in found["fold"]])


def test_folds_of_the_same_examples_are_the_same_whatever_is_made_of_them() -> None:
    small, large, other = named(size=32), named(size=64), named("o", size=64, split_seed=1)
    every = pd.concat([small, large, other], ignore_index=True)
    assert distinct_folds(every).tolist() == [1, 3, 5, 1, 3, 5, 0, 2, 4]
    assert folds_apart(small, large) == ""
    assert folds_apart(small, other) == "size 32 against 64"
    assert folds_apart(small.iloc[:1], large.iloc[1:]) == ""  # would be, had both run them


def test_trials_of_an_earlier_version_are_in_the_folds_of_those_that_followed() -> None:
    """A search that goes on: what its first trials lack, later ones of the same data say."""
    search = named(size=32)
    search.loc[0, "split_fingerprint"] = None
    followed = pd.concat([search, named(size=32), named(size=64)], ignore_index=True)
    assert distinct_folds(followed).tolist() == [0, 1, 2] * 3
    assert distinct_folds(named(size=32).assign(split_fingerprint=None)).tolist() == [0, 1, 2]


def test_a_fingerprint_for_each_fold_is_not_other_content() -> None:
    """Where it counts who is tested, as that of a table; and folds that one lacks are missing."""
    each = [rows(fold_by="random").assign(data_fingerprint=["a", "b", "c"]) for _ in range(2)]
    assert folds_apart(each[0].iloc[:2], each[1].iloc[1:]) == ""
    assert folds_apart(each[0].iloc[:1], each[1].iloc[1:]) == ""


def test_unpaired_means_are_told_by_welchs_test() -> None:
    one, other = np.array(RANDOM), np.array(INSTANCE)
    found = corrected_welch_test(one, other, (0.0, 0.0))  # without shared train examples
    expected = stats.ttest_ind(one, other, equal_var=False)
    assert (found.t, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    ends = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    same = corrected_welch_test(np.full(6, 0.5), np.full(6, 0.4), (0.1, 0.1))
    assert (same.mean, same.p) == (pytest.approx(0.1), 0.0)
    assert isinstance(same.p, float)  # as every other cell of its column
    assert math.isnan(corrected_welch_test(one[:1], other, (0.1, 0.1)).p)
    assert math.isnan(corrected_welch_test(one, other, (0.1, math.nan)).p)


def test_networks_of_other_folds_are_compared_unpaired(tmp_path: Path) -> None:
    """Folds at random against folds by object: of one number, and nothing in common."""
    storage = open_storage(tmp_path)
    for kind, folder, values in (
        ("baseline", "instance", INSTANCE),
        ("both", "instance", GATE),
        ("baseline", "random", RANDOM),
    ):
        more = {"folder": folder, "specification": specification(folder=folder)}
        for fold, value in enumerate(values):
            write_variant(storage.below("made-up"), kind, fold, value, **more)
    search = opened(storage)
    table, measures = compute_folds(search)
    own = table[table["measure"] == "train_condition_accuracy"].set_index("network")
    assert own.index.tolist()[:2] == ["plain, folder instance", "plain, folder random"]
    far = own.loc["plain, folder random"]
    # By hand: (1/6 + n_test / n_train) s^2 of either, Welch's degrees of freedom.
    parts = [(1 / 6 + TESTED / TRAINED) * np.var(one, ddof=1) for one in (RANDOM, INSTANCE)]
    freedom = sum(parts) ** 2 / sum(one**2 / 5 for one in parts)
    difference = np.mean(RANDOM) - np.mean(INSTANCE)
    p = 2 * stats.t.sf(difference / math.sqrt(sum(parts)), freedom)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(sum(parts))
    assert (far["difference"], far["p_corrected_t"]) == pytest.approx((difference, p))
    assert (far["difference_low"], far["difference_high"]) == pytest.approx(
        (difference - half, difference + half)
    )
    assert (far["paired_folds"], far["paired_runs"]) == (0, 0)
    assert far[["p_paired_t", "p_repeated_t", "p_sign_flip", "p_max_t"]].isna().all()
    assert (far["decision"], far["unpaired"]) == ("higher", "folder random against instance")
    # What is paired is told by itself: the other kind of folds is in no family of flips with it.
    near = own.drop(index=["plain, folder instance", "plain, folder random"]).iloc[0]
    alone = compare(pd.DataFrame([np.subtract(GATE, INSTANCE)]), unit="fold").iloc[0]
    assert (near["paired_folds"], near["p_max_t"]) == (6, alone["p_max_t"])
    assert pd.isna(near["unpaired"])
    text = folds_text(table, measures, search, [])
    assert "here the data differ: folder random against instance." in text
    (line, *_) = [one for one in text.splitlines() if one.startswith("| 2 ")]
    assert line.rstrip(" |").endswith("higher, unpaired")


def test_flips_of_folds_that_nothing_is_paired_in_are_not_drawn() -> None:
    """Twenty folds of which ten are paired: all 2^10 flips are counted, none is drawn."""
    gains = np.array([*INSTANCE, *GATE[:4]])[:10] - 0.42
    own = compare(pd.DataFrame([gains]), unit="fold").iloc[0]
    among = compare(pd.DataFrame([[*gains, *[math.nan] * 10]] * 2), unit="fold").iloc[0]
    assert among["sign_flips"] == own["sign_flips"] == "all 1,024 sign flips"
    assert (among["p_sign_flip"], among["p_max_t"]) == (own["p_sign_flip"], own["p_max_t"])


def test_candidates_of_other_folds_are_not_compared(tmp_path: Path) -> None:
    """Seeds are of initial weights: paired over two splits they would tell the splits apart."""
    storage = open_storage(tmp_path)
    for seed in range(6):
        for variant, folder in (("both", "random"), ("baseline", "instance")):
            text = specification(folder=folder)
            more = {"folder": folder, "specification": text}
            write_variant(storage.below("made-up"), variant, 0, 0.5, seed=seed, **more)
    search = opened(storage)
    ids = {
        variant: [f"{variant}0s{seed}{folder}" for seed in range(6)]
        for variant, folder in (("both", "random"), ("baseline", "instance"))
    }
    candidates = [
        {"label": label, "role": role, "rank": rank, "search_value": None, "trial_ids": ids[own]}
        for label, role, rank, own in (
            ("cross", "top", 1, "both"),
            ("plain fusion", "plain", None, "baseline"),
        )
    ]
    measure = confirmation_measures(search.description)["mean_accuracy"]
    table, comparisons = compute_confirmation(search.trials, candidates, measure)
    (row,) = comparisons.to_dict("records")
    assert (row["paired_seeds"], row["decision"]) == (0, "not comparable, other folds")
    sentence = confirmation_sentence(table, comparisons, measure)
    assert "not comparable with plain fusion (trained in other folds: folder random" in sentence
