"""Early fusion's levels, insertion points and connections as a layout, and back.

Site ``level k`` lies after level k, k = 1 ... fusion depth d; its coupling and connections are
those of :class:`~fusion_search.models.placement.EarlyFusionPlacement` at that insertion point.
"""

from __future__ import annotations

from typing import Any, Final

from fusion_search.models.layout import COUPLING, Feature, Layout, Placement, Site
from fusion_search.models.placement import CONNECTIONS, COUPLINGS, FUSIONS, EarlyFusionPlacement

STREAMS: Final = ("image", "audio")
TO_AUDIO: Final = "image>audio"
TO_IMAGE: Final = "audio>image"
_MODALITIES: Final = {"both": (), "visual": ("image",), "audio": ("audio",)}


def site_name(level: int) -> str:
    """The site after a level, from 1 on."""
    return f"level{level}"


def early_fusion_layout(*, sizes: list[int], units: int, bins: int, fusion_depth: int) -> Layout:
    """What a network with these maps offers.

    Args:
        sizes: side of the maps: the image's, then after every level.
        units: channels of either stream at a level, before a cross-connection widens it.
        bins: of the spectrogram.
        fusion_depth: how many levels the streams run apart.
    """
    levels = range(1, fusion_depth + 1)
    kinds = {COUPLING: COUPLINGS, TO_AUDIO: CONNECTIONS, TO_IMAGE: CONNECTIONS}
    return Layout(
        STREAMS,
        {"image": Feature(1, (sizes[0], sizes[0])), "audio": Feature(bins, (None,))},
        tuple(
            (
                Site(site_name(level), dict.fromkeys(STREAMS, str(level))),
                {
                    "image": Feature(units, (sizes[level], sizes[level])),
                    "audio": Feature(units, (None,)),
                },
            )
            for level in levels
        ),
        {site_name(level): kinds for level in levels},
        widen=True,
        ends=FUSIONS if fusion_depth else FUSIONS[:1],
    )


def early_fusion_placement(
    placement: Placement, fusion_depth: int, **mmtm: Any
) -> EarlyFusionPlacement:
    """The network's own words for a placement; ``mmtm`` holds its options of MMTM."""
    levels = [site_name(level) for level in range(1, fusion_depth + 1)] if placement.sites else []
    return EarlyFusionPlacement(
        couplings=tuple(placement.at(site) for site in levels),
        to_audio=tuple(placement.at(site, TO_AUDIO) for site in levels),
        to_image=tuple(placement.at(site, TO_IMAGE) for site in levels),
        fusion=placement.end or FUSIONS[0],
        **mmtm,
    )


def placement_of(early: EarlyFusionPlacement, modality: str = "both") -> Placement:
    """The inverse of :func:`early_fusion_placement`."""
    names = ((COUPLING, early.couplings), (TO_AUDIO, early.to_audio), (TO_IMAGE, early.to_image))
    sites: dict[str, dict[str, str]] = {}
    for name, kinds in names:
        for level, kind in enumerate(kinds, 1):
            sites.setdefault(site_name(level), {})[name] = kind
    end = "" if early.fusion == FUSIONS[0] else early.fusion
    return Placement(sites, end, _MODALITIES[modality])


def modality_of(streams: tuple[str, ...]) -> str:
    """``both``, ``visual`` or ``audio``; the other input is then zero, and the network whole."""
    found = [name for name, one in _MODALITIES.items() if set(one) == set(streams)]
    return found[0] if found else "both"
