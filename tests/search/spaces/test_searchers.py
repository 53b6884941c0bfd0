"""Searchers: what they propose depends on the history alone, and they learn from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest

from fusion_search.analysis.records.samples import FEWEST_SAMPLES, few_samples_words
from fusion_search.analysis.records.selection import large_count
from fusion_search.analysis.records.tables import FAILED, FINISHED, STOPPED
from fusion_search.search.declaration.layouts import Layouts
from fusion_search.search.declaration.space_fields import build_space
from fusion_search.search.spaces.importance import compute_importance
from fusion_search.search.spaces.objectives import MAXIMIZE, MINIMIZE
from fusion_search.search.spaces.parameters import Sample
from fusion_search.search.spaces.replay import replay
from fusion_search.search.spaces.searchers import SEARCHERS, make_searcher, propose_new
from fusion_search.search.spaces.searchers.base import RUNNING, Observation, Searcher, ranks
from fusion_search.search.spaces.searchers.random_grid import GridSearcher, enumerate_samples
from fusion_search.search.spaces.searchers.surrogate import encode
from fusion_search.search.spaces.space import Space
from fusion_search.search.tasks.digits.task import Digits

BOTH_WAYS = {"image>audio": ["none", "cross"], "audio>image": ["none", "cross"]}


def space(**raw: Any) -> Space:
    """Of digits."""
    task = Digits()
    train = {"train": [[1, 1]]}
    return build_space({**train, **raw}, "digits", task, Layouts(task, {}), split="validation")


PLACEMENTS = space(
    network={"fusion_depth": [0, 1, 2]},
    placement={"couplings": ["none", "mmtm", "sum"], "connections": BOTH_WAYS},
)
MIXED = space(
    network={"levels": 3, "fusion_depth": [0, 1, 2, 3], "units": {"low": 2, "high": 16}},
    training={"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}},
    placement={"couplings": ["none", "mmtm"], "ends": ["concatenation", "gate_audio"]},
    train={"choose": [[1, 1], [2, 1]]},
)


def additive(whole: Space, seed: int = 0) -> dict[str, tuple[Sample, tuple[float, ...], float]]:
    """A table in which every choice adds its own worth, plus a little noise."""
    generator = np.random.default_rng(seed)
    worth: dict[tuple[str, Any], float] = {}
    table = {}
    for sample in enumerate_samples(whole):
        value = 0.2 * generator.normal()
        for choice in sample.items():
            value += worth.setdefault(choice, generator.normal())
        table[whole.sample_id(sample)] = (sample, (float(value),), 1.0)
    return table


def mixed_history(searcher: Searcher, count: int) -> list[Observation]:
    """As a real search makes it: finished, stopped, failed and running in between."""
    history: list[Observation] = []
    for number in range(count):
        sample = propose_new(searcher, history, lambda one: True)
        assert sample is not None
        state = [FINISHED, FINISHED, STOPPED, FAILED][number % 4]
        values = tuple(float(number * 7 % 5) for _ in searcher.directions)
        history.append(
            Observation(
                sample=sample,
                state=RUNNING if number >= count - 2 else state,
                values=values if state == FINISHED else (),
                progress=(1 + number % 3, 0.1 * (number % 7)) if state == STOPPED else None,
            )
        )
    return history


@pytest.mark.parametrize("name", sorted(set(SEARCHERS) - {"grid"}))
def test_a_proposal_depends_on_the_history_alone(name: str) -> None:
    def fresh() -> Searcher:
        return make_searcher(name, MIXED, [MAXIMIZE], 5)

    searcher = fresh()
    history = mixed_history(searcher, 30)
    for count in (0, 3, 12, 30):
        expected = fresh().propose(history[:count], 0)
        assert searcher.propose(history[:count], 0) == expected
        assert fresh().propose(history[:count], 0) == expected
    # Neither a refused proposal nor a resume brings the same numbers again.
    proposed = [fresh().propose(history, attempt) for attempt in range(5)]
    assert len({str(one) for one in proposed}) > 1
    starts = [fresh().propose(history[:count], 0) for count in range(4)]
    assert len({str(one) for one in starts}) == 4


@pytest.mark.parametrize("directions", [[MAXIMIZE], [MAXIMIZE, MINIMIZE]])
def test_nsga2_is_pure_in_later_generations_too(directions: list[str]) -> None:
    """A searcher that has asked within a generation before answers as one just resumed."""

    def fresh() -> Searcher:
        return make_searcher("nsga2", MIXED, directions, 5)

    history = mixed_history(fresh(), 130)
    assert sum(one.state == FINISHED for one in history) > 60  # three generations are full
    searcher = fresh()
    for count in range(40, len(history), 3):
        resumed = fresh().propose(history[:count])
        assert [searcher.propose(history[:count]) for _ in range(2)] == [resumed, resumed]


@pytest.mark.parametrize("name", sorted(set(SEARCHERS) - {"grid"}))
def test_seeds_give_different_searches(name: str) -> None:
    first = {str(make_searcher(name, MIXED, [MAXIMIZE], seed).propose((), 0)) for seed in range(6)}
    assert len(first) > 3


def test_grid_gives_every_sample_once_in_order() -> None:
    searcher = GridSearcher(PLACEMENTS, [MAXIMIZE], 0)
    history: list[Observation] = []
    while (sample := searcher.propose(history)) is not None:
        history.append(Observation(sample=sample, state=RUNNING))
    assert [one.sample for one in history] == list(enumerate_samples(PLACEMENTS))
    assert len(history) == 1 + 12 + 12**2
    with pytest.raises(ValueError, match="learning_rate is a range of numbers"):
        GridSearcher(MIXED, [MAXIMIZE], 0).propose(())


def test_ranks_put_the_stopped_below_the_finished() -> None:
    def seen(state: str, value: float = 0.0, progress: Any = None) -> Observation:
        return Observation(sample={}, state=state, values=(value,), progress=progress)

    history = [
        seen(FINISHED, 0.2),
        seen(STOPPED, progress=(3, 0.5)),
        seen(RUNNING),
        seen(FINISHED, 0.4),
        seen(STOPPED, progress=(1, 0.9)),
        seen(FAILED),
        seen(STOPPED, progress=(3, 0.6)),
        seen(FINISHED, 0.2),
    ]
    expected = [0.75, 0.25, np.nan, 1.0, 0.0, np.nan, 0.5, 0.75]
    np.testing.assert_allclose(ranks(history, MAXIMIZE), expected)
    expected[0] = expected[7] = 1.0
    expected[3] = 0.75
    np.testing.assert_allclose(ranks(history, MINIMIZE), expected)


@pytest.mark.parametrize("direction", [MAXIMIZE, MINIMIZE])
def test_tpe_ranks_the_stopped_as_we_do(direction: str) -> None:
    """Optuna's own order of pruned trials, asked of its splitting into good and bad."""
    searcher = make_searcher("tpe", PLACEMENTS, [direction], 0)
    history = []
    for number, sample in enumerate(list(enumerate_samples(PLACEMENTS))[:12]):
        stopped = number % 2 == 0
        history.append(
            Observation(
                sample=sample,
                state=STOPPED if stopped else FINISHED,
                values=() if stopped else (float(number),),
                progress=(number % 3, 0.1 * number) if stopped else None,
            )
        )
    study = searcher._study(history)  # type: ignore[attr-defined]
    split = optuna.samplers._tpe.sampler._split_trials
    order = np.argsort(-ranks(history, direction), kind="stable")
    for count in range(1, 12):
        good, _ = split(study, study.get_trials(), count)
        assert {one.number for one in good} == {int(one) for one in order[:count]}


@pytest.mark.parametrize("name", ["tpe", "surrogate"])
def test_one_objective_searchers_refuse_several(name: str) -> None:
    with pytest.raises(ValueError, match="use nsga2 for several"):
        make_searcher(name, PLACEMENTS, [MAXIMIZE, MINIMIZE], 0)


def test_nsga2_builds_generations_from_finished_trials() -> None:
    searcher = make_searcher("nsga2", MIXED, [MAXIMIZE, MINIMIZE], 0)
    history = mixed_history(searcher, 90)
    study = searcher._study(history)  # type: ignore[attr-defined]
    sampler = searcher._sampler(0)  # type: ignore[attr-defined]
    key = sampler._get_generation_key()
    complete = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    finished = [one.system_attrs[key] for one in complete]
    assert finished == [index // 20 for index in range(len(finished))]
    assert len(finished) == sum(one.state == FINISHED for one in history)
    # The sampler itself sees them: without parents it would draw by chance, and nobody would know.
    for generation in (1, 2):
        parents = sampler.get_parent_population(study, generation)
        earlier = complete[: 20 * generation]
        assert len(parents) == 20
        assert {one.number for one in parents} <= {one.number for one in earlier}
    assert searcher.propose(history, 0) is not None


def test_the_surrogate_starts_small_and_grows() -> None:
    searcher = make_searcher("surrogate", PLACEMENTS, [MAXIMIZE], 3)
    history: list[Observation] = []
    for number in range(40):
        sample = searcher.propose(history, 0)
        assert sample is not None
        assert PLACEMENTS.complexity(sample) <= 1 + number // 10
        value = float(number % 5)
        history.append(Observation(sample=sample, state=FINISHED, values=(value,)))


def test_encoding_counts_differences() -> None:
    parameters = MIXED.parameters()
    low = {"fusion_depth": 0, "learning_rate": 1e-4, "units": 2, "train_condition": "1/1"}
    high = {**low, "learning_rate": 1e-1, "units": 16}
    difference = encode(parameters, high) - encode(parameters, low)
    assert np.sum(difference**2) == pytest.approx(2.0)
    other = encode(parameters, {**low, "train_condition": "2/1"}) - encode(parameters, low)
    assert np.sum(other**2) == pytest.approx(2.0)


@pytest.fixture(scope="module")
def large() -> tuple[Space, Any]:
    deep = space(
        network={"levels": 3, "fusion_depth": [0, 1, 2, 3]},
        placement={"couplings": ["none", "mmtm", "sum"], "connections": BOTH_WAYS},
    )
    return deep, additive(deep)


@pytest.mark.parametrize(("name", "trials"), [("surrogate", 30), ("nsga2", 100), ("tpe", 50)])
def test_searchers_learn_where_there_is_something_to_learn(
    large: tuple[Space, Any], name: str, trials: int
) -> None:
    whole, table = large

    def mean_best(searcher: str, seeds: int) -> float:
        runs = [
            replay(whole, table, searcher, [MAXIMIZE], seed, trials=trials) for seed in range(seeds)
        ]
        return float(np.mean([one["best"].iloc[-1] for one in runs]))

    assert mean_best(name, 5) > mean_best("random", 40)


@pytest.mark.parametrize("name", sorted(SEARCHERS))
def test_a_replay_finds_everything_in_the_end(name: str) -> None:
    small = space(
        network={"fusion_depth": [0, 1, 2]},
        placement={
            "couplings": ["none", "mmtm"],
            "connections": {"image>audio": ["none", "cross"]},
        },
    )
    table = additive(small)
    run = replay(small, table, name, [MINIMIZE], 0)
    assert len(run) == len(table) == 1 + 4 + 16
    assert run["best"].is_monotonic_decreasing
    assert run["best"].iloc[-1] == min(values[0] for _, values, _ in table.values())
    assert sorted(run["value"]) == sorted(values[0] for _, values, _ in table.values())
    assert run["seconds"].tolist() == [float(number + 1) for number in range(len(table))]
    assert (run["unrecorded"] == 0).all()


@pytest.mark.parametrize("name", sorted(SEARCHERS))
def test_a_parameter_of_a_fixed_coupling_is_searched(name: str) -> None:
    fixed = space(
        network={"fusion_depth": 1, "mmtm_ratio": [1, 2, 4]},
        training={"batch_size": [16, 32]},
        placement={"couplings": "mmtm"},
    )
    table = additive(fixed)
    run = replay(fixed, table, name, [MAXIMIZE], 0)
    assert len(run) == len(table) == 6
    if name in ("tpe", "nsga2", "surrogate"):
        # One ratio is far better than the others: who learns of it proposes it most.
        history = [
            Observation(sample=one, state=FINISHED, values=(float(one["mmtm_ratio"] == 2),))
            for one in list(enumerate_samples(fixed)) * 10
        ]
        searcher = make_searcher(name, fixed, [MAXIMIZE], 0)
        proposed = [searcher.propose(history, attempt) for attempt in range(30)]
        assert sum(one is not None and one["mmtm_ratio"] == 2 for one in proposed) > 15


def test_a_replay_counts_what_has_no_record() -> None:
    table = additive(PLACEMENTS)
    kept = dict(list(table.items())[::2])
    run = replay(PLACEMENTS, kept, "random", [MAXIMIZE], 0)
    assert len(run) == len(kept)
    assert run["unrecorded"].iloc[-1] > 0


def test_a_searcher_that_repeats_itself_is_helped_out() -> None:
    class Stubborn(Searcher):
        def propose(self, history: Any, attempt: int = 0) -> Sample:
            return {"fusion_depth": 0}

    stubborn = Stubborn(PLACEMENTS, [MAXIMIZE], 0)
    found = propose_new(stubborn, (), lambda one: one != {"fusion_depth": 0})
    assert found is not None
    assert found["fusion_depth"] > 0
    assert propose_new(stubborn, (), lambda one: False) is None


def test_importance_finds_the_choice_that_matters() -> None:
    generator = np.random.default_rng(0)
    history = []
    for sample in enumerate_samples(PLACEMENTS):
        value = 2.0 * (sample.get("coupling_level1") == "mmtm") + 0.1 * generator.normal()
        history.append(Observation(sample=sample, state=FINISHED, values=(value,)))
    table = compute_importance(PLACEMENTS, history)
    assert table["parameter"].iloc[0] == "coupling_level1"
    assert table["importance"].iloc[0] > 0.8
    assert table["importance"].sum() == pytest.approx(1.0)
    assert set(table["samples"]) == {len(history)}


def test_importance_takes_ranges_that_may_be_absent() -> None:
    whole = space(
        network={"fusion_depth": [0, 1, 2], "mmtm_ratio": {"low": 1, "high": 64}},
        training={"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}},
        placement={"couplings": ["none", "mmtm"]},
    )
    searcher = make_searcher("random", whole, [MAXIMIZE], 0)
    history: list[Observation] = []
    for _ in range(60):
        sample = searcher.propose(history, 0)
        assert sample is not None
        value = float(np.log(float(sample["learning_rate"])))
        history.append(Observation(sample=sample, state=FINISHED, values=(value,)))
    table = compute_importance(whole, history)
    assert table["parameter"].iloc[0] == "learning_rate"
    assert "mmtm_ratio" in set(table["parameter"])


def test_importance_says_what_it_lacks() -> None:
    samples = list(enumerate_samples(PLACEMENTS))
    same = [Observation(sample=one, state=FINISHED, values=(0.5,)) for one in samples]
    few = same[: FEWEST_SAMPLES - 1]
    with pytest.raises(ValueError, match="3 finished samples; importance needs 4"):
        compute_importance(PLACEMENTS, few)
    with pytest.raises(ValueError, match="equally good"):
        compute_importance(PLACEMENTS, same)


@pytest.mark.parametrize(("samples", "choices", "said"), [(5, 4, "40 or more"), (40, 4, "")])
def test_importance_of_few_samples_is_a_hint(samples: int, choices: int, said: str) -> None:
    words = few_samples_words(samples, choices)
    assert said in words
    assert bool(words) == bool(said)


def test_counts_of_any_size_are_short() -> None:
    assert large_count(999_999_999) == "999,999,999"
    assert large_count(6**40) == "about 10^31"  # 1.3e31
