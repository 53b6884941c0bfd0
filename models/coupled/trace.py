"""Streams run on tensors without values, which say every shape, and what is made of the shapes.

Where lengths vary, a second batch with other lengths is run beside the first: a size in which the
two differ is None. Here a value is a tuple: one tree for every batch.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from fusion_search.models.coupled.exchange import Exchange
from fusion_search.models.coupled.lockstep import LevelRun, Run, drive
from fusion_search.models.coupled.suspended import ModuleRun
from fusion_search.models.couplings.kinds import COUPLINGS
from fusion_search.models.couplings.options import gated_at
from fusion_search.models.couplings.transfer import kinds_between
from fusion_search.models.layout import (
    COUPLING,
    NONE,
    NOT_SEEN,
    Feature,
    Layout,
    Placement,
    Site,
    Tree,
    View,
    connection,
)

Maker = Callable[[Feature], nn.Module]
Levels = Mapping[str, nn.Module | Maker]

PLAIN = View()
_Values = tuple[Tree, ...]
_Choices = dict[str, tuple[str, ...]]


@dataclass
class Trace:
    """What is to be run, and what the run found and made.

    Attributes:
        streams: modules that are suspended, or levels.
        sites: those among the streams.
        named: stream -> levels behind which there are sites.
        placement: what sits where.
        start: stream -> the level whose output stands for its input.
        seed: of the weights that are made.
        made: stream -> its levels.
        exchanges: site -> what sits there.
        features, choices: site -> the streams' features, and what may sit there.
        inputs: features of the streams' inputs, where these are float tensors.
        ends: stream -> what it ends with.
    """

    streams: Mapping[str, nn.Module | Levels]
    sites: Sequence[Site]
    named: Mapping[str, Sequence[str]]
    placement: Placement
    start: Mapping[str, str]
    seed: int
    made: dict[str, nn.ModuleDict] = field(default_factory=dict)
    exchanges: nn.ModuleDict = field(default_factory=nn.ModuleDict)
    features: dict[str, dict[str, Feature]] = field(default_factory=dict)
    choices: dict[str, _Choices] = field(default_factory=dict)
    inputs: dict[str, Feature] = field(default_factory=dict)
    ends: dict[str, _Values] = field(default_factory=dict)
    _given: dict[str, _Values] = field(default_factory=dict)

    def run(self, examples: Sequence[Mapping[str, Tree]]) -> None:
        """Run the streams on batches, and make what is missing."""
        given = {name: tuple(one[name] for one in examples) for name in self.streams}
        self._given = given
        runs: dict[str, Run] = {}
        for name, one in self.streams.items():
            if name not in self.start:
                self._note_input(name, given[name])
            if isinstance(one, nn.Module):
                shapes = shapes_of(one, given[name])
                runs[name] = _Beside([ModuleRun(shapes, self.named[name]) for _ in examples])
            else:
                self.made[name] = nn.ModuleDict()
                steps = [
                    (level, partial(self._make, name, level, made)) for level, made in one.items()
                ]
                runs[name] = LevelRun(steps, self.named[name])
        with torch.no_grad():
            try:
                self.ends = drive(self.sites, runs, given, self._exchange)
            finally:  # still without gradients, as the streams began
                for run in runs.values():
                    run.close()

    def _note_input(self, name: str, values: _Values) -> None:
        tensors = all(isinstance(one, Tensor) and one.is_floating_point() for one in values)
        # Where channels differ, they are none: the stream takes [B, N, C].
        if tensors and len({one.shape[1] for one in values if one.dim() > 1}) == 1:
            self.inputs[name] = feature_of(values)

    def _make(self, name: str, level: str, made: nn.Module | Maker, values: _Values) -> _Values:
        """A level, made when the shape of what it takes is known."""
        with seeded(self.seed, f"stream {name} level {level}"):
            module = made if isinstance(made, nn.Module) else made(feature_of(values))
        self.made[name][level] = module
        shapes = shapes_of(module, values)
        given = tuple(shapes(one) for one in values)
        if self.start.get(name) == level:
            self._note_input(name, given)
        return given

    def _exchange(self, site: Site, outputs: dict[str, _Values]) -> dict[str, _Values]:
        views = {name: site.views.get(name, PLAIN) for name in outputs}
        places = {name: f"site {site.name}: stream {name}" for name in outputs}
        seen = {name: see(places[name], views[name], one) for name, one in outputs.items()}
        features = {name: at(places[name], values) for name, values in seen.items()}
        for name, one in views.items():
            if one.mask is not None:
                check_masks(places[name], one.mask, self._given[name], seen[name])
        self.features[site.name] = features
        self.choices[site.name] = self._choices(site, seen)
        placed = self.placement.sites.get(site.name, {})
        self._offered(site).check(Placement({site.name: placed}))
        with seeded(self.seed, f"site {site.name}"):
            made = Exchange(site, features, self.inputs, placed, self.placement.options)
        self.exchanges[site.name] = made
        return {
            name: tuple(
                views[name].put(one, _with_channels(its, made.features[name].channels))
                for one, its in zip(values, seen[name], strict=True)
            )
            for name, values in outputs.items()
        }

    def _choices(self, site: Site, seen: Mapping[str, _Values]) -> _Choices:
        gated = gated_at(site, tuple(seen))
        # In every batch and in both: two sizes that vary are equal only where both batches say so.
        batches = [
            {name: feature_of(values[number : number + 1]) for name, values in seen.items()}
            for number in range(len(next(iter(seen.values()))))
        ]
        features = self.features[site.name]
        fitting = [
            kind
            for kind, one in COUPLINGS.items()
            if gated and all(one.fits(each) for each in (features, *batches))
        ]
        found = {COUPLING: (NONE, *fitting)}
        for source in features:
            for target in features:
                if source != target and target in gated:
                    found[connection(source, target)] = kinds_between(
                        features[source],
                        self.inputs.get(source),
                        features[target],
                        widen=self._may_widen(target, site.after[target]),
                    )
        return found

    def _may_widen(self, stream: str, level: str) -> bool:
        """Whether what follows a level is made for the channels that come, or nothing follows."""
        levels = self.streams[stream]
        if isinstance(levels, nn.Module):
            return False
        names = list(levels)
        following = names[names.index(level) + 1 :][:1]
        return not any(isinstance(levels[one], nn.Module) for one in following)

    def _offered(self, site: Site) -> Layout:
        here = ((site, self.features[site.name]),)
        return Layout(
            tuple(self.streams), sites=here, choices={site.name: self.choices[site.name]}, open=True
        )


class _Beside:
    """Runs of one stream on several batches."""

    def __init__(self, runs: Sequence[ModuleRun]) -> None:
        self.at: str | None = None
        self._runs = runs

    def to(self, level: str, value: _Values) -> _Values:
        found = tuple(run.to(level, one) for run, one in zip(self._runs, value, strict=True))
        self.at = self._runs[0].at
        return found

    def close(self) -> None:
        for run in self._runs:
            run.close()


def without_values(tree: Tree) -> Tree:
    """The same on the meta device."""
    return tree_map(lambda one: one.to("meta") if isinstance(one, Tensor) else one, tree)


def feature_of(values: Sequence[Tensor]) -> Feature:
    """Of tensors [B, C, *size] with equal channels."""
    sizes = [one.shape[2:] for one in values]
    size = tuple(one[0] if len(set(one)) == 1 else None for one in zip(*sizes, strict=True))
    return Feature(values[0].shape[1], size)


def see(place: str, view: View, values: _Values) -> _Values:
    """What a view shows of every batch.

    Raises:
        ValueError: it takes something else.
    """
    try:
        return tuple(map(view.see, values))
    except ValueError as error:
        raise ValueError(f"{place} {error}") from error


def at(place: str, values: _Values) -> Feature:
    """As ``feature_of``, of what a view shows.

    Raises:
        ValueError: it is no tensor [B, C, *size].
    """
    for one in values:
        if not isinstance(one, Tensor) or one.dim() < 2:
            shape = f"[{', '.join(map(str, one.shape))}]" if isinstance(one, Tensor) else ""
            raise ValueError(f"{place} gives a {type(one).__name__}{shape}, {NOT_SEEN}")
    first = values[0]
    for other in values[1:]:
        if other.dim() != first.dim() or other.shape[1] != first.shape[1]:
            raise ValueError(
                f"{place} has shape {list(first.shape)} in one batch and {list(other.shape)} in "
                "another, so that its second dimension are no channels; give the site a view, such "
                "as TOKENS for [B, N, channels]"
            )
    return feature_of(values)


def check_masks(
    place: str, mask: Callable[[Tree], Tensor], given: _Values, seen: Sequence[Tensor]
) -> None:
    """Raise ``ValueError`` where a mask does not cover the positions of what a view shows."""
    for one, its in zip(given, seen, strict=True):
        covers = mask(one).shape
        if covers != (len(its), *its.shape[2:]):
            raise ValueError(
                f"{place} has positions {list(its.shape[2:])}, and its view's mask covers "
                f"{list(covers[1:])}; a mask is [B, *size]"
            )


def _with_channels(tensor: Tensor, channels: int) -> Tensor:
    if tensor.shape[1] == channels:
        return tensor
    return tensor.new_zeros((len(tensor), channels, *tensor.shape[2:]))


def shapes_of(module: nn.Module, given: Tree) -> nn.Module:
    """A copy in evaluation mode, without values where what it takes has none."""
    leaves = tree_leaves(given)
    if not any(isinstance(one, Tensor) and one.is_meta for one in leaves):
        return copy.deepcopy(module).eval()
    # Values that are copied only to be thrown away take longer than all the rest.
    tensors = [*module.parameters(), *module.buffers()]
    memo: dict[int, Any] = {id(one): _empty(one) for one in tensors}
    return copy.deepcopy(module, memo).to("meta").eval()


def _empty(tensor: Tensor) -> Tensor:
    empty = tensor.detach().to("meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty


@contextmanager
def seeded(seed: int, part: str) -> Iterator[None]:
    """Every part draws from a seed of its own: what sits elsewhere does not change its weights."""
    digest = hashlib.blake2b(f"{seed} {part}".encode(), digest_size=8).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest, "big") >> 1)
        yield
