"""History, Pareto front and parallel coordinates against hand computations and brute force."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from descriptions import clips_description, sensors_description
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from synthetic_records import train_text
from synthetic_search import DIGITS, MEAN, frame, open_made_up, placement, random_search, row

from fusion_search.analysis.figures.course import (
    compute_history,
    compute_pareto,
    draw_history,
    draw_importance,
    draw_pareto,
)
from fusion_search.analysis.figures.parallel import ABSENT_LANE, compute_parallel, draw_parallel
from fusion_search.analysis.records.samples import Objective, objectives_of, sample_table
from fusion_search.analysis.records.selection import AnalysisError, read_specification
from fusion_search.analysis.records.tables import FAILED, FINISHED, SPECIFICATION_FILE, STOPPED
from fusion_search.analysis.records.words.networks import placement_words
from fusion_search.analysis.report.advised import is_countable, searched, varied_settings

FEWER = Objective("multiply_accumulates", "minimize", 1)


def png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=60)
    return content.getvalue()


def out_of_order() -> pd.DataFrame:
    rows = [row(3, 0.5), row(1, 0.6), row(2, None, STOPPED, seconds=30.0), row(5, 0.7)]
    return frame([*rows, row(4, None, FAILED)])


def test_history_by_hand_in_the_order_the_trials_ended() -> None:
    history = compute_history(out_of_order(), MEAN)
    assert history["trial_name"].tolist() == [f"trial {number}" for number in (1, 2, 3, 4, 5)]
    assert history["status"].tolist() == [FINISHED, STOPPED, FINISHED, FAILED, FINISHED]
    assert history["best"].tolist() == [0.6, 0.6, 0.6, 0.6, 0.7]
    assert history["cumulative_seconds"].tolist() == [60, 90, 150, 210, 270]
    assert history["value"].isna().tolist() == [False, True, False, True, False]


def test_the_best_of_what_is_minimized_is_the_least() -> None:
    costs = [row(k, 0.5, multiply_accumulates=cost) for k, cost in enumerate((5, 7, 3, 4))]
    assert compute_history(frame(costs), FEWER)["best"].tolist() == [5, 5, 3, 3]


def test_before_the_first_finished_trial_there_is_no_best() -> None:
    history = compute_history(frame([row(1, None, STOPPED), row(2, 0.4)]), MEAN)
    assert math.isnan(history["best"][0])
    assert history["best"][1] == 0.4


def test_a_sample_of_two_train_pairs_counts_once_with_the_mean() -> None:
    shared = json.dumps({"fusion_depth": 1})
    pair = {"sample": shared, "train": train_text(audio_snr=2.0, visual_snr=0.25)}
    rows = [row(1, 0.4, sample=shared), row(2, 0.6, **pair)]
    half = row(3, 0.9, sample=json.dumps({"fusion_depth": 2}))
    table = sample_table(frame([*rows, half]), [MEAN])
    assert table["status"].tolist() == [FINISHED, "running"]
    assert table["value_0"][0] == pytest.approx(0.5)
    assert table["seconds"][0] == 120
    assert table["trials"].tolist() == [2, 1]
    history = compute_history(frame([*rows, half]), MEAN)
    assert history["best"].tolist() == pytest.approx([0.5])


def test_the_quantile_is_read_from_the_objective_values() -> None:
    raw = [
        {"name": "mean_accuracy", "direction": "maximize", "quantile": 0.1},
        {"name": "quantile_accuracy", "direction": "maximize", "quantile": 0.2},
    ]
    objectives = objectives_of({"objectives": raw}, DIGITS)
    assert objectives[1].words == "0.2 quantile of accuracy"
    trials = frame([row(1, 0.5, objective_values=[0.5, 0.25]), row(2, None, STOPPED)])
    values = objectives[1].values(trials)
    assert values[0] == 0.25
    assert math.isnan(values[1])


def brute_force(points: list[tuple[float, ...]]) -> list[bool]:
    """Points to be maximised: whether no other is at least as good everywhere, better somewhere."""
    return [
        not any(
            all(o >= p for o, p in zip(other, point, strict=True)) and other != point
            for other in points
        )
        for point in points
    ]


@pytest.mark.parametrize("count", [2, 3])
def test_the_front_is_that_of_brute_force(count: int) -> None:
    generator = np.random.default_rng(1)
    # Few distinct values: ties and duplicates occur.
    values = generator.integers(0, 6, (50, 3)) / 10
    names = ("mean_accuracy", "multiply_accumulates", "worst_accuracy")
    trials = frame(
        [
            row(k, None, **dict(zip(names, map(float, one), strict=True)))
            for k, one in enumerate(values)
        ]
    )
    objectives = [MEAN, FEWER, objectives_of({"objectives": ["worst_accuracy"]}, DIGITS)[0]]
    objectives = objectives[:count]
    table = compute_pareto(trials, objectives, DIGITS)
    signs = np.array([1, -1, 1])[:count]
    found = table[[one.name for one in objectives]].to_numpy()
    assert table["front"].tolist() == brute_force([tuple(one) for one in found * signs])
    assert table["mean_accuracy"].is_monotonic_decreasing


def test_a_single_objective_is_set_against_cost_and_drawn() -> None:
    rows = [
        row(k, value, multiply_accumulates=cost)
        for k, (value, cost) in enumerate([(0.7, 30), (0.6, 10), (0.5, 20)])
    ]
    table = compute_pareto(frame([*rows, row(9, None, STOPPED)]), [MEAN], DIGITS)
    assert table["front"].tolist() == [True, True, False]
    figure = draw_pareto(table, [MEAN], DIGITS)
    dominated, front = figure.axes[0].get_lines()
    assert list(zip(*dominated.get_data(), strict=True)) == [(20, 0.5)]
    assert list(zip(*front.get_data(), strict=True)) == [(10, 0.6), (30, 0.7)]
    assert png(figure)[:4] == b"\x89PNG"


def test_ticks_are_whole_samples_short_shares_and_short_counts() -> None:
    few = [row(k, 0.2 + k / 20, multiply_accumulates=35_000_000 + k * 10**6) for k in range(3)]
    figure = draw_history(compute_history(frame(few), MEAN), MEAN)
    figure.canvas.draw()
    left = figure.axes[0]
    numbers = [one.get_text() for one in left.get_xticklabels()]
    assert set(numbers) >= {"1", "2", "3"}
    assert not any("." in one for one in numbers)
    shares = {one.get_text() for one in left.get_yticklabels()}
    assert {"20%", "22%", "30%"} <= shares
    front = draw_pareto(compute_pareto(frame(few), [MEAN], DIGITS), [MEAN], DIGITS)
    front.canvas.draw()
    (axes,) = front.axes
    assert "36 M" in [one.get_text() for one in axes.get_xticklabels()]
    assert axes.xaxis.get_offset_text().get_text() == ""


def test_history_draws_best_and_marks_stopped_and_failed() -> None:
    history = compute_history(out_of_order(), MEAN)
    figure = draw_history(history, MEAN)
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert list(lines["best so far"].get_ydata()) == history["best"].tolist()
    assert list(lines[STOPPED].get_xdata()) == [2]
    assert list(lines[FAILED].get_xdata()) == [4]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "best so far",
        "finished (3)",
        "stopped (1)",
        "failed (1)",
    ]
    assert len(png(figure)) > 1000


def test_parallel_lines_run_through_choices_and_absent_ones_below() -> None:
    rows = [
        row(1, 0.5, sample=json.dumps({"fusion_depth": 0})),
        row(2, 0.6, sample=json.dumps({"fusion_depth": 1, "coupling_level1": "none"})),
        row(3, 0.7, sample=json.dumps({"fusion_depth": 1, "coupling_level1": "mmtm"})),
        row(4, None, FAILED, sample=json.dumps({"fusion_depth": 2})),
    ]
    table = compute_parallel(frame(rows), MEAN, DIGITS)
    assert list(table.columns) == [
        "trial_name",
        "status",
        "value",
        "fusion_depth",
        "coupling_level1",
    ]
    assert table["coupling_level1"].tolist() == [None, "none", "mmtm"]
    figure = draw_parallel(table, MEAN)
    (lines,) = (c for c in figure.axes[0].collections if isinstance(c, LineCollection))
    heights = [segment[:, 1] for segment in lines.get_segments()]
    # The best is drawn last; lines are shifted by at most 0.03.
    np.testing.assert_allclose(heights, [[0, ABSENT_LANE], [1, 0], [1, 1]], atol=0.031)
    assert len(png(figure)) > 1000


def test_parallel_draws_a_realistic_search() -> None:
    trials = random_search()
    table = compute_parallel(trials, MEAN, DIGITS)
    assert (table["status"] == STOPPED).sum() == 40
    figure = draw_parallel(table, MEAN)
    (lines,) = (c for c in figure.axes[0].collections if isinstance(c, LineCollection))
    assert len(lines.get_segments()) == 58
    assert len(png(figure)) > 1000


def test_importance_bars_are_sorted_and_carry_the_numbers() -> None:
    table = pd.DataFrame({"parameter": ["a", "b", "c"], "importance": [0.2, 0.7, 0.1]})
    figure = draw_importance(table)
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.1, 0.2, 0.7]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["c", "a", "b"]
    assert len(png(figure)) > 1000


def test_a_placement_in_words() -> None:
    there = placement(level2={"audio>image": "both"}, level1={"coupling": "mmtm"})
    placed = row(1, 0.5, fusion_depth=2, placement=there, end="gate_audio")
    assert placement_words(placed) == (
        "fully-connected fusion: MMTM at level1, cross + residual from audio to image at level2, "
        "gate audio"
    )
    assert placement_words(row(1, 0.5)) == "plain initial-layer fusion"
    options = {"my_lab.couplings:Bottleneck": {"width": 3}, "cross a>b": {"pool": [8, 4]}}
    own = {
        "placement": placement(s1={"coupling": "my_lab.couplings:Bottleneck"}),
        "placement_options": json.dumps(options),
    }
    assert placement_words(own) == (
        "Bottleneck at s1, Bottleneck width 3, cross from a to b pool 8 + 4"
    )


def test_options_of_kinds_are_choices_of_a_space() -> None:
    options = {"mmtm": {"ratio": [2, 4], "relu": True}, "cross": {"size": {"low": 2, "high": 8}}}
    declared = {"searcher": {}, "placement": {"couplings": ["mmtm"], "options": options}}
    assert searched(declared) == {"mmtm.ratio": [2, 4], "cross.size": {"low": 2, "high": 8}}
    assert is_countable(declared)
    declared["placement"]["options"] = {"residual": {"dropout": {"low": 0.0, "high": 0.5}}}
    assert not is_countable(declared)


def test_a_setting_that_is_a_list_or_a_mapping_is_no_choice() -> None:
    declared = {
        "searcher": {},
        "network": {"width": [8, 16], "levels": 3},
        "data": {
            "inputs": {"photo": {"columns": ["a", "b"], "size": [24, 32]}},
            "fractions": [0.7, 0.15, 0.15],
            "bands": [[1, 4], [4, 8]],
        },
        "training": {"learning_rate": {"low": 0.001, "high": 0.01}},
    }
    text = json.dumps({"varied": ["width", "bands", "learning_rate"]})
    trials = pd.DataFrame({"specification": [text, None]})
    chosen = ["width", "bands", "learning_rate"]
    assert list(searched(declared, varied_settings(trials))) == chosen
    # Before any trial has ended, what is a list may be a choice; a mapping is none.
    assert varied_settings(trials[1:]) is None
    assert list(searched(declared)) == ["width", "fractions", "bands", "learning_rate"]


def test_objectives_are_called_after_the_task_s_metrics() -> None:
    sensors, clips = sensors_description(), clips_description()
    (error,) = objectives_of({}, sensors)
    assert (error.name, error.direction) == ("mean_mean_absolute_error", "minimize")
    assert error.words == "average mean absolute error"
    assert error.text(0.123456) == "0.1235"
    raw = ["worst_macro_f1", {"name": "quantile_accuracy", "quantile": 0.1}, "parameters"]
    worst, quantile, cost = objectives_of({"objectives": raw}, clips)
    assert [one.words for one in (worst, quantile, cost)] == [
        "worst macro f1",
        "0.1 quantile of accuracy",
        "parameters",
    ]
    assert [one.direction for one in (worst, quantile, cost)] == ["maximize"] * 2 + ["minimize"]
    assert [one.is_share for one in (worst, quantile, cost)] == [True, True, False]
    assert (worst.text(0.5), cost.text(12345.0)) == ("50.0 %", "12,345")


def test_sites_are_in_the_order_of_their_numbers() -> None:
    sites = {f"level{number}": {"coupling": "sum"} for number in (10, 2, 1)}
    words = placement_words(row(1, 0.5, fusion_depth=1, placement=placement(**sites)))
    assert words == "second-layer fusion: sum at level1 + level2 + level10"


def test_the_specification_is_read_or_named(tmp_path: Path) -> None:
    search = open_made_up(tmp_path, frame([row(1, 0.5)]))
    assert read_specification(search)["searcher"]["name"] == "tpe"
    for damage, problem in (
        (b"a: [", "is not valid YAML"),
        (b"- 1", "is damaged"),
        (b"\xff\xfe\x00", "is not valid YAML"),
    ):
        search.storage.write(damage, SPECIFICATION_FILE)
        with pytest.raises(AnalysisError, match=rf"specification\.yaml {problem}"):
            read_specification(search)
    search.storage.remove(SPECIFICATION_FILE)
    with pytest.raises(AnalysisError, match=r"specification\.yaml is missing"):
        read_specification(search)
