"""Fold rungs: the rule against a count by hand and a simulation that sees everything."""

from __future__ import annotations

import math
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from small_trials import small_trial

from fusion_search.search.spaces.fold_rungs import (
    Decision,
    FoldRungs,
    folds_ended,
    parse_decision,
)


def kept_by_hand(values: list[float], reduction: int, sign: int) -> bool:
    """Whether the last of these is among the best 1/reduction of all, rounded up.

    Of equal ones the last stands first.
    """
    order = sorted(range(len(values)), key=lambda one: (-sign * values[one], -one))
    return order.index(len(values) - 1) < math.ceil(Fraction(len(values), reduction))


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("reduction", [2, 3, 4])
def test_the_rule_is_a_naive_ranking_in_any_order_of_arrival(
    reduction: int, direction: str
) -> None:
    rule = FoldRungs(reduction, direction)
    sign = 1 if direction == "maximize" else -1
    generator = np.random.default_rng(reduction)
    for _ in range(20):
        samples, folds = int(generator.integers(1, 25)), int(generator.integers(2, 5))
        # Few different scores, so that many are equal.
        scores = generator.integers(0, 6, size=(samples, folds)) / 6
        decisions: list[Decision] = []
        came: dict[int, list[float]] = {rung: [] for rung in range(1, folds)}
        at, whole, dropped = dict.fromkeys(range(samples), 0), set(), {}
        while at:  # any sample that is not over may be the next to end a fold
            number = int(generator.choice(list(at)))
            at[number] += 1
            rung = at[number]
            if rung == folds:
                whole.add(number)
                del at[number]
                continue
            value = float(np.mean(scores[number, :rung]))
            came[rung].append(value)
            decision = rule.decide(decisions, {"number": number}, rung, value)
            decisions.append(decision)
            assert decision.kept == kept_by_hand(came[rung], reduction, sign)
            assert decision.of == len(came[rung])
            if not decision.kept:
                dropped[number] = rung
                del at[number]
        assert whole or samples == 0  # the first at every rung is kept
        assert len(whole) + len(dropped) == samples
        # Of those that came to a rung, about one in so many is kept, and never none.
        for rung, values in came.items():
            kept = sum(one.kept for one in decisions if one.folds == rung)
            assert kept >= min(1, len(values))


def test_the_first_is_kept_and_equals_are_not_better() -> None:
    rule = FoldRungs(3, "maximize")
    told: list[Decision] = []
    for value in (0.2, 0.2, 0.5, 0.3, 0.1):
        told.append(rule.decide(told, {"value": value}, 1, value))
    assert [one.kept for one in told] == [True, True, True, True, False]
    assert [one.better for one in told] == [0, 0, 0, 1, 4]
    # What was decided after one fold says nothing after two.
    assert rule.decide(told, {}, 2, 0.0).kept


def test_a_sample_stands_between_two_folds_when_all_trials_of_some_ended() -> None:
    trials = [small_trial(fold=fold, seed=seed) for fold in (3, 1, 2) for seed in (0, 1)]
    ids = [one.trial_id for one in trials]
    found = [folds_ended(trials, ids[:count]) for count in range(7)]
    assert found == [None, None, 1, None, 2, None, None]
    assert folds_ended(trials, ids[2:4]) is None  # the first fold's records were lost


def test_a_decision_is_read_as_it_was_written_and_refused_otherwise() -> None:
    decision = Decision(sample={"a": 1}, folds=1, value=0.5, better=2, of=4, kept=False)
    plain: dict[str, Any] = asdict(decision)
    assert parse_decision(plain) == decision
    wrong: list[Any] = [
        None,
        {**plain, "more": 1},
        {**plain, "kept": 0},
        {**plain, "folds": True},
        {**plain, "folds": 0},
        {**plain, "value": math.inf},
        {**plain, "sample": "a"},
    ]
    for one in wrong:
        with pytest.raises(ValueError, match="decision"):
            parse_decision(one)
