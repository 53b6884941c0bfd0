"""How what a stream gives is seen as [B, C, *size]: B examples, C channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

Tree = Any
"""What one stream takes or gives: a tensor, or tensors by name (tokens with their mask)."""

NOT_SEEN: Final = "not a tensor [B, channels, *size]; give it a view"


@dataclass(frozen=True)
class Feature:
    """The shape of a stream's features, [B, channels, *size]; a size is None where it varies."""

    channels: int
    size: tuple[int | None, ...] = ()

    @property
    def rank(self) -> int:
        """How many dimensions follow the channels: 0 for vectors, 2 for maps."""
        return len(self.size)


def _itself(output: Tree) -> Tensor:
    if not isinstance(output, Tensor):
        raise ValueError(f"gives a {type(output).__name__}, {NOT_SEEN}")
    return output


def _replaced(output: Tree, new: Tensor) -> Tree:
    return new


@dataclass(frozen=True)
class View:
    """How a level's own output is seen as [B, C, *size], and how the exchanged one is put back.

    Attributes:
        see: output -> [B, C, *size].
        put: (output, new [B, C', *size]) -> what the level would have given.
        mask: the stream's input -> [B, *size], True where there is something; None for everywhere.
    """

    see: Callable[[Tree], Tensor] = _itself
    put: Callable[[Tree, Tensor], Tree] = _replaced
    mask: Callable[[Tree], Tensor] | None = None


def _channels_second(output: Tree) -> Tensor:
    return _itself(output).movedim(-1, 1)


def _channels_last(output: Tree, new: Tensor) -> Tree:
    return new.movedim(1, -1)


TOKENS: Final = View(_channels_second, _channels_last)
"""Of [B, N, C], as transformers give them."""


@dataclass(frozen=True)
class _Frames:
    count: int

    def see(self, output: Tree) -> Tensor:
        clip: Tensor = _itself(output).unflatten(0, (-1, self.count))
        return clip.movedim(1, 2)

    def put(self, output: Tree, new: Tensor) -> Tree:
        return new.movedim(2, 1).flatten(0, 1)


def frames(count: int) -> View:
    """View [B * count, C, H, W], a clip's frames one by one, as [B, C, count, H, W]."""
    view = _Frames(count)
    return View(view.see, view.put)


@dataclass(frozen=True)
class _First:
    view: View

    def see(self, output: Tree) -> Tensor:
        seen: Tensor = self.view.see(output[0])
        return seen

    def put(self, output: Tree, new: Tensor) -> Tree:
        return (self.view.put(output[0], new), *output[1:])


def first_of(view: View) -> View:
    """View the first of the tuple that a module gives; the others stay as they are."""
    first = _First(view)
    return View(first.see, first.put, view.mask)


@dataclass(frozen=True)
class _Entry:
    name: str
    view: View

    def see(self, output: Tree) -> Tensor:
        seen: Tensor = self.view.see(output[self.name])
        return seen

    def put(self, output: Tree, new: Tensor) -> Tree:
        changed = {self.name: self.view.put(output[self.name], new)}
        return type(output)(**{**output, **changed})


def entry_of(name: str, view: View) -> View:
    """View one tensor of a dictionary that a module gives; the others stay as they are.

    transformers' models give such: ``entry_of("last_hidden_state", TOKENS)``.
    """
    entry = _Entry(name, view)
    return View(entry.see, entry.put, view.mask)


@dataclass(frozen=True)
class _Masked:
    name: str

    def mask(self, given: Tree) -> Tensor:
        there: Tensor = given[self.name].bool()
        return there


def masked_by(name: str, view: View) -> View:
    """The view of a stream that takes a dictionary, whose entry says where there is no padding.

    ``masked_by("attention_mask", TOKENS)`` is for tokens padded as transformers' tokenizers do.
    """
    return View(view.see, view.put, _Masked(name).mask)
