"""Verdicts on the early-fusion paper's claims, from made-up records whose answers are known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from descriptions import SNRS, digit_description
from synthetic_records import Trial, fill, write_planned

from fusion_search.analysis.early_fusion.accuracies import TESTS, Accuracies, read_accuracies
from fusion_search.analysis.early_fusion.alone import slope
from fusion_search.analysis.early_fusion.described import ranges
from fusion_search.analysis.early_fusion.parts import Part
from fusion_search.analysis.early_fusion.text import CLAIMS, compute_claims, verdict_of
from fusion_search.analysis.records.selection import VARIED_SEEDS, AnalysisError, open_search
from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.commands.command_line import main

MAIN = (0.5, 0.25)
OTHERS = ((1.0, 0.5), (2.0, 0.25), (1.0, 0.25), (1.0, 0.125))
N = 10_000  # so that counts say shares exactly
FULL = {"pooling": "full"}

Correct = Callable[[float, float], int]


def shifted(base: int, seed: int, gain: Correct = lambda audio, visual: 0) -> Correct:
    """A network's counts, with a difficulty that all networks of a seed share."""
    return lambda audio, visual: base + 37 * seed + gain(audio, visual)


def noise(seed: int, depth: int, size: int) -> int:
    """Of one network of one seed alone."""
    return int(np.random.default_rng([seed, depth]).integers(-size, size + 1))


def campaign(
    seeds: int,
    late: Callable[[int], Correct],
    others: Callable[[int, tuple[float, float]], int] = lambda seed, pair: -300,
) -> list[Trial]:
    """Initial fusion at 0.6 and, on top, what late networks of a depth gain or lose."""
    trials = []
    for seed in range(1, seeds + 1):
        for depth in (0, 1, 2):
            gain = late(depth) if depth else (lambda audio, visual: 0)
            own = noise(seed, depth, 20)
            correct = shifted(6000 + own, seed, gain)
            trials.append(Trial(MAIN, depth, seed, correct=correct, n=N, absent=True, extra=FULL))
        for pair in OTHERS:
            for depth in (0, 2):
                more = others(seed, pair) if depth else 0
                correct = shifted(6000 + more + noise(seed, depth, 20), seed)
                trials.append(Trial(pair, depth, seed, correct=correct, n=N, extra=FULL))
    return trials


def alone(seeds: int, fall: int) -> list[Trial]:
    """Networks of one sense; each step down of the train SNR costs ``fall``, of audio twice."""
    trained = {
        "image": (math.inf, 1.0, 0.5, 0.25, 0.125),
        "audio": (math.inf, 2.0, 1.0, 0.5, 0.25),
    }
    trials = []
    for seed in range(7, 7 + seeds):
        for stream, snrs in trained.items():
            cost = fall * (2 if stream == "audio" else 1)
            for place, snr in enumerate(snrs):
                pair = (math.inf, snr) if stream == "image" else (snr, math.inf)
                count = 5000 - cost * place + noise(seed, place, 20)
                trials.append(
                    Trial(pair, 0, seed, (stream,), lambda a, v, count=count: count, N, extra=FULL)  # type: ignore[misc]
                )
    return trials


def measured(trials: list[Trial]) -> Accuracies:
    """What reading such records gives, without the files."""
    rows = []
    for one in trials:
        told = {
            **{"trial_id": one.trial_id, "fold": 0, VARIED_SEEDS: "{}", "seed": one.seed},
            **{"streams": "+".join(one.streams), "fusion_depth": one.depth, **one.extra},
            **{"train_audio_snr": one.pair[0], "train_visual_snr": one.pair[1], "n": N},
        }
        audio = SNRS if one.streams != ("image",) else (math.inf,)
        visual = SNRS if one.streams != ("audio",) else (math.inf,)
        for at in itertools.product(audio, visual):
            tested = dict(zip(TESTS, at, strict=True))
            correct = one.correct(*at)
            rows.append({**told, **tested, "accuracy_sum": correct, "accuracy": correct / N})
    grid = pd.DataFrame(rows)
    both = grid["streams"] == ""
    description = digit_description()
    return Accuracies(grid[both], grid[~both], grid[:0], description.metric, description)


def verdicts(trials: list[Trial]) -> tuple[pd.DataFrame, dict[int, str]]:
    before_sound = Part(6, "before the sound", "held", 1, "")
    table = compute_claims(measured(trials), before_sound)
    return table, {claim: verdict_of(table, claim) for claim in CLAIMS if claim != 6}


def read(folder: Path, trials: list[Trial]) -> Accuracies:
    """Through files."""
    write_planned(fill(open_storage(folder), trials), trials)
    return read_accuracies(open_search(open_storage(folder), "made-up"))


def as_claimed(depth: int) -> Correct:
    """Late fusion loses 4 points, but depth 1 wins where audio is very noisy and images clean.

    Above the train SNRs it loses 15 where the sound is cleaner, 6 where the image alone is.
    """

    def gain(audio: float, visual: float) -> int:
        if depth == 1 and audio <= 0.125 and visual >= 0.5:
            return 400
        if audio > 0.5:
            return -1500
        return -600 if visual > 0.25 and audio == 0.5 else -400 * ((audio, visual) != MAIN)

    return gain


def test_claims_that_are_true_are_held() -> None:
    table, found = verdicts([*campaign(6, as_claimed), *alone(6, 300)])
    assert found == {
        **dict.fromkeys((1, 2, 3, 5, 7), "held"),
        **dict.fromkeys((4, 8), "described"),
    }
    assert (table.loc[table["claim"].isin([1, 2, 3, 5, 7]), "seeds"] == 6).all()
    # Two differences or more decide a part of claim 7: the first is its number, with its interval.
    assert (table.loc[table["claim"].isin([2, 3, 5, 7]), ["low", "high"]].notna()).all(axis=None)
    slopes = table[table["claim"] == 5]["value"].to_list()
    assert slopes == pytest.approx([0.03, 0.03, 0.06, 0.06, 0.03], abs=2e-3)


def test_claims_whose_opposite_is_true_are_refuted() -> None:
    def opposite(depth: int) -> Correct:
        return lambda audio, visual: -as_claimed(depth)(audio, visual)

    trials = [*campaign(6, opposite, lambda seed, pair: 300), *alone(6, -300)]
    _, found = verdicts(trials)
    assert [found[one] for one in (1, 2, 3, 5, 7)] == ["refuted"] * 5


def test_five_seeds_decide_nothing() -> None:
    table, found = verdicts([*campaign(5, as_claimed), *alone(5, 300)])
    assert [found[one] for one in (1, 2, 3, 5, 7)] == ["undecided"] * 5
    assert table.loc[table["claim"] == 1, "numbers"].item().endswith("5 seeds; 6 would do")


def test_one_condition_decides_whether_initial_fusion_is_never_worse() -> None:
    def but_one(lost: int) -> Callable[[int], Correct]:
        return lambda depth: lambda audio, visual: lost if (audio, visual) == (8.0, 2.0) else -400

    _, within = verdicts(campaign(6, but_one(250)))
    _, beyond = verdicts(campaign(6, but_one(350)))
    assert (within[1], beyond[1]) == ("held", "refuted")  # the margin is 3 points


def test_the_other_pairs_are_judged_above_audio_one_and_the_first_everywhere() -> None:
    trials = [
        replace(one, correct=lambda a, v, own=one.correct: own(a, v) + 900 * (a <= 1))  # type: ignore[misc]
        if one.depth == 2 and one.pair != MAIN
        else one
        for one in campaign(6, as_claimed)
    ]
    table, found = verdicts(trials)
    assert table.loc[table["claim"] == 3, "verdict"].to_list() == ["refuted", *["held"] * 3]
    assert found[3] == "refuted"


def test_literal_networks_are_described_beside_the_claims() -> None:
    trials = [
        Trial(
            MAIN,
            depth,
            seed,
            correct=lambda a, v, own=5000 + 100 * depth + seed: own,  # type: ignore[misc]
            n=N,
            settings={"pooling": pooling},
            extra={"pooling": pooling},
        )
        for seed in (1, 2, 3)
        for depth, pooling in [(0, "full"), (1, "literal"), (2, "literal")]
    ]
    table, found = verdicts(trials)
    beside = table[table["what"].str.contains("literal")]
    assert beside["seeds"].to_list() == [3, 3, 3]
    assert set(beside["verdict"]) == {""}
    assert beside["value"].iloc[1] == pytest.approx(-0.01)
    assert found[1] == "undecided"  # the network that the claim is of is not there


def test_a_slope_is_that_of_a_fitted_line() -> None:
    values = np.random.default_rng(0).random((5, 3))
    fitted = np.polyfit(np.arange(5), values, 1)[0]
    assert slope(pd.DataFrame(values)).to_numpy() == pytest.approx(fitted)


def test_ranges_move_along_one_axis_alone() -> None:
    index = pd.MultiIndex.from_product(
        [[4.0, 2.0, 1.0], [2.0, 1.0]], names=["test_audio_snr", "test_visual_snr"]
    )
    # Rows are audio; columns visual: 0.9 0.5 / 0.8 0.1 / 0.4 0.2.
    cells = pd.DataFrame({"map": [0.9, 0.5, 0.8, 0.1, 0.4, 0.2]}, index=index)
    audio, visual = ranges(cells)
    assert float(audio.iloc[0]) == pytest.approx((0.5 + 0.4) / 2)
    assert float(visual.iloc[0]) == pytest.approx((0.4 + 0.7 + 0.2) / 3)


def test_other_searches_are_refused_with_a_sentence(tmp_path: Path) -> None:
    def differing(**extra: object) -> list[Trial]:
        return [Trial(MAIN, depth, 1, extra=dict(extra)) for depth in (0, 2)]

    with pytest.raises(AnalysisError, match="validation split; claims are judged on test"):
        read(tmp_path / "split", differing(split="validation"))
    widths = [Trial(MAIN, 0, 1, settings={"units": units}) for units in (8, 16)]
    with pytest.raises(AnalysisError, match=r"differ in more than fusion depth and pooling"):
        read(tmp_path / "units", widths)


def test_the_command_writes_and_prints_every_claim(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [Trial(MAIN, depth, seed, extra=FULL) for depth in (0, 1, 2) for seed in (1, 2)]
    trials.append(replace(trials[0], seed=3, absent=True))
    assert len(read(tmp_path, trials).absent) == 2 * len(SNRS)
    words = ["draw", "early-fusion", "made-up", "--storage", str(tmp_path)]
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    said = "".join(capsys.readouterr())
    text = (tmp_path / "out" / "made-up-claims.md").read_text()
    for claim, what in CLAIMS.items():
        assert f"## {claim}. {what}" in text
        assert f"## {claim}. {what}" in said
    numbers = pd.read_csv(tmp_path / "out" / "made-up-claims.csv")
    assert set(numbers["claim"]) == {0, *CLAIMS}
    assert (tmp_path / "out" / "made-up-claims.png").stat().st_size > 10_000
    # What is drawn beside them, and what there is no record of.
    assert sum(1 for _ in (tmp_path / "out").glob("made-up-grids-depth0*.png")) == 1
    assert sum(1 for _ in (tmp_path / "out").glob("made-up-fusion*.png")) == 1
    assert "not drawn: search made-up has no network of some streams alone" in said


def test_the_sheet_alone_is_drawn_before_a_claim_can_be_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read(tmp_path, [Trial(MAIN, 0, 0, extra=FULL)])
    words = ["draw", "early-fusion", "made-up", "--storage", str(tmp_path)]
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    said = "".join(capsys.readouterr())
    assert "not drawn: no judged claim has a number of its own yet" in said
    assert "number 1 of 1 map by its size" in said  # claim 8, which is described
    drawn = {one.name for one in (tmp_path / "out").glob("*.png")}
    assert {one for one in drawn if one.startswith("made-up-grids-depth0")} == drawn != set()
