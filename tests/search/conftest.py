"""Small trials on the built-in data, loaded once."""

from __future__ import annotations

import pytest
import torch
from small_trials import small_trial

from datasets.digits import DigitData, load_digits
from search.specification import TrialSpecification


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_data() -> DigitData:
    return load_digits(small_trial().data)


@pytest.fixture
def trial() -> TrialSpecification:
    return small_trial()
