"""The XFlow task: which letter or digit a person says, from a mouth's frames and the sound.

Cangea, Velickovic, Lio: "XFlow: Cross-modal Deep Neural Networks for Audiovisual Classification".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fusion_search.datasets.batch import Batch, Data
from fusion_search.datasets.clips.data import ClipSplit, ClipsSettings, open_clips
from fusion_search.datasets.conditions import ABSENT, ORIGINAL, Axis
from fusion_search.models.layout import Placement
from fusion_search.models.xflow.averaged import AveragedXFlow
from fusion_search.models.xflow.recurrent import (
    DROPOUTS,
    STEP_STATISTICS,
    Dropouts,
    RecurrentXFlow,
    StepStatistics,
)
from fusion_search.models.xflow.sites import connected
from fusion_search.models.xflow.widths import widening
from fusion_search.search.tasks.base import Classification, TaskError


@dataclass(frozen=True, kw_only=True)
class XFlowNetwork:
    """Settings of both networks; the data's ``form`` says which: averaged CNN x MLP, sequence LSTM.

    Attributes:
        widened: a network without connections is made as large as the whole XFlow, by wider
            layers; of one with connections it says nothing.
        slope: what the slopes of every PReLU start at; 0 in the released code.
        norm_momentum: of the running statistics of batch normalisation, above 0 to 1.
        dropouts: of the LSTM network: code (as released: 0.25 at the final merge without
            connections and 0.5 with, none at the merging points before) or paper (0.5 at each).
        step_statistics: of the LSTM network: whether the normalisation of a step takes its
            statistics from the clips that last so long (valid), or from the zeros behind shorter
            ones too (all), as published.

    Raises:
        ValueError: a field is outside its range.
    """

    layout_fields: ClassVar = ()

    widened: bool = False
    slope: float = 0.0
    norm_momentum: float = 0.01
    dropouts: Dropouts = "code"
    step_statistics: StepStatistics = "valid"

    def __post_init__(self) -> None:
        for name, allowed in (("dropouts", DROPOUTS), ("step_statistics", STEP_STATISTICS)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}"
                )
        if not 0 <= self.slope <= 1:
            raise ValueError(f"slope is {self.slope}; allowed: 0 to 1")
        if not 0 < self.norm_momentum <= 1:
            raise ValueError(f"norm_momentum is {self.norm_momentum}; allowed: above 0 to 1")

    def canonical(self, placement: Placement) -> tuple[XFlowNetwork, Placement]:
        """Without ``widened`` where it says nothing."""
        return replace(self, widened=self.widened and not connected(placement)), placement


def _there(stream: str, batch: Batch) -> Tensor:
    there: Tensor = batch.inputs[stream]["there"]
    return there


class XFlow(Classification):
    """What is said, by 256 placements of XFlow's connections, and what else fits.

    The SNRs of images begin where noise tells: most of a grey value is the same in all frames.
    """

    network, data = XFlowNetwork, ClipsSettings
    axes = (
        Axis(
            "audio_snr",
            "audio.coefficients",
            (ORIGINAL, 4.0, 2.0, 1.0, 0.5, 0.25, ABSENT),
            where=partial(_there, "audio"),
        ),
        Axis(
            "visual_snr",
            "image.frames",
            (ORIGINAL, 32.0, 16.0, 8.0, 4.0, 2.0, ABSENT),
            where=partial(_there, "image"),
        ),
    )

    def open(self, data: ClipsSettings, fold: int = 0) -> Data:
        """The clips of a fold's persons."""
        return open_clips(data, self.data_folder, fold)

    def build(self, network: XFlowNetwork, data: Data, placement: Placement) -> nn.Module:
        """CNN x MLP for averaged clips, {CNN x MLP}-LSTM for sequences."""
        if not isinstance(data.train, ClipSplit):
            raise TaskError(f"XFlow takes clips, not {type(data.train).__name__}")
        shared: dict[str, Any] = {"slope": network.slope, "momentum": network.norm_momentum}
        make: Any = partial(AveragedXFlow, data.inputs, data.classes, **shared)
        if data.train.form == "sequence":
            own: dict[str, Any] = {
                "dropouts": network.dropouts,
                "step_statistics": network.step_statistics,
            }
            make = partial(RecurrentXFlow, data.inputs, data.classes, **shared, **own)

        def made(factor: float, placed: Placement) -> nn.Module:
            module: nn.Module = make(placed, factor=factor)
            return module

        wide = network.widened and not connected(placement)
        return made(widening(made) if wide else 1.0, placement)

    def probe(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Logits, what every connection gives, and the frames and coefficients that are there.

        Of the LSTM network connections give values over the T steps that both parts of the clip
        have: vectors [1, T, C] and maps [1, T, C, H, W], beside inputs of the same steps.
        """
        found = super().probe(network, batch)
        given = {"output": found.pop("output")}
        there = torch.stack([one["there"] for one in batch.inputs.values()]).all(0)[0]
        for stream, parts in batch.inputs.items():
            given |= {
                f"input.{stream}.{name}": one[:, there]
                for name, one in parts.items()
                if name != "there"
            }
        # The steps of its one clip lie below each other.
        recurrent = isinstance(network, RecurrentXFlow)
        return given | {name: one[None] if recurrent else one for name, one in found.items()}
