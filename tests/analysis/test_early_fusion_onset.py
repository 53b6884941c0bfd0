"""Claim 6 of the early-fusion paper, from made-up probes whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from descriptions import digit_description
from synthetic_records import Trial, fill, write_planned

from fusion_search.analysis.early_fusion.onset import PAIRS, share_of_second
from fusion_search.analysis.early_fusion.parts import Part
from fusion_search.analysis.records.selection import Search, open_search
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import SCHEMA_VERSION, to_parquet
from fusion_search.search.commands.figures.claims import before_sound, main_network, probe_of

ONSET, STEPS = 3, 6
TRIAL = Trial((0.5, 0.25), 0, 1, extra={"pooling": "full"})


def logits(second: float) -> np.ndarray:
    """Of ten classes: the first has 0.6, the second this share of the rest, eight all else."""
    rest = 0.4 * (1 - second) / 8
    return np.log([0.6, 0.4 * second, *[rest] * 8])


def probed(folder: Path, shares: list[float]) -> Search:
    """A search whose network was probed on pairs that have these shares before their sound."""
    storage = open_storage(folder)
    write_planned(fill(storage, [TRIAL]), [TRIAL])
    draw = np.random.default_rng(0)
    rows = []
    for number, share in enumerate(shares):
        # Where the sound is heard, and long before it, everything is another way.
        output = np.stack([logits(0.125)] * STEPS)
        output[ONSET - 1] = logits(share)[draw.permutation(10)]
        audio = np.zeros((STEPS, 4))
        audio[ONSET:] = draw.random((STEPS - ONSET, 4))
        for name, values in (("output", output), ("input.audio", audio)):
            rows.append(
                {
                    **{"schema_version": SCHEMA_VERSION, "search": "made-up"},
                    **{"trial_id": TRIAL.trial_id, "split": "test", "number": number},
                    **{"group": "", "label": 0, "target": float("nan"), "name": name},
                    **{"test_audio_snr": 0.5, "test_visual_snr": 0.25},
                    **{"shape": list(values.shape), "values": values.ravel().tolist()},
                }
            )
            # At another condition, which is not asked about.
            rows.append({**rows[-1], "test_audio_snr": float("inf")})
    table = pa.Table.from_pylist(rows, digit_description().schema("activations"))
    storage.below("made-up").write(to_parquet(table), "activations", f"{TRIAL.trial_id}.parquet")
    return open_search(storage, "made-up")


def test_the_second_class_share_is_of_what_the_first_has_not() -> None:
    values = np.random.default_rng(1).normal(0, 3, 10)
    shares = np.sort(np.exp(values) / np.exp(values).sum())
    assert share_of_second(values) == pytest.approx(shares[-2] / (1 - shares[-1]))
    sure = np.array([800.0, 0.0, -1.0])  # whose probability rounds to 1
    assert share_of_second(sure) == pytest.approx(1 / (1 + np.exp(-1)))


def judged(folder: Path, shares: list[float]) -> Part:
    search = probed(folder, shares)
    trial = main_network(search)
    return before_sound(search, trial, probe_of(search, trial))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.5, 0.8, "held"), (0.2, 0.5, "refuted"), (0.3, 0.7, "undecided")],
)
def test_it_is_held_where_most_of_the_rest_is_one_class(
    tmp_path: Path, low: float, high: float, verdict: str
) -> None:
    shares = np.linspace(low, high, PAIRS).tolist()
    found = judged(tmp_path, shares)
    assert found.verdict == verdict
    assert f"{100 * np.mean(shares):.1f} % (" in found.numbers
    assert f"over {PAIRS} pairs of one network" in found.numbers


def test_too_few_pairs_are_said_with_the_command(tmp_path: Path) -> None:
    found = judged(tmp_path, [0.9] * 5)
    assert found.verdict == "undecided"
    assert found.numbers.startswith("5 of 100 pairs were probed; its weights are not there")
    assert "; then run `fusion-search probe made-up --trial" in found.numbers
    assert "--tested 100 --condition 0.5 0.25 --array output --array input.audio" in found.numbers
