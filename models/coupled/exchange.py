"""All that happens at one site: a coupling, connections, and what stands behind a merge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from fusion_search.models.couplings.contract import Features
from fusion_search.models.couplings.kinds import make_coupling
from fusion_search.models.couplings.options import (
    GATED,
    Options,
    arguments,
    connection_options,
    coupling_options,
    gated_at,
)
from fusion_search.models.couplings.transfer import (
    CROSS,
    RESIDUAL,
    TRANSFER,
    Connection,
    make_connection,
)
from fusion_search.models.layout import (
    COUPLING,
    NONE,
    Site,
    Tree,
    View,
    direction,
    parts_of,
)

_PLAIN = View()


class Exchange(nn.Module):
    """At a site the coupling comes first, then residuals are added, then crosses concatenated.

    That is XFlow's order: cross-connections read a stream before the residual of the same site is
    added to it.

    Args:
        site: the site.
        features: of its streams there, in the order of the network.
        inputs: of the streams' inputs, where these are float tensors.
        placed: "coupling" or connection -> kind.
        options: of the placement, which stand above those of the site.

    Attributes:
        features: of the streams behind it, channels that were concatenated counted.

    Raises:
        ValueError: options are none of the kind's, or a coupling breaks the contract.
    """

    def __init__(
        self,
        site: Site,
        features: Features,
        inputs: Features,
        placed: Mapping[str, str],
        options: Options | None = None,
    ) -> None:
        super().__init__()
        self.site, self.features = site, dict(features)
        given = (site.options, options or {})
        kind = placed.get(COUPLING, NONE)
        self.coupling: nn.Module | None = None
        if kind != NONE:
            own = arguments(COUPLING, kind, coupling_options(kind), *given)
            gated = gated_at(site, tuple(features), own.pop(GATED, None))
            self.coupling = make_coupling(kind, features, gated, own)
        self.transfers, self.crosses = nn.ModuleDict(), nn.ModuleDict()
        self.residuals, self.merged = nn.ModuleDict(), nn.ModuleDict()
        for name, kind in placed.items():
            if name != COUPLING and kind != NONE:
                self._connect(name, kind, features, inputs, given)
        if site.merged is not None:
            targets = {direction(name)[1] for name in (*self.crosses, *self.residuals)}
            # In the network's order: that of a set is another in every process, and an optimiser
            # knows parameters by their order alone.
            for target in (one for one in self.features if one in targets):
                self.merged[target] = site.merged(target, self.features[target])

    def _connect(
        self,
        name: str,
        kind: str,
        features: Features,
        inputs: Features,
        options: tuple[Options, Options],
    ) -> None:
        # All read, and residuals are added to, the streams as they come to the site.
        source, target = direction(name)
        kinds = {CROSS: self.crosses, RESIDUAL: self.residuals, TRANSFER: self.transfers}
        for part in parts_of(name, kind):
            read = (inputs if part == RESIDUAL else features).get(source)
            if read is None:
                raise ValueError(f"{name} cannot be residual: {source} takes no tensor of numbers")
            taken = connection_options(part, read.rank, features[target].rank)
            given = arguments(name, part, taken, *options)
            made = make_connection(part, read, features[target], **given)
            kinds[part][name] = made
            if isinstance(made, Connection) and part == CROSS:
                wider = self.features[target].channels + made.width
                self.features[target] = replace(self.features[target], channels=wider)

    def forward(
        self, outputs: Mapping[str, Tree], starts: Mapping[str, Tensor], inputs: Mapping[str, Tree]
    ) -> dict[str, Tree]:
        """Exchange between the streams.

        Args:
            outputs: of the levels that the site lies behind, as they give them.
            starts: the streams' inputs as residuals read them.
            inputs: as they are, for masks.
        """
        views = {name: self.site.views.get(name, _PLAIN) for name in outputs}
        seen = {name: views[name].see(one) for name, one in outputs.items()}
        masks = {name: one.mask(inputs[name]) for name, one in views.items() if one.mask}
        if self.coupling is not None:
            seen = dict(self.coupling(seen, masks))
        added, beside = self._connections(seen, starts, masks)
        for target, values in added:
            seen[target] = seen[target] + values
        for target, values in beside:
            there = seen[target].shape[2:]
            seen[target] = torch.cat([seen[target], values.expand(-1, -1, *there)], dim=1)
        for name, module in self.merged.items():
            seen[name] = module(seen[name])
        return {name: views[name].put(one, seen[name]) for name, one in outputs.items()}

    def _connections(
        self,
        seen: Mapping[str, Tensor],
        starts: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
    ) -> tuple[list[tuple[str, Tensor]], list[tuple[str, Tensor]]]:
        """(target, values): what is added, and what is concatenated."""
        added, beside = [], []
        for name, module in self.transfers.items():
            source, target = direction(name)
            added.append((target, module(seen[source], masks.get(source))))
        for name, module in self.residuals.items():
            source, target = direction(name)
            added.append((target, module(starts[source], masks.get(source))))
        for name, module in self.crosses.items():
            source, target = direction(name)
            beside.append((target, module(seen[source], masks.get(source))))
        return added, beside
