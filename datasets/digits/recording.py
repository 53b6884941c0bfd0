"""One spoken digit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Recording:
    """One spoken digit: file name, its label, and its samples [n] int16."""

    name: str
    label: int
    samples: NDArray[np.int16]
