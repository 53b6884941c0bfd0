"""Numbers that must stay the same to the bit, or to rounding where processors differ.

``pins.json`` holds what ``current()`` gave: initial weights, drawn examples and noise, and what
every searcher proposes. Its values were printed, from the project's root, by

    PYTHONPATH=tests/support python -m tests.test_pins

and the line ``networks_unfused`` is the line ``networks`` of a second run, with
ATEN_CPU_CAPABILITY=default. A pin is changed only by a change that is meant to change numbers, and
that change says so; renaming and moving code is not one.

No name is pinned: tensors are hashed without theirs, and a proposal is a row of numbers in the
order of the space's parameters (a choice is the place of its option). Yet TPE and NSGA-II draw in
the alphabetical order of the parameters' names, so names that sort otherwise change proposals.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import small_trials
import torch
from torch import Tensor

from fusion_search.analysis.records.tables import FAILED, FINISHED, STOPPED
from fusion_search.datasets.batch import Batch
from fusion_search.datasets.digits.data import DigitData, DigitsSettings, load_digits
from fusion_search.datasets.digits.examples import Examples
from fusion_search.datasets.digits.pairs import split_indices
from fusion_search.datasets.noise import unit_noise
from fusion_search.models.early_fusion import MODALITIES
from fusion_search.search.declaration.layouts import Layouts
from fusion_search.search.declaration.space_fields import build_space
from fusion_search.search.running.samples.proposals import Proposals
from fusion_search.search.spaces.objectives import MAXIMIZE, MINIMIZE
from fusion_search.search.spaces.parameters import Choice, Range, Sample, Scalar
from fusion_search.search.spaces.searchers import make_searcher
from fusion_search.search.spaces.searchers.base import RUNNING, Observation
from fusion_search.search.spaces.space import Space
from fusion_search.search.tasks.digits.task import EXAMPLES, Digits, digit_splits
from fusion_search.search.trials.cost import count_parameters
from fusion_search.search.trials.results import Tally
from fusion_search.search.trials.task_trial import TaskTrial
from fusion_search.search.trials.training import TrialTraining
from fusion_search.search.trials.trial import seeded

CPU: Final = torch.device("cpu")
TOLERANCE: Final = 3e-7  # of the largest value; by processor they differ by up to 1.4e-7 of it

# The examples of an epoch end within a batch, and a pass over the pairs ends within an epoch.
COUNTS: Final = {"examples": 50, "epoch_examples": 40, "validation_examples": 20}
SIZES: Final = {
    "levels": 3,
    "fusion_depth": 0,
    "units": 4,
    "dense_units": 8,
    "epochs": 3,
    "batch_size": 16,
    "seed": 3,
}
DATA: Final = {"source": "builtin", "frames": 24, "test_examples": 12, "gates": "eager"}
SMALL: Final = {**COUNTS, **SIZES, **DATA, "train_audio_snr": 0.5, "train_visual_snr": 0.25}

# Written down: what can be placed one day more changes no pin.
COUPLINGS: Final = ("none", "mmtm", "squeeze_excitation", "convolutional", "sum")
CONNECTIONS: Final = ("none", "cross", "residual", "both")
FUSIONS: Final = ("concatenation", "gate_audio", "gate_image")
PLACES: Final[dict[str, tuple[str, ...]]] = {
    "couplings": COUPLINGS,
    "to_audio": CONNECTIONS,
    "to_image": CONNECTIONS,
}
NETWORKS: Final[list[dict[str, Any]]] = [
    *({"fusion_depth": depth} for depth in range(4)),
    *({"fusion_depth": 2, name: (one,) * 2} for name, kinds in PLACES.items() for one in kinds[1:]),
    *({"fusion_depth": depth, "fusion": end} for end in FUSIONS[1:] for depth in (1, 2, 3)),
    # A stream that a connection has widened is narrowed before the gate.
    *({"fusion_depth": 3, "fusion": end, "to_audio": CONNECTIONS[1:]} for end in FUSIONS[1:]),
    *({"fusion_depth": 3, "fusion": end, "to_image": CONNECTIONS[1:]} for end in FUSIONS[1:]),
    {"fusion_depth": 3, **{name: kinds[:3] for name, kinds in PLACES.items()}},
    {"fusion_depth": 2, "couplings": (COUPLINGS[1],) * 2, "mmtm_ratio": 1, "mmtm_relu": False},
    {"fusion_depth": 2, "couplings": COUPLINGS[3:], "mmtm_identity": True, "dropout": 0.5},
    {"modality": MODALITIES[1], "train_audio_snr": math.inf, "fusion_depth": 1},
    {"modality": MODALITIES[2], "train_visual_snr": math.inf, "fusion_depth": 1},
    {"fusion_depth": 1, "levels": 2, "kernel": 5, "padding": False, "seed": 2**31 - 1},
    {"fusion_depth": 1, "levels": 2, "units": 64, "dense_units": 128, "seed": 0},
]

CONFIGURATION: Final[dict[str, Any]] = {
    "network": {
        "levels": [2, 3],
        "fusion_depth": [0, 1, 2, 3],
        "mmtm_ratio": [1, 2],
        "units": {"low": 4, "high": 16},
        "dropout": {"low": 0.0, "high": 0.5},
    },
    "training": {
        "batch_size": {"low": 8, "high": 128, "log": True},
        "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    },
    "placement": {
        "couplings": list(COUPLINGS),
        "connections": {
            "image>audio": list(CONNECTIONS),
            "audio>image": {"level2": list(CONNECTIONS[:2]), "level3": list(CONNECTIONS)},
        },
        "ends": list(FUSIONS),
    },
    "train": {"choose": [[0.5, 0.25], [1, 0.5], ["original", 1]]},
}
NETWORK_SETTINGS: Final = ("levels", "fusion_depth", "mmtm_ratio", "units")


def wide() -> Space:
    """The pinned space, whose settings are asked in the order of the pins."""
    task = Digits()
    space = build_space(CONFIGURATION, "digits", task, Layouts(task, {}), split="validation")
    order = [
        *(("network", name) for name in NETWORK_SETTINGS),
        ("training", "batch_size"),
        ("training", "learning_rate"),
        ("network", "dropout"),
    ]
    return replace(space, settings={key: space.settings[key] for key in order})


WIDE: Final = wide()
COUNTABLE: Final = replace(
    WIDE,
    settings={
        ("network", "levels"): Choice((2,)),
        ("network", "fusion_depth"): Choice((0, 1, 2)),
        ("network", "units"): Range(4, 5, integer=True),
    },
)
# One of the seeds with which TPE proposes the same where a sort orders equal numbers otherwise, as
# on processors without AVX2.
SEARCH_SEED: Final = 10
SEARCHES: Final = [
    ("random", WIDE, [MAXIMIZE]),
    ("random", COUNTABLE, [MAXIMIZE]),  # repeats itself, and is asked again
    ("grid", COUNTABLE, [MAXIMIZE]),
    ("tpe", WIDE, [MAXIMIZE]),
    ("tpe", WIDE, [MINIMIZE]),
    ("nsga2", WIDE, [MAXIMIZE]),
    ("nsga2", WIDE, [MAXIMIZE, MINIMIZE]),
    ("surrogate", WIDE, [MAXIMIZE]),
]


def sha(*tensors: Tensor) -> str:
    """Over shapes and bytes, in order."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def some(tensor: Tensor, count: int = 48) -> list[float]:
    """The largest value, and about so many from all over, with all digits of a float32."""
    # An odd stride: where rows have an even width it meets every column.
    stride = max(1, tensor.numel() // count) | 1
    values = [float(tensor.abs().max()), *tensor.flatten()[::stride].tolist()]
    return [float(f"{value:.9g}") for value in values]


@functools.cache
def digits() -> DigitData:
    return load_digits(DigitsSettings(source="builtin", frames=24))


def small_trial(**fields: Any) -> TaskTrial:
    return small_trials.small_trial(**{**SMALL, **fields}).for_task(Digits())


def network(fields: dict[str, Any]) -> list[int | str]:
    """Parameters, and the initial weights as a trial draws them."""
    trial = small_trial(**fields)
    with seeded(trial.seed, CPU):
        built = TrialTraining(trial, digit_splits(digits()), CPU).network
    return [count_parameters(built), sha(*built.state_dict().values())]


class Drawn(TrialTraining):
    """Notes what every step of a trial would train on."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(small_trial(**fields), digit_splits(digits()), CPU)
        self.steps: list[list[list[int]]] = []
        list(self.epochs(time.perf_counter()))

    def step(self, batch: Batch, presentations: Tensor, tally: Tally) -> float:
        tally.add(0.0, torch.zeros(len(batch), 10), batch)
        self.steps.append([batch.extra[EXAMPLES].pairs.tolist(), presentations.tolist()])
        return 0.0


def integers() -> dict[str, Any]:
    """What is drawn and what the built-in data are made of."""
    data, runs, splits = digits(), (Drawn(), Drawn(seed=4, batch_size=32)), digits().splits.values()
    content = (data.images, data.image_labels, data.waveforms, data.recording_labels)
    return {
        "content": sha(*content, data.waveform_ends),
        "left_out": data.left_out,
        "split_indices": [
            sha(*split_indices(count, seed, stream).values())
            for count, seed, stream in ((1797, 0, 0), (1797, 0, 1), (1797, 1, 0), (13, 7, 1))
        ],
        "pairs": [[len(one), sha(*one.lookup(torch.arange(len(one))))] for one in splits],
        "drawn": [[drawn.tolist() for drawn in run.numbers.values()] for run in runs],
        "steps": [run.steps for run in runs],
        "labels": [one.labels.tolist() for one in batches()],
        "frames": [[one.lengths.tolist(), one.onset_frames.tolist()] for one in batches()],
        "clean": [sha(one.visual(math.inf), one.waveforms) for one in batches()],
    }


def batches() -> tuple[Examples, Examples]:
    """A batch of training, with fresh noise, and one of testing, with each example's own."""
    run = TrialTraining(small_trial(), digit_splits(digits()), CPU)
    fixed = digits().examples("test", run.numbers["grid"], noise_seed=5)
    batch = run.loaded(*next(run.batches()))
    return batch.extra[EXAMPLES].examples(run.trial.seed), fixed


def floats() -> dict[str, list[float]]:
    """Values of noise, images and spectrograms."""
    numbers, lengths = torch.arange(0, 4000, 1000), torch.tensor([784, 784, 301, 2])
    keys = [(0, 0), (0, 1), (3, 2), (3, 3), (2**31 - 1, 0)]
    noise = [unit_noise(seed, stream, numbers, lengths, 784) for seed, stream in keys]
    found = {"noise": some(torch.stack(noise), 120)}
    for name, batch in zip(("fresh", "fixed"), batches(), strict=True):
        found[f"{name}_image"] = some(batch.visual(0.25))
        found[f"{name}_sound"] = some(batch.audio(0.5))
        found[f"{name}_clean_sound"] = some(batch.audio(math.inf))
        found[f"{name}_sounds"] = some(batch.audio_at([math.inf, 0.5]))
        powers = replace(batch, snr_ratio="power")
        found[f"{name}_power_image"] = some(powers.visual(0.25))
        found[f"{name}_power_sound"] = some(powers.audio(0.5))
    return found


class Counting:
    """Chooses by a generator of its own, so that the history depends on no searcher."""

    def __init__(self, start: int) -> None:
        self._state = start

    def _below(self, count: int) -> int:
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._state >> 33) % count

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        return options[self._below(len(options))]

    def integer(self, name: str, low: int, high: int, log: bool) -> int:
        return low + self._below(high - low + 1)

    def number(self, name: str, low: float, high: float, log: bool) -> float:
        return low + (high - low) * self._below(1024) / 1024


def history(space: Space, objectives: int) -> list[Observation]:
    """Long enough for three generations of NSGA-II; every state is in it."""
    found, states = [], [FINISHED] * 6 + [STOPPED, FAILED]
    for number in range(100):
        state = RUNNING if number > 96 else states[number % 8]
        one = Observation(sample=space.sample(Counting(number)), state=state)
        if state == FINISHED:
            values = (number * 37 % 101 / 101, float(number * 53 % 97))
            one = replace(one, values=values[:objectives])
        elif state == STOPPED:
            one = replace(one, progress=(1 + number % 3, number * 29 % 83 / 83))
        found.append(one)
    return found


def row(space: Space, sample: Sample) -> list[Any]:
    """A sample without its names; None for what it does not have."""
    return [
        parameter.options.index(sample[name])
        if name in sample and isinstance(parameter, Choice)
        else sample.get(name)
        for name, parameter in space.parameters().items()
    ]


def proposals(name: str, space: Space, directions: Sequence[str]) -> list[list[Any]]:
    """The next of searches that know nothing, some and much; then what is said when refused."""
    known = history(space, len(directions))
    searcher = make_searcher(name, space, directions, SEARCH_SEED)
    stages = ((4, 0), (4, 25), (12, len(known)))
    searches = [Proposals(space, searcher, count, known=known[:size]) for count, size in stages]
    found = [one.sample for search in searches for one in iter(search.next, None)]
    again = [searcher.propose(known, attempt) for attempt in (1, 2)]
    return [row(space, one) for one in [*found, *again] if one is not None]


def current() -> dict[str, Any]:
    """Everything that is pinned, as plain data."""
    return {
        "networks": [network(fields) for fields in NETWORKS],
        "integers": integers(),
        "floats": floats(),
        "proposals": [proposals(*one) for one in SEARCHES],
    }


@functools.cache
def pins() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("pins.json").read_text())


def test_initial_weights_are_as_pinned() -> None:
    """With or without fused multiply-add, by which weights differ by up to 6e-8."""
    pinned = zip(NETWORKS, pins()["networks"], pins()["networks_unfused"], strict=True)
    assert not [fields for fields, *either in pinned if network(fields) not in either]


def test_what_is_drawn_is_as_pinned() -> None:
    assert integers() == pins()["integers"]


def test_floats_are_as_pinned() -> None:
    found, pinned = floats(), pins()["floats"]
    assert found.keys() == pinned.keys()
    for name, values in pinned.items():
        # Logarithms, sines, Fourier transforms and fused multiply-adds round by processor.
        np.testing.assert_allclose(found[name], values, 0, TOLERANCE * values[0], err_msg=name)


@pytest.mark.parametrize("place", range(len(SEARCHES)), ids=[one[0] for one in SEARCHES])
def test_proposals_are_as_pinned(place: int) -> None:
    assert len(pins()["proposals"]) == len(SEARCHES)
    found, pinned = proposals(*SEARCHES[place]), pins()["proposals"][place]
    # The exponential rounds by processor: the last digit of a double. None becomes NaN.
    np.testing.assert_allclose(np.array(found, float), np.array(pinned, float), 1e-12, 0)


if __name__ == "__main__":
    texts = {name: json.dumps(value, separators=(",", ":")) for name, value in current().items()}
    print("{\n" + ",\n".join(f'"{name}":{text}' for name, text in texts.items()) + "\n}")
