"""Tables by hand-computed numbers, figures by what they hold, commands by what they leave."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from synthetic_records import NOTE, SNRS, Trial, write_planned, write_trial

from fusion_search.analysis.figures.drawing import BOX_COLOUR
from fusion_search.analysis.figures.fusion import compute_fusion, draw_fusion, summarise_fusion
from fusion_search.analysis.figures.grids import compute_grid, draw_grid
from fusion_search.analysis.figures.unimodal import compute_unimodal
from fusion_search.analysis.records.selection import AnalysisError, open_search
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_table
from fusion_search.analysis.statistics import holm
from fusion_search.search.commands.command_line import main

PAIR = (0.5, 0.25)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "results")


def fill(storage: Storage, trials: list[Trial], name: str = "made-up") -> Storage:
    search = storage.below(name)
    for trial in trials:
        write_trial(search, trial)
    return search


def test_grid_is_the_share_of_all_examples_in_the_papers_order(storage: Storage) -> None:
    def loud(audio: float, visual: float) -> int:
        return 90 if math.isinf(audio) and visual == 16 else 20

    trials = [Trial(PAIR, seed=0, n=100, correct=loud), Trial(PAIR, seed=1, n=300, correct=loud)]
    grid = read_table(fill(storage, trials), "grid")
    accuracy = compute_grid(grid)
    assert list(accuracy.index) == list(SNRS)
    assert list(accuracy.columns) == list(SNRS)
    assert accuracy.loc[math.inf, 16.0] == pytest.approx(180 / 400)
    assert accuracy.loc[16.0, math.inf] == pytest.approx(40 / 400)
    alone = compute_grid(grid, [trials[0].trial_id])
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
    figure = draw_grid(compute_grid(grid), train_pair=PAIR)
    assert BOX_COLOUR == "red"
    row, column = SNRS.index(PAIR[0]), SNRS.index(PAIR[1])
    assert boxes(figure) == [(column - 0.5, row - 0.5, 1, 1)]


def late_and_initial() -> list[Trial]:
    """Initial fusion: 60. Late: 50, 55, 52 where audio is original, 60 at 16, 70 elsewhere."""

    def late(seed: int) -> object:
        def correct(audio: float, visual: float) -> int:
            return [50, 55, 52][seed] if math.isinf(audio) else 60 if audio == 16 else 70 + seed

        return correct

    initial = [Trial(PAIR, depth=0, seed=seed, correct=lambda a, v: 60) for seed in range(4)]
    return [*initial, *(Trial(PAIR, depth=2, seed=k, correct=late(k)) for k in range(3))]  # type: ignore[arg-type]


def test_fusion_counts_wins_ties_and_losses_over_common_seeds(storage: Storage) -> None:
    fill(storage, late_and_initial())
    table, regions = compute_fusion(open_search(storage, "made-up"), PAIR)
    (row,) = summarise_fusion(table).to_dict("records")
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
    (row,) = summarise_fusion(table).to_dict("records")
    assert row["decisions"] == (
        "100 conditions. max-T: 50 higher, 50 lower. "
        "Holm: cannot be decided with 6 seeds; 12 would do"
    )
    told = regions.set_index("region")["decision"]
    assert told["audio noisy"] == "higher"
    assert told["audio clean"] == told["audio alone clean"] == "lower"
    figure = draw_fusion(table, PAIR, {0: "initial", 2: "late"})
    dots = [line for axes in figure.axes for line in axes.get_lines()]
    assert len(dots) == 100
    few = table.assign(paired_seeds=3, p_max_t=math.nan)
    words = [text.get_text() for text in draw_fusion(few, PAIR, {0: "a", 2: "b"}).texts]
    assert any(
        "cannot be decided with 3 seeds; 6 would do" in one.replace("\n", " ") for one in words
    )


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, never falling.
    p = np.array([0.04, 0.01, np.nan, 0.03, 0.02])
    np.testing.assert_allclose(holm(p), [0.06, 0.04, np.nan, 0.06, 0.06])


def test_unimodal_lines_are_means_over_seeds(storage: Storage) -> None:
    trials = [
        Trial(
            (math.inf, 0.5), seed=seed, modality="visual", correct=lambda a, v, s=seed: 40 + 20 * s
        )
        for seed in (0, 1)
    ]
    fill(storage, trials)
    table = compute_unimodal(open_search(storage, "made-up"))
    assert len(table) == 10
    assert table["accuracy"].tolist() == pytest.approx([0.5] * 10)
    assert table["deviation"].tolist() == pytest.approx([np.std([0.4, 0.6], ddof=1)] * 10)
    assert set(table["train_snr"]) == {0.5}


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


def test_every_command_writes_png_svg_and_the_csv_of_its_table(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [
        *late_and_initial(),
        *(Trial((math.inf, snr), modality="visual") for snr in (1.0, 0.5)),
        *(Trial((snr, math.inf), modality="audio") for snr in (1.0, 0.5)),
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


def test_figures_of_builtin_data_say_so(storage: Storage, tmp_path: Path) -> None:
    fill(storage, [Trial(PAIR)])
    words = ["draw", "grids", "made-up", "--storage", storage.location, "--output", str(tmp_path)]
    assert main(words) == 0
    # Text is drawn as shapes; the SVG names each glyph run in a comment.
    assert NOTE.split(" (")[0] in (tmp_path / "made-up-grids-depth0.svg").read_text()


def test_noise_draws_one_example_at_ten_snrs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["draw", "noise", "--output", str(tmp_path)]) == 0
    assert "NOT MNIST" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "noise-builtin-example0.csv")
    assert table["snr"].tolist() == list(SNRS)
    np.testing.assert_allclose(table["visual_snr"], SNRS, rtol=1e-4)
    assert table["spectrogram_mean"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["grids", "none"], "there is no search 'none'"),
        (["grids", "none"], "searches there: made-up"),
        (["unimodal", "made-up"], "has no finished trial of modality visual or audio"),
        (["fusion", "made-up"], "no train pair with more than one fusion depth"),
        (["grids", "made-up", "--fusion-depth", "7"], "has no finished trial"),
        (["grids", "made-up", "--train-pair", "9", "9"], "no finished trial at these train pairs"),
        (["timeline", "made-up"], "is missing; choose another --trial"),
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


def test_a_damaged_plan_is_named(storage: Storage) -> None:
    search = fill(storage, [Trial(PAIR)])
    search.write(b"[{", "planned.json")
    with pytest.raises(AnalysisError, match=r"planned\.json is damaged"):
        open_search(storage, "made-up")
