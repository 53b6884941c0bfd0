"""RGB-D records beside the paper: made-up trials whose answers are known beforehand."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from descriptions import ACCURACY
from matplotlib.collections import LineCollection
from scipy import stats

from fusion_search.analysis.figures.folds.imbalance import draw_imbalance
from fusion_search.analysis.figures.probed.gates import draw_gates
from fusion_search.analysis.records.description import AxisDescription, TaskDescription
from fusion_search.analysis.records.selection import VARIED_SETTINGS, AnalysisError, Search
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.rgbd.gates import compute_gates, depth_weights, extreme_examples
from fusion_search.analysis.rgbd.imbalance import compute_gains, compute_imbalance
from fusion_search.analysis.rgbd.tables import compute_flattery, compute_rgbd
from fusion_search.analysis.rgbd.text import rgbd_text
from fusion_search.analysis.rgbd.variants import Group, groups, told_apart, variant

SNRS = (math.inf, 8.0, 4.0, 2.0)
TESTS = ["test_rgb_snr", "test_depth_snr"]
DESCRIPTION = TaskDescription(
    task="rgbd",
    streams=("rgb", "depth"),
    classes=2,
    labels=("apple", "bell_pepper"),
    axes=(
        AxisDescription("rgb_snr", "rgb", SNRS),
        AxisDescription("depth_snr", "depth.values", SNRS),
    ),
    metrics=(ACCURACY,),
)


def trial(end: str = "", fold: int = 0, **changes: Any) -> dict[str, Any]:
    row = {
        **{"trial_id": f"{end}{fold}", "status": "finished", "placement": "{}", "streams": ""},
        **{"end": end, "fold": fold, "seed": 0, "split": "test", VARIED_SETTINGS: "{}"},
        **{"varied_seeds": "{}", "source": "washington", "path": "", "fold_by": "random"},
        **{"folds": 10, "rgb_network": "resnet50", "rgb_weights": "default", "frozen": False},
        **{"depth_network": "small", "depth_weights": "", "parameters": 7},
        **{"train_rgb_snr": math.inf, "train_depth_snr": math.inf},
        **{"n_test": 10.0, "n_train": 70.0, "train_condition_accuracy": 0.5},
    }
    return {**row, **changes}


def grouped(rows: list[dict[str, Any]], classes: int = 51) -> list[Group]:
    trials = pd.DataFrame(rows)
    description = replace(DESCRIPTION, classes=classes, labels=())
    return groups(Search("made-up", open_storage("memory"), description, trials, trials), trials)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"end": ""}, "plain fusion"),
        ({"end": "gate_by_depth"}, "gate by depth"),
        ({"end": "gate_by_rgb"}, "gate by rgb"),
        ({"streams": "rgb"}, "rgb alone"),
        ({"streams": "depth"}, "depth alone"),
        ({"placement": json.dumps({"level1": {"coupling": "mmtm"}})}, None),
    ],
)
def test_variants_are_told_by_streams_and_end(
    changes: dict[str, Any], expected: str | None
) -> None:
    assert variant(trial(**changes)) == expected


def printed(classes: int = 51, **changes: Any) -> dict[str, float]:
    (found,) = grouped([trial("gate_by_depth", **changes)], classes)
    return {name: round(100 * value, 2) for name, value in found.printed.items()}


def test_the_papers_numbers_stand_beside_random_folds_of_its_data_without_noise() -> None:
    # As printed, ten folds and five.
    assert printed() == {
        "plain fusion": 76.65,
        "gate by depth": 99.32,
        "rgb alone": 50.08,
        "depth alone": 77.07,
    }
    assert printed(rgb_network="vgg19", folds=5) == {
        "plain fusion": 83.16,
        "gate by depth": 99.51,
        "rgb alone": 96.73,
        "depth alone": 73.87,
    }
    assert printed(depth_network="vgg19") == {"depth alone": 2.38}
    assert printed(6, source="folder", path="BU3DFE")["gate by depth"] == 89.86
    assert printed(7, source="folder", path="BU3DFE") == {}
    assert printed(fold_by="instance") == {}
    assert printed(source="standin") == {}
    assert printed(train_rgb_snr=2.0) == {}


def test_no_number_of_the_papers_stands_beside_a_part_of_its_data_or_others_in_their_form() -> None:
    assert printed(4) == {}
    (found,) = grouped([trial()], 4)
    assert found.data == "views in the form of Washington RGB-D (4 classes)"
    assert grouped([trial()])[0].data == "Washington RGB-D"


def test_groups_are_told_apart_by_folds_networks_and_train_condition() -> None:
    rows = [trial(), trial(fold_by="instance"), trial(frozen=True), trial(train_depth_snr=2.0)]
    assert [one.words for one in grouped(rows)] == [
        "Washington RGB-D, 1 of 10 random folds, RGB by resnet50",
        "Washington RGB-D, 1 of 10 folds by instance, RGB by resnet50",
        "Washington RGB-D, 1 of 10 random folds, RGB by resnet50 frozen",
        "Washington RGB-D, 1 of 10 random folds, RGB by resnet50, trained at rgb Orig., depth 2",
    ]
    common, apart = told_apart(grouped(rows[:3]))
    assert (common, list(apart.values())) == (
        "Washington RGB-D",
        [
            "1 of 10 random folds, RGB by resnet50",
            "1 of 10 folds by instance, RGB by resnet50",
            "1 of 10 random folds, RGB by resnet50 frozen",
        ],
    )
    common, apart = told_apart(grouped([rows[0], rows[3]]))
    assert common == "Washington RGB-D, 1 of 10 random folds"
    assert list(apart.values()) == [
        "RGB by resnet50",
        "RGB by resnet50, trained at rgb Orig., depth 2",
    ]
    assert told_apart(grouped(rows[:1]))[1] == {
        "Washington RGB-D, 1 of 10 random folds, RGB by resnet50": ""
    }
    with pytest.raises(AnalysisError, match="confirmation's: `fusion-search confirm made-up"):
        grouped([trial(split="validation")])
    with pytest.raises(AnalysisError, match="no finished trial of a variant"):
        grouped([trial("mine")])


def test_all_folds_are_not_counted_twice() -> None:
    (found,) = grouped([trial(fold=fold) for fold in range(10)])
    assert found.words == "Washington RGB-D, 10 random folds, RGB by resnet50"


def test_bars_of_two_folds_end_where_a_difference_of_accuracies_does() -> None:
    rows = [
        {"variant": "gate by depth", "imbalance": one, "fold": fold, "gain": 0.5 * fold}
        for one, fold in itertools.product((0.0, 1.0), (0, 1))
    ]
    line = {"group": "a", "variant": "gate by depth", "slope": 0.0, "balanced": 0.25}
    figure = draw_imbalance({"a": pd.DataFrame(rows)}, pd.DataFrame([line]), ACCURACY)
    (bars,) = [one for one in figure.axes[0].collections if isinstance(one, LineCollection)]
    assert {y for part in bars.get_segments() for _, y in part} == {-1.0, 1.0}


Gain = Callable[[int, float], float]


def made(gain: Gain, folds: int) -> tuple[Group, pd.DataFrame]:
    """Naive fusion and a gate that gains as is given of fold and imbalance; beyond it without."""
    ends = ("", "gate_by_depth")
    (group,) = grouped([trial(end, fold) for end in ends for fold in range(folds)])
    rows = []
    for fold, rgb, depth in itertools.product(range(folds), SNRS, SNRS):
        finite = math.isfinite(rgb) and math.isfinite(depth)
        more = gain(fold, abs(math.log2(rgb / depth))) if finite else 0.9
        naive = 0.3 + 0.01 * fold
        for end, value in zip(ends, (naive, naive + more), strict=True):
            row = {"trial_id": f"{end}{fold}", **dict(zip(TESTS, (rgb, depth), strict=True))}
            rows.append({**row, "accuracy": value})
    return group, pd.DataFrame(rows)


def judged(gain: Gain, folds: int = 8) -> tuple[dict[str, Any], pd.DataFrame]:
    group, grid = made(gain, folds)
    gains = compute_gains(group, grid, DESCRIPTION)
    (row,) = compute_imbalance(group, gains, ACCURACY).to_dict("records")
    return {str(name): value for name, value in row.items()}, gains


def test_the_slope_of_the_gain_is_that_of_the_line_that_made_it() -> None:
    slopes = 0.02 + 0.004 * np.arange(8)
    row, gains = judged(lambda fold, imbalance: 0.05 + slopes[fold] * imbalance)
    assert len(gains) == 8 * 9
    assert sorted(set(gains["imbalance"])) == [0, 1, 2]
    assert row["slope"] == pytest.approx(slopes.mean())
    assert row["balanced"] == pytest.approx(0.05)
    # Nadeau and Bengio's variance, with a test split a seventh of the train split.
    half = stats.t.ppf(0.975, 7) * math.sqrt((1 / 8 + 1 / 7) * slopes.var(ddof=1))
    assert (row["low"], row["high"]) == pytest.approx((slopes.mean() - half, slopes.mean() + half))
    assert row["verdict"] == "held"
    assert row["sentence"].startswith(
        "The gain of gate by depth over plain fusion grows with the imbalance of the two SNRs "
        "(+3.40 points for each halving of one SNR, from +5.0 points at equal SNRs, 95 % interval"
    )


def test_a_gain_that_does_not_grow_is_refuted_and_few_folds_decide_nothing() -> None:
    def flat(fold: int, imbalance: float) -> float:
        return 0.1 + 0.001 * (-1) ** fold * imbalance

    def steep(fold: int, imbalance: float) -> float:
        return (0.03 + 0.001 * fold) * imbalance

    assert judged(flat)[0]["verdict"] == "refuted"
    assert judged(lambda fold, imbalance: 0.01 * fold * imbalance - 0.02)[0]["verdict"] == "held"
    assert (
        judged(lambda fold, imbalance: 0.01 * (fold - 3) * imbalance)[0]["verdict"] == "undecided"
    )
    row, _ = judged(steep, folds=5)
    assert row["verdict"] == "undecided"
    assert "cannot be decided with 5 folds; 6 would do" in row["sentence"]


def test_what_random_folds_flatter_by_allows_for_shared_train_examples() -> None:
    values = {"random": [0.9, 0.8, 0.7], "instance": [0.5, 0.4, 0.45]}
    rows = [
        trial(fold=fold, fold_by=how, train_condition_accuracy=value, trial_id=f"{how}{fold}")
        for how, own in values.items()
        for fold, value in enumerate(own)
    ]
    (row,) = compute_flattery(grouped(rows), ACCURACY).to_dict("records")
    assert row["difference"] == pytest.approx(0.8 - 0.45)
    assert row["of"] == "Washington RGB-D, RGB by resnet50"
    first, second = ((1 / 3 + 1 / 7) * np.var(own, ddof=1) for own in values.values())
    freedom = (first + second) ** 2 / (first**2 / 2 + second**2 / 2)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(first + second)
    assert row["difference_high"] == pytest.approx(0.35 + half)
    assert row["difference_low"] == pytest.approx(0.35 - half)
    assert compute_flattery(grouped([rows[0]]), ACCURACY).empty


def activations() -> pd.DataFrame:
    rows = []
    for condition, (number, gate) in itertools.product(
        ((math.inf, math.inf), (2.0, math.inf)), enumerate(([0.1, 0.3], [0.9, 0.5], [0.4, 0.4]))
    ):
        row = {**dict(zip(TESTS, condition, strict=True)), "split": "test", "number": number}
        row |= {"group": f"object {number}", "label": number % 2, "name": "gate"}
        rows.append({**row, "values": np.array(gate) * (1 if condition[0] > 2 else 0.5)})
    return pd.DataFrame([*rows, {**rows[0], "name": "output", "values": np.ones(7)}])


def test_how_much_of_depth_passes_is_told_by_class_and_condition() -> None:
    weights = depth_weights(activations(), "gate by depth", DESCRIPTION)
    table = compute_gates(weights, DESCRIPTION).set_index(["test_rgb_snr", "class"])
    assert table["mean"].to_dict() == pytest.approx(
        {
            (math.inf, "all"): 2.6 / 6,
            (math.inf, "apple"): 0.3,
            (math.inf, "bell_pepper"): 0.7,
            (2.0, "all"): 1.3 / 6,
            (2.0, "apple"): 0.15,
            (2.0, "bell_pepper"): 0.35,
        }
    )
    assert table.loc[(math.inf, "all"), "median"] == pytest.approx(0.4)
    assert table.loc[(math.inf, "all"), "examples"] == 3
    other = depth_weights(activations(), "gate by rgb", DESCRIPTION)
    assert (weights["depth"] + other["depth"]).tolist() == pytest.approx([1.0] * 6)


def test_examples_with_least_and_most_depth_are_those_of_the_first_condition() -> None:
    weights = depth_weights(activations(), "gate by depth", DESCRIPTION)
    found = extreme_examples(weights, DESCRIPTION, 4)
    assert found[["which", "number", "depth"]].to_numpy().tolist() == [
        ["least depth", 0, pytest.approx(0.2)],
        ["most depth", 1, pytest.approx(0.7)],
    ]


def test_the_distribution_of_a_gate_is_drawn_by_condition_and_class() -> None:
    """On all that a weight can be: a gate that does nothing looks as if it did nothing."""
    table = compute_gates(depth_weights(activations(), "gate by depth", DESCRIPTION), DESCRIPTION)
    left, right = draw_gates(table, pd.DataFrame(), {}, DESCRIPTION).axes
    assert left.get_xlim() == right.get_xlim() == (0, 1)
    for axes, own in ((left, table[table["label"] < 0]), (right, table[table["label"] >= 0])):
        drawn = [tuple(map(float, line.get_xdata())) for line in axes.lines]
        bars = [one for one in drawn if len(one) == 2 and one[0] != one[1]]
        assert sorted(bars) == sorted(zip(own["low"], own["high"], strict=True))
        dots = {one[0] for one in drawn if len(one) == 1}
        assert dots == {*own["median"], *own["mean"]}
    words = [[label.get_text() for label in one.get_yticklabels()] for one in (left, right)]
    assert words == [["rgb Orig.\ndepth Orig.", "rgb 2\ndepth Orig."], ["apple", "bell_pepper"]]


def test_a_folder_of_views_is_called_as_in_the_note_on_the_data() -> None:
    (group,) = grouped([trial(source="folder", path="/data/rgbd", rgb_network="small")])
    assert group.data == "views in /data/rgbd/"


def noted(rows: list[dict[str, Any]], slopes: Sequence[Mapping[str, Any]] = ()) -> str:
    trials = pd.DataFrame(rows)
    description = replace(DESCRIPTION, classes=51, labels=())
    search = Search("made-up", open_storage("memory"), description, trials, trials)
    table, found = compute_rgbd(search)
    none, imbalance = pd.DataFrame(), pd.DataFrame(slopes)
    text = rgbd_text("made-up", table, found, imbalance, none, ACCURACY, [])
    return text.partition("## Notes")[2]


def test_notes_explain_what_the_tables_have_and_nothing_else() -> None:
    ends = ("", "gate_by_depth")
    by_object = noted([trial(end, one, fold_by="instance") for end in ends for one in range(2)])
    assert "p of the corrected resampled t-test" in by_object
    assert "and of sign flips over folds" in by_object
    assert "Folds by instance hold" in by_object
    for absent in (
        "paired t-test over folds (",
        "repeated k-fold",
        "The paper's",
        "Rule:",
        "andom",
    ):
        assert absent not in by_object
    random = noted([trial(end, one) for end in ends for one in range(2)])
    assert "The paper's numbers stand beside such folds alone." in random
    assert "Folds by instance" not in random


@pytest.mark.parametrize(
    ("p", "said"),
    [
        ((0.025, 0.049, 0.60, 0.74), "of the 4 slopes here Holm's correction leaves none."),
        ((0.01, 0.049, 0.60, 0.74), "of the 4 slopes here Holm's correction leaves 1."),
        ((0.025,), ""),
    ],
)
def test_slopes_are_judged_beside_each_other_too(p: tuple[float, ...], said: str) -> None:
    slopes = [{"group": "other", "sentence": "", "p": one} for one in p]
    notes = noted([trial("", fold) for fold in range(2)], slopes)
    assert said in notes
    assert ("slopes here" in notes) is bool(said)
