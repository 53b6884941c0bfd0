"""``draw`` by the files it leaves and what it says."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_records import (
    NOTE,
    SNRS,
    Trial,
    fill,
    late_and_initial,
    write_planned,
    write_trial,
)

from fusion_search.analysis.figures.fusion import compute_fusion
from fusion_search.analysis.records.selection import AnalysisError, open_search
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.commands.command_line import main
from fusion_search.search.commands.figures.draw import trials_of

PAIR = (0.5, 0.25)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "results")


def test_a_half_finished_search_draws_what_is_there_and_names_the_rest(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, gone, broken = Trial((2.0, 1.0)), Trial((2.0, 0.5)), Trial((1.0, 1.0))
    search = fill(storage, [there])
    write_trial(search, broken, reason="the loss became nan")
    write_planned(search, [there, gone, broken])
    words = ["draw", "grids", "made-up", "--storage", storage.location]
    words += ["--output", str(tmp_path / "out")]
    assert main(words) == 0
    error = capsys.readouterr().err
    assert f"missing, not run yet: 1 of 3 planned trials: {gone.name}" in error
    assert f"failed: {broken.name}: the loss became nan" in error
    figure = tmp_path / "out" / "made-up-grids-depth0.png"
    assert figure.read_bytes()[:4] == b"\x89PNG"


def test_of_many_missing_trials_three_are_named(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, *gone = [Trial((2.0, 1.0), seed=seed) for seed in range(6)]
    write_planned(fill(storage, [there]), [there, *gone])
    out = str(tmp_path / "out")
    assert main(["draw", "grids", "made-up", "--storage", storage.location, "--output", out]) == 0
    named = "; ".join(one.name for one in gone[:3])
    told = f"missing, not run yet: 5 of 6 planned trials: {named}; and 2 more\n"
    assert told in capsys.readouterr().err


def test_every_command_writes_png_svg_and_the_csv_of_its_table(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [
        *late_and_initial(),
        *(Trial((math.inf, snr), streams=("image",)) for snr in (1.0, 0.5)),
        *(Trial((snr, math.inf), streams=("audio",)) for snr in (1.0, 0.5)),
    ]
    fill(storage, trials)
    out = tmp_path / "out"
    for command in ("grids", "fusion", "unimodal"):
        words = ["draw", command, "made-up", "--storage", storage.location, "--output", str(out)]
        assert main(words) == 0
    printed = capsys.readouterr().out
    assert "initial wins 10" in printed
    assert "loses 80" in printed
    stems = {path.stem for path in out.iterdir()} - {"made-up-dependence"}
    assert stems == {
        "made-up-grids-depth0",
        "made-up-grids-depth2",
        "made-up-fusion-audio0.5-visual0.25",
        "made-up-fusion-audio0.5-visual0.25-regions",
        "made-up-unimodal",
    }
    for stem in stems - {"made-up-fusion-audio0.5-visual0.25-regions"}:
        assert (out / f"{stem}.png").read_bytes()[:4] == b"\x89PNG"
        svg = (out / f"{stem}.svg").read_text()
        assert "<svg" in svg
    computed = compute_fusion(open_search(storage, "made-up"), PAIR)
    for table, end in zip(computed, ("", "-regions"), strict=True):
        written = pd.read_csv(out / f"made-up-fusion-audio0.5-visual0.25{end}.csv")
        pd.testing.assert_frame_equal(written, table, check_dtype=False)


def test_the_network_that_a_confirmation_confirms_is_drawn_alone(
    storage: Storage, tmp_path: Path
) -> None:
    trials = late_and_initial()
    late = [one for one in trials if one.depth]
    search = fill(storage, trials)
    candidates = [
        {"label": label, "role": role, "rank": rank, "search_value": None, "trial_ids": ids}
        for label, role, rank, ids in (
            ("late", "top", 1, [one.trial_id for one in late]),
            ("plain 0", "plain", None, [one.trial_id for one in trials if not one.depth]),
        )
    ]
    search.write(json.dumps(candidates).encode(), "candidates.json")
    words = ["draw", "grids", "made-up", "--storage", storage.location]
    assert main([*words, "--output", str(tmp_path), "--trial", "best"]) == 0
    assert sorted(one.name for one in tmp_path.glob("*.*")) == [
        "made-up-dependence-best.csv",
        *(f"made-up-grids-best.{kind}" for kind in ("csv", "png", "svg")),
    ]
    table = pd.read_csv(tmp_path / "made-up-grids-best.csv")
    assert set(table["fusion_depth"]) == {late[0].depth}
    original = table[np.isinf(table["test_audio_snr"])]
    assert original["accuracy"].to_numpy() == pytest.approx((0.50 + 0.55 + 0.52) / 3)


def test_one_trial_of_a_search_is_chosen_by_its_id_its_label_or_as_the_best(
    storage: Storage,
) -> None:
    trials = [
        replace(one, extra={"validation_accuracy": 0.1 * one.seed}) for one in late_and_initial()
    ]
    fill(storage, trials)
    search = open_search(storage, "made-up")
    own = trials[1]

    def ids(wanted: str) -> list[str]:
        return sorted(trials_of(search, wanted).finished["trial_id"])

    assert ids(own.trial_id) == [own.trial_id]
    with pytest.raises(AnalysisError, match="no finished trial matches 'late'"):
        ids("late")
    best = trials_of(search, "best").finished
    assert best["fusion_depth"].nunique() == 1
    candidate = {"label": "late", "role": "top", "rank": 2, "search_value": 0.5}
    candidate["trial_ids"] = [trials[0].trial_id, own.trial_id]
    search.storage.write(json.dumps([candidate]).encode(), "candidates.json")
    assert ids("late") == sorted([trials[0].trial_id, own.trial_id])


def test_figures_of_builtin_data_say_so(storage: Storage, tmp_path: Path) -> None:
    fill(storage, [Trial(PAIR)])
    words = ["draw", "grids", "made-up", "--storage", storage.location, "--output", str(tmp_path)]
    assert main(words) == 0
    # Text is drawn as shapes; the SVG names each glyph run in a comment.
    assert NOTE.split(" (")[0] in (tmp_path / "made-up-grids-depth0.svg").read_text()


def test_a_figure_tells_the_data_of_its_own_trials(storage: Storage, tmp_path: Path) -> None:
    """Not those of another network, or train condition, of the search."""
    made = {
        "apples": Trial(PAIR),
        "pears": Trial(PAIR, depth=1),
        "plums": Trial((0.25, 0.25), depth=1),
        "figs": Trial(PAIR, streams=("audio",)),
    }
    fill(storage, [replace(one, extra={"data_note": note}) for note, one in made.items()])
    words = ["made-up", "--storage", storage.location, "--output", str(tmp_path)]
    pair = ["--train", *map(str, PAIR)]
    assert main(["draw", "grids", *words, *pair]) == 0
    assert main(["draw", "fusion", *words, *pair]) == 0
    assert main(["draw", "unimodal", *words]) == 0
    told = {}
    for path in tmp_path.glob("*.svg"):
        text = path.read_text()
        told[path.stem] = [note for note in made if note in text]
    assert told == {
        "made-up-grids-depth0": ["apples"],
        "made-up-grids-depth1": ["pears"],
        "made-up-fusion-audio0.5-visual0.25": ["apples", "pears"],
        "made-up-unimodal": ["figs"],
    }


def test_noise_draws_one_example_at_ten_snrs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["draw", "noise", "--set", "source=builtin", "--output", str(tmp_path)]
    assert main(words) == 0
    assert "NOT MNIST" in capsys.readouterr().out
    (path,) = tmp_path.glob("*.csv")
    table = pd.read_csv(path)
    visual = table[table["axis"] == "visual_snr"]
    assert visual["snr"].tolist() == list(SNRS)
    np.testing.assert_allclose(visual["measured"], SNRS, rtol=1e-4)
    audio = table[table["axis"] == "audio_snr"]
    assert audio["mean"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["grids", "none"], "there is no search 'none'"),
        (["grids", "none"], "searches there: made-up"),
        (["unimodal", "made-up"], "has no network of some streams alone"),
        (["fusion", "made-up"], "no train condition with more than one fusion depth"),
        (
            ["grids", "made-up", "--fusion-depth", "7"],
            "has no network of all streams at fusion depth 7",
        ),
        (
            ["grids", "made-up", "--train", "9", "9"],
            "no finished trial at these train conditions",
        ),
        (
            ["timeline", "made-up"],
            "was not probed; its weights are not there, without which it cannot be probed: put",
        ),
        (["timeline", "made-up", "--trial", "zzz"], "no finished trial matches 'zzz'"),
    ],
)
def test_bad_input_ends_with_a_sentence_and_code_2(
    storage: Storage, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    fill(storage, [Trial(PAIR)])
    assert main(["draw", *words, "--storage", storage.location]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
