"""Features of a frozen backbone, computed once and mapped by every process that reads them.

A file in the cache folder for each set of images (their size and their content), backbone and
weights, by their hashes: what differs in one of them is another file. It is written whole and
checked against the hash of its content before it is used; what does not fit is computed again.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fusion_search.datasets.batch import SPLITS, Data
from fusion_search.datasets.files import data_folder
from fusion_search.models.encoders.backbones import Backbone
from fusion_search.models.rgbd.network import RGB, Encoder
from fusion_search.models.weights import weights_hash
from fusion_search.search.tasks.base import TaskError

_FORM: Final = "features 1"  # changes when what is computed of equal images and weights changes
_AT_ONCE: Final = 32  # images
