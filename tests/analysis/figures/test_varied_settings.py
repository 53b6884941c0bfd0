"""Networks that differ in a setting which no figure draws are told apart, and pooling is said."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pandas as pd
import pytest
from any_records import write_any
from descriptions import clips_description
from synthetic_records import Trial, fill, write_planned

from fusion_search.analysis.conditions import network_title, networks, repetition_words
from fusion_search.analysis.confirmation import settings_words
from fusion_search.analysis.figures.curves import compute_curves, draw_curves
from fusion_search.analysis.figures.fusion import comparable, compute_fusion, differing_words
from fusion_search.analysis.figures.grids import compute_sheet, draw_sheet
from fusion_search.analysis.records.selection import AnalysisError, Search, open_search
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.commands.command_line import main
from fusion_search.search.commands.figures import draw

PAIR = (2.0, 0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return open_storage(tmp_path).below("made-up")


def opened(folder: Storage) -> Search:
    return open_search(folder.parent, "made-up")


def test_a_width_makes_networks_of_their_own_and_a_split_seed_repetitions(
    folder: Storage,
) -> None:
    of = clips_description()
    for width, seed, split in itertools.product((4, 16), (0, 1), (10, 2)):
        # By width 0.4 and 0.7; by seed and split as far apart as 0.1 and 0.02.
        value = {4: 0.4, 16: 0.7}[width] + 0.1 * (seed - 0.5) + 0.02 * (split == 2)
        settings = {"width": width, "split_seed": split}
        write_any(folder, of, lambda snr, v=value: v, train=(20.0,), seed=seed, settings=settings)
    search = opened(folder)
    table = compute_curves(search)
    every = networks(table, of)
    assert [network_title(one) for one in every] == ["plain, width 4", "plain, width 16"]
    assert table["macro_f1"].to_numpy() == pytest.approx([0.41] * 4 + [0.71] * 4)
    assert table[["seeds", "trials"]].drop_duplicates().to_numpy().tolist() == [[2, 4]]
    # Over two seeds, each the mean over its splits.
    assert table["deviation"].to_numpy() == pytest.approx(0.1 / 2**0.5)
    assert repetition_words(search.finished).startswith("Pooled, too: trials of split seed 2, 10.")
    axes = [one for one in draw_curves(table, of).axes if one.get_visible()]
    assert [one.get_title() for one in axes] == ["plain, width 4", "plain, width 16"]
    assert [one.get_text() for one in axes[0].get_legend().get_texts()] == [
        "20 (2 seeds, 4 trials)"
    ]


def digit_trials() -> list[Trial]:
    def trial(depth: int, units: int, seed: int) -> Trial:
        right = 40 + {8: 5, 16: 20}[units] * (depth > 0) + seed
        settings = {"units": units}
        return Trial(PAIR, depth, seed, correct=lambda a, v: right, snrs=(2.0,), settings=settings)

    return [trial(*one) for one in itertools.product((0, 2), (8, 16), (0, 1))]


def test_maps_and_fusion_depths_are_of_one_width_each(
    folder: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = digit_trials()
    alone = Trial(PAIR, 1, settings={"units": 32}, snrs=(2.0,))
    fill(folder.parent, [*trials, alone])
    write_planned(folder, [*trials, alone])
    search = opened(folder)
    sheet = compute_sheet(search, [PAIR])
    late = sheet[sheet["fusion_depth"] == 2]
    assert dict(zip(late["varied_settings"], late["accuracy"], strict=True)) == {
        '{"units": 8}': pytest.approx(0.455),
        '{"units": 16}': pytest.approx(0.605),
    }
    assert late["seeds"].tolist() == [2, 2]
    figure = draw_sheet(late[:1], [PAIR], search.description, search.description.metric)
    assert figure.axes[0].get_title().strip() == "train audio 2, visual 0.5 (2 seeds)"
    groups, left_out = comparable(search)
    assert left_out == ["second-layer fusion, units 32"]
    by_units = {}
    for shared, own in groups:
        cells, _ = compute_fusion(own, PAIR)
        by_units[shared["varied_settings"]] = cells["difference"].dropna().tolist()
    assert by_units == {
        '{"units": 8}': pytest.approx([0.05]),
        '{"units": 16}': pytest.approx([0.2]),
    }
    words = ["draw", "fusion", "made-up", "--storage", folder.parent.location]
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "train conditions compared, of units 8: audio 2, visual 0.5" in said.out
    assert "left out, of no other fusion depth in this search: second-layer" in said.err
    names = {one.name for one in (tmp_path / "out").glob("*.png")}
    assert names == {f"made-up-fusion-units-{n}-audio2-visual0.5.png" for n in (8, 16)}


def test_files_of_networks_are_named_as_networks_are_and_never_alike_or_too_long() -> None:
    every = {"level1": dict.fromkeys(("image>audio", "audio>image"), "both")}
    many = {f"site{one}": {"coupling": f"kind{one}"} for one in range(40)}
    placed = [{}, {}, every, many, {**many, "site39": {"coupling": "none_of_these"}}]
    settings = [{"widened": False}, {"widened": True}, {}, {"rate": 0.12345}, {}]
    names = draw._suffixes(
        [
            {"placement": json.dumps(one), "varied_settings": json.dumps(two)}
            for one, two in zip(placed, settings, strict=True)
        ]
    )
    first, second, third, *long = names
    assert (first, second) == ("", "-widened")
    assert third == "-cross-residual-between-audio-and-image-at-level1"
    assert len(set(long)) == 2
    assert all(len(one) < 160 for one in long)


def test_depths_are_paired_by_fold_and_split_too(folder: Storage) -> None:
    # Split 1 is easier by 0.3, at either depth; late fusion is better by 0.05 in truth.
    there = [(0, 0), (0, 1), (1, 0), (1, 1)]
    late = [(0, 0), (0, 1), (1, 1)]  # its second seed lacks the harder split

    def trial(depth: int, seed: int, split: int) -> Trial:
        right = 40 + 5 * (depth > 0) + 30 * split
        settings = {"split_seed": split}
        return Trial(PAIR, depth, seed, correct=lambda a, v: right, snrs=(2.0,), settings=settings)

    trials = [*(trial(0, *one) for one in there), *(trial(2, *one) for one in late)]
    fill(folder.parent, trials)
    write_planned(folder, trials)
    cells, _ = compute_fusion(opened(folder), PAIR)
    of_late = cells[cells["fusion_depth"] == 2].iloc[0]
    assert (of_late["seeds"], of_late["trials"], of_late["paired_seeds"]) == (1, 2, 1)
    assert of_late["difference"] == pytest.approx(0.05)


def test_depths_of_one_network_each_are_compared_and_their_settings_told(folder: Storage) -> None:
    rates = {0: 0.1, 1: 0.01}
    trials = [Trial(PAIR, depth, settings={"learning_rate": rates[depth]}) for depth in rates]
    fill(folder.parent, trials)
    write_planned(folder, trials)
    ((shared, search),), left_out = comparable(opened(folder))
    assert (shared, left_out) == ({}, [])
    assert differing_words(search) == (
        "The depths differ in settings, too: initial-layer fusion: learning rate 0.1; "
        "second-layer fusion: learning rate 0.01."
    )


def test_settings_that_are_no_mapping_are_damage(folder: Storage) -> None:
    trial = Trial(PAIR)
    fill(folder.parent, [trial])
    plan = {"planned": 1, "trials": [{**trial.identity, "settings": ["units"]}]}
    folder.write(json.dumps(plan).encode(), "planned.json")
    with pytest.raises(AnalysisError, match=r"planned.json is damaged \(settings of a trial"):
        opened(folder)


def test_a_confirmation_says_in_which_settings_its_networks_differ() -> None:
    candidates = [
        {"label": "mmtm at level1", "role": "top", "rank": 1, "trial_ids": ["a", "b"]},
        {"label": "plain fusion", "role": "plain", "rank": None, "trial_ids": ["c"]},
    ]
    told = {"a": '{"dropout": 0.5}', "b": '{"dropout": 0.5}', "c": '{"dropout": 0.0}'}
    trials = pd.DataFrame({"trial_id": list(told), "varied_settings": list(told.values())})
    assert settings_words(trials, candidates) == (
        "The networks differ in settings, too: 1. mmtm at level1: dropout 0.5; "
        "plain fusion: dropout 0."
    )
    assert settings_words(trials[:2], candidates) == ""
