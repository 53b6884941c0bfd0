"""torchvision's image networks as encoders, where torchvision is installed.

Shapes: B examples of T frames, pixels in 0 .. 1, [B, 1 or 3, H, W] or [B, 1 or 3, T, H, W].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from fusion_search.models.coupled.trace import shapes_of
from fusion_search.models.couplings.mmtm import squeeze
from fusion_search.models.encoders.small import LENGTHS, VALUES, time_mask
from fusion_search.models.layout import View, frames
from fusion_search.models.weights import load_weights

LEVELS: Final = {
    "resnet18": ("layer1", "layer2", "layer3", "layer4"),
    "resnet50": ("layer1", "layer2", "layer3", "layer4"),
    "mobilenet_v3_small": ("features.1", "features.3", "features.8", "features.12"),
    "efficientnet_b0": ("features.2", "features.3", "features.5", "features.8"),
}
"""Name -> submodules behind which a site may lie, from coarse to coarser."""

DEFAULT: Final = "default"

_HEADS: Final = ("fc", "classifier")
_MEAN: Final = (0.485, 0.456, 0.406)
_DEVIATION: Final = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """A network of torchvision without its classifier; of a clip, the mean over its frames.

    Args:
        name: one of ``LEVELS``.
        weights: "" for random ones; "default" for torchvision's, which it downloads; or a file of a
            state dictionary, whose classifier is left out.
        frozen: whether they are left as they are.
        dropout: of what it gives.

    Input: images, or clips with lengths [B]. Output: [B, channels].

    Attributes:
        channels: of its end.

    Raises:
        ValueError: torchvision is not installed, or the weights cannot be had.
    """

    def __init__(self, name: str, weights: str, frozen: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.network, self.channels = _made(name, weights)
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION)[:, None, None], persistent=False)
        if frozen:
            self.network.requires_grad_(False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What a stream takes to features; ``lengths`` are those of clips."""
        pixels = values if lengths is None else values.movedim(2, 1).flatten(0, 1)
        colours = pixels.expand(-1, len(_MEAN), -1, -1)
        features = self.network((colours - self.mean) / self.deviation)
        if lengths is not None:
            clip = features.unflatten(0, (len(values), -1)).movedim(1, 2)
            features = squeeze(clip, time_mask(lengths, clip.shape[2:]))
        found: Tensor = self.dropout(features)
        return found


@dataclass(frozen=True)
class _FrameMask:
    """Of frames, from the padded input, spread over what a level sees."""

    size: tuple[int, int]

    def __call__(self, given: Mapping[str, Tensor]) -> Tensor:
        return time_mask(given[LENGTHS], (given[VALUES].shape[2], *self.size))


def clip_view(count: int, size: tuple[int, int]) -> View:
    """How couplings see a level of a clip's backbone: [B * count, C, *size] as [B, C, count, ...].

    Args:
        count: frames of every clip, those that are padded too.
        size: of the level's maps.
    """
    view = frames(count)
    return View(view.see, view.put, _FrameMask(size))


def map_sizes(backbone: Backbone, names: tuple[str, ...], size: tuple[int, int]) -> dict[str, Any]:
    """Height and width behind submodules of the network, for frames of a size."""
    found = {}
    pixels = torch.empty(1, 3, *size, device="meta")
    network = shapes_of(backbone.network, pixels)
    for name in names:

        def note(module: nn.Module, given: Any, output: Tensor, name: str = name) -> None:
            found[name] = tuple(output.shape[2:])

        network.get_submodule(name).register_forward_hook(note)
    network(pixels)
    return found


def _made(name: str, weights: str) -> tuple[nn.Module, int]:
    """The network without its classifier, and the channels of its end."""
    try:
        from torchvision import models
    except ImportError as error:
        raise ValueError(
            f"encoder {name} is torchvision's, which is not installed: "
            "pip install 'fusion-search[vision]', or encoder: small"
        ) from error
    try:
        network = models.get_model(name, weights="DEFAULT" if weights == DEFAULT else None)
    except OSError as error:
        raise ValueError(f"the weights of {name} cannot be downloaded: {error}") from error
    head = next(one for one in _HEADS if hasattr(network, one))
    dense = next(one for one in getattr(network, head).modules() if isinstance(one, nn.Linear))
    if weights and weights != DEFAULT:
        load_weights(network, weights, but=f"{head}.")
    setattr(network, head, nn.Identity())
    return network, dense.in_features
