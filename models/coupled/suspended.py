"""Streams that stop behind named levels, so that others may meet them there.

A stream is driven as a generator of (level, output): it gives what a level gave, and takes what is
to go on from there; the last pair is ("", what the stream ends with).

A ready-made module is suspended by a greenlet, a second stack that is left at a hook behind the
level and entered there again: threads would lose inference mode and autocast, and torch.fx cannot
read many models.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import torch
from greenlet import getcurrent, greenlet
from torch import Tensor, nn

from fusion_search.models.layout import Site, Tree

Steps = Generator[tuple[str, Tree], Tree, None]
END = ""
"""In place of a level's name: the stream's end."""

_DEVICES = ("cpu", "cuda")


class Pause:
    """A forward hook behind a level: the stream of the call that runs is left here.

    It keeps nothing, so that a hooked module can be copied and pickled.
    """

    def __init__(self, level: str) -> None:
        self.level = level

    def __call__(self, module: nn.Module, args: Any, output: Tree) -> Tree:
        """What the stream goes on with."""
        current = getcurrent()
        if isinstance(current, _Call):
            # A module that another network hooked, too, is left where this one has sites.
            stops = self.level in current.levels
            return current.pause(self.level, output) if stops else None
        if torch._C._current_graph_task_id() != -1:
            raise RuntimeError(
                f"level {self.level} lies inside activation checkpointing, which runs it again on "
                "the way back, when no other stream is there; checkpoint between the sites, or "
                "place the sites elsewhere"
            )
        return None  # the module is run by itself


class _Call(greenlet):
    """One run of a module, which gives (level, output) at every pause."""

    def __init__(self, module: nn.Module, levels: Sequence[str], inputs: Tree) -> None:
        super().__init__(self._whole)
        self._module, self.levels, self._inputs = module, tuple(levels), inputs
        self._outside = _modes()
        self._inference = torch.is_inference_mode_enabled()

    def _whole(self) -> tuple[str, Tree]:
        given = self._inputs
        return END, self._module(**given) if isinstance(given, Mapping) else self._module(given)

    def pause(self, level: str, output: Tree) -> Tree:
        # A stream's own no_grad, inference mode or autocast is not to hold for the others.
        own = _modes()
        with torch.inference_mode(self._inference):
            _set_modes(self._outside)
            assert self.parent is not None
            new = self.parent.switch((level, output))
        _set_modes(own)
        return new


def suspend(module: nn.Module, levels: Sequence[str]) -> None:
    """Let a module be left behind its submodules of these names.

    Raises:
        ValueError: there is no such submodule.
    """
    for level in levels:
        try:
            there = module.get_submodule(level)
        except AttributeError as error:
            known = ", ".join(name for name, _ in module.named_children())
            raise ValueError(
                f"level {level!r} is no submodule of {type(module).__name__}; its own are: {known}"
            ) from error
        if not any(isinstance(one, Pause) for one in there._forward_hooks.values()):
            there.register_forward_hook(Pause(level))


def module_steps(module: nn.Module, levels: Sequence[str], inputs: Tree) -> Steps:
    """A suspended module's levels of these names, then its end."""
    call = _Call(module, levels, inputs)
    step = call.switch()
    while not call.dead:
        step = call.switch((yield step))
    yield step


def _modes() -> tuple[Any, ...]:
    autocast = [
        (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        for device in _DEVICES
    ]
    return torch.is_grad_enabled(), autocast


def _set_modes(modes: tuple[Any, ...]) -> None:
    gradients, autocast = modes
    torch._C._set_grad_enabled(gradients)
    for device, enabled, kind in autocast:
        torch.set_autocast_enabled(device, enabled)
        torch.set_autocast_dtype(device, kind)


def level_steps(levels: Mapping[str, nn.Module], named: Sequence[str], inputs: Tensor) -> Steps:
    """Levels one after the other; the ``named`` ones may be met."""
    value: Tree = inputs
    for level, module in levels.items():
        value = module(value)
        if level in named:
            value = yield level, value
    yield END, value


def drive(
    sites: Sequence[Site],
    runs: Mapping[str, Steps],
    exchange: Callable[[Site, dict[str, Tree]], Mapping[str, Tree]],
) -> dict[str, Tree]:
    """Run streams side by side, and let them meet at the sites in their order.

    Returns:
        Stream -> what it ends with.

    Raises:
        ValueError: the order of the sites is not that of a stream's levels.
    """
    at = {name: next(run) for name, run in runs.items()}
    for number, site in enumerate(sites):
        for name, level in site.after.items():
            if at[name][0] != level:
                place = at[name][0] or "its end"
                raise ValueError(
                    f"site {site.name}: stream {name} is at {place}, not at {level}; sites are to "
                    "be given in the order in which every stream passes them, and must not cross"
                )
        met = exchange(site, {name: at[name][1] for name in site.after})
        for name, value in met.items():
            later = [one.after[name] for one in sites[number + 1 :] if name in one.after]
            stays = bool(later) and later[0] == at[name][0]
            at[name] = (at[name][0], value) if stays else runs[name].send(value)
    for name, (level, _) in at.items():
        if level != END:
            raise ValueError(
                f"stream {name} passes level {level} again behind its last site; a site cannot lie "
                "behind a level that is called more than once"
            )
    return {name: value for name, (_, value) in at.items()}
