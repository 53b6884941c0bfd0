"""Couplings by name: ours, and anybody's as ``module:Class``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from torch import nn

from fusion_search.models.couplings.bottleneck import AttentionBottleneck
from fusion_search.models.couplings.contract import Features, check_coupling
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
    except Exception as error:  # whatever a module of somebody's raises
        raise ValueError(f"coupling {kind!r} cannot be imported: {error}") from error
    missing = [one for one in ("fits", "forward", "__init__") if not hasattr(found, one)]
    if not isinstance(found, type) or missing:
        raise ValueError(f"coupling {kind!r} is no class with fits, __init__ and forward")
    if not issubclass(found, nn.Module):
        raise ValueError(f"coupling {kind!r} is no torch.nn.Module, whose weights would be trained")
    return found


def make_coupling(
    kind: str, features: Features, gated: Sequence[str], options: Mapping[str, Any]
) -> nn.Module:
    """A coupling; anybody's is tried whether it keeps the contract.

    Args:
        kind: its name.
        features, gated, options: see ``Coupling``.

    Raises:
        ValueError: there is no such coupling, an option is outside its range, or it breaks the
            contract.
    """
    made: nn.Module = find_coupling(kind)(features, gated, **options)
    if kind not in COUPLINGS:
        check_coupling(kind, made, features)
    return made
