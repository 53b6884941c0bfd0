"""Numbers and figures of a probe: what is planted is found, and nothing in noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from descriptions import sensors_description
from scipy.stats import spearmanr

from fusion_search.analysis.figures.arrays import Array, connection_of
from fusion_search.analysis.figures.probed.changes import (
    compute_changes,
    draw_changes,
    input_of,
    sequences,
    summary_of,
)
from fusion_search.analysis.figures.probed.chosen import (
    chosen_arrays,
    verdict,
)
from fusion_search.analysis.figures.probed.clusters import (
    ALL,
    HELD_OUT,
    compute_clusters,
    compute_contrasts,
    neighbours,
    over_folds,
)
from fusion_search.analysis.figures.probed.embedding import (
    cluster_words,
    compute_embedding,
    draw_embedding,
    is_embedded,
    vectors_of,
)
from fusion_search.analysis.figures.probed.following import changes, compute_following
from fusion_search.analysis.figures.probed.maps import compute_maps, draw_maps
from fusion_search.analysis.figures.timeline import draw_timeline
from fusion_search.analysis.records.selection import AnalysisError
from fusion_search.analysis.verdicts import HELD, REFUTED, UNDECIDED

FIRST, SECOND = "level1.image>audio.cross", "level2.image>audio.cross"
PERSONS, CLASSES = 8, 6


@pytest.fixture(scope="module")
def examples() -> pd.DataFrame:
    """One clip of every person and class; the first two persons are not trained on."""
    rows = [
        {"split": "train" if person > 1 else "test", "number": 0, "group": f"p{person}"}
        | {"label": label}
        for person in range(PERSONS)
        for label in range(CLASSES)
    ]
    return pd.DataFrame(rows).assign(number=range(len(rows)))


def planted(examples: pd.DataFrame, by: str, strength: float) -> Array:
    """Noise, and a place of its own for each value of a column."""
    chance = np.random.default_rng(5)
    values = sorted(examples[by].unique())
    places = dict(zip(values, chance.standard_normal((len(values), 10)), strict=True))
    centres = np.stack([places[one] for one in examples[by]])
    return np.asarray(strength * centres + chance.standard_normal(centres.shape))


def test_a_planted_clustering_is_found_and_none_by_person_or_chance(
    examples: pd.DataFrame,
) -> None:
    vectors = {
        "by class": planted(examples, "label", 3.0),
        "by person": planted(examples, "group", 3.0),
        "neither": planted(examples, "label", 0.0),
    }
    found = compute_clusters(examples, neighbours(vectors)).set_index(["array", "part"])
    labels = examples["label"].to_numpy()
    for name, values in vectors.items():  # the nearest neighbour, one by one
        agrees = []
        for at, own in enumerate(values):
            far = [
                np.sqrt(((own - one) ** 2).sum()) if at != n else np.inf
                for n, one in enumerate(values)
            ]
            agrees.append(labels[int(np.argmin(far))] == labels[at])
        row = found.loc[(name, ALL)]
        assert row["agreement"] == pytest.approx(np.mean(agrees))
        assert row["clustering"] == pytest.approx(
            (row["agreement"] - row["chance"]) / (1 - row["chance"])
        )
        assert (row["units"], row["of"], row["examples"]) == (PERSONS, "groups", 48)
        assert found.loc[(name, HELD_OUT), "examples"] == 2 * CLASSES
    told = found.xs(ALL, level="part")
    assert told["verdict"].to_dict() == {
        "by class": HELD,
        "by person": REFUTED,
        "neither": REFUTED,
    }
    assert told.loc["by class", "p"] == 0.001
    assert told.loc[["by person", "neither"], "p"].min() > 0.05
    # Of one class a person has one clip: beside one's own person chance is 0.
    assert told.loc["by person", "chance"] < 0.02 < 0.1 < told.loc["neither", "chance"] < 0.2


def test_over_folds_every_person_is_asked_once_among_its_own_networks_clips() -> None:
    def probe(fold: int, strength: float) -> tuple[pd.DataFrame, dict[str, Array]]:
        """Person ``fold`` is tested, the next validates, the others train."""
        splits = {fold: "test", (fold + 1) % PERSONS: "validation"}
        rows = [
            {"split": splits.get(person, "train"), "number": 0, "group": f"p{person}"}
            | {"label": label}
            for person in range(PERSONS)
            for label in range(CLASSES)
        ]
        # Its clips lie in an order of their own.
        table = pd.DataFrame(rows).sample(frac=1, random_state=fold, ignore_index=True)
        # A plane of its own for every network: pooled vectors would find neighbours elsewhere.
        first = planted(table, "label", 0.0) + 100 * fold
        return table, {FIRST: first, SECOND: planted(table, "label", strength) - 100 * fold}

    def nearest(fold: int, strength: float = 3.0) -> tuple[pd.DataFrame, dict[str, Any]]:
        table, vectors = probe(fold, strength)
        return table, neighbours(vectors)

    probes = {f"t{fold}": nearest(fold) for fold in range(PERSONS)}
    examples, pooled, parts = over_folds(probes)
    clusters = compute_clusters(examples, pooled, parts)
    told = clusters.set_index("array")
    agreed = []
    for fold in range(PERSONS):
        table, numbers = probes[f"t{fold}"]
        labels = table["label"].to_numpy()
        agreed.append((labels[numbers[SECOND]] == labels)[(table["split"] == "test").to_numpy()])
    assert told.loc[SECOND, "agreement"] == pytest.approx(np.mean(agreed))
    assert (told["units"] == PERSONS).all()
    assert (told["examples"] == PERSONS * CLASSES).all()
    assert told["verdict"].to_dict() == {FIRST: REFUTED, SECOND: HELD}
    row = compute_contrasts(examples, pooled, clusters, parts).iloc[0]
    assert (row["part"], row["verdict"], row["units"]) == (HELD_OUT, HELD, PERSONS)

    with pytest.raises(AnalysisError, match="p1 is held out in trial t1 and in again, and counts"):
        over_folds({"t1": nearest(1), "again": nearest(1)})
    alone, numbers = nearest(2)
    with pytest.raises(AnalysisError, match="probe it with --split all"):
        over_folds({"t2": (alone[alone["split"] == "test"], numbers)})
    with pytest.raises(AnalysisError, match="arrays of trial t1 are not those of t0"):
        over_folds({"t0": nearest(0), "t1": (probe(1, 3.0)[0], {FIRST: numbers[FIRST]})})


def test_the_last_clusters_and_the_first_does_not(examples: pd.DataFrame) -> None:
    def contrast(first: float, last: float) -> pd.Series:
        vectors = {
            FIRST: planted(examples, "label", first),
            "level1.image>audio.residual": planted(examples, "label", 0.0),
            SECOND: planted(examples, "label", last),
        }
        nearest = neighbours(vectors)
        found = compute_contrasts(examples, nearest, compute_clusters(examples, nearest))
        assert set(found["connection"]) == {"cross from image to audio"}
        row: pd.Series = found.set_index("part").loc[ALL]
        return row

    held = contrast(0.0, 3.0)
    assert held["verdict"] == HELD
    assert held["difference"] > 0.6
    assert held["p"] == 2 / 2**PERSONS
    assert contrast(3.0, 3.0)["verdict"] == REFUTED
    assert contrast(0.0, 0.0)["verdict"] == REFUTED


def test_examples_without_a_neighbour_of_their_class_are_refused(examples: pd.DataFrame) -> None:
    own = examples[examples["group"] == "p0"].reset_index(drop=True)
    with pytest.raises(AnalysisError, match="--per-class 1 --split all"):
        compute_clusters(own, neighbours({"a": planted(own, "label", 1.0)}))
    with pytest.raises(AnalysisError, match="no classes"):
        compute_clusters(own.assign(label=-1), neighbours({"a": planted(own, "label", 1.0)}))


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (0.6, 0.9, 0.01, HELD),
        (0.6, 0.9, 0.06, UNDECIDED),
        (0.4, 0.6, 0.01, UNDECIDED),
        (0.1, 0.4, 0.01, REFUTED),
        (np.nan, np.nan, 0.01, UNDECIDED),
    ],
)
def test_the_rule(low: float, high: float, p: float, expected: str) -> None:
    assert verdict(low, high, p, 6) == expected
    assert verdict(low, high, p, 5) == UNDECIDED  # as everywhere: five sign flips tell nothing


@pytest.mark.parametrize(
    ("verdict_of_it", "p", "said"),
    [
        (HELD, 0.001, "clusters by class"),
        (REFUTED, 0.4, "does not cluster by class"),
        (REFUTED, 0.001, "does not cluster by class, though beyond chance"),
        (UNDECIDED, 0.001, "undecided"),
    ],
)
def test_a_small_p_beside_no_clusters_is_explained(verdict_of_it: str, p: float, said: str) -> None:
    row = {"part": ALL, "agreement": 0.17, "chance": 0.04, "p": p, "clustering": 0.13}
    row |= {"low": 0.05, "high": 0.21, "verdict": verdict_of_it}
    first, second = cluster_words(row).split("\n")
    assert first == f"17% agree, 4% by chance (p = {p:.3f})"
    assert second == f"0.13 [0.05, 0.21]: {said}"


def table_of(examples: pd.DataFrame, arrays: dict[str, list[Array]]) -> pd.DataFrame:
    rows = [
        {**{str(key): value for key, value in row.items()}, "name": name, "values": values[at]}
        for at, row in examples.iterrows()
        for name, values in arrays.items()
    ]
    return pd.DataFrame(rows)


def test_an_embedding_has_a_panel_for_each_array_and_a_word_for_each_example(
    examples: pd.DataFrame,
) -> None:
    apart = planted(examples, "label", 6.0)
    over_time = [np.stack([one - 1, one + 1]) for one in apart]
    arrays = {
        "input.image": [np.zeros(4)] * len(examples),
        FIRST: list(planted(examples, "label", 0.0)),
        SECOND: over_time,
        "level1.audio>image.cross": [np.zeros((2, 4, 4))] * len(examples),
    }
    table = table_of(examples, arrays)
    names = chosen_arrays(table, None, is_embedded, "vectors")
    assert names == [FIRST, SECOND]
    told, vectors = vectors_of(table, names)
    pd.testing.assert_frame_equal(told, examples)
    np.testing.assert_allclose(vectors[SECOND], apart)  # the mean over time
    points = compute_embedding(told, vectors, neighbours(vectors))
    again = compute_embedding(told, vectors, neighbours(vectors))
    pd.testing.assert_frame_equal(points, again)
    # What lies together in space lies together in the plane.
    places = points[points["array"] == SECOND]
    centres = places.groupby("label")[["x", "y"]].transform("mean")
    within = np.hypot(places["x"] - centres["x"], places["y"] - centres["y"]).mean()
    between = np.hypot(places["x"] - places["x"].mean(), places["y"] - places["y"].mean()).mean()
    assert within < 0.3 * between
    figure = draw_embedding(
        points, compute_clusters(told, neighbours(vectors)), sensors_description()
    )
    drawn = [axes for axes in figure.axes if axes.axison]
    assert len(drawn) == 2
    for axes in drawn:
        assert len(axes.texts) == PERSONS * CLASSES
        bold = [one.get_text() for one in axes.texts if one.get_fontweight() == "bold"]
        assert len(bold) == 2 * CLASSES
    assert "does not cluster" in drawn[0].get_title()
    assert ": clusters by class" in drawn[1].get_title()
    with pytest.raises(AnalysisError, match=r"shape \[2, 4, 4\]"):
        vectors_of(table, ["level1.audio>image.cross"])
    with pytest.raises(AnalysisError, match="no probed array begins with 'level3'"):
        chosen_arrays(table, ["level3"], is_embedded, "vectors")


RESIDUAL = "level1.audio>image.residual"


def walks(count: int, seed: int) -> list[Array]:
    """Sequences [T, 5] of several lengths, whose changes are now long and now short."""
    chance = np.random.default_rng(seed)
    return [
        np.cumsum(chance.standard_normal((n, 5)) * chance.lognormal(0, 1, (n, 1)), 0)
        for n in chance.integers(18, 28, count)
    ]


def as_maps(values: Array) -> Array:
    """[T, 5] to maps [T, 3, 2, 2], the last channel constant."""
    weights = np.random.default_rng(1).standard_normal((5, 12))
    maps = (values @ weights).reshape(-1, 3, 2, 2)
    maps[:, 2] = 1.0
    return np.asarray(maps)


def test_changes_are_norms_from_step_to_step() -> None:
    maps = as_maps(walks(1, 0)[0])
    naive = [np.linalg.norm((maps[t + 1] - maps[t]).ravel()) for t in range(len(maps) - 1)]
    np.testing.assert_allclose(changes(maps), naive)


def test_what_follows_its_input_is_found_and_what_does_not_is_not(examples: pd.DataFrame) -> None:
    some = examples.iloc[:12].reset_index(drop=True)
    inputs = walks(12, 2)
    following = [as_maps(one) for one in inputs]
    told, summary = compute_following(some, following, inputs)
    naive = [
        spearmanr(
            np.linalg.norm(np.diff(out.reshape(len(out), -1), axis=0), axis=1),
            np.linalg.norm(np.diff(given, axis=0), axis=1),
        ).statistic
        for out, given in zip(following, inputs, strict=True)
    ]
    np.testing.assert_allclose(told["correlation"], naive)
    first = changes(following[0]), changes(inputs[0])
    turned = [
        spearmanr(first[0], np.roll(first[1], by)).statistic for by in range(1, len(first[0]))
    ]
    assert told["shifted"][0] == pytest.approx(np.mean(turned))
    (row,) = summary.to_dict("records")
    assert row["correlation"] == pytest.approx(told.groupby("group")["correlation"].mean().mean())
    assert (row["p"], row["channels"], row["channels_following"]) == (0.001, 3, 2)
    alone = compute_following(some.assign(group="one"), following, inputs)[1].iloc[0]
    assert (alone["units"], alone["of"], alone["verdict"]) == (12, "examples", HELD)
    others = [as_maps(one[::-1]) for one in inputs]
    _, other = compute_following(some.assign(group=""), others, inputs)
    assert other["verdict"].iloc[0] == REFUTED
    assert other["p"].iloc[0] > 0.05
    still = [np.ones((len(one), 3)) for one in inputs]
    with pytest.raises(AnalysisError, match="changes over time"):
        compute_following(some, still, inputs)


def test_channels_are_drawn_above_their_input(examples: pd.DataFrame) -> None:
    some = examples.iloc[:4].reset_index(drop=True)
    inputs = walks(4, 3)
    arrays = {
        "input.image.frames": [np.zeros((len(one), 4, 4)) for one in inputs],
        "input.audio.coefficients": inputs,
        RESIDUAL: [as_maps(one) for one in inputs],
    }
    table = table_of(some, arrays)
    against = input_of(table, RESIDUAL, None)
    assert against == "input.audio.coefficients"
    assert input_of(table, RESIDUAL, "input.image") == "input.image.frames"
    with pytest.raises(AnalysisError, match=r"by --against: input\.image\.frames, input\.audio"):
        input_of(table, RESIDUAL, "input.touch")
    maps, given = sequences(table, RESIDUAL, against)
    shown = compute_changes(some, maps, given)
    assert list(shown["channel"].unique()) == [0, 1]  # the third is constant
    second = shown[shown["channel"] == 1]
    assert set(second["number"]) == {1}  # another example for another channel
    naive = [np.linalg.norm(maps[1][t + 1, 1] - maps[1][t, 1]) for t in range(len(maps[1]) - 1)]
    np.testing.assert_allclose(second["change"], naive)
    told, following = compute_following(some, maps, given)
    summary: dict[str, Any] = summary_of(following, RESIDUAL, against)
    figure = draw_changes(shown, told, summary, title="made up")
    above, below = figure.axes[:2]
    np.testing.assert_allclose(
        above.get_lines()[0].get_ydata(), shown.loc[shown["channel"] == 0, "change"]
    )
    np.testing.assert_allclose(below.get_lines()[0].get_ydata(), changes(given[0]))
    assert "residual from audio to image at level1" in figure.get_suptitle()


def test_maps_are_pictures_of_channels_and_steps() -> None:
    chance = np.random.default_rng(0)
    maps = chance.standard_normal((25, 9, 5, 3))
    maps[:, 0] = 2.0
    frames = chance.standard_normal((25, 7, 4))
    figure = draw_maps(maps, frames, transposed=True)
    given, *channels = (np.asarray(axes.images[0].get_array()) for axes in figure.axes)
    assert len(channels) == 6
    assert given.shape == (4, 10 * 8 - 1)  # ten of the steps, seven wide, and gaps
    np.testing.assert_allclose(given[:, :7], frames[0].T)
    np.testing.assert_allclose(given[:, -7:], frames[24].T)
    np.testing.assert_allclose(channels[0][:, :5], maps[0, 1].T)  # a constant channel comes last
    first, second = (np.asarray(axes.images[0].get_array()) for axes in draw_maps(maps[3]).axes)
    np.testing.assert_allclose(first[:, 4:7], maps[3, 1])
    np.testing.assert_allclose(second[:, :3], maps[3, 8])
    assert np.isnan(second[:, 3:].astype(float)).all()
    numbers = compute_maps("m", maps)
    row = numbers[(numbers["step"] == 3) & (numbers["channel"] == 8)].iloc[0]
    assert row["maximum"] == maps[3, 8].max()
    with pytest.raises(AnalysisError, match=r"m has shape \[5, 3\]"):
        compute_maps("m", maps[0, 0])


def test_a_timeline_leaves_connections_out_and_shows_a_clips_frames() -> None:
    of = sensors_description()
    frames = np.random.default_rng(0).standard_normal((11, 4, 3))
    row = {"label": -1, "target": np.nan}
    arrays = {"input.video": frames, "output": np.ones(2), RESIDUAL: np.zeros((11, 2, 4, 4))}
    table = pd.DataFrame([{**row, "name": name, "values": one} for name, one in arrays.items()])
    given, output = draw_timeline(table, of).axes
    picture = np.asarray(given.images[0].get_array())
    assert picture.shape == (4, 3 * 8)  # eight of the frames, the first and the last among them
    np.testing.assert_allclose(picture[:, :3], frames[0])
    np.testing.assert_allclose(picture[:, -3:], frames[-1])
    assert len(output.patches) == 2
    with pytest.raises(AnalysisError, match="probe without --array"):
        draw_timeline(table[table["name"] == RESIDUAL], of)


def test_names_of_connections_are_told_from_others() -> None:
    found = connection_of("deep.site.a>b.both")
    assert found is not None
    assert (found.site, found.source, found.target, found.kind) == ("deep.site", "a", "b", "both")
    for name in ("output", "input.audio.coefficients", "a>b", "site.a>b"):
        assert connection_of(name) is None
