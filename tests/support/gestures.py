"""My own task: wrist video and muscle signals, one .npz per clip, my own network."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from fusion_search import (
    ABSENT,
    ORIGINAL,
    Axis,
    Classification,
    Concatenate,
    CoupledNetwork,
    Data,
    Site,
)


@dataclass(frozen=True)
class Files:
    folder: str = "clips"
    subjects: int = 6


@dataclass(frozen=True)
class Widths:
    width: int = 8
    dropout: float = 0.1


class Clips(Dataset):
    def __init__(self, paths: list[Path], train: bool) -> None:
        self.paths, self.train = paths, train

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int):
        clip = np.load(self.paths[i])
        video, emg = torch.from_numpy(clip["video"]), torch.from_numpy(clip["emg"])
        if self.train and torch.rand(()) < 0.5:
            video = video.flip(-1)
        return {"video": video, "emg": emg}, int(clip["label"])


class Gestures(Classification):
    data, network = Files, Widths
    axes = (
        Axis("video_snr", "video", test=(ORIGINAL, 1, ABSENT)),
        Axis("emg_snr", "emg", test=(ORIGINAL, 1, ABSENT)),
    )

    def open(self, data: Files, fold: int = 0) -> Data:
        by = {"train": [], "validation": [], "test": []}
        for path in sorted(Path(data.folder).glob("s*_*.npz")):  # s3_017.npz: subject 3
            turn = (int(path.stem[1:].split("_")[0]) - fold) % data.subjects
            by["test" if turn == 0 else "validation" if turn == 1 else "train"].append(path)
        return Data(
            **{k: Clips(v, k == "train") for k, v in by.items()}, classes=4, folds=data.subjects
        )

    def build(self, network: Widths, data: Data, placement) -> nn.Module:
        w = network.width
        video = {
            f"v{i}": lambda f, n=n: nn.Sequential(
                nn.Conv3d(f.channels, n, 3, 2, 1), nn.BatchNorm3d(n), nn.ReLU()
            )
            for i, n in enumerate((w, 2 * w, 4 * w), 1)
        }
        emg = {
            f"e{i}": lambda f, n=n: nn.Sequential(
                nn.Conv1d(f.channels, n, 5, 2, 2), nn.ReLU(), nn.Dropout(network.dropout)
            )
            for i, n in enumerate((w, 2 * w, 4 * w), 1)
        }
        sites = [Site(f"s{i}", {"video": f"v{i}", "emg": f"e{i}"}) for i in (1, 2, 3)]
        return CoupledNetwork(
            {"video": video, "emg": emg},
            sites,
            lambda ends: Concatenate(ends, data.classes),
            data.inputs,
            placement,
        )
