"""A network of streams that may be coupled at sites: any modules, or levels of one's own.

Shapes: B examples; at a site every stream's tensor is seen as [B, C, *size].
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from fusion_search.models.coupled.lockstep import LevelRun, Run, drive
from fusion_search.models.coupled.suspended import ModuleRun, suspend
from fusion_search.models.coupled.trace import (
    PLAIN,
    Levels,
    Trace,
    at,
    see,
    seeded,
    without_values,
)
from fusion_search.models.couplings.contract import Features
from fusion_search.models.layout import COUPLING, Layout, Placement, Site, Tree, View, direction

Head = nn.Module | Callable[[Features], nn.Module] | Mapping[str, Callable[[Features], nn.Module]]


class CoupledNetwork(nn.Module):
    """Streams, what a placement puts between them, and a head.

    Args:
        streams: name -> any module, which is suspended behind its submodules that sites name; or
            {level: module or maker(Feature)}, run level by level. A module that takes a dictionary
            gets it as keyword arguments.
        sites: in the order in which every stream passes them.
        head: takes {stream: end} and gives the outputs: a module, a maker({stream: Feature}), or
            {end: maker}, of which the placement's ``end`` chooses (the first by default).
        example: stream -> what it takes, two examples. Where it has a batch of other lengths, as
            its attribute ``other`` (the inputs that a task gets have it), sizes that differ vary.
        placement: what sits where, and which streams there are.
        start: stream -> the level whose output stands for the input in residual connections, such
            as a normalisation.
        ends: stream -> how its end is seen, where that is no tensor [B, C, *size]. Where such a
            view has a mask, the head takes ({stream: end}, {stream: mask}).

    Inputs: every stream's by its name. Output: the head's.

    Attributes:
        layout: what it offers to placements.
        exchanges: site -> what sits there.
        suspended: names of the streams that are left behind submodules; the others are levels.

    Raises:
        ValueError: sites cross, or name a stream or level that is not there; or ends are padded,
            and the head takes no masks.
    """

    def __init__(
        self,
        streams: Mapping[str, nn.Module | Levels],
        sites: Sequence[Site],
        head: Head,
        example: Mapping[str, Tree],
        placement: Placement | None = None,
        start: Mapping[str, str] | None = None,
        ends: Mapping[str, View] | None = None,
    ) -> None:
        super().__init__()
        self.placement, self._start = placement or Placement(), dict(start or {})
        self.names = tuple(one for one in streams if one in (self.placement.streams or streams))
        self._ends = {name: view for name, view in (ends or {}).items() if name in self.names}
        _check_streams(streams, sites)
        _check_placement(self.placement, streams, sites)
        self.sites = _among(sites, self.names)
        self._named = {
            name: tuple(dict.fromkeys(one.after[name] for one in self.sites if name in one.after))
            for name in self.names
        }
        there = {name: streams[name] for name in self.names}
        for name, one in there.items():
            if isinstance(one, nn.Module):
                suspend(one, self._named[name])
        trace = self._traced(there, _batches(example, self.names))
        self.suspended = {name for name, one in there.items() if isinstance(one, nn.Module)}
        self.streams = nn.ModuleDict(
            {
                name: one if isinstance(one, nn.Module) else trace.made[name]
                for name, one in there.items()
            }
        )
        self.exchanges = trace.exchanges
        self.layout = self._layout(tuple(streams), trace, head)
        self.layout.check(self.placement)
        self.head = self._made_head(head, trace)
        if padded := [name for name, view in self._ends.items() if view.mask]:
            _check_masked(self.head, padded)
        self.train()

    def forward(self, **inputs: Tree) -> Tree:
        """Every stream's input by name to the head's outputs."""
        for name in self.names:
            if name not in inputs:
                raise ValueError(f"stream {name} has no input; given: {', '.join(inputs)}")
        if self.suspended:
            return self._run_suspended(inputs)
        starts = dict(inputs)
        return self._run(
            inputs, starts, {name: self._level_run(name, starts) for name in self.names}
        )

    def train(self, mode: bool = True) -> CoupledNetwork:
        """As of any module, but a stream that is frozen stays in evaluation mode."""
        super().train(mode)
        for one in self.streams.values():
            parameters = list(one.parameters())
            if parameters and not any(each.requires_grad for each in parameters):
                one.eval()
        return self

    @torch.compiler.disable(  # type: ignore[untyped-decorator]
        reason="streams are suspended; given as levels, they compile"
    )
    def _run_suspended(self, inputs: dict[str, Tree]) -> Tree:
        starts = dict(inputs)
        runs: dict[str, Run] = {
            name: ModuleRun(self.streams[name], self._named[name])
            if name in self.suspended
            else self._level_run(name, starts)
            for name in self.names
        }
        try:
            return self._run(inputs, starts, runs)
        finally:
            for run in runs.values():
                run.close()

    def _level_run(self, name: str, starts: dict[str, Tree]) -> LevelRun:
        levels = self.streams[name]
        assert isinstance(levels, nn.ModuleDict)

        def first(value: Tree) -> Tree:
            starts[name] = levels[self._start[name]](value)
            return starts[name]

        steps = [
            (level, first if self._start.get(name) == level else module)
            for level, module in levels.items()
        ]
        return LevelRun(steps, self._named[name])

    def _run(
        self, inputs: dict[str, Tree], starts: dict[str, Tree], runs: Mapping[str, Run]
    ) -> Tree:
        def exchange(site: Site, outputs: dict[str, Tree]) -> Mapping[str, Tree]:
            return self.exchanges[site.name](outputs, starts, inputs)  # type: ignore[no-any-return]

        ends = drive(self.sites, runs, inputs, exchange)
        for name, view in self._ends.items():
            ends[name] = view.see(ends[name])
        masks = {name: one.mask(inputs[name]) for name, one in self._ends.items() if one.mask}
        return self.head(ends, masks) if masks else self.head(ends)

    def _traced(
        self, streams: Mapping[str, nn.Module | Levels], batches: Sequence[Mapping[str, Tree]]
    ) -> Trace:
        def made() -> Trace:
            seed = torch.initial_seed()
            return Trace(streams, self.sites, self._named, self.placement, self._start, seed)

        trace = made()
        with suppress(Exception):  # whatever somebody's model raises without values
            trace.run([without_values(dict(one)) for one in batches])
            return trace
        trace = made()
        trace.run(batches)  # by the examples, on the CPU
        return trace

    def _layout(self, streams: tuple[str, ...], trace: Trace, head: Head) -> Layout:
        sites = tuple((site, trace.features[site.name]) for site in self.sites)
        ends = tuple(head) if isinstance(head, Mapping) else ()
        return Layout(
            streams, trace.inputs, sites, trace.choices, bool(trace.made), ends, open=True
        )

    def _made_head(self, head: Head, trace: Trace) -> nn.Module:
        if isinstance(head, nn.Module):
            return head
        ends = {}
        for name in self.names:
            view = self._ends.get(name, PLAIN)
            place = f"the end of stream {name}"
            ends[name] = at(place, see(place, view, trace.ends[name]))
        with seeded(torch.initial_seed(), "head"):
            if isinstance(head, Mapping):
                return head[self.placement.end or next(iter(head))](ends)
            return head(ends)


def _batches(example: Mapping[str, Tree], names: Sequence[str]) -> list[Mapping[str, Tree]]:
    """One, or two where lengths vary."""
    for name in names:
        if name not in example:
            raise ValueError(
                f"the example has no input for stream {name}; it has: {', '.join(example)}"
            )
    other = getattr(example, "other", None)
    return [example] if other is None else [example, other]


def _check_streams(streams: Mapping[str, Any], sites: Sequence[Site]) -> None:
    for site in sites:
        for name, level in site.after.items():
            if name not in streams:
                raise ValueError(
                    f"site {site.name} names stream {name!r}; allowed: {', '.join(streams)}"
                )
            one = streams[name]
            if isinstance(one, nn.Module):
                _check_nested(site, one, level)
            elif level not in one:
                raise ValueError(
                    f"site {site.name} lies after {name}.{level}; levels of {name}: "
                    f"{', '.join(one)}"
                )


def _check_nested(site: Site, stream: nn.Module, level: str) -> None:
    """A stream's own streams stop for each other, and not for those outside."""
    there, names = stream, level.split(".")
    for number, name in enumerate(names):
        inner = names[number + 1] if name == "streams" and name != names[-1] else ""
        if isinstance(there, CoupledNetwork) and inner in there.suspended:
            whole = ".".join([*names[:number], "head"])
            raise ValueError(
                f"site {site.name} lies after {level}, inside a stream of a CoupledNetwork that is "
                f"itself a stream; place it behind {whole}, or give the inner streams as levels"
            )
        there = there._modules.get(name) or there


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


def _check_masked(head: nn.Module, padded: Sequence[str]) -> None:
    try:
        inspect.signature(head.forward).bind({}, {})
    except TypeError as error:
        raise ValueError(
            f"the head {type(head).__name__} takes the ends alone, and the view of the end of "
            f"{', '.join(padded)} has a mask; allowed: forward(self, ends, masks), whose masks are "
            "{stream: [B, *size]}, or a view without one"
        ) from error


def _among(sites: Sequence[Site], names: Sequence[str]) -> tuple[Site, ...]:
    """The sites where at least two of these streams meet."""
    kept = []
    for site in sites:
        after = {name: level for name, level in site.after.items() if name in names}
        if len(after) > 1:
            gated = None if site.gated is None else tuple(one for one in site.gated if one in after)
            views = {name: view for name, view in site.views.items() if name in names}
            kept.append(replace(site, after=after, views=views, gated=gated))
    return tuple(kept)
