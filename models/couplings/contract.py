"""What every coupling is: a module made from the features of the streams that meet at a site.

A coupling of your own is a ``torch.nn.Module`` with the three methods of :class:`Coupling`.

Shapes: B examples; a stream's tensor at a site is [B, C, *size], its mask [B, *size].
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from fusion_search.models.layout import Feature

Features = Mapping[str, Feature]
Streams = Mapping[str, Tensor]
Masks = Mapping[str, Tensor]
"""Stream -> [B, *size] bool, True where there is something; of those alone that are padded."""

FAILURES: Final = (Exception, SystemExit)  # whatever somebody's code raises


class Coupling(Protocol):
    """Three methods; see the module."""

    def __init__(self, features: Features, gated: Sequence[str], **options: Any) -> None:
        """Make its weights.

        Args:
            features: of every stream at the site, in the order of the network.
            gated: streams that it may change.
            options: its own, annotated, as a site or a placement gives them.
        """

    @staticmethod
    def fits(features: Features) -> bool:
        """Whether it can couple streams of these features; only then it is offered."""
        ...

    def __call__(self, streams: Streams, masks: Masks) -> Mapping[str, Tensor]:
        """Every stream's tensor, those that are not gated as they came."""
        ...


def same_size(features: Features) -> bool:
    """Whether the streams have positions that correspond; sizes that vary may differ."""
    sizes = {one.size for one in features.values()}
    return len(sizes) == 1 and None not in sizes.pop()


_SOME: Any = 3
"""Positions where a size varies."""


def check_coupling(
    kind: str, coupling: nn.Module, features: Features, gated: Sequence[str]
) -> None:
    """Run a coupling once on two examples.

    Raises:
        ValueError: it keeps weights where nobody finds them, fails, gives something else than
            every stream's tensor in the shape that came, or changes one that is not gated.
    """
    if hidden := next(_hidden(coupling), ""):
        raise ValueError(
            f"coupling {kind} keeps weights in {hidden}, where they are neither found nor trained; "
            "use nn.ModuleList, nn.ModuleDict, nn.ParameterList or nn.ParameterDict"
        )
    # A network may be built without values, to learn its shapes.
    device = "meta" if any(one.is_meta for one in coupling.parameters()) else "cpu"
    shapes = {
        name: (2, one.channels, *(size or _SOME for size in one.size))
        for name, one in features.items()
    }
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        streams = {name: torch.randn(shape, device=device) for name, shape in shapes.items()}
        came = {name: one.clone() for name, one in streams.items()}
        try:
            given = copy.deepcopy(coupling).eval()(streams, {})
        except FAILURES as error:
            words = f"coupling {kind} fails on {_words(shapes)}: {said(error)}"
            raise ValueError(words) from error
    if not isinstance(given, Mapping):
        raise ValueError(
            f"coupling {kind} gave a {type(given).__name__}; expected a mapping of every stream: "
            f"{_words(shapes)}"
        )
    for name, shape in shapes.items():
        if not isinstance(given.get(name), Tensor):
            raise ValueError(
                f"coupling {kind} did not return stream {name}; expected every stream, those that "
                f"are not gated as they came: {_words(shapes)}"
            )
        if tuple(given[name].shape) != shape:
            raise ValueError(
                f"coupling {kind} made {name} {list(given[name].shape)}; expected {list(shape)}, "
                "the shape that came"
            )
        if name not in gated and device == "cpu" and not torch.equal(given[name], came[name]):
            raise ValueError(
                f"coupling {kind} changed {name}, which is not gated; expected it as it came"
            )


def said(error: BaseException) -> str:
    """Why code of somebody's failed."""
    return "it ends the program" if isinstance(error, SystemExit) else str(error)


def _words(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())


def _hidden(coupling: nn.Module) -> Iterator[str]:
    """Names of attributes whose weights are not the module's."""
    known = {id(one) for one in (*coupling.parameters(), *coupling.modules())}
    for module in coupling.modules():
        for name, value in vars(module).items():
            if any(id(one) not in known for one in _weights(value)):
                yield name


def _weights(value: Any) -> Iterator[nn.Module | Tensor]:
    """Modules and trained tensors in a value of any form."""
    if isinstance(value, nn.Module) or (isinstance(value, Tensor) and value.requires_grad):
        yield value
    elif isinstance(value, list | tuple | set | Mapping):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _weights(one)
