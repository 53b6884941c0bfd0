"""The helpers of the searches' own tests serve here too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))

from small_trials import small_trial

from datasets.digits import DigitData, load_digits


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_data() -> DigitData:
    return load_digits(small_trial().data)
