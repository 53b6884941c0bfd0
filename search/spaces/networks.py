"""The networks of a space: by the settings on which sites depend, such as the fusion depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from functools import cached_property
from typing import Any

from fusion_search.models.layout import Layout
from fusion_search.search.spaces.parameters import (
    Choice,
    Parameter,
    choice_of,
    is_searched,
    options_of,
)
from fusion_search.search.trials.plain import default_of


class Networks:
    """Combinations of those settings, and what such a network offers to placements.

    Args:
        kind: the task's type of network settings.
        layout: settings of a network -> what it offers.
        settings: (group, setting) -> what it may be, of all groups.
    """

    def __init__(
        self,
        kind: type,
        layout: Callable[[Any], Layout],
        settings: Mapping[tuple[str, str], Parameter],
    ) -> None:
        self._kind, self._layout, self.settings = kind, layout, settings

    @cached_property
    def first(self) -> tuple[str, ...]:
        """Settings of the network on which its sites depend, as far as they are declared."""
        names = [one.name for one in fields(self._kind)]
        wanted = getattr(self._kind, "layout_fields", names)
        declared = [name for group, name in self.settings if group == "network"]
        return tuple(one for one in wanted if one in declared and one not in self.coupling_fields)

    @cached_property
    def coupling_fields(self) -> tuple[str, ...]:
        """Settings of couplings, as far as they are declared."""
        wanted = getattr(self._kind, "coupling_fields", ())
        return tuple(one for one in wanted if ("network", one) in self.settings)

    @cached_property
    def rest(self) -> tuple[tuple[str, str], ...]:
        """Every other setting declared, with its group."""
        taken = {("network", name) for name in (*self.first, *self.coupling_fields)}
        return tuple(key for key in self.settings if key not in taken)

    @cached_property
    def _fixed(self) -> dict[str, Any]:
        """Settings of the network outside the first, each at its first option."""
        return {
            name: options_of(parameter)[0]
            for (group, name), parameter in self.settings.items()
            if group == "network" and name not in self.first
        }

    @cached_property
    def unasked(self) -> dict[str, Any]:
        """Settings of couplings that have no default, for networks without a coupling."""
        required = {one.name for one in fields(self._kind) if default_of(one) is MISSING}
        return {
            name: options_of(self.settings["network", name])[0]
            for name in self.coupling_fields
            if name in required
        }

    def network(self, values: Mapping[str, Any]) -> Any:
        """Settings of a network with these values of the first."""
        return self._kind(**{**self._fixed, **values})

    def layout_of(self, values: Mapping[str, Any]) -> Layout:
        """What a network with these values of the first offers."""
        key = tuple(map(repr, values.values()))
        if key not in self._layouts:
            self._layouts[key] = self._layout(self.network(values))
        return self._layouts[key]

    @cached_property
    def _layouts(self) -> dict[tuple[str, ...], Layout]:
        """Already asked for, since every sample asks."""
        return {}

    @cached_property
    def _choices(self) -> dict[tuple[str, ...], Choice]:
        """Already made, since every sample asks and every option is tried."""
        return {}

    def networks(self) -> Iterator[dict[str, Any]]:
        """Every combination of the settings on which the sites depend."""
        there: list[dict[str, Any]] = [{}]
        for name in self.first:
            there = [
                {**before, name: value}
                for before in there
                for value in options_of(self.parameter(name, before))
            ]
        yield from there

    def parameter(self, name: str, before: Mapping[str, Any]) -> Parameter:
        """What it may be after these: options with which there is a network."""
        parameter = self.settings["network", name]
        if not isinstance(parameter, Choice):
            return parameter
        key = (name, *map(repr, before.values()))
        if key not in self._choices:
            valid = [one for one in options_of(parameter) if self._is_valid(before, name, one)]
            self._choices[key] = choice_of(valid)
        return self._choices[key]

    def _is_valid(self, before: Mapping[str, Any], name: str, value: Any) -> bool:
        try:
            self.network({**before, name: value})
        except ValueError:
            return False
        return True

    def name_of(self, name: str, before: Mapping[str, Any]) -> str:
        """In a sample, after these; a name must always mean the same options."""
        searched = [one for one in before if is_searched(self.settings["network", one])]
        if not searched or name not in self._conditional:
            return name
        return "_".join([name, "of", *(str(before[one]) for one in searched)])

    @cached_property
    def _conditional(self) -> set[str]:
        """Those of the first whose options depend on what was chosen before."""
        found = set()
        there: list[dict[str, Any]] = [{}]
        for name in self.first:
            options = [self.parameter(name, one) for one in there]
            if any(one != options[0] for one in options):
                found.add(name)
            there = [
                {**before, name: value}
                for before, parameter in zip(there, options, strict=True)
                for value in options_of(parameter)
            ]
        return found
