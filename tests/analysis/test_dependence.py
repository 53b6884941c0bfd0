"""How much a map depends on either sense, by hand and by plain loops."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_records import SNRS, Trial, write_trial

from fusion_search.analysis.dependence import compute_dependence
from fusion_search.analysis.figures.grids import compute_sheet
from fusion_search.analysis.records.selection import open_search
from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.commands.command_line import main

# Rows: test audio original, 1, 0.5. Columns: test visual original, 2, 0.25.
HAND = [[90, 80, 30], [70, 60, 20], [50, 60, 10]]
AUDIO, VISUAL = (math.inf, 1.0, 0.5), (math.inf, 2.0, 0.25)


def hand_sheet(pair: tuple[float, float]) -> pd.DataFrame:
    rows = [
        (0, *pair, audio, visual, 1, 100, HAND[i][j], HAND[i][j] / 100)
        for (i, audio), (j, visual) in itertools.product(enumerate(AUDIO), enumerate(VISUAL))
    ]
    names = "fusion_depth train_audio_snr train_visual_snr test_audio_snr test_visual_snr"
    return pd.DataFrame(rows, columns=[*names.split(), "seeds", "n", "correct", "accuracy"])


def test_the_numbers_by_hand() -> None:
    (row,) = compute_dependence(hand_sheet((1.0, 2.0))).to_dict("records")
    expected = {
        "fusion_depth": 0,
        "train_audio_snr": 1.0,
        "train_visual_snr": 2.0,
        "seeds": 1,
        "train_pair_accuracy": 0.60,
        "mean_accuracy": 4.7 / 9,
        "audio_range": (0.40 + 0.20 + 0.20) / 3,
        "visual_range": (0.60 + 0.50 + 0.50) / 3,
        "audio_lost": 0.60,
        "visual_lost": 0.20,
        "accuracy_at_or_above": (0.90 + 0.80 + 0.70 + 0.60) / 4,
        "accuracy_audio_below": (0.50 + 0.60) / 2,
        "accuracy_visual_below": (0.30 + 0.20) / 2,
        "accuracy_both_below": 0.10,
        "worst_at_or_above": 0.60,
    }
    assert list(row) == list(expected)
    assert row == pytest.approx(expected)


def test_what_the_grid_lacks_is_no_number() -> None:
    (row,) = compute_dependence(hand_sheet((0.5, 1.0))).to_dict("records")
    unknown = {name for name, value in row.items() if math.isnan(value)}
    # 1 is no test visual SNR, and no test audio SNR lies below 0.5.
    assert unknown == {
        "train_pair_accuracy",
        "audio_lost",
        "accuracy_audio_below",
        "accuracy_both_below",
    }
    half = hand_sheet((1.0, 2.0)).drop(index=[0, 8])
    (row,) = compute_dependence(half).to_dict("records")
    assert row["mean_accuracy"] == pytest.approx(3.7 / 7)
    assert row["audio_range"] == pytest.approx((0.20 + 0.20 + 0.10) / 3)
    assert row["accuracy_at_or_above"] == pytest.approx((0.80 + 0.70 + 0.60) / 3)


def test_the_numbers_are_called_after_the_axes() -> None:
    sheet = hand_sheet((1.0, 2.0)).rename(columns=lambda name: name.replace("audio", "touch"))
    assert {"touch_range", "visual_range", "accuracy_touch_below", "train_touch_snr"} <= set(
        compute_dependence(sheet)
    )


def test_draw_grids_writes_them_for_every_map(tmp_path: Path) -> None:
    def correct(seed: int) -> object:
        counts = np.random.default_rng(seed).integers(0, 100, (10, 10))
        return lambda audio, visual: int(counts[SNRS.index(audio), SNRS.index(visual)])

    pairs, depths, seeds = [(0.5, 0.25), (2.0, 1.0)], (0, 2), (0, 1)
    search = open_storage(tmp_path).below("made-up")
    for number, (pair, depth, seed) in enumerate(itertools.product(pairs, depths, seeds)):
        write_trial(search, Trial(pair, depth=depth, seed=seed, correct=correct(number)))  # type: ignore[arg-type]
    words = ["draw", "grids", "made-up", "--storage", str(tmp_path), "--output", str(tmp_path)]
    assert main(words) == 0
    table = pd.read_csv(tmp_path / "made-up-dependence.csv")
    sheet = compute_sheet(open_search(open_storage(tmp_path), "made-up"), pairs)
    pd.testing.assert_frame_equal(table, compute_dependence(sheet), check_dtype=False)
    assert len(table) == 4
    for number, (pair, depth) in enumerate(itertools.product(pairs, depths)):
        one, other = (
            np.random.default_rng(2 * number + seed).integers(0, 100, (10, 10)) for seed in seeds
        )
        accuracy = (one + other) / 200
        here = (table["fusion_depth"] == depth) & (table["train_audio_snr"] == pair[0])
        (row,) = table[here].to_dict("records")
        at_audio, at_visual = SNRS.index(pair[0]), SNRS.index(pair[1])
        assert row["seeds"] == 2
        assert row["audio_range"] == pytest.approx(np.ptp(accuracy, axis=0).mean())
        assert row["visual_range"] == pytest.approx(np.ptp(accuracy, axis=1).mean())
        assert row["audio_lost"] == pytest.approx(accuracy[-1, at_visual])
        assert row["visual_lost"] == pytest.approx(accuracy[at_audio, -1])
        above, below = slice(at_audio + 1), slice(at_audio + 1, None)
        clean, noisy = slice(at_visual + 1), slice(at_visual + 1, None)
        assert row["accuracy_at_or_above"] == pytest.approx(accuracy[above, clean].mean())
        assert row["accuracy_audio_below"] == pytest.approx(accuracy[below, clean].mean())
        assert row["accuracy_visual_below"] == pytest.approx(accuracy[above, noisy].mean())
        assert row["accuracy_both_below"] == pytest.approx(accuracy[below, noisy].mean())
        assert row["worst_at_or_above"] == pytest.approx(accuracy[above, clean].min())
