"""How much a map depends on either sense, by hand and by plain loops."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from descriptions import digit_description
from synthetic_records import DIGITS, SNRS, Trial, write_trial

from fusion_search.analysis.dependence import compute_dependence
from fusion_search.analysis.figures.grids import compute_sheet
from fusion_search.analysis.records.description import (
    AxisDescription,
    MetricDescription,
    TaskDescription,
)
from fusion_search.analysis.records.selection import open_search
from fusion_search.analysis.records.storage import open_storage

# Rows: test audio original, 1, 0.5. Columns: test visual original, 2, 0.25.
HAND = [[90, 80, 30], [70, 60, 20], [50, 60, 10]]
AUDIO, VISUAL = (math.inf, 1.0, 0.5), (math.inf, 2.0, 0.25)


def hand_sheet(pair: tuple[float, float]) -> pd.DataFrame:
    rows = [
        ("", 2, 0, "{}", "{}", "", "{}", *pair, audio, visual, 1, 100, HAND[i][j], HAND[i][j] / 100)
        for (i, audio), (j, visual) in itertools.product(enumerate(AUDIO), enumerate(VISUAL))
    ]
    names = "streams levels fusion_depth placement placement_options end varied_settings "
    names += "train_audio_snr train_visual_snr test_audio_snr test_visual_snr"
    return pd.DataFrame(rows, columns=[*names.split(), "seeds", "n", "accuracy_sum", "accuracy"])


def test_the_numbers_by_hand() -> None:
    (row,) = compute_dependence(hand_sheet((1.0, 2.0)), DIGITS).to_dict("records")
    expected = {
        "streams": "",
        "levels": 2,
        "fusion_depth": 0,
        "placement": "{}",
        "placement_options": "{}",
        "end": "",
        "varied_settings": "{}",
        "train_audio_snr": 1.0,
        "train_visual_snr": 2.0,
        "seeds": 1,
        "train_condition_accuracy": 0.60,
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
    words = [name for name, value in expected.items() if isinstance(value, str)]
    assert [row.pop(name) for name in words] == [expected.pop(name) for name in words]
    assert row == pytest.approx(expected)


def test_what_the_grid_lacks_is_no_number() -> None:
    (row,) = compute_dependence(hand_sheet((0.5, 1.0)), DIGITS).to_dict("records")
    unknown = {name for name, value in row.items() if value != value}
    # 1 is no test visual SNR, and no test audio SNR lies below 0.5.
    assert unknown == {
        "train_condition_accuracy",
        "audio_lost",
        "accuracy_audio_below",
        "accuracy_both_below",
    }
    half = hand_sheet((1.0, 2.0)).drop(index=[0, 8])
    (row,) = compute_dependence(half, DIGITS).to_dict("records")
    assert row["mean_accuracy"] == pytest.approx(3.7 / 7)
    assert row["audio_range"] == pytest.approx((0.20 + 0.20 + 0.10) / 3)
    assert row["accuracy_at_or_above"] == pytest.approx((0.80 + 0.70 + 0.60) / 3)


def test_an_absent_input_is_a_number_of_its_own_outside_every_mean() -> None:
    absent = digit_description(absent=True)
    sheet = hand_sheet((1.0, 2.0))
    beside = sheet.iloc[:2].assign(accuracy=[0.1, 0.2])
    beside.loc[:, ["test_audio_snr", "test_visual_snr"]] = [[-math.inf, 2.0], [1.0, -math.inf]]
    (without,) = compute_dependence(sheet, absent).to_dict("records")
    (row,) = compute_dependence(pd.concat([sheet, beside]), absent).to_dict("records")
    assert (row.pop("audio_absent"), row.pop("visual_absent")) == (0.1, 0.2)
    assert row == without


def test_one_axis_and_less_that_is_better() -> None:
    metric = MetricDescription("error", "minimize", is_mean=False)
    axis = AxisDescription("emg_snr", "emg", (math.inf, 10.0, 0.0), decibel=True, absent=True)
    of = TaskDescription(task="one", streams=("emg", "video"), axes=(axis,), metrics=(metric,))
    tested = (math.inf, 10.0, 0.0, -math.inf)
    rows = [
        ("", "{}", "{}", "", "{}", 10.0, snr, 1, 9, error)
        for snr, error in zip(tested, (1.0, 2.0, 4.0, 9.0), strict=True)
    ]
    columns = [
        "streams",
        "placement",
        "placement_options",
        "end",
        "varied_settings",
        "train_emg_snr",
        "test_emg_snr",
        "seeds",
        "n",
        "error",
    ]
    (row,) = compute_dependence(pd.DataFrame(rows, columns=columns), of).to_dict("records")
    numbers = {name: value for name, value in row.items() if not isinstance(value, str)}
    assert numbers == {
        "train_emg_snr": 10.0,
        "seeds": 1,
        "train_condition_error": 2.0,
        "mean_error": pytest.approx(7 / 3),
        "emg_range": 3.0,
        "emg_lost": 4.0,
        "emg_absent": 9.0,
        "error_at_or_above": 1.5,
        "error_emg_below": 4.0,
        "worst_at_or_above": 2.0,
    }


def test_every_map_has_them_against_plain_loops(tmp_path: Path) -> None:
    def correct(seed: int) -> object:
        counts = np.random.default_rng(seed).integers(0, 100, (10, 10))
        return lambda audio, visual: int(counts[SNRS.index(audio), SNRS.index(visual)])

    pairs, depths, seeds = [(0.5, 0.25), (2.0, 1.0)], (0, 2), (0, 1)
    search = open_storage(tmp_path).below("made-up")
    for number, (pair, depth, seed) in enumerate(itertools.product(pairs, depths, seeds)):
        write_trial(search, Trial(pair, depth=depth, seed=seed, correct=correct(number)))  # type: ignore[arg-type]
    sheet = compute_sheet(open_search(open_storage(tmp_path), "made-up"), pairs)
    table = compute_dependence(sheet, DIGITS)
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
