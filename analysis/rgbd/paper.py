"""What the paper prints: Oyedotun, Aouada and Ottersten, "Learning to Fuse Latent Representations
for Multimodal Data". Accuracies in per cent; its folds are drawn at random from single frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PLAIN_FUSION: Final = "plain fusion"
"""The paper's naive fusion: features concatenated, and nothing between the levels."""
BY_DEPTH: Final = "gate by depth"
BY_RGB: Final = "gate by rgb"
RGB_ALONE: Final = "rgb alone"
DEPTH_ALONE: Final = "depth alone"

GATES: Final = (BY_DEPTH, BY_RGB)
VARIANTS: Final = (PLAIN_FUSION, *GATES, RGB_ALONE, DEPTH_ALONE)
"""The paper's gate is made from depth; the other way round it does not print."""

SCRATCH: Final = "small"
WASHINGTON: Final = "Washington RGB-D"
FACES: Final = "BU-3DFE"
CLASSES: Final[Mapping[str, int]] = {WASHINGTON: 51, FACES: 6}
"""How many each data set has: no number is of a part of it, or of others in its form."""

_FUSED: Final = (PLAIN_FUSION, BY_DEPTH, RGB_ALONE)
PRINTED: Final[Mapping[tuple[str, int, str], Mapping[str, float]]] = {
    (data, folds, network): dict(zip(_FUSED, accuracies, strict=True))
    for data, folds, network, accuracies in (
        (FACES, 10, "resnet50", (87.08, 89.86, 82.92)),
        (FACES, 10, "vgg19", (89.31, 90.69, 81.25)),
        (WASHINGTON, 10, "resnet50", (76.65, 99.32, 50.08)),
        (WASHINGTON, 10, "vgg19", (90.56, 99.54, 98.25)),
        (WASHINGTON, 5, "resnet50", (61.23, 98.93, 29.76)),
        (WASHINGTON, 5, "vgg19", (83.16, 99.51, 96.73)),
    )
}
"""By data set, folds and RGB network, where depth is read by a network from scratch."""

PRINTED_DEPTH: Final[Mapping[tuple[str, int, str], float]] = {
    (data, folds, network): accuracy
    for data, folds, accuracies in (
        (FACES, 10, (61.11, 28.06, 84.72)),
        (WASHINGTON, 10, (2.39, 2.38, 77.07)),
        (WASHINGTON, 5, (1.67, 2.38, 73.87)),
    )
    for network, accuracy in zip(("resnet50", "vgg19", SCRATCH), accuracies, strict=True)
}
"""Of depth alone, by data set, folds and depth network."""
