"""Settings of the RGB-D task: which views and encoders, and the network behind these."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, get_args

from fusion_search.datasets.rgbd.data import RgbdSettings
from fusion_search.models.encoders.backbones import RANDOM
from fusion_search.models.layout import Placement
from fusion_search.models.rgbd.network import SMALL

EncoderName = Literal[
    "small", "resnet18", "resnet50", "vgg19", "mobilenet_v3_small", "efficientnet_b0"
]
_MOST: Final = 65_536


@dataclass(frozen=True, kw_only=True)
class RgbdData(RgbdSettings):
    """Views, and the encoders that read them.

    Attributes:
        rgb_network: small (convolutions with batch normalisation, from scratch), or a backbone of
            torchvision: resnet18, resnet50 (2,048 pooled features), vgg19 (4,096 of its last but
            one layer), mobilenet_v3_small, efficientnet_b0.
        rgb_weights: of a backbone: default (torchvision's for ImageNet, which are downloaded), a
            file of a state dictionary, or random.
        frozen: whether the RGB backbone is left as it is; its features are then computed once, and
            kept in the cache folder. Else all is tuned end to end, as in the paper.
        depth_network: as ``rgb_network``; from scratch in the paper, but for a comparison.
        depth_weights: as ``rgb_weights``.

    Raises:
        ValueError: a field is not one of its allowed values, or fields do not fit each other.
    """

    rgb_network: EncoderName = "small"
    rgb_weights: str = ""
    frozen: bool = False
    depth_network: EncoderName = "small"
    depth_weights: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for stream in ("rgb", "depth"):
            name, weights = getattr(self, f"{stream}_network"), getattr(self, f"{stream}_weights")
            if name not in get_args(EncoderName):
                raise ValueError(
                    f"{stream}_network is {name!r}; allowed: {', '.join(get_args(EncoderName))}"
                )
            if name == SMALL and weights:
                raise ValueError(
                    f"{stream}_weights are {weights!r} of a small network; allowed: none, for it "
                    "is trained from scratch"
                )
            if name != SMALL and not weights:
                raise ValueError(
                    f"{stream}_weights of {name} are not named; allowed: default (torchvision's, "
                    "which are downloaded), a file, or random"
                )
        if self.frozen and (self.rgb_network == SMALL or self.rgb_weights == RANDOM):
            raise ValueError(
                "frozen is true of an RGB network that was not trained before; allowed with: a "
                "backbone that has rgb_weights default or a file"
            )
        if self.frozen and self.flip:
            raise ValueError(
                "flip is true and frozen, too; allowed: one of them, for features of a frozen "
                "backbone are computed once, of every view as it is"
            )


@dataclass(frozen=True, kw_only=True)
class RgbdNetwork:
    """Settings of the network; the paper leaves all of them open.

    Attributes:
        widths: channels of the levels of small networks, each of which halves height and width.
        fusion_size: features of either stream behind a linear layer, which the gate weighs.
        dense_sizes: of the dense layers between fusion and the layer of the classes.
        dropout: behind each of them, 0 to below 1.
        batch_norm: whether each of them normalises over a batch.

    Raises:
        ValueError: a field is outside its range.
    """

    layout_fields: ClassVar = ("widths",)

    widths: tuple[int, ...] = (32, 64, 128, 256)
    fusion_size: int = 512
    dense_sizes: tuple[int, ...] = (512, 256)
    dropout: float = 0.5
    batch_norm: bool = True

    def __post_init__(self) -> None:
        if not 1 <= len(self.widths) <= 6:
            raise ValueError(f"widths has {len(self.widths)} levels; allowed: 1 to 6")
        for name in ("widths", "dense_sizes"):
            for one in getattr(self, name):
                if not 1 <= one <= _MOST:
                    raise ValueError(f"{name} holds {one}; allowed: 1 to {_MOST:,}")
        if not 1 <= self.fusion_size <= _MOST:
            raise ValueError(f"fusion_size is {self.fusion_size}; allowed: 1 to {_MOST:,}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; allowed: 0 to below 1")

    def canonical(self, placement: Placement) -> tuple[RgbdNetwork, Placement]:
        """A stream alone has nothing to be weighed against, however it ends."""
        alone = len(placement.streams) == 1
        return self, replace(placement, end="") if alone else placement
