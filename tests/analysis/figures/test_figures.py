"""Tables by hand-computed numbers, figures by what they hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from synthetic_records import DIGITS, SNRS, Trial, fill, late_and_initial

from fusion_search.analysis.figures.curves import compute_curves, draw_curves
from fusion_search.analysis.figures.drawing import BOX_COLOUR
from fusion_search.analysis.figures.fusion import compute_fusion, draw_fusion, summarise_fusion
from fusion_search.analysis.figures.grids import compute_grid, draw_grid
from fusion_search.analysis.records.selection import AnalysisError, open_search
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_table
from fusion_search.analysis.statistics import holm

PAIR = (0.5, 0.25)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "results")


def test_grid_is_the_share_of_all_examples_in_the_papers_order(storage: Storage) -> None:
    def loud(audio: float, visual: float) -> int:
        return 90 if math.isinf(audio) and visual == 16 else 20

    trials = [Trial(PAIR, seed=0, n=100, correct=loud), Trial(PAIR, seed=1, n=300, correct=loud)]
    grid = read_table(fill(storage, trials), "grid")
    accuracy = compute_grid(grid, DIGITS, DIGITS.metric)
    assert list(accuracy.index) == list(SNRS)
    assert list(accuracy.columns) == list(SNRS)
    assert accuracy.loc[math.inf, 16.0] == pytest.approx(180 / 400)
    assert accuracy.loc[16.0, math.inf] == pytest.approx(40 / 400)
    alone = compute_grid(grid, DIGITS, DIGITS.metric, [trials[0].trial_id])
    assert alone.loc[math.inf, 16.0] == pytest.approx(0.9)


def boxes(figure: object) -> list[tuple[float, ...]]:
    found = []
    for axes in figure.axes:  # type: ignore[attr-defined]
        for patch in axes.patches:
            if isinstance(patch, Rectangle) and patch.get_edgecolor()[:3] == (1.0, 0.0, 0.0):
                found.append((*patch.get_xy(), patch.get_width(), patch.get_height()))
    return found


def test_the_train_pair_is_boxed_in_red(storage: Storage) -> None:
    grid = read_table(fill(storage, [Trial(PAIR)]), "grid")
    figure = draw_grid(compute_grid(grid, DIGITS, DIGITS.metric), DIGITS, DIGITS.metric, train=PAIR)
    assert BOX_COLOUR == "red"
    row, column = SNRS.index(PAIR[0]), SNRS.index(PAIR[1])
    assert boxes(figure) == [(column - 0.5, row - 0.5, 1, 1)]


def test_fusion_counts_wins_ties_and_losses_over_common_seeds(storage: Storage) -> None:
    fill(storage, late_and_initial())
    table, regions = compute_fusion(open_search(storage, "made-up"), PAIR)
    (row,) = summarise_fusion(table, DIGITS).to_dict("records")
    assert (row["initial_wins"], row["ties"], row["initial_loses"]) == (10, 10, 80)
    assert row["paired_seeds"] == 3
    assert row["conditions"] == 100
    won = (50 + 55 + 52) / 300 - 0.6
    assert row["difference_min"] == pytest.approx(won)
    assert row["difference_max"] == pytest.approx(0.11)
    assert row["difference_mean"] == pytest.approx((10 * won + 80 * 0.11) / 100)
    cell = table[(table["fusion_depth"] == 2) & (table["test_audio_snr"] == math.inf)].iloc[0]
    assert cell["p_sign_flip"] == 2 / 2**3
    assert cell["decision"] == "cannot be decided with 3 seeds; 6 would do"
    assert cell["decision_holm"] == "cannot be decided with 3 seeds; 12 would do"
    assert row["decisions"].startswith("100 conditions. max-T: cannot be decided with 3 seeds")
    by_region = regions.set_index("region")["difference"]
    assert by_region["train condition"] == pytest.approx(0.11)
    assert by_region["grid"] == pytest.approx(row["difference_mean"])
    # Audio original, 16, 8, 4 and 2 are clean.
    assert by_region["audio clean"] == pytest.approx((won + 0 + 3 * 0.11) / 5)
    assert by_region["audio noisy"] == pytest.approx(0.11)


def test_six_seeds_tell_and_dots_say_so(storage: Storage) -> None:
    def late(seed: int) -> Callable[[float, float], int]:
        return lambda audio, visual: 50 if audio > 1 else 70 + seed

    trials = [Trial(PAIR, depth=0, seed=seed, correct=lambda a, v: 60) for seed in range(6)]
    trials += [Trial(PAIR, depth=2, seed=seed, correct=late(seed)) for seed in range(6)]
    fill(storage, trials)
    table, regions = compute_fusion(open_search(storage, "made-up"), PAIR)
    (row,) = summarise_fusion(table, DIGITS).to_dict("records")
    assert row["decisions"] == (
        "100 conditions. max-T: 50 higher, 50 lower. "
        "Holm: cannot be decided with 6 seeds; 12 would do"
    )
    told = regions.set_index("region")["decision"]
    assert told["audio noisy"] == "higher"
    assert told["audio clean"] == told["audio alone clean"] == "lower"
    figure = draw_fusion(table, PAIR, {0: "initial", 2: "late"}, DIGITS)
    dots = [line for axes in figure.axes for line in axes.get_lines()]
    assert len(dots) == 100
    few = table.assign(paired_seeds=3, p_max_t=math.nan)
    words = [text.get_text() for text in draw_fusion(few, PAIR, {0: "a", 2: "b"}, DIGITS).texts]
    assert any(
        "cannot be decided with 3 seeds; 6 would do" in one.replace("\n", " ") for one in words
    )


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, never falling.
    p = np.array([0.04, 0.01, np.nan, 0.03, 0.02])
    np.testing.assert_allclose(holm(p), [0.06, 0.04, np.nan, 0.06, 0.06])


def test_lines_of_one_stream_are_means_over_seeds(storage: Storage) -> None:
    trials = [
        Trial(
            (math.inf, 0.5),
            seed=seed,
            streams=("image",),
            correct=lambda a, v, s=seed: 40 + 20 * s,
        )
        for seed in (0, 1)
    ]
    fill(storage, trials)
    table = compute_curves(open_search(storage, "made-up"))
    assert len(table) == 10
    assert table["accuracy"].tolist() == pytest.approx([0.5] * 10)
    assert table["deviation"].tolist() == pytest.approx([np.std([0.4, 0.6], ddof=1)] * 10)
    assert table["test_snr"].tolist() == list(SNRS)
    assert set(table["train_snr"]) == {0.5}
    # Student's interval of two seeds, -0.77 to 1.77, is all that a share can be.
    assert table["low"].tolist() == [0.0] * 10
    assert table["high"].tolist() == [1.0] * 10
    assert table["lowest"].tolist() == pytest.approx([0.4] * 10)
    assert table["highest"].tolist() == pytest.approx([0.6] * 10)
    figure = draw_curves(table, DIGITS)
    assert "Bars: lowest and highest of the trials (2 seeds" in figure.texts[-1].get_text()
    (bars,) = (one.lines[2][0] for one in figure.axes[0].containers)
    ends = np.array([one[:, 1] for one in bars.get_segments()])
    assert ends == pytest.approx(np.array([[0.4, 0.6]] * 10))


def test_a_damaged_plan_is_named(storage: Storage) -> None:
    search = fill(storage, [Trial(PAIR)])
    search.write(b"[{", "planned.json")
    with pytest.raises(AnalysisError, match=r"planned\.json is damaged"):
        open_search(storage, "made-up")
