"""The digit task: images and recordings of digits, white noise on both, C-LSTM networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from fusion_search.datasets.batch import SPLITS, Batch, Data, Tree
from fusion_search.datasets.conditions import ABSENT, Axis
from fusion_search.datasets.digits.data import DigitData, DigitsSettings, load_digits
from fusion_search.datasets.digits.examples import Examples
from fusion_search.datasets.noise import TEST_SNRS
from fusion_search.models.convlstm import set_engine
from fusion_search.models.early_fusion import EarlyFusionNetwork, EarlyFusionSettings
from fusion_search.models.early_fusion_layout import (
    early_fusion_placement,
    modality_of,
    placement_of,
)
from fusion_search.models.gates import Arithmetic
from fusion_search.models.layout import Layout, Placement
from fusion_search.models.packed import PackedNetwork, can_pack
from fusion_search.models.placement import EarlyFusionPlacement
from fusion_search.search.tasks.base import Answer, Classification, Condition, TaskError
from fusion_search.search.tasks.digits.engine import ENGINES, Engine, choose_engine
from fusion_search.search.tasks.digits.shared_answers import LOSSES, SharedAnswers
from fusion_search.search.tasks.run import Run

EXAMPLES = "examples"
"""Key in a batch's extra of what makes its examples."""


@dataclass(frozen=True, kw_only=True)
class DigitsNetwork:
    """Settings of the network; a placement adds what couples its streams.

    Attributes:
        levels: L, 1 to 6.
        fusion_depth: d, levels at which the streams run apart: 0 (initial) to L (fully connected).
        units: channels of every convolution, LSTM and C-LSTM.
        kernel: odd side of every convolution.
        padding: zero-pad the input convolutions.
        pooling: full (after every level), or literal (after the C-LSTM levels alone, as the paper
            prints the late models).
        dense_units: width of the dense layer before the classes.
        dropout: before the dense layers, 0 to below 1.
        mmtm_ratio: the channels of a coupling's streams over the size of its joint.
        mmtm_relu: ReLU on the joint.
        mmtm_identity: a fresh coupling leaves the streams as they are.
        gates: how the C-LSTM's gates are computed: eager, compiled (an error without a compiler),
            or auto (compiled where that pays and works; the record says which it was).
        checkpoint_frames: when training, keep the C-LSTM's state of every so many frames and
            compute those between again on the way back: less memory for a third more work; 0
            keeps all.

    Raises:
        ValueError: a field is outside its range.
    """

    layout_fields: ClassVar = ("levels", "fusion_depth")
    coupling_fields: ClassVar = ("mmtm_ratio", "mmtm_relu", "mmtm_identity")

    levels: int = 2
    fusion_depth: int = 0
    units: int = 64
    kernel: int = 3
    padding: bool = True
    pooling: Literal["full", "literal"] = "full"
    dense_units: int = 128
    dropout: float = 0.0
    mmtm_ratio: int = 4
    mmtm_relu: bool = True
    mmtm_identity: bool = False
    gates: Engine = "auto"
    checkpoint_frames: int = 0

    def __post_init__(self) -> None:
        if self.gates not in ENGINES:
            raise ValueError(f"gates is {self.gates!r}; allowed: {', '.join(ENGINES)}")
        if self.checkpoint_frames < 0:
            raise ValueError(
                f"checkpoint_frames is {self.checkpoint_frames}; allowed: 0 (keep all) or more"
            )
        self.with_placement(Placement())

    def with_placement(self, placement: Placement) -> EarlyFusionSettings:
        """The architecture."""
        own = early_fusion_placement(
            placement,
            self.fusion_depth,
            mmtm_ratio=self.mmtm_ratio,
            mmtm_relu=self.mmtm_relu,
            mmtm_identity=self.mmtm_identity,
        )
        return self.architecture(own, modality_of(placement.streams))

    @property
    def layout(self) -> Layout:
        """Where the streams of such a network may be coupled."""
        return self.with_placement(Placement()).layout

    def canonical(self, placement: Placement) -> tuple[DigitsNetwork, Placement]:
        """The settings and placement that stand for all that build the same network.

        Raises:
            ValueError: there is no such site at this depth, or nothing of that kind.
        """
        self.layout.check(placement)
        settings = self.with_placement(placement)
        own = settings.placement
        shared = {name: getattr(own, name) for name in self.coupling_fields}
        return replace(self, **shared), placement_of(own, settings.modality)

    def packs(self, placement: Placement) -> bool:
        """Whether such networks can be trained as one."""
        return can_pack(self.with_placement(placement)) and not self.checkpoint_frames

    def architecture(self, placement: EarlyFusionPlacement, modality: str) -> EarlyFusionSettings:
        """The same for a placement in the network's own words, brought to its canonical form."""
        return EarlyFusionSettings(
            levels=self.levels,
            fusion_depth=self.fusion_depth,
            units=self.units,
            kernel=self.kernel,
            padding=self.padding,
            pooling=self.pooling,
            dense_units=self.dense_units,
            modality=modality,
            placement=placement.canonical(self.units),
            dropout=self.dropout,
        )


class _Maker:
    """Makes the examples of a batch, once per noise seed."""

    def __init__(
        self, data: DigitData, split: str, pairs: Tensor, presentations: Tensor | None
    ) -> None:
        self._data, self._split = data, split
        self.pairs, self._presentations = pairs, presentations
        self.examples = lru_cache(maxsize=1)(self._examples)

    def _examples(self, seed: int) -> Examples:
        return self._data.examples(
            self._split, self.pairs, noise_seed=seed, presentations=self._presentations
        )


class DigitSplit(Dataset[Any]):
    """Pairs of a split, made in whole batches on the device of the data.

    In training every presentation of a pair has noise of its own; in testing an image has the same
    noise whatever recording it is paired with, and a recording likewise.
    """

    def __init__(self, data: DigitData, split: str) -> None:
        self.data, self.split = data, split

    def __len__(self) -> int:
        return len(self.data.splits[self.split])

    def __getitem__(self, number: int) -> tuple[dict[str, Tensor], Tensor]:
        made = self.data.examples(self.split, torch.tensor([number]), noise_seed=0)
        return {"image": made.images[0], "audio": made.waveforms[0]}, made.labels[0]

    def batch(self, numbers: Tensor, presentations: Tensor) -> Batch:
        """The pairs' labels, and in ``extra`` what makes images [B, 1, 28, 28] and sounds."""
        _, _, labels = self.data.splits[self.split].lookup(numbers)
        fresh = presentations if self.split == "train" else None
        maker = _Maker(self.data, self.split, numbers, fresh)
        return Batch({}, labels.to(self.data.images.device), {EXAMPLES: maker})

    def content_fingerprint(self) -> str:
        """Of the data as they lie in memory now."""
        return self.data.content_fingerprint()

    def on(self, device: torch.device) -> DigitSplit:
        """The same, made on a device."""
        return DigitSplit(self.data.on(device), self.split)


def digit_splits(data: DigitData) -> Data:
    """The splits of digits that are loaded already."""
    train, validation, test = (DigitSplit(data, split) for split in SPLITS)
    return Data(
        train,
        validation,
        test,
        classes=10,
        shared=True,
        fingerprint=data.fingerprint,
        note=data.note,
        labels=tuple("0123456789"),
    )


class Digits(Classification):
    """Which digit is seen and heard."""

    network, data = DigitsNetwork, DigitsSettings
    axes = (
        Axis("audio_snr", "audio", (*TEST_SNRS, ABSENT), single=True),
        Axis("visual_snr", "image", (*TEST_SNRS, ABSENT), single=True),
    )

    def open(self, data: DigitsSettings, fold: int = 0) -> Data:
        """The images and recordings; there is one fold."""
        return digit_splits(load_digits(data, self.data_folder))

    def layout(self, network: DigitsNetwork, data: Callable[[], Data]) -> Layout:
        """Without building a network."""
        return network.layout

    def build(self, network: DigitsNetwork, data: Data, placement: Placement) -> nn.Module:
        """The network of early fusion at the settings' depth."""
        # A site that this depth does not have would be passed over without a word.
        network.layout.check(placement)
        return EarlyFusionNetwork(network.with_placement(placement))

    def impair(
        self, batch: Batch, condition: Mapping[str, Tensor], keys: Tensor, seed: int
    ) -> Batch:
        """Noise first, then the spectrogram [B, frames, 201] of the front-padded waveform.

        Raises:
            ValueError: the examples of a batch are to meet several SNRs.
        """
        made: Examples = batch.extra[EXAMPLES].examples(seed)
        audio, visual = (_one_snr(condition[name]) for name in ("audio_snr", "visual_snr"))
        return replace(batch, inputs={"image": made.visual(visual), "audio": made.audio(audio)})

    def predict(self, network: nn.Module, batch: Batch) -> Tree:
        """Logits [B, 10]."""
        return network(batch.inputs["image"], batch.inputs["audio"])

    def probe(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Logits [B, T, 10] that the network would give if the recording ended at each step."""
        assert isinstance(network, EarlyFusionNetwork)
        over_time = network.outputs_over_time(batch.inputs["image"], batch.inputs["audio"])
        return {"output": over_time}

    def loss(self, outputs: Tree, batch: Batch) -> Tensor:
        """Cross-entropy: their mean in training; of each example when answers are judged."""
        if LOSSES in batch.extra:
            losses: Tensor = batch.extra[LOSSES]
            return losses
        # The mean's own kernel rounds otherwise than a mean of the parts.
        reduction = "mean" if torch.is_grad_enabled() else "none"
        return functional.cross_entropy(outputs, batch.targets, reduction=reduction)

    def answers(
        self,
        network: nn.Module,
        dataset: Dataset[Any],
        numbers: Sequence[int],
        conditions: Sequence[Condition],
        run: Run,
        *,
        seed: int,
        size: int,
    ) -> Iterator[Answer]:
        """Nothing computed twice over a product of SNRs."""
        assert isinstance(network, EarlyFusionNetwork)
        if not isinstance(dataset, DigitSplit):
            raise TaskError(
                f"digits are answered on a {type(dataset).__name__}; allowed: a split of what "
                "their open gives"
            )
        shared = SharedAnswers(dataset.data.on(run.device), run, noise_seed=seed, batch_size=size)
        yield from shared.answers(network, dataset.split, torch.tensor(numbers), conditions)

    def engine(self, settings: DigitsNetwork, steps: float, device: torch.device) -> str:
        """What computes the C-LSTM's gates."""
        return _engine(settings, steps, device)[0]

    def prepare(
        self, network: nn.Module, settings: DigitsNetwork, steps: float, device: torch.device
    ) -> str:
        """Choose what computes the C-LSTM's gates."""
        name, arithmetic = _engine(settings, steps, device)
        set_engine(network, arithmetic=arithmetic, checkpoint_frames=settings.checkpoint_frames)
        return name

    def captures(self, settings: DigitsNetwork) -> bool:
        """Unless steps are computed twice, which is another pass within the one back."""
        return not settings.checkpoint_frames

    def pack(self, networks: Sequence[nn.Module]) -> nn.Module | None:
        """Networks without couplings, gate and dropout."""
        return PackedNetwork([one for one in networks if isinstance(one, EarlyFusionNetwork)])


def _engine(settings: DigitsNetwork, steps: float, device: torch.device) -> tuple[str, Arithmetic]:
    return choose_engine(
        settings.gates,
        recurrent=settings.fusion_depth < settings.levels,
        units=settings.units,
        steps=steps,
        device=device,
    )


def _one_snr(snrs: Tensor) -> float:
    different = snrs.unique().tolist()
    if len(different) != 1:
        raise ValueError(f"digits meet one SNR per batch, not {different}; train at single values")
    return float(different[0])
