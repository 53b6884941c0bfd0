"""Eight small trials, declared in this checkout's own words, for ``compare.py`` beside it.

    python tests/comparison/eight_trials.py OUTPUT_FOLDER

writes ``trial-1.npz`` ... ``trial-8.npz``. There are no names of the project in them, only numbers
in an order: where something is renamed, it is renamed here too, and what is written stays.
"""

from __future__ import annotations

import inspect
import io
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from fusion_search.search.tasks.named import find_task
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.packing import run_pack
from fusion_search.search.trials.results import Epoch
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.trial import Continuation, TrialResult, run_trial

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from small_trials import small_trial  # noqa: E402

SMALL: Final[dict[str, Any]] = {
    "data_source": "builtin",
    "frames": 24,
    "units": 4,
    # With 8, a dense layer dies, and its network gives the same grid whatever comes before.
    "dense_units": 16,
    "train_audio_snr": 2.0,
    "train_visual_snr": 1.0,
    # An epoch ends within a batch, and the second goes on into another pass.
    "examples": 96,
    "epoch_examples": 76,
    "batch_size": 8,
    "epochs": 2,
    "learning_rate": 0.003,
    "validation_examples": 16,
    "test_examples": 3,
    # A GPU's numbers are not the same twice.
    "device": "cpu",
}

PACKED: Final[tuple[dict[str, Any], ...]] = (
    {"fusion_depth": 1},
    {
        "fusion_depth": 1,
        "seed": 1,
        "train_audio_snr": 0.5,
        "train_visual_snr": 0.25,
        "learning_rate": 0.005,
        "weight_decay": 0.1,
    },
)
"""Trained as one, so they differ only in what the trials of a pack may differ in."""

ALONE: Final[tuple[dict[str, Any], ...]] = (
    {"fusion_depth": 0, "precision": "bfloat16", "seed": 2},
    {"fusion_depth": 1, "couplings": ("mmtm",), "fusion": "gate_audio", "dropout": 0.1},
    {
        "fusion_depth": 2,
        "couplings": ("convolutional", "squeeze_excitation"),
        "to_audio": ("cross", "residual"),
        "to_image": ("residual", "cross"),
        "fusion": "gate_image",
        "mmtm_ratio": 2,
        "mmtm_relu": False,
    },
    {
        "levels": 3,
        "fusion_depth": 2,
        "couplings": ("none", "sum"),
        "to_audio": ("both", "none"),
        "to_image": ("none", "both"),
        "mmtm_identity": True,
        "checkpoint_frames": 5,
    },
    {
        "fusion_depth": 0,
        "modality": "audio",
        "train_visual_snr": math.inf,
        "evaluation_split": "validation",
    },
    {
        "fusion_depth": 2,
        "modality": "visual",
        "train_audio_snr": math.inf,
        "padding": False,
    },
)


def results() -> Iterator[dict[str, Any]]:
    """The numbers of the eight trials, in the order declared."""
    packed = [small_trial(**SMALL | fields) for fields in PACKED]
    alone = [small_trial(**SMALL | fields) for fields in ALONE]
    # The same examples for all, since making them takes longer than a trial.
    opened = OpenedTask(find_task("digits"), packed[0].data)
    for result in run_together(packed, opened):
        yield arrays(result)
    for trial in alone:
        saved: list[bytes] = []
        result = run_trial(trial, opened, continuation=Continuation(save=saved.append))
        # The result has the best epoch's weights, which need not be the last's.
        last = torch.load(io.BytesIO(saved[-1]), weights_only=True)["training"]["network"]
        yield arrays(result) | {"last": in_a_row(last.values())}


def run_together(trials: Sequence[TrialSpecification], opened: OpenedTask) -> list[TrialResult]:
    """The results of a pack, in the order of its trials."""
    ends = {}
    for trial, news in run_pack(trials, opened):
        if isinstance(news, Exception):
            raise news
        if isinstance(news, TrialResult):
            ends[trial] = news
    return [ends[trial] for trial in trials]


def arrays(result: TrialResult) -> dict[str, np.ndarray]:
    """All numbers of a trial that training it again must give again."""
    assert result.grid is not None
    assert result.best is not None
    cells = result.grid.evaluations
    return {
        "losses": np.array([numbers_of(epoch) for epoch in result.epochs]),
        "grid": np.array([[one.n, one.sums["accuracy"], one.loss_sum] for one in cells]),
        "weights": in_a_row(result.state.values()),
        "sizes": np.array([result.parameters, result.multiply_accumulates, result.best.epoch]),
    }


def numbers_of(epoch: Epoch) -> list[float]:
    """What an epoch gave, but for its times."""
    return [
        epoch.train_loss,
        epoch.validation_loss,
        epoch.train["accuracy"],
        epoch.validation["accuracy"],
        epoch.epoch,
        epoch.examples_seen,
    ]


def in_a_row(weights: Iterable[Tensor]) -> np.ndarray:
    """All tensors of a network, one after the other."""
    return np.concatenate([one.numpy().ravel() for one in weights])


def main(output: Path) -> None:
    """Run the trials and write one file for each."""
    # An environment shared by two checkouts would compare one of them with itself.
    code = Path(inspect.getfile(run_trial)).resolve()
    if not code.is_relative_to(ROOT):
        sys.exit(f"trials would be run by {code}, which is not in this checkout ({ROOT})")
    # The sums of several threads depend on how they share the work.
    torch.set_num_threads(1)
    for number, numbers in enumerate(results(), start=1):
        np.savez(output / f"trial-{number}.npz", **numbers)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/comparison/eight_trials.py OUTPUT_FOLDER")
    main(Path(sys.argv[1]))
