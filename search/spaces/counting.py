"""How many samples and placements a space has, without making them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fusion_search.models.layout import COUPLING, NONE, Layout
from fusion_search.search.spaces.kind_options import Key
from fusion_search.search.spaces.parameters import count_of

if TYPE_CHECKING:
    from fusion_search.search.spaces.space import Space


def size_of(space: Space) -> int | None:
    """How many samples there are; None when a number is drawn from a continuous range."""
    counts = {key: count_of(one) for key, one in space.settings.items()}
    of_kinds = {key: count_of(one) for key, one in space.options.items()}
    if None in (*counts.values(), *of_kinds.values()):
        return None
    networks = space.by_layout
    coupling = math.prod(counts["network", name] or 1 for name in networks.coupling_fields)
    rest = math.prod(counts[key] or 1 for key in networks.rest)
    total = 0
    for values, streams in itertools.product(networks.networks(), space.streams):
        found = _placements(space, networks.layout_of(values), streams)
        for (coupled, keys), placements in found.items():
            each = math.prod(of_kinds[key] or 1 for key in keys)
            total += placements * each * (coupling if coupled else 1)
    return total * rest * (len(space.train) if space.choose else 1)


def placements_of(space: Space) -> int:
    """How many placements: what sits where, how the streams end, and which there are.

    Options of what is placed are not counted.
    """
    return sum(
        sum(_placements(space, space.by_layout.layout_of(values), streams).values())
        for values, streams in itertools.product(space.by_layout.networks(), space.streams)
    )


def _placements(
    space: Space, layout: Layout, streams: Sequence[str]
) -> dict[tuple[bool, frozenset[Key]], int]:
    """How many there are with a coupling or without, by the options that they ask for."""
    found: dict[tuple[bool, frozenset[Key]], int] = {(False, frozenset()): 1}
    for site, name, options in space.sites_of(layout, streams):
        before, found = found, {}
        for ((coupled, keys), count), kind in itertools.product(before.items(), options):
            now = coupled or (name == COUPLING and kind != NONE)
            one = now, keys | space.kind_options.used(layout, site, name, kind)
            found[one] = found.get(one, 0) + count
    return {one: count * len(space.ends_of(layout)) for one, count in found.items()}
