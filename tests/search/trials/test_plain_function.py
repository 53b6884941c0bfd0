"""A trial as a plain function needs torch, NumPy, SciPy and torchaudio alone: a rented GPU may have
nothing else."""

from __future__ import annotations

import subprocess
import sys

TRIAL = """
import re
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

WANTED = {"torch", "numpy", "scipy", "torchaudio"}


def plain(name):
    return name.lower().replace("_", "-")


def needed(names):
    found, left = set(), list(names)
    while left:
        name = plain(left.pop())
        if name in found:
            continue
        found.add(name)
        try:
            lines = requires(name) or []
        except PackageNotFoundError:  # for another machine
            continue
        own = [one for one in lines if "extra ==" not in one]
        left += [re.match(r"[A-Za-z0-9._-]+", one)[0] for one in own]
    return found


ALLOWED = needed(WANTED)
OTHERS = {
    module
    for module, packages in packages_distributions().items()
    if not {plain(one) for one in packages} & ALLOWED and module != "fusion_search"
}


class WithoutOthers:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in OTHERS:
            return self.finder.find_spec(name, path, target)


sys.meta_path[:] = [WithoutOthers(one) for one in sys.meta_path]

import numpy as np
import torch

from fusion_search.datasets.digits.data import DigitData, DigitsSettings
from fusion_search.datasets.digits.recording import Recording
from fusion_search.search.tasks.digits.task import Digits, DigitsNetwork, digit_splits
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.trial import run_task_trial

assert {"ray", "optuna", "mlflow", "pandas", "pyarrow", "pydantic", "soundfile"} <= OTHERS
draw = np.random.default_rng(0)
labels = np.arange(200) % 10
sounds = [
    Recording("drawn", int(label), draw.integers(-9999, 9999, 1500).astype(np.int16))
    for label in labels
]
images = draw.integers(0, 256, (200, 28, 28)).astype(np.uint8)
trial = TrialSpecification(
    task="digits",
    network=DigitsNetwork(units=2, dense_units=4),
    data=DigitsSettings(source="builtin", frames=12),
    train={"audio_snr": 0.5, "visual_snr": 0.25},
    training=TrainingSettings(examples=8, epochs=1, batch_size=4, device="cpu"),
    evaluation=EvaluationSettings(validation_examples=4, test_examples=2),
)
data = digit_splits(DigitData(trial.data, images, labels, sounds, "drawn at random"))
result = run_task_trial(trial.for_task(Digits()), data, torch.device("cpu"))
print(len(result.grid.evaluations), "conditions")
"""


def test_a_trial_needs_none_of_the_packages_that_a_search_stands_on() -> None:
    done = subprocess.run([sys.executable, "-c", TRIAL], capture_output=True, text=True)
    assert done.stdout == "100 conditions\n", done.stderr
