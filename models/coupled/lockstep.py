"""Streams side by side, which meet at the sites in their order.

A stream's run goes on from one level that is named by a site to the next, and at last to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

from fusion_search.models.layout import Site, Tree

END: Final = ""
"""In place of a level's name: the stream's end."""

Steps = Sequence[tuple[str, Callable[[Tree], Tree]]]
"""Levels by name, in their order."""


class Run(Protocol):
    """One pass of a stream.

    Attributes:
        at: the level that it stands behind; None before the first.
    """

    at: str | None

    def to(self, level: str, value: Tree) -> Tree:
        """Go on with a value to the next named level, unless the run stands behind ``level``."""
        ...

    def close(self) -> None:
        """Leave what the stream has entered, when another one has failed."""
        ...


class LevelRun:
    """Levels one after the other: a plain loop, which torch.compile unrolls.

    Args:
        steps: the levels.
        named: those behind which there are sites.
    """

    def __init__(self, steps: Steps, named: Collection[str]) -> None:
        self.at: str | None = None
        self._steps, self._named, self._passed = steps, named, 0

    def to(self, level: str, value: Tree) -> Tree:
        """See :class:`Run`."""
        if self.at == level:
            return value
        while self._passed < len(self._steps):
            name, step = self._steps[self._passed]
            self._passed += 1
            value = step(value)
            if name in self._named:
                self.at = name
                return value
        self.at = END
        return value

    def close(self) -> None:
        """There is nothing to leave."""


def drive(
    sites: Sequence[Site],
    runs: Mapping[str, Run],
    inputs: Mapping[str, Tree],
    exchange: Callable[[Site, dict[str, Tree]], Mapping[str, Tree]],
) -> dict[str, Tree]:
    """Run streams side by side, and let them meet at the sites in their order.

    Returns:
        Stream -> what it ends with.

    Raises:
        ValueError: the order of the sites is not that of a stream's levels.
    """
    values = {name: inputs[name] for name in runs}
    for site in sites:
        for name, level in site.after.items():
            values[name] = runs[name].to(level, values[name])
            if runs[name].at != level:
                raise ValueError(
                    f"site {site.name}: stream {name} is at {runs[name].at or 'its end'}, not at "
                    f"{level}; sites are to be given in the order in which every stream passes "
                    "them, and must not cross"
                )
        values.update(exchange(site, {name: values[name] for name in site.after}))
    for name, run in runs.items():
        values[name] = run.to(END, values[name])
        if run.at != END:
            raise ValueError(
                f"stream {name} passes level {run.at} again behind its last site; a site cannot "
                "lie behind a level that is called more than once"
            )
    return values
