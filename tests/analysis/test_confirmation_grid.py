"""A confirmation at each condition and in regions, against means taken one by one."""

from __future__ import annotations

import io
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_records import DIGITS, SNRS, Trial, write_trial

from fusion_search.analysis.confirmation_grid import (
    compute_confirmation_grid,
    grid_lines,
    of_the_best,
)
from fusion_search.analysis.figures.confirmation import draw_confirmation_grid
from fusion_search.analysis.records.selection import open_search
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import read_table

PAIRS = ((0.5, 0.25), (math.inf, 16.0))
NETWORKS = [
    ("top a", "top", 1),
    ("top b", "top", 2),
    ("plain 0", "plain", 0),
    ("plain 2", "plain", 2),
]


def correct(number: int, seed: int, pair: int, audio: float, visual: float) -> int:
    """Of 200: the first is better where the audio is noisy, and the seeds differ."""
    noise = np.random.default_rng(
        [number, seed, pair, int(16 * min(audio, 99) + 7 * min(visual, 99))]
    )
    return int(100 + 40 * (number == 0 and audio < 2) + 3 * seed + noise.integers(-2, 3))


# As records hold a train condition that is drawn for every example: it has no number.
DRAWN = {
    "train": json.dumps({"audio_snr": {"any": ["original", "absent"]}, "visual_snr": 16.0}),
    "train_audio_snr": None,
}


def confirmed(
    folder: Path, seeds: int, second: dict[str, Any] | None = None
) -> tuple[Any, list[dict[str, Any]]]:
    """The networks at both train pairs; ``second`` changes the records of the second."""
    storage, candidates = open_storage(folder).below("made-up"), []
    for number, (label, role, rank) in enumerate(NETWORKS):
        ids = []
        for seed, (place, pair) in itertools.product(range(seeds), enumerate(PAIRS)):
            trial = Trial(
                pair,
                depth=number,
                seed=1000 + seed,
                n=200,
                extra=second or {} if place else {},
                correct=lambda a, v, k=(number, seed, place): correct(*k, a, v),  # type: ignore[misc]
            )
            write_trial(storage, trial)
            ids.append(trial.trial_id)
        candidates.append(
            {
                "label": label,
                "role": role,
                "rank": rank if role == "top" else None,
                "search_value": 0.5,
                "trial_ids": ids,
            }
        )
    return open_search(open_storage(folder), "made-up"), candidates


def mean(number: int, seed: int, cells: list[list[tuple[float, float]]]) -> float:
    """Over the cells of each train pair, then over pairs."""
    return float(
        np.mean(
            [
                np.mean([correct(number, seed, pair, *cell) / 200 for cell in own])
                for pair, own in enumerate(cells)
            ]
        )
    )


def test_regions_and_conditions_are_means_over_pairs_by_seed(tmp_path: Path) -> None:
    search, candidates = confirmed(tmp_path, 6)
    grid = read_table(search.storage, "grid")
    conditions, regions = compute_confirmation_grid(search.trials, grid, candidates, DIGITS)
    assert len(conditions) == 4 * 100
    assert regions["region"].nunique() * 4 == len(regions)
    cells = list(itertools.product(SNRS, SNRS))
    members = {
        "grid": [cells, cells],
        "train condition": [[pair] for pair in PAIRS],
        "audio noisy": [[cell for cell in cells if cell[0] < 2]] * 2,
        "visual alone clean": [[cell for cell in cells if cell[0] < 2 <= cell[1]]] * 2,
    }
    told = regions.set_index(["rank", "baseline_place", "region"])
    for (place, other), (name, own) in itertools.product(
        [((0, 1), 2), ((1, 2), 3)], members.items()
    ):
        (number, rank), plain = place, other
        values = [mean(number, seed, own) - mean(plain, seed, own) for seed in range(6)]
        assert told.loc[(rank, plain, name), "difference"] == pytest.approx(np.mean(values))
    one = conditions.set_index(["rank", "baseline_place", "test_audio_snr", "test_visual_snr"])
    for audio, visual in ((0.5, math.inf), (16.0, 0.0625)):
        own = [[(audio, visual)]] * 2
        values = [mean(0, seed, own) - mean(3, seed, own) for seed in range(6)]
        assert one.loc[(1, 3, audio, visual), "difference"] == pytest.approx(np.mean(values))
    assert told.loc[(1, 2, "audio noisy"), "decision"] == "higher"
    assert told.loc[(1, 2, "audio clean"), "decision"] == "not distinguishable"
    assert (one.loc[(1, 2), "decision"] == "higher").sum() == 50
    lines = grid_lines(conditions, regions, candidates, DIGITS.metric)
    # The last listed first; the second best of the search is not said.
    assert lines[0] == "against plain 2, 6 paired seeds, all 64 sign flips:"
    assert [line for line in lines if line.startswith("against")][1].startswith("against plain 0")
    assert "  100 conditions. max-T: 50 higher, 0 lower. Holm: cannot be" in "\n".join(lines)
    figure = draw_confirmation_grid(of_the_best(conditions, candidates), DIGITS)
    assert [axes.get_title() for axes in figure.axes[:2]] == [
        "minus plain 2 (6 paired seeds)",
        "minus plain 0 (6 paired seeds)",
    ]
    for axes, plain in zip(figure.axes, (3, 2), strict=False):
        assert len(axes.get_lines()) == (one.loc[(1, plain), "p_max_t"] <= 0.05).sum() >= 50
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=60)


def test_a_drawn_train_condition_counts_however_the_records_are_read(tmp_path: Path) -> None:
    search, candidates = confirmed(tmp_path, 6, DRAWN)
    grid = read_table(search.storage, "grid")
    cells = list(itertools.product(SNRS, SNRS))
    values = [mean(0, seed, [cells] * 2) - mean(3, seed, [cells] * 2) for seed in range(6)]
    for trials in (search.trials, read_table(search.storage, "trials")):
        _, regions = compute_confirmation_grid(trials, grid, candidates, DIGITS)
        told = regions.set_index(["rank", "baseline_place", "region"])["difference"]
        assert told[1, 3, "grid"] == pytest.approx(np.mean(values))
        # What is drawn is no condition of the grid; the others are in the order declared.
        assert list(told[1, 3].index[:3]) == ["grid", "all noisy", "audio clean"]
        assert len(told) == 4 * 8


def test_a_seed_needs_all_its_pairs_and_five_tell_nothing(tmp_path: Path) -> None:
    search, candidates = confirmed(tmp_path, 6)
    grid = read_table(search.storage, "grid")
    trials = search.trials
    lost = candidates[0]["trial_ids"][3]  # of the second seed, at the second train pair
    trials.loc[trials["trial_id"] == lost, "status"] = "failed"
    conditions, regions = compute_confirmation_grid(trials, grid, candidates, DIGITS)
    best = of_the_best(regions, candidates)
    assert set(best["paired_seeds"]) == {5}
    assert set(regions.loc[regions["rank"] == 2, "paired_seeds"]) == {6}
    assert set(best["decision"]) == {"cannot be decided with 5 seeds; 6 would do"}
    lines = grid_lines(conditions, regions, candidates, DIGITS.metric)
    assert lines[1] == "  9 regions: cannot be decided with 5 seeds; 6 would do"
    assert lines[2] == (
        "  100 conditions. max-T: cannot be decided with 5 seeds; 6 would do. "
        "Holm: cannot be decided with 5 seeds; 12 would do"
    )


def test_nothing_to_compare_gives_empty_tables(tmp_path: Path) -> None:
    search, candidates = confirmed(tmp_path, 1)
    grid = read_table(search.storage, "grid")
    for chosen in ([], candidates[:1]):
        conditions, regions = compute_confirmation_grid(search.trials, grid, chosen, DIGITS)
        assert conditions.empty
        assert regions.empty
        assert grid_lines(conditions, regions, chosen, DIGITS.metric) == []
