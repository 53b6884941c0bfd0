"""All that happens at one site: a coupling, connections, and what stands behind a merge."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fusion_search.models.couplings.contract import Features
from fusion_search.models.couplings.kinds import find_coupling
from fusion_search.models.couplings.transfer import (
    BOTH,
    CROSS,
    RESIDUAL,
    TRANSFER,
    make_connection,
)
from fusion_search.models.layout import COUPLING, NONE, Feature, Site, Tree, View, direction

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
        options: kind -> arguments of the placement's; the site's own stand above them.

    Attributes:
        features: of the streams behind it, channels that were concatenated counted.
    """

    def __init__(
        self,
        site: Site,
        features: Features,
        inputs: Features,
        placed: Mapping[str, str],
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        self.site, self.features = site, dict(features)
        given = options or {}

        def arguments(kind: str, name: str = "") -> dict[str, Any]:
            own = {**site.options.get(kind, {}), **site.options.get(f"{kind} {name}", {})}
            return {**given.get(kind, {}), **own}

        kind = placed.get(COUPLING, NONE)
        wanted = features if site.gated is None else site.gated
        gated = tuple(one for one in wanted if one in features)
        self.coupling: Any = None
        if kind != NONE:
            self.coupling = find_coupling(kind)(features, gated, **arguments(kind))
        self.transfers, self.crosses = nn.ModuleDict(), nn.ModuleDict()
        self.residuals, self.merged = nn.ModuleDict(), nn.ModuleDict()
        for name, kind in placed.items():
            if name != COUPLING and kind != NONE:
                self._connect(name, kind, features, inputs, arguments)
        if site.merged is not None:
            for target in {direction(name)[1] for name in (*self.crosses, *self.residuals)}:
                self.merged[target] = site.merged(target, self.features[target])

    def _connect(
        self, name: str, kind: str, features: Features, inputs: Features, arguments: Any
    ) -> None:
        # All read, and residuals are added to, the streams as they come to the site.
        source, target = direction(name)
        if kind == TRANSFER:
            self.transfers[name] = make_connection(kind, features[source], features[target])
        if kind in (RESIDUAL, BOTH):
            self.residuals[name] = make_connection(
                RESIDUAL, inputs[source], features[target], **arguments(RESIDUAL, name)
            )
        if kind in (CROSS, BOTH):
            own = make_connection(
                CROSS, features[source], features[target], **arguments(CROSS, name)
            )
            self.crosses[name] = own
            wider = self.features[target].channels + _width(own, features[source])
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
        added, beside = self._given(seen, starts, masks)
        for target, values in added:
            seen[target] = seen[target] + values
        for target, values in beside:
            seen[target] = torch.cat([seen[target], values], dim=1)
        for name, module in self.merged.items():
            seen[name] = module(seen[name])
        return {name: views[name].put(one, seen[name]) for name, one in outputs.items()}

    def _given(
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
            added.append((target, module(starts[source])))
        for name, module in self.crosses.items():
            source, target = direction(name)
            beside.append((target, module(seen[source])))
        return added, beside


def _width(module: nn.Module, source: Feature) -> int:
    """Channels of what a connection gives."""
    sizes = [one for one in source.size if one is not None]
    with _evaluated(module), torch.no_grad():
        device = next(module.parameters()).device
        given = module(torch.zeros(1, source.channels, *sizes, device=device))
    return int(given.shape[1])


@contextmanager
def _evaluated(module: nn.Module) -> Any:
    module.eval()
    try:
        yield
    finally:
        module.train()
