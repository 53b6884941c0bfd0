"""The early-fusion campaign runs what docs/campaign.md says, in its order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fusion_search.search.declaration.configuration import build_search, load_configuration
from fusion_search.search.trials.specification import TrialSpecification

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def trials() -> list[TrialSpecification]:
    return build_search(
        load_configuration(ROOT / "search/configs/early-fusion.yaml")
    ).planned_trials()


def test_as_many_trials_of_each_seed_as_the_page_says(
    trials: list[TrialSpecification],
) -> None:
    lines = (ROOT / "docs/campaign.md").read_text().splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    steps = [(row[1], int(row[2])) for row in rows if len(row) == 5 and row[2].isdigit()]
    assert [count for _, count in steps] == [16, 18, 6, 10, 48, 32, 50]
    promised: Counter[int] = Counter()
    for seeds, count in steps:
        first, _, last = seeds.replace(",", " to").partition(" to ")
        every = range(int(first), int(last or first) + 1)
        promised.update({seed: count // len(every) for seed in every})
    assert Counter(one.seed for one in trials) == promised
    assert [one.seed for one in trials] == sorted(one.seed for one in trials)


def test_a_seed_has_splits_of_its_own_and_nothing_else_varies(
    trials: list[TrialSpecification],
) -> None:
    plain = [one.settings() for one in trials]
    assert all(one["split_seed"] == trial.seed for one, trial in zip(plain, trials, strict=True))
    free = {"split_seed", "fusion_depth", "pooling"}
    fixed = {frozenset((k, str(v)) for k, v in one.items() if k not in free) for one in plain}
    assert len(fixed) == 1
    told = dict(next(iter(fixed)))
    assert (told["units"], told["frames"], told["examples"]) == ("16", "42", "40000")
    assert int(told["epochs"]) * int(told["epoch_examples"]) == int(told["examples"])
    assert (told["test_examples"], told["optimizer"]) == ("500", "adam")
    assert (told["precision"], told["gates"], told["device"]) == ("bfloat16", "compiled", "auto")
