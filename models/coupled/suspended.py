"""Ready-made modules that stop behind named submodules, so that other streams meet them there.

A module is suspended by a greenlet, a second stack that is left at a hook behind the level and
entered there again: threads would lose inference mode and autocast, and torch.fx cannot read many
models.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.utils.checkpoint
from greenlet import getcurrent, greenlet
from torch import nn
from torch._dynamo import OptimizedModule

from fusion_search.models.coupled.lockstep import END
from fusion_search.models.layout import Tree

_DEVICES = ("cpu", "cuda")
_CHECKPOINTING = torch.utils.checkpoint.__file__


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
            if current.levels.get(self.level) is not module:
                return None
            if _is_checkpointed():
                raise RuntimeError(_CHECKPOINTED.format(self.level))
            return current.pause(self.level, output)
        if torch._C._current_graph_task_id() != -1:  # run again on the way back
            raise RuntimeError(_CHECKPOINTED.format(self.level))
        return None  # the module is run by itself


_CHECKPOINTED = (
    "level {} lies inside activation checkpointing, which runs it again on the way back, when no "
    "other stream is there; checkpoint between the sites, or place the sites elsewhere"
)


def _is_checkpointed() -> bool:
    """Whether the stream that runs has entered activation checkpointing and not left it.

    Its stack says so, for both ways of torch; a checkpoint around the whole network is not on it.
    """
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code is not _Call.whole.__code__:
        if frame.f_code.co_filename == _CHECKPOINTING:
            return True
        frame = frame.f_back
    return False


class _Call(greenlet):
    """One run of a module, which gives (level, output) at every pause."""

    def __init__(self, module: nn.Module, levels: Sequence[str]) -> None:
        super().__init__(self.whole)
        self._module = module
        self.levels = {level: _submodule(module, level) for level in levels}
        self._outside = _modes()
        self._inference = torch.is_inference_mode_enabled()

    def whole(self, given: Tree) -> tuple[str, Tree]:
        return END, self._module(**given) if isinstance(given, Mapping) else self._module(given)

    def pause(self, level: str, output: Tree) -> Tree:
        # A stream's own no_grad, inference mode or autocast is not to hold for the others.
        own = _modes()
        try:
            with torch.inference_mode(self._inference):
                _set_modes(self._outside)
                assert self.parent is not None
                return self.parent.switch((level, output))
        finally:
            _set_modes(own)


class ModuleRun:
    """A suspended module; see :class:`fusion_search.models.coupled.lockstep.Run`.

    Args:
        module: as ``suspend`` left it; a dictionary reaches it as keyword arguments.
        levels: names of the submodules behind which there are sites.
    """

    def __init__(self, module: nn.Module, levels: Sequence[str]) -> None:
        self.at: str | None = None
        self._call = _Call(module, levels)

    def to(self, level: str, value: Tree) -> Tree:
        """See ``Run``."""
        if self.at == level:
            return value
        self.at, value = self._call.switch(value)
        return value

    def close(self) -> None:
        """Leave what the module has entered, such as no_grad, now and in order."""
        if self._call:  # begun, and not at its end
            self._call.throw()


def suspend(module: nn.Module, levels: Sequence[str]) -> None:
    """Let a module be left behind its submodules of these names.

    Raises:
        ValueError: there is no such submodule, or it lies in what torch.compile has compiled.
    """
    for level in levels:
        there = _submodule(module, level)
        pauses = [one for one in there._forward_hooks.values() if isinstance(one, Pause)]
        if all(one.level != level for one in pauses):
            there.register_forward_hook(Pause(level))


def _submodule(module: nn.Module, level: str) -> nn.Module:
    there = module
    for name in level.split("."):
        inner = there._modules.get(name)
        _refuse_compiled(there, level)
        if inner is None:
            known = ", ".join(name for name, _ in module.named_children())
            raise ValueError(
                f"level {level!r} is no submodule of {type(module).__name__}; its own are: {known}"
            )
        there = inner
    _refuse_compiled(there, level)
    return there


def _refuse_compiled(module: nn.Module, level: str) -> None:
    # It would be left in the middle of a compiled function.
    if isinstance(module, OptimizedModule) or module._compiled_call_impl is not None:
        raise ValueError(
            f"level {level!r} lies in a {type(module).__name__} that torch.compile has compiled; "
            "compile what lies between the sites, or give a stream as levels, which compile whole"
        )


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
