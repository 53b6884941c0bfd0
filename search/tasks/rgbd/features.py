"""Features of a frozen backbone, computed once and mapped by every process that reads them.

They lie beside the decoded views, a file for each set of views, their size, backbone and weights,
told by the hashes of their content: what differs in one of them is computed, and kept, anew.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from fusion_search.datasets.batch import SPLITS, Data
from fusion_search.datasets.decoded import Kind, Listed, decoded
from fusion_search.datasets.rgbd.examples import RgbdSplit
from fusion_search.models.encoders.backbones import Backbone
from fusion_search.models.rgbd.network import RGB, Encoder
from fusion_search.models.weights import weights_hash
from fusion_search.search.tasks.base import TaskError

_FORM: Final = "features 1"  # changes when what is computed of equal views and weights changes
_AT_ONCE: Final = 32  # views


@dataclass(frozen=True)
class Features:
    """What a backbone makes of the colours of one view.

    Attributes:
        name: of the view.
        values: [channels] float32.
    """

    name: str
    values: NDArray[np.float32]


class FeatureSplit(Dataset[Any]):
    """Views of a split with features, "rgb" [channels], in place of colours.

    Args:
        views: of the split.
        features: of all views, by name.

    Attributes:
        targets, groups: those of the views.
    """

    def __init__(self, views: RgbdSplit, features: dict[str, NDArray[np.float32]]) -> None:
        self._views = views
        self._features = [features[view.name] for view in views.views]
        self.targets, self.groups = views.targets, views.groups

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, number: int) -> tuple[dict[str, Any], Tensor]:
        inputs, target = self._views[number]
        return {**inputs, RGB: torch.from_numpy(np.array(self._features[number]))}, target


def use_features(data: Data, backbone: Encoder) -> None:
    """Put a frozen backbone's features in place of the colours in all splits.

    Args:
        data: views as they were opened.
        backbone: with weights from a file.

    Raises:
        TaskError: the data are no views.
        DataError: nothing can be written to the cache folder.
    """
    splits = [data.split(name) for name in SPLITS]
    views = [one for one in splits if isinstance(one, RgbdSplit)]
    if len(views) < len(splits):
        raise TaskError("features are computed of views of objects, which these data are not")
    found = _kept(data.fingerprint, views, backbone)
    features = {one.name: one.values for one in found.records}
    data.train, data.validation, data.test = (FeatureSplit(one, features) for one in views)


def _kept(fingerprint: str, splits: list[RgbdSplit], backbone: Encoder) -> Listed[Features]:
    """Of all views: from the file, or computed into it."""
    assert backbone.weights is not None
    digest = hashlib.sha256()
    told = (_FORM, backbone.name, weights_hash(backbone.weights), fingerprint)
    digest.update(repr((*told, splits[0].size, splits[0].masked)).encode())
    for name in sorted(view.name for split in splits for view in split.views):
        digest.update(name.encode(errors="surrogateescape"))
    kind = Kind(digest.hexdigest(), "view", Features, words=("name",), arrays=("values",))
    return decoded(kind, [], _computed(splits, backbone))


def _computed(splits: list[RgbdSplit], backbone: Encoder) -> Iterator[Features]:
    network = Backbone(backbone.name, backbone.weights, frozen=True).eval()
    # In the order of names, whichever fold asks first: sums in a batch depend on how many it has.
    places = sorted(
        (view.name, split, number)
        for split, one in enumerate(splits)
        for number, view in enumerate(one.views)
    )
    with tqdm(total=len(places), unit="view", disable=not sys.stderr.isatty()) as bar:
        for first in range(0, len(places), _AT_ONCE):
            batch = places[first : first + _AT_ONCE]
            pixels = torch.stack([splits[split][number][0][RGB] for _, split, number in batch])
            with torch.inference_mode():
                values = network(pixels).numpy()
            for (name, _, _), one in zip(batch, values, strict=True):
                yield Features(name, one)
            bar.update(len(batch))
