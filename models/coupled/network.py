"""A network of streams that may be coupled at sites: any modules, or levels of one's own.

Shapes: B examples; at a site every stream's tensor is seen as [B, C, *size].
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from fusion_search.models.coupled.exchange import Exchange
from fusion_search.models.coupled.suspended import Steps, drive, level_steps, module_steps, suspend
from fusion_search.models.couplings.contract import Features
from fusion_search.models.couplings.kinds import COUPLINGS
from fusion_search.models.couplings.transfer import kinds_between
from fusion_search.models.layout import (
    COUPLING,
    NONE,
    Feature,
    Layout,
    Placement,
    Site,
    Tree,
    View,
    connection,
    direction,
)

Maker = Callable[[Feature], nn.Module]
Levels = Mapping[str, nn.Module | Maker]
Head = nn.Module | Callable[[Features], nn.Module] | Mapping[str, Callable[[Features], nn.Module]]

_PLAIN = View()
_EXAMPLES = 2


class CoupledNetwork(nn.Module):
    """Streams, what a placement puts between them, and a head.

    Args:
        streams: name -> any module, which is suspended behind its submodules that sites name; or
            {level: module or maker(Feature)}, run level by level.
        sites: in the order in which every stream passes them.
        head: takes {stream: end} and gives the outputs: a module, a maker({stream: Feature}), or
            {end: maker}, of which the placement's ``end`` chooses (the first by default).
        example: stream -> what it takes, two examples.
        placement: what sits where, and which streams there are.
        start: stream -> the level whose output stands for the input in residual connections, such
            as a normalisation.

    Inputs: every stream's by its name. Output: the head's.

    Attributes:
        layout: what it offers to placements.
        exchanges: site -> what sits there.

    Raises:
        ValueError: sites cross, or name a stream or level that is not there.
    """

    def __init__(
        self,
        streams: Mapping[str, nn.Module | Levels],
        sites: Sequence[Site],
        head: Head,
        example: Mapping[str, Tree],
        placement: Placement | None = None,
        start: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.placement, self._start = placement or Placement(), dict(start or {})
        self.names = tuple(one for one in streams if one in (self.placement.streams or streams))
        _check_streams(streams, sites)
        _check_placement(self.placement, streams, sites)
        self.sites = _among(sites, self.names)
        self._named = {
            name: tuple(dict.fromkeys(one.after[name] for one in self.sites if name in one.after))
            for name in self.names
        }
        self.streams, self.exchanges = nn.ModuleDict(), nn.ModuleDict()
        self._levels = {name for name in self.names if isinstance(streams[name], Mapping)}
        self._wider = {
            (site.name, name)
            for site in self.sites
            for name, level in site.after.items()
            if _may_widen(streams[name], level)
        }
        for name in self.names:
            one = streams[name]
            if isinstance(one, nn.Module):
                suspend(one, self._named[name])
            self.streams[name] = one if isinstance(one, nn.Module) else nn.ModuleDict()
        self._features: dict[str, Features] = {}
        self._inputs: dict[str, Feature] = {}
        ends = self._built(streams, {name: example[name] for name in self.names})
        self.layout = self._layout(tuple(streams), head)
        self.layout.check(self.placement)
        self.head = self._made_head(head, ends)
        self.train()

    def forward(self, **inputs: Tree) -> Tree:
        """Every stream's input by name to the head's outputs."""
        starts: dict[str, Tensor] = {}
        runs = {
            name: self._steps(name, self.streams[name], inputs[name], starts) for name in self.names
        }

        def exchange(site: Site, outputs: dict[str, Tree]) -> Mapping[str, Tree]:
            return self.exchanges[site.name](outputs, starts, inputs)  # type: ignore[no-any-return]

        return self.head(drive(self.sites, runs, exchange))

    def train(self, mode: bool = True) -> CoupledNetwork:
        """As of any module, but a stream that is frozen stays in evaluation mode."""
        super().train(mode)
        for one in self.streams.values():
            parameters = list(one.parameters())
            if parameters and not any(each.requires_grad for each in parameters):
                one.eval()
        return self

    def _steps(self, name: str, module: nn.Module, given: Tree, starts: dict[str, Tensor]) -> Steps:
        starts[name] = given
        if name not in self._levels:
            return module_steps(module, self._named[name], given)
        assert isinstance(module, nn.ModuleDict)
        levels = dict(module.items())
        if name in self._start:
            levels[self._start[name]] = _Noted(levels[self._start[name]], starts, name)
        return level_steps(levels, self._named[name], given)

    # Built by running the streams on tensors without values, which say every shape.

    def _built(
        self, streams: Mapping[str, nn.Module | Levels], example: Mapping[str, Tree]
    ) -> Features:
        seeds = torch.initial_seed()
        try:
            return self._trace(streams, tree_map(_meta, dict(example)), seeds)
        except (NotImplementedError, RuntimeError, TypeError):
            # Not everything runs without values: then by two examples on the CPU.
            self.exchanges, self._features, self._inputs = nn.ModuleDict(), {}, {}
            for name in self._levels:
                self.streams[name] = nn.ModuleDict()
            return self._trace(streams, dict(example), seeds)

    def _trace(
        self, streams: Mapping[str, nn.Module | Levels], example: dict[str, Tree], seed: int
    ) -> Features:
        runs = {}
        for name in self.names:
            one, given = streams[name], example[name]
            if isinstance(given, Tensor) and given.is_floating_point() and name not in self._start:
                self._inputs[name] = feature_of(given)
            if isinstance(one, nn.Module):
                runs[name] = module_steps(_shapes_of(one, given), self._named[name], given)
            else:
                runs[name] = self._making(name, one, given, seed)

        def exchange(site: Site, outputs: dict[str, Tree]) -> Mapping[str, Tree]:
            views = {name: site.views.get(name, _PLAIN) for name in outputs}
            seen = {name: views[name].see(one) for name, one in outputs.items()}
            features = {name: feature_of(one) for name, one in seen.items()}
            self._features[site.name] = features
            with _seeded(seed, f"site {site.name}"):
                placed = self.placement.sites.get(site.name, {})
                options = self.placement.options
                made = Exchange(site, features, self._inputs, placed, options)
            self.exchanges[site.name] = made
            wider = {
                name: _with_channels(one, made.features[name].channels)
                for name, one in seen.items()
            }
            return {name: views[name].put(one, wider[name]) for name, one in outputs.items()}

        with torch.no_grad():
            ends = drive(self.sites, runs, exchange)
        return {name: feature_of(one) for name, one in ends.items() if isinstance(one, Tensor)}

    def _making(self, name: str, levels: Levels, given: Tensor, seed: int) -> Steps:
        """A stream's levels, each made when the shape of what it takes is known."""
        value: Tree = given
        made = self.streams[name]
        assert isinstance(made, nn.ModuleDict)
        for level, one in levels.items():
            with _seeded(seed, f"stream {name} level {level}"):
                module = one if isinstance(one, nn.Module) else one(feature_of(value))
            made[level] = module
            value = _shapes_of(module, value)(value)
            if self._start.get(name) == level:
                self._inputs[name] = feature_of(value)
            if level in self._named[name]:
                value = yield level, value
        yield "", value

    def _layout(self, streams: tuple[str, ...], head: Head) -> Layout:
        sites = tuple((site, self._features[site.name]) for site in self.sites)
        choices = {site.name: self._choices(site, features) for site, features in sites}
        ends = tuple(head) if isinstance(head, Mapping) else ()
        return Layout(streams, self._inputs, sites, choices, bool(self._levels), ends, open=True)

    def _choices(self, site: Site, features: Features) -> dict[str, tuple[str, ...]]:
        gated = tuple(features) if site.gated is None else site.gated
        fitting = [kind for kind, one in COUPLINGS.items() if gated and one.fits(features)]
        found = {COUPLING: (NONE, *fitting)}
        for source in features:
            for target in features:
                if source != target and target in gated:
                    found[connection(source, target)] = kinds_between(
                        features[source],
                        self._inputs.get(source),
                        features[target],
                        widen=(site.name, target) in self._wider,
                    )
        return found

    def _made_head(self, head: Head, ends: Features) -> nn.Module:
        with _seeded(torch.initial_seed(), "head"):
            if isinstance(head, nn.Module):
                return head
            if isinstance(head, Mapping):
                return head[self.placement.end or next(iter(head))](ends)
            return head(ends)


class _Noted(nn.Module):
    """A level whose output stands for its stream's input."""

    def __init__(self, level: nn.Module, starts: dict[str, Tensor], name: str) -> None:
        super().__init__()
        self._level, self._starts, self._name = level, starts, name

    def forward(self, value: Tensor) -> Tensor:
        given: Tensor = self._level(value)
        self._starts[self._name] = given
        return given


def feature_of(tensor: Tensor) -> Feature:
    """Of a tensor [B, C, *size]."""
    return Feature(tensor.shape[1], tuple(tensor.shape[2:]))


def _with_channels(tensor: Tensor, channels: int) -> Tensor:
    if tensor.shape[1] == channels:
        return tensor
    return tensor.new_zeros((len(tensor), channels, *tensor.shape[2:]))


def _meta(one: Any) -> Any:
    return one.to("meta") if isinstance(one, Tensor) else one


def _shapes_of(module: nn.Module, given: Tree) -> nn.Module:
    """The module in evaluation mode, without values where what it takes has none."""
    tensors = list(given.values()) if isinstance(given, Mapping) else [given]
    if any(isinstance(one, Tensor) and one.is_meta for one in tensors):
        return copy.deepcopy(module).to("meta").eval()
    return copy.deepcopy(module).eval()


@contextmanager
def _seeded(seed: int, part: str) -> Iterator[None]:
    """Every part draws from a seed of its own: what sits elsewhere does not change its weights."""
    digest = hashlib.blake2b(f"{seed} {part}".encode(), digest_size=8).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest, "big") >> 1)
        yield


def _may_widen(stream: nn.Module | Levels, level: str) -> bool:
    """Whether what follows a level is made for the channels that come, or nothing follows."""
    if isinstance(stream, nn.Module):
        return False
    names = list(stream)
    following = names[names.index(level) + 1 :][:1]
    return not any(isinstance(stream[one], nn.Module) for one in following)


def _check_streams(streams: Mapping[str, Any], sites: Sequence[Site]) -> None:
    for site in sites:
        for name, level in site.after.items():
            if name not in streams:
                raise ValueError(
                    f"site {site.name} names stream {name!r}; allowed: {', '.join(streams)}"
                )
            one = streams[name]
            if isinstance(one, Mapping) and level not in one:
                raise ValueError(
                    f"site {site.name} lies after {name}.{level}; levels of {name}: "
                    f"{', '.join(one)}"
                )


def _check_placement(
    placement: Placement, streams: Mapping[str, Any], sites: Sequence[Site]
) -> None:
    """Names alone; whether a kind fits is seen when the features are known."""
    names = [site.name for site in sites]
    taken = [one for one in (*streams, *names) if hasattr(nn.ModuleDict, one)]
    if taken:
        raise ValueError(f"{taken[0]!r} names a stream or site; choose another word, it is taken")
    for stream in placement.streams:
        if stream not in streams:
            raise ValueError(f"streams holds {stream!r}; allowed: {', '.join(streams)}")
    for site, placed in placement.sites.items():
        if site not in names:
            raise ValueError(f"placement names site {site!r}; allowed: {', '.join(names)}")
        for name in placed:
            for stream in direction(name) if name != COUPLING else ():
                if stream not in (placement.streams or streams):
                    there = ", ".join(placement.streams or streams)
                    raise ValueError(f"{site}.{name} connects {stream!r}; allowed: {there}")


def _among(sites: Sequence[Site], names: Sequence[str]) -> tuple[Site, ...]:
    """The sites where at least two of these streams meet."""
    kept = []
    for site in sites:
        after = {name: level for name, level in site.after.items() if name in names}
        if len(after) > 1:
            gated = None if site.gated is None else tuple(one for one in site.gated if one in after)
            kept.append(replace(site, after=after, gated=gated))
    return tuple(kept)
