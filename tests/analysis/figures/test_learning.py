"""Learning curves against a naive moving average."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_records import train_text
from xflow_records import opened, write_variant

from fusion_search.analysis.figures.folds.learning import compute_learning, draw_learning
from fusion_search.analysis.records.selection import AnalysisError, Search
from fusion_search.analysis.records.storage import open_storage

CURVES = np.random.default_rng(0).uniform(0, 1, (2, 9))


def naive(values: np.ndarray, window: int) -> list[float]:
    half = window // 2
    return [
        float(np.mean(values[max(0, place - half) : place + half + 1]))
        for place in range(len(values))
    ]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    storage = open_storage(tmp_path_factory.mktemp("learning"))
    for fold, curve in enumerate(CURVES):
        write_variant(
            storage.below("made-up"),
            "baseline",
            fold,
            0.5,
            curves={"train_accuracy": curve.tolist(), "train_loss": (2 - curve).tolist()},
        )
    tested = {"test_accuracy": [0.4, 0.6], "test_loss": [1.0, 0.5]}
    write_variant(storage.below("made-up"), "both", 0, 0.5, curves=tested)
    return opened(storage)


def test_curves_are_averaged_over_epochs_and_folds(search: Search) -> None:
    table = compute_learning(search, ["plain"], window=5)
    assert list(table["quantity"].unique()) == ["accuracy", "loss"]
    assert list(table["split"].unique()) == ["train", "validation"]
    own = table[(table["quantity"] == "accuracy") & (table["split"] == "train")]
    np.testing.assert_allclose(own["mean"], CURVES.mean(0))
    smooth = np.array([naive(one, 5) for one in CURVES])
    np.testing.assert_allclose(own["smoothed"], smooth.mean(0))
    np.testing.assert_allclose(own["deviation"], smooth.std(0, ddof=1))
    assert set(own["trials"]) == {2}


def test_one_fold_has_no_spread(search: Search) -> None:
    table = compute_learning(search, ["1"], fold=1, window=3)
    own = table[(table["quantity"] == "loss") & (table["split"] == "train")]
    np.testing.assert_allclose(own["smoothed"], naive(2 - CURVES[1], 3))
    assert own["deviation"].isna().all()
    assert set(own["trials"]) == {1}


def test_a_panel_per_network_and_quantity(search: Search) -> None:
    table = compute_learning(search)
    figure = draw_learning(table, search.description, 5)
    assert len(figure.axes) == 4
    lines = {name: set(part["split"]) for name, part in table.groupby("network")}
    assert sorted(map(len, lines.values())) == [2, 3]
    (legend,) = figure.legends
    assert [one.get_text() for one in legend.get_texts()] == ["train", "validation", "test"]
    (line,) = [one for one in figure.axes[0].lines if one.get_label() == "train"]
    assert len(line.get_xdata()) == 9
    assert math.isclose(float(line.get_ydata()[0]), np.mean(CURVES[:, :3]))  # type: ignore[index]


@pytest.mark.parametrize(
    ("shift", "spread", "lowest"),
    [(0.0, 3.0, 0.0), (-1.5, 3.0, -math.inf), (0.0, 1e-3, 0.0)],
)
def test_no_band_reaches_where_no_value_can_be(
    search: Search, shift: float, spread: float, lowest: float
) -> None:
    table = compute_learning(search, ["plain"])
    loss = table["quantity"] == "loss"
    table["deviation"] = spread
    table.loc[loss, "mean"] += shift  # a loss may be below 0; then its band may be, too
    figure = draw_learning(table, search.description, 5)
    for axes, rows, highest in (
        (figure.axes[0], table[~loss], 1.0),
        (figure.axes[1], table[loss], math.inf),
    ):
        own = rows[rows["split"] == "train"]
        band = axes.collections[0].get_paths()[0].vertices
        floor = 0.0 if axes is figure.axes[0] else lowest
        assert band[:, 1].min() == pytest.approx(max(floor, (own["smoothed"] - spread).min()))
        assert band[:, 1].max() == pytest.approx(min(highest, (own["smoothed"] + spread).max()))


def test_what_cannot_be_drawn_is_said(search: Search, tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="--fold 7 has no finished trial; finished are: 0, 1"):
        compute_learning(search, fold=7)
    with pytest.raises(AnalysisError, match="--network gate names 0 networks"):
        compute_learning(search, ["gate"])
    many = open_storage(tmp_path)
    for rate in range(7):
        settings = {"source": f"data{rate}"}
        write_variant(many.below("made-up"), "baseline", 0, 0.5, **settings)
    with pytest.raises(AnalysisError, match=r"7 networks do not fit .* choose up to 6"):
        compute_learning(opened(many))


def test_a_network_is_chosen_at_all_its_train_conditions_or_at_one(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    noisy: dict[str, Any] = {
        "train": train_text(audio_snr=1.0, visual_snr=1.0),
        "train_audio_snr": 1.0,
    }
    for fold in range(2):
        write_variant(storage.below("made-up"), "baseline", fold, 0.5)
        write_variant(storage.below("made-up"), "both", fold, 0.5)
    write_variant(storage.below("made-up"), "baseline", 0, 0.5, **noisy)
    several = opened(storage)
    every = ["plain, trained at audio Orig., visual Orig.", "plain, trained at audio 1, visual 1"]
    for wanted in (["1"], ["plain"], every):
        assert list(compute_learning(several, wanted)["network"].unique()) == every
    assert list(compute_learning(several, every[1:])["network"].unique()) == every[1:]
    # In the second fold there is one train condition alone; names are those of the whole search.
    assert list(compute_learning(several, ["1"], fold=1)["network"].unique()) == every[:1]
