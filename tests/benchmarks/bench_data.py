"""What examples cost: noise and padding in one batch, and the data in every worker of a machine."""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from fusion_search.datasets.digits.data import DigitData, DigitsSettings, load_digits
from fusion_search.datasets.digits.examples import Examples
from fusion_search.search.dispatch.connection import connection
from fusion_search.search.trials.trial import choose_device
from tests.benchmarks.table import Measurement, side_by_side


def row_by_row(data: DigitData, pairs: torch.Tensor) -> tuple[NDArray[np.float32], ...]:
    """Padded waveforms and unit noise of images and clips by NumPy, one example at a time."""
    images, recordings, _ = data.splits["test"].lookup(pairs)
    samples, ends = data.waveforms.numpy(), data.waveform_ends.tolist()
    total = data.settings.frames * 200 - 1
    waveforms, sounds = np.zeros((2, len(pairs), total), dtype=np.float32)
    pixels = np.zeros((len(pairs), 28 * 28), dtype=np.float32)
    for row, (image, recording) in enumerate(zip(images, recordings.tolist(), strict=True)):
        clip = samples[ends[recording - 1] if recording else 0 : ends[recording]]
        waveforms[row, -len(clip) :] = clip
        for noise, key in ((pixels[row], [0, int(image)]), (sounds[row, -len(clip) :], [1, row])):
            generator = np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64)))
            drawn = generator.standard_normal(len(noise))
            noise[:] = drawn / math.sqrt(float(np.mean(drawn * drawn)))
    return waveforms / 32768, pixels, sounds


def in_one_batch(data: DigitData, pairs: torch.Tensor) -> Examples:
    """The same by the trial's own code."""
    examples = data.examples("test", pairs, noise_seed=0)
    _ = examples.image_noise, examples.waveform_noise
    if examples.labels.is_cuda:
        torch.cuda.synchronize()
    return examples


def private_megabytes() -> float:
    """Memory that this process shares with none."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    sizes = [line.split() for line in lines if line.startswith("Private_")]
    return sum(int(words[1]) for words in sizes) / 1000


@ray.remote(max_calls=1)
def worker_cost(shared: Any, *, load: bool) -> tuple[float, float, str]:
    """Seconds and private megabytes until a fresh worker has the data, and their fingerprint."""
    before, start = private_megabytes(), time.perf_counter()
    data: DigitData = _data() if load else ray.get(shared[0])
    seconds = time.perf_counter() - start
    assert len(data.splits["train"].images)
    return seconds, private_megabytes() - before, data.fingerprint


def measure_noise(batch: int = 32, frames: int = 42, rounds: int = 9) -> Measurement:
    """Milliseconds per example of noise and padding."""
    here = _data(frames=frames)
    data = here.on(choose_device("auto"))
    pairs = torch.arange(batch) * (len(here.splits["test"]) // batch)
    expected, found = row_by_row(here, pairs), in_one_batch(data, pairs)
    np.testing.assert_array_equal(found.waveforms.cpu(), expected[0])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a trial with one CPU has
    sides = side_by_side(
        lambda: row_by_row(here, pairs), lambda: in_one_batch(data, pairs), rounds=rounds
    )
    torch.set_num_threads(threads)
    plain, ours = (1000 * seconds / batch for seconds in sides)
    return Measurement(
        what=f"noise and padding, {frames} frames, {data.images.device.type}",
        against="NumPy, example by example",
        unit="ms/example",
        baseline=plain,
        ours=ours,
        note=f"batches of {batch}, {data.note}",
    )


def measure_sharing() -> list[Measurement]:
    """The data from the object store against each worker loading them."""
    data = _data()
    # Workers have the program alone, not the folder of its tests.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with connection("local"):
        held = [ray.put(data)]  # in a list, or Ray would fetch it before the clock starts
        ray.get(worker_cost.remote(held, load=False))  # so that both sides find Ray warm
        sides = [ray.get(worker_cost.remote(held, load=load)) for load in (True, False)]
    assert {fingerprint for *_, fingerprint in sides} == {data.fingerprint}
    return [
        Measurement(
            what=f"data in one more worker, {name}",
            against="loaded by every worker",
            unit=unit,
            baseline=float(sides[0][part]),
            ours=float(sides[1][part]),
            note=data.note,
        )
        for part, (name, unit) in enumerate((("time", "s"), ("private memory", "MB")))
    ]


def measure() -> list[Measurement]:
    return [measure_noise(), *measure_sharing()]


def _data(frames: int = 42) -> DigitData:
    """The real digits where they are at hand, else the built-in ones."""
    folder = os.environ.get("FUSION_SEARCH_DATA")
    source = "digits" if folder else "builtin"
    return load_digits(
        DigitsSettings(source=source, frames=frames), None if folder is None else Path(folder)
    )
