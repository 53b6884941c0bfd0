"""Couplings by name: ours, and anybody's as ``module:Class``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

from fusion_search.models.couplings.bottleneck import AttentionBottleneck
from fusion_search.models.couplings.gating import (
    MultimodalTransfer,
    OwnGates,
    PositionGates,
    PositionSums,
)
from fusion_search.models.couplings.low_rank import LowRankFusion

COUPLINGS: Final[Mapping[str, type[Any]]] = {
    "mmtm": MultimodalTransfer,
    "squeeze_excitation": OwnGates,
    "convolutional": PositionGates,
    "sum": PositionSums,
    "bottleneck": AttentionBottleneck,
    "low_rank": LowRankFusion,
}


def find_coupling(kind: str) -> type[Any]:
    """The class of a coupling.

    Raises:
        ValueError: there is none of that name.
    """
    if kind in COUPLINGS:
        return COUPLINGS[kind]
    module, colon, name = kind.partition(":")
    known = f"{', '.join(COUPLINGS)}, or a class of yours as module:Class"
    if not colon or not all(one.isidentifier() for one in (*module.split("."), name)):
        raise ValueError(f"coupling is {kind!r}; allowed: {known}")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"coupling {kind!r} cannot be imported: {error}") from error
    missing = [one for one in ("fits", "forward", "__init__") if not hasattr(found, one)]
    if not isinstance(found, type) or missing:
        raise ValueError(f"coupling {kind!r} is no class with fits, __init__ and forward")
    return found
