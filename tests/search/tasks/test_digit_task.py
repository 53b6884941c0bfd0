"""The digit task's own network."""

from __future__ import annotations

import pytest

from fusion_search.datasets.digits.data import DigitData
from fusion_search.models.layout import Placement
from fusion_search.search.tasks.digits.task import Digits, DigitsNetwork, digit_splits


def test_a_placement_of_another_depth_is_refused(small_data: DigitData) -> None:
    data = digit_splits(small_data)
    settings = DigitsNetwork(fusion_depth=1, units=3, dense_units=8)
    placed = {"coupling": "mmtm"}
    Digits().build(settings, data, Placement({"level1": placed}))
    with pytest.raises(ValueError, match=r"names level2\.coupling; allowed: level1\.coupling"):
        Digits().build(settings, data, Placement({"level2": placed}))
