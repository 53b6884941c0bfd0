"""Couplings by name: ours, and anybody's as ``module:Class``."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from torch import nn

from fusion_search.models.couplings.bottleneck import AttentionBottleneck
from fusion_search.models.couplings.contract import FAILURES, Features, check_coupling, said
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
        with contextlib.redirect_stdout(sys.stderr):  # what its author prints is no answer of ours
            found = getattr(importlib.import_module(module), name, None)
    except FAILURES as error:
        raise ValueError(f"coupling {kind!r} cannot be imported: {said(error)}") from error
    if not isinstance(found, type):
        raise ValueError(f"coupling {kind!r} is no class; allowed: {known}")
    if not issubclass(found, nn.Module):
        raise ValueError(f"coupling {kind!r} is no torch.nn.Module, whose weights would be trained")
    if not isinstance(inspect.getattr_static(found, "fits", None), staticmethod | classmethod):
        raise ValueError(
            f"coupling {kind!r} has no static method fits(features), which says where it may sit"
        )
    return found


def coupling_fits(kind: str, features: Features) -> bool:
    """Whether a coupling can couple streams of these features.

    Raises:
        ValueError: there is no such coupling, or it cannot say.
    """
    found = find_coupling(kind)
    try:
        return bool(found.fits(features))
    except FAILURES as error:
        raise ValueError(f"coupling {kind} cannot say whether it fits: {said(error)}") from error


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
    found = find_coupling(kind)
    if kind in COUPLINGS:
        ours: nn.Module = found(features, gated, **options)
        return ours
    try:
        made: nn.Module = found(features, gated, **options)
    except FAILURES as error:
        given = ", ".join(f"{name} {feature}" for name, feature in features.items())
        raise ValueError(f"coupling {kind} cannot be made of {given}: {said(error)}") from error
    check_coupling(kind, made, features, gated)
    return made
