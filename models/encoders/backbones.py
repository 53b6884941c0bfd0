"""torchvision's image networks as encoders, where torchvision is installed.

Shapes: B examples of T frames, pixels in 0 .. 1, [B, 1 or 3, H, W] or [B, 1 or 3, T, H, W].
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from fusion_search.models.coupled.trace import shapes_of
from fusion_search.models.couplings.mmtm import squeeze
from fusion_search.models.encoders.small import LENGTHS, VALUES, time_mask
from fusion_search.models.layout import View, frames
from fusion_search.models.weights import load_weights, weights_hash

LEVELS: Final = {
    "resnet18": ("layer1", "layer2", "layer3", "layer4"),
    "resnet50": ("layer1", "layer2", "layer3", "layer4"),
    "mobilenet_v3_small": ("features.1", "features.3", "features.8", "features.12"),
    "efficientnet_b0": ("features.2", "features.3", "features.5", "features.8"),
    "vgg19": ("features.9", "features.18", "features.27", "features.36"),
}
"""Name -> submodules behind which a site may lie, from coarse to coarser."""

RANDOM: Final = "random"
DEFAULT: Final = "default"

_CLASSIFIERS: Final = {
    "resnet18": "fc",
    "resnet50": "fc",
    "mobilenet_v3_small": "classifier",
    "efficientnet_b0": "classifier",
    "vgg19": "classifier.6",
}
"""Name -> the layers that are left out: those behind the pooled features, and of VGG19, whose two
dense layers before the last are features, the last alone."""
_LEAST_SIDES: Final = {"vgg19": 32}
"""Name -> height and width, where fewer pixels than these leave nothing: VGG19's are halved five
times; the other networks pad."""
_MEAN: Final = (0.485, 0.456, 0.406)
_DEVIATION: Final = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """A network of torchvision without its classifier; of a clip, the mean over its frames.

    Args:
        name: one of ``LEVELS``.
        weights: a file of a state dictionary, whose classifier is left out; None for random ones.
            ``weights_file`` says which.
        frozen: whether they are left as they are.
        dropout: of what it gives.

    Input: images, or clips with lengths [B]. Output: [B, channels].

    Attributes:
        name: as given.
        channels: of its end.

    Raises:
        ValueError: torchvision is not installed, or the weights cannot be had; or, when it runs,
            images have too few pixels for it.
    """

    def __init__(self, name: str, weights: Path | None, frozen: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.name = name
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
        check_side(self.name, pixels)
        colours = pixels.expand(-1, len(_MEAN), -1, -1)
        features = self.network((colours - self.mean) / self.deviation)
        if lengths is not None:
            clip = features.unflatten(0, (len(values), -1)).movedim(1, 2)
            features = squeeze(clip, time_mask(lengths, clip.shape[2:]))
        found: Tensor = self.dropout(features)
        return found


def check_side(name: str, pixels: Tensor) -> None:
    """Raise ``ValueError`` for images [B, C, H, W] with too few pixels for a backbone."""
    least, (height, width) = _LEAST_SIDES.get(name, 1), pixels.shape[-2:]
    if min(height, width) < least:
        raise ValueError(
            f"images have {height} x {width} pixels, too few for {name}: give size {least} or more"
        )


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
    check_side(backbone.name, pixels)
    network = shapes_of(backbone.network, pixels)
    for name in names:

        def note(module: nn.Module, given: Any, output: Tensor, name: str = name) -> None:
            found[name] = tuple(output.shape[2:])

        network.get_submodule(name).register_forward_hook(note)
    network(pixels)
    return found


def weights_file(name: str, weights: str, folder: Path | None = None) -> Path | None:
    """The file that a backbone begins with; None where its weights are random.

    Args:
        name: one of ``LEVELS``.
        weights: "default" for torchvision's, which are downloaded to where torch keeps such when
            they are not there, and checked against the hash in their name; a file; or "random".
        folder: what a file is relative to.

    Raises:
        ValueError: no weights are named, or they cannot be downloaded.
    """
    if not weights:
        raise ValueError(
            f"weights of {name} are not named; allowed: {DEFAULT} (torchvision's, which are "
            f"downloaded), a file, or {RANDOM}"
        )
    if weights == RANDOM:
        return None
    if weights != DEFAULT:
        return Path(weights) if folder is None else folder / weights
    url = _torchvision(name).get_model_weights(name).DEFAULT.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            start = path.stem.rpartition("-")[2]
            torch.hub.download_url_to_file(url, str(path), hash_prefix=start, progress=False)
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"the weights of {name} cannot be downloaded ({error}); put {path.name} into "
                f"{path.parent}, or name a file"
            ) from error
    return path


def check_weights(name: str, weights: Path) -> None:
    """Raise ``ValueError`` where a file does not hold the weights of a backbone; it is read once.

    Args:
        name: one of ``LEVELS``.
        weights: the file.
    """
    _checked(name, weights, weights_hash(weights))


@functools.lru_cache
def _checked(name: str, weights: Path, _hash: str) -> None:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing is copied to where no values are
        _made(name, weights)


def _made(name: str, weights: Path | None) -> tuple[nn.Module, int]:
    """The network without its classifier, and the channels of its end."""
    network = _torchvision(name).get_model(name, weights=None)
    cut = _CLASSIFIERS[name]
    classifier = network.get_submodule(cut)
    dense = next(one for one in classifier.modules() if isinstance(one, nn.Linear))
    if weights is not None:
        load_weights(network, weights, but=f"{cut}.")
    network.set_submodule(cut, nn.Identity())
    return network, dense.in_features


def _torchvision(name: str) -> Any:
    try:
        from torchvision import models
    except ImportError as error:
        raise ValueError(
            f"encoder {name} is torchvision's, which is not installed: "
            "pip install 'fusion-search[vision]', or encoder: small"
        ) from error
    return models
