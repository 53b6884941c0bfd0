"""``probe``, ``draw timeline`` and ``draw noise``: single examples through a trained network."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from odd_tasks import Amount, Sensors, Widths
from small_recorder import one_recorded
from small_trials import small_trial

from fusion_search.analysis.figures.timeline import read_activations
from fusion_search.analysis.records.selection import open_search
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import CHECKPOINTS
from fusion_search.datasets.digits.data import load_digits
from fusion_search.search.commands.command_line import main
from fusion_search.search.commands.figures.probe import _figures
from fusion_search.search.python.trained_trial import load_trial
from fusion_search.search.tasks.digits.task import Digits
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.inspection.probe import Example, Probed, trained_network
from fusion_search.search.trials.settings import TrainingSettings
from fusion_search.search.trials.specification import TrialSpecification

RECORDS = Path(__file__).parents[3] / "docs" / "records"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrialSpecification]:
    folder = tmp_path_factory.mktemp("probe")
    trial = small_trial(epochs=1, test_examples=2, fusion_depth=1, seed=4)
    one_recorded(folder, trial, OpenedTask(Digits(), trial.data))
    return folder, trial


def told(folder: Path, trial: TrialSpecification) -> dict[tuple[float, float, str], Any]:
    table = read_activations(open_search(open_storage(folder), "one"), trial.trial_id)
    keys = zip(table["test_audio_snr"], table["test_visual_snr"], table["name"], strict=True)
    return dict(zip(keys, table["values"], strict=True))


def test_a_probe_keeps_what_the_network_takes_and_gives(
    digits: tuple[Path, TrialSpecification], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, trial = digits
    words = ["probe", "one", "--storage", str(folder), "--example", "3"]
    words += ["--condition", "1", "0.25", "--condition", "absent", "original"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "1 example at 2 conditions" in printed
    assert "NOT MNIST" in printed
    found = told(folder, trial)
    assert {name for _, _, name in found} == {"input.image", "input.audio", "output"}

    # The same by hand: the pair's image and sound with the trial's noise, and the network.
    examples = load_digits(trial.data).examples("test", torch.tensor([3]), noise_seed=trial.seed)
    opened = OpenedTask(Digits(), trial.data)
    checkpoint = open_storage(folder).below("one").read(CHECKPOINTS, f"{trial.trial_id}.pt")
    network = trained_network(trial, opened, checkpoint)
    image, sound = examples.visual(0.25), examples.audio(1.0)
    np.testing.assert_allclose(found[1.0, 0.25, "input.image"], image[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(found[1.0, 0.25, "input.audio"], sound[0].numpy(), atol=1e-6)
    with torch.inference_mode():
        logits = network(image, sound)[0].numpy()
    over_time = found[1.0, 0.25, "output"]
    assert over_time.shape == (24, 10)
    np.testing.assert_allclose(over_time[-1], logits, atol=1e-5)
    assert not found[-math.inf, math.inf, "input.audio"].any()
    assert found[-math.inf, math.inf, "input.image"].any()

    out = tmp_path / "figures"
    assert main(["draw", "timeline", "one", "--storage", str(folder), "--output", str(out)]) == 0
    (figure,) = out.glob("*.png")
    assert figure.name == f"one-timeline-{trial.trial_id}-3.png"


def test_without_conditions_a_probe_takes_telling_ones(
    digits: tuple[Path, TrialSpecification],
) -> None:
    folder, trial = digits
    assert main(["probe", "one", "--storage", str(folder)]) == 0
    conditions = dict.fromkeys((audio, visual) for audio, visual, _ in told(folder, trial))
    # No noise, as in training, and each input alone at its lowest SNR.
    lowest = 0.0625
    expected = [(math.inf, math.inf), (0.5, 0.25), (lowest, math.inf), (math.inf, lowest)]
    assert list(conditions) == expected


def test_examples_of_every_class_are_embedded_and_their_changes_compared(
    digits: tuple[Path, TrialSpecification],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, trial = digits
    at = ["--storage", str(folder)]
    chosen = ["probe", "one", *at, "--per-class", "2", "--split", "test", "--split", "train"]
    assert main([*chosen, "--array", "out", "--array", "input.audio"]) == 0
    assert "20 examples at 1 condition" in capsys.readouterr().out
    table = read_activations(open_search(open_storage(folder), "one"), trial.trial_id)
    assert sorted(table.loc[table["name"] == "output", "label"]) == sorted([*range(10)] * 2)
    # Those that were not trained on come first, and are enough.
    assert set(zip(table["name"], table["split"], table["group"], strict=True)) == {
        ("output", "test", ""),
        ("input.audio", "test", ""),
    }
    assert np.isinf(table["test_audio_snr"]).all()

    out = ["--output", str(tmp_path)]
    assert main(["draw", "embedding", "one", *at, *out]) == 0
    assert "by chance (p = " in capsys.readouterr().out
    name = f"one-embedding-{trial.trial_id}"
    points, told = (pd.read_csv(tmp_path / f"{name}{one}.csv") for one in ("", "-clusters"))
    assert len(points) == 20
    assert told[["array", "part", "examples", "of"]].to_numpy().tolist() == [
        ["output", "all examples", 20, "examples"]
    ]
    assert told["agreement"][0] == pytest.approx(points["neighbour_agrees"].mean())
    assert main(["draw", "changes", "one", *at, *out, "--array", "output"]) == 0
    assert "output: rank correlation" in capsys.readouterr().out
    of_each = pd.read_csv(tmp_path / f"one-changes-{trial.trial_id}-output-examples.csv")
    assert len(of_each) == 20
    assert set(of_each["steps"]) == {24}

    for figure in ("changes", "maps"):
        assert main(["draw", figure, "one", *at, *out]) == 2
        assert "there are input.audio [24, 201], output [24, 10]" in capsys.readouterr().err
    monkeypatch.setattr("fusion_search.search.commands.figures.probe.MOST_VALUES", 10_000)
    assert main(chosen) == 2
    error = capsys.readouterr().err
    assert "2 examples already have more than 10,000 values" in error
    assert "by --array: input.image, input.audio, output" in error
    kept = read_activations(open_search(open_storage(folder), "one"), trial.trial_id)
    assert len(kept) == len(table)


@pytest.mark.parametrize(
    ("arrays", "examples", "gate", "figures"),
    [
        ({"input.audio": (24, 201), "output": (24, 10)}, 20, False, ["timeline", "embedding"]),
        ({"input.rgb": (3, 32, 32), "output": (8,)}, 44, False, ["embedding"]),
        ({"input.rgb": (3, 32, 32), "gate": (32,)}, 44, True, ["rgbd", "embedding"]),
        ({"input.rgb": (3, 32, 32), "output": (8,)}, 4, False, ["timeline"]),  # of four classes
        ({"input.rgb": (3, 32, 32), "output": (8,)}, 1, False, ["timeline"]),
    ],
)
def test_figures_are_named_that_can_be_drawn_of_what_was_probed(
    arrays: dict[str, tuple[int, ...]], examples: int, gate: bool, figures: list[str]
) -> None:
    """Of stills no timeline, but for a single one, which it shows beside the outputs."""
    kept = [
        Probed({}, Example("test", one), "", one % 4, math.nan, name, torch.zeros(shape))
        for one in range(examples)
        for name, shape in arrays.items()
    ]
    assert _figures(kept, gate=gate) == figures


def test_timelines_of_many_examples_are_as_many_as_asked_for(
    digits: tuple[Path, TrialSpecification], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, _ = digits
    at, out = ["--storage", str(folder)], ["--output", str(tmp_path)]
    arrays = ["--array", "output", "--array", "input"]
    assert main(["probe", "one", *at, "--per-class", "2", *arrays]) == 0
    told = re.search(
        r"^likewise: fusion-search (draw embedding .*)$", capsys.readouterr().out, re.M
    )
    assert told is not None
    assert main([*shlex.split(told[1]), *out]) == 0  # as it is printed
    for path in tmp_path.glob("*embedding*"):
        path.unlink()
    assert main(["draw", "timeline", "one", *at, *out, "--most", "2"]) == 0
    assert "the first 2 are drawn; --most 20 draws all" in capsys.readouterr().err
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_the_examples_that_a_trial_was_tested_on_are_taken_in_their_order(
    digits: tuple[Path, TrialSpecification],
) -> None:
    folder, trial = digits
    words = ["probe", "one", "--storage", str(folder), "--tested", "2", "--array", "output"]
    assert main([*words, "--condition", "original", "original"]) == 0
    table = read_activations(open_search(open_storage(folder), "one"), trial.trial_id)
    total = len(load_digits(trial.data).splits["test"])
    drawn = np.random.default_rng([trial.seed, 2]).choice(total, size=2, replace=False)
    assert table["number"].tolist() == drawn.tolist()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["probe", "one", "--example", "100000"], "test example 100000 does not exist"),
        (["probe", "one", "--condition", "1"], "needs an SNR per axis: audio_snr, visual_snr"),
        (["probe", "one", "--condition", "0", "1"], "audio_snr is 0.0; allowed: above 0"),
        (["probe", "one", "--per-class", "1", "--example", "3"], "--example, --per-class and"),
        (["probe", "one", "--tested", "1", "--per-class", "1"], "--example, --per-class and"),
        (["probe", "one", "--tested", "900"], "--tested is 900; allowed: 1 to 2, the examples tha"),
        (["probe", "one", "--array", "logits"], "no array begins with 'logits'; there are input."),
        (["probe", "one", "--trial", "zzz"], "no finished trial matches 'zzz'"),
        (["draw", "timeline", "one", "--trial", "zzz"], "no finished trial matches 'zzz'"),
    ],
)
def test_bad_input_ends_with_a_sentence(
    digits: tuple[Path, TrialSpecification],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert main([*words, "--storage", str(digits[0])]) == 2
    assert message in capsys.readouterr().err


def test_a_regression_is_probed_without_axes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = OpenedTask(Sensors(), Amount(size=8))
    trial = TrialSpecification(
        task="odd_tasks:Sensors",
        network=Widths(),
        data=Amount(size=8),
        training=TrainingSettings(epochs=1, batch_size=4, device="cpu"),
    )
    storage = one_recorded(tmp_path, trial, opened)
    place = ["--storage", str(tmp_path)]
    assert main(["draw", "timeline", "one", *place]) == 2
    assert "was not probed" in capsys.readouterr().err
    assert main(["probe", "one", *place]) == 0
    table = read_activations(open_search(open_storage(tmp_path), "one"), trial.trial_id)
    assert list(table["name"]) == ["input.ecg", "input.motion", "input.heat", "output"]
    assert set(table["label"]) == {-1}
    network = trained_network(trial, opened, storage.read(CHECKPOINTS, f"{trial.trial_id}.pt"))
    inputs, target = opened.first.test[0]
    with torch.inference_mode():
        expected = network(**{name: one[None] for name, one in inputs.items()})
    np.testing.assert_allclose(table["values"].iloc[-1], expected[0].numpy(), atol=1e-6)
    assert table["target"].to_numpy() == pytest.approx(float(target))
    out = ["--output", str(tmp_path / "figures")]
    assert main(["draw", "timeline", "one", *place, *out]) == 0
    (drawn,) = (tmp_path / "figures").glob("*.csv")
    assert pd.read_csv(drawn)["target"].to_numpy() == pytest.approx(float(target))


def test_a_checkpoint_of_another_network_is_refused(
    digits: tuple[Path, TrialSpecification], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, trial = digits
    opened = OpenedTask(Digits(), trial.data)
    narrow = small_trial(epochs=1, test_examples=2, fusion_depth=1, units=2, seed=4)
    storage = one_recorded(tmp_path, narrow, opened)
    wrong = open_storage(folder).below("one").read(CHECKPOINTS, f"{trial.trial_id}.pt")
    storage.write(wrong, CHECKPOINTS, f"{narrow.trial_id}.pt")
    assert main(["probe", "one", "--storage", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(
        r"error: checkpoint .* does not fit .* it is damaged, or the code of .*\n", error
    )


def test_a_checkpoint_of_another_trial_is_refused(
    digits: tuple[Path, TrialSpecification], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, trial = digits
    other = small_trial(epochs=1, test_examples=2, fusion_depth=1, seed=5)
    storage = one_recorded(tmp_path, other, OpenedTask(Digits(), trial.data))
    # Of the same architecture, and so without a fault in its weights.
    wrong = open_storage(folder).below("one").read(CHECKPOINTS, f"{trial.trial_id}.pt")
    storage.write(wrong, CHECKPOINTS, f"{other.trial_id}.pt")
    assert main(["probe", "one", "--storage", str(tmp_path)]) == 2
    assert "of another trial" in capsys.readouterr().err


def test_that_weights_are_missing_is_said_before_data_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Records alone, as a checkout has them, of data that are not here.
    words = ["probe", "xflow-avletters", "--storage", str(RECORDS), "--data", str(tmp_path)]
    assert main([*words, "--trial", "34235620d2e9"]) == 2
    error = capsys.readouterr().err
    assert re.search(r"error: checkpoint \S+34235620d2e9\.pt is missing; put a copy back", error)
    with pytest.raises(ValueError, match=r"34235620d2e9\.pt is missing; .*retrain=True"):
        load_trial(RECORDS / "xflow-avletters", "34235620d2e9", data_folder=tmp_path)
    # Trained again, it needs no weights, but its data.
    with pytest.raises(ValueError, match=r"[Aa][Vv]letters"):
        load_trial(RECORDS / "xflow-avletters", "34235620d2e9", data_folder=tmp_path, retrain=True)


def test_noise_draws_every_axis_of_a_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--output", str(tmp_path)]
    assert main(["draw", "noise", "--set", "source=builtin", "--example", "1", *out]) == 0
    assert "NOT MNIST" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "noise-digits-example1.csv")
    images = table[table["axis"] == "visual_snr"]
    # Noise is put on the image itself, by the ratio that its SNR says.
    np.testing.assert_allclose(images["measured"], images["snr"], rtol=1e-3)
    assert main(["draw", "noise", "--task", "odd_tasks:Sensors", *out]) == 2
    assert "has no axis" in capsys.readouterr().err
    assert main(["draw", "noise", "--set", "frames=none", *out]) == 2
    assert "data.frames is 'none'; allowed: a whole number" in capsys.readouterr().err
