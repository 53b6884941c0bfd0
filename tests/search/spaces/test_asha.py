"""ASHA's rule against Ray's own, and what is kept of its decisions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.tune.schedulers import ASHAScheduler

from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.records.asha_decisions import AshaDecisions, read_asha_decisions
from fusion_search.search.spaces.asha import Asha

RULES = [(1, 2, 10), (1, 3, 10), (2, 3, 54), (1, 3, 82), (3, 4, 12), (5, 2, 5), (2, 10, 40)]


def reports(samples: int, epochs: int, seed: int) -> list[tuple[str, int, float]]:
    """Every sample's best score so far after each of its epochs, some equal; by turns of chance."""
    chance = np.random.default_rng(seed)
    scores = np.maximum.accumulate(chance.integers(0, 300, (samples, epochs)) / 300, axis=1)
    turns = chance.permutation(np.repeat(np.arange(samples), epochs))
    done = [0] * samples
    found = []
    for one in turns:
        done[one] += 1
        found.append((f"s{one}", done[one], float(scores[one, done[one] - 1])))
    return found


@pytest.mark.parametrize(("grace", "reduction", "epochs"), RULES)
def test_stops_are_those_of_ray(tmp_path: Path, grace: int, reduction: int, epochs: int) -> None:
    rays = ASHAScheduler(
        "epochs", "score", "max", max_t=epochs, grace_period=grace, reduction_factor=reduction
    )
    rule = Asha(grace=grace, reduction=reduction, epochs=epochs)
    ours = AshaDecisions(open_storage(tmp_path), rule)
    trials: dict[str, Any] = {}
    stopped = set()
    for sample, done, score in reports(30, epochs, seed=grace):
        if sample in stopped or done == epochs:  # after the last epoch there is nothing to decide
            continue
        if sample not in trials:
            trials[sample] = SimpleNamespace(trial_id=sample)
            rays.on_trial_add(None, trials[sample])  # type: ignore[arg-type]
        told = {"epochs": done, "score": score}
        expected = rays.on_trial_result(None, trials[sample], told) == "CONTINUE"  # type: ignore[arg-type]
        assert ours.goes_on(sample, done, score) == expected
        stopped |= set() if expected else {sample}
    assert bool(stopped) == (grace < epochs)


def test_a_sample_that_comes_again_is_answered_as_before_and_counts_once(tmp_path: Path) -> None:
    storage, rule = open_storage(tmp_path), Asha(grace=1, reduction=2, epochs=9)
    told = [("a", 1, 0.5), ("b", 1, 0.2), ("c", 1, 0.6), ("a", 2, 0.7), ("d", 1, 0.55)]
    first = AshaDecisions(storage, rule)
    # The quantile of 0.5 is 0.5, then 0.35, and of 0.5, 0.2 and 0.6 again 0.5.
    assert [first.goes_on(*one) for one in told] == [True, False, True, True, True]
    written = storage.read("asha.json")
    again = AshaDecisions(storage, rule)
    # Even where it comes with another score, as after a change of code.
    answers = [again.goes_on(sample, epochs, 1 - score) for sample, epochs, score in told]
    assert answers == [True, False, True, True, True]
    assert storage.read("asha.json") == written
    assert [one.epochs for one in read_asha_decisions(storage)] == [1, 1, 1, 2, 1]
    assert not again.goes_on("e", 1, 0.52)  # of 0.2, 0.5, 0.55 and 0.6 it is 0.525
    assert again.goes_on("f", 3, 0.0)  # no rung


def test_within_a_choice_each_of_its_options_is_a_race_of_its_own(tmp_path: Path) -> None:
    """As early fusion learns late: in one race its samples would be stopped for it."""
    rule = Asha(grace=1, reduction=3, epochs=9, within=("fusion_depth",))
    together = AshaDecisions(open_storage(tmp_path / "together"), rule)
    alone = [
        AshaDecisions(open_storage(tmp_path / str(depth)), replace(rule, within=()))
        for depth in range(3)
    ]
    mixed = AshaDecisions(open_storage(tmp_path / "mixed"), replace(rule, within=()))
    stopped: dict[str, set[str]] = {"within": set(), "mixed": set()}
    for sample, done, score in reports(45, 9, seed=0):
        depth = int(sample[1:]) % 3
        late = score + depth  # every sample of a lower depth is worse than all of a higher one
        kept = together.goes_on(sample, done, late, {"units": 8, "fusion_depth": depth})
        assert kept == alone[depth].goes_on(sample, done, late)
        if not kept:
            stopped["within"].add(sample)
        if not mixed.goes_on(sample, done, late, {"fusion_depth": depth}):
            stopped["mixed"].add(sample)
    depths = {name: [int(one[1:]) % 3 for one in samples] for name, samples in stopped.items()}
    assert min(depths["within"].count(depth) for depth in range(3)) >= 5
    assert depths["mixed"].count(0) >= 14 > depths["within"].count(0)
    groups = {one.group for one in read_asha_decisions(open_storage(tmp_path / "together"))}
    assert groups == {f'{{"fusion_depth": {depth}}}' for depth in range(3)}


def test_decisions_of_a_version_without_groups_are_read(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    plain = [{"sample_id": "a", "epochs": 1, "score": 0.5, "kept": True}]
    storage.write(json.dumps(plain).encode(), "asha.json")
    assert [one.group for one in read_asha_decisions(storage)] == [""]


@pytest.mark.parametrize(
    ("plain", "why"),
    [
        ({}, "it is not a list of decisions"),
        ([{"sample_id": "a"}], "other fields than sample_id, epochs, score, kept, group"),
        ([{"sample_id": "a", "epochs": 1, "score": 1, "kept": True}], "of another type"),
        ([{"sample_id": "a", "epochs": 0, "score": 1.0, "kept": True}], "about no sample"),
        ([{"sample_id": "a", "epochs": 1, "score": 1e999, "kept": True}], "Infinity is not JSON"),
    ],
)
def test_damaged_decisions_are_named_with_a_remedy(tmp_path: Path, plain: Any, why: str) -> None:
    storage = open_storage(tmp_path)
    storage.write(json.dumps(plain).encode(), "asha.json")
    with pytest.raises(ValueError, match=rf"asha.json is damaged \({why}|asha.json .*{why}"):
        read_asha_decisions(storage)
