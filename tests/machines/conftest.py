"""Machines where they can be built; elsewhere a sentence."""

from __future__ import annotations

import pytest
from rack import why_none


@pytest.fixture(scope="session", autouse=True)
def machines_can_be_built() -> None:
    trouble = why_none()
    if trouble:
        pytest.skip(trouble)
