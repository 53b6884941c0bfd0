"""The typed, frozen description of one trial: all that a trial needs to run.

Field names are the column names of the records and the parameter names in MLflow.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from fusion_search.datasets.digits.data import SOURCES, DigitsSettings
from fusion_search.datasets.noise import TEST_SNRS
from fusion_search.models.early_fusion import EarlyFusionSettings
from fusion_search.models.early_fusion_layout import placement_of
from fusion_search.models.placement import CONCATENATION, NONE, EarlyFusionPlacement
from fusion_search.search.tasks.digits.task import Digits, DigitsNetwork
from fusion_search.search.trials.settings import TrainingSettings
from fusion_search.search.trials.task_trial import (
    DEVICES,
    EVALUATION_SPLITS,
    PRECISIONS,
    TaskTrial,
)

Pair = tuple[float, float]
"""(audio SNR, visual SNR); infinity is "original", no noise."""

TRAIN_AUDIO_SNRS: Final = (2.0, 1.0, 0.5, 0.25)
TRAIN_VISUAL_SNRS: Final = (1.0, 0.5, 0.25, 0.125)
TRAIN_PAIRS: Final = tuple((a, v) for a in TRAIN_AUDIO_SNRS for v in TRAIN_VISUAL_SNRS)
"""The paper's 16 train pairs."""


_LATER: Final = {
    "couplings": (),
    "to_audio": (),
    "to_image": (),
    "fusion": CONCATENATION,
    "mmtm_ratio": 4,
    "mmtm_relu": True,
    "mmtm_identity": False,
    "dropout": 0.0,
    "weight_decay": 0.0,
    "evaluation_split": "test",
    "engine": "auto",
    "checkpoint_frames": 0,
    "pooling": "full",
}
"""Fields that came after the first records, with their defaults. They are written only when they
differ, so that a trial of an earlier version keeps its id."""


def snr_text(snr: float) -> str:
    """How an SNR is written in names, YAML and JSON."""
    return "original" if math.isinf(snr) else f"{snr:g}"


@dataclass(frozen=True, kw_only=True)
class TrialSpecification:
    """One network trained at one train SNR pair with one seed. Defaults are the paper's.

    Attributes:
        modality: both, visual or audio; a unimodal trial's other SNR is infinity.
        fusion_depth, levels, units, kernel, padding, pooling, dense_units, dropout: see
            ``EarlyFusionSettings``.
        couplings, to_audio, to_image, fusion, mmtm_ratio, mmtm_relu, mmtm_identity: see
            ``EarlyFusionPlacement``. They are brought to their canonical form, so that
            specifications that build the same network are equal.
        train_audio_snr, train_visual_snr: the train pair.
        seed: of the initial weights, the drawn pairs and the noise. Trials with the same seed are
            trained and tested on the same pairs with the same unit noise.
        examples: train pairs drawn at random.
        epoch_examples: pairs shown between two validations; an epoch need not be a whole pass.
        epochs: how many such epochs (a choice; the paper does not say).
        batch_size: pairs per optimiser step.
        learning_rate, weight_decay: of AdamW, which without weight decay is Adam.
        evaluation_split: the split the grid is measured on. A search chooses by the validation
            split, so that the test split stays unseen until the choice is made.
        validation_examples, test_examples: pairs drawn from those splits.
        precision: float32, or bfloat16 by autocast.
        engine: how the C-LSTM's gates are computed: eager, compiled (an error without a compiler),
            or auto (compiled where that pays and works; the record says which it was).
        checkpoint_frames: when training, keep the C-LSTM's state of every so many frames and
            compute those between again on the way back: less memory for a third more work; 0
            keeps all.
        device: cpu, cuda, or auto (cuda when there is one; the record says which it was).
        predictions: also record every single test prediction.
        data_source, frames, snr_ratio, split_seed: see ``DigitsSettings``.

    Raises:
        ValueError: a field is outside its range.
    """

    modality: str = "both"
    fusion_depth: int = 0
    levels: int = 2
    units: int = 64
    kernel: int = 3
    padding: bool = True
    pooling: str = "full"
    dense_units: int = 128
    couplings: tuple[str, ...] = ()
    to_audio: tuple[str, ...] = ()
    to_image: tuple[str, ...] = ()
    fusion: str = CONCATENATION
    mmtm_ratio: int = 4
    mmtm_relu: bool = True
    mmtm_identity: bool = False
    dropout: float = 0.0
    train_audio_snr: float
    train_visual_snr: float
    seed: int = 0
    examples: int = 87_516
    epoch_examples: int = 87_516
    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    validation_examples: int = 2_000
    test_examples: int = 2_000
    evaluation_split: str = "test"
    precision: str = "float32"
    engine: str = "auto"
    checkpoint_frames: int = 0
    device: str = "auto"
    predictions: bool = False
    data_source: str = "digits"
    frames: int = 42
    snr_ratio: str = "amplitude"
    split_seed: int = 0

    def __post_init__(self) -> None:
        for name in (
            "examples",
            "epoch_examples",
            "epochs",
            "batch_size",
            "validation_examples",
            "test_examples",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed is {self.seed}; allowed: 0 to 2**31 - 1")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ValueError(f"learning_rate is {self.learning_rate}; allowed: above 0")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            raise ValueError(f"weight_decay is {self.weight_decay}; allowed: 0 or more")
        if self.evaluation_split not in EVALUATION_SPLITS:
            raise ValueError(
                f"evaluation_split is {self.evaluation_split!r}; allowed: "
                f"{', '.join(EVALUATION_SPLITS)}"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; allowed: {', '.join(PRECISIONS)}")
        if self.device not in DEVICES:
            raise ValueError(f"device is {self.device!r}; allowed: {', '.join(DEVICES)}")
        if self.data_source not in SOURCES:
            raise ValueError(f"data_source is {self.data_source!r}; allowed: {', '.join(SOURCES)}")
        self._check_pair()
        placement, _ = self.network.placement, self.data
        for one in fields(placement):
            object.__setattr__(self, one.name, getattr(placement, one.name))

    def _check_pair(self) -> None:
        absent = {"both": None, "visual": "train_audio_snr", "audio": "train_visual_snr"}
        for name in ("train_audio_snr", "train_visual_snr"):
            snr = getattr(self, name)
            if not snr > 0:
                raise ValueError(f"{name} is {snr}; allowed: above 0, or original")
            if absent.get(self.modality) == name and not math.isinf(snr):
                raise ValueError(
                    f"{name} is {snr:g} in a trial of modality {self.modality}; allowed: original"
                )

    @property
    def network(self) -> EarlyFusionSettings:
        """The architecture."""
        placement = EarlyFusionPlacement(**self._fields_of(EarlyFusionPlacement))
        return self._network_settings.architecture(placement, self.modality)

    @property
    def _network_settings(self) -> DigitsNetwork:
        return DigitsNetwork(**self._fields_of(DigitsNetwork))

    def _fields_of(self, settings: type[DigitsNetwork | EarlyFusionPlacement]) -> dict[str, Any]:
        """Its own values of another dataclass's fields, which have the same names here."""
        return {one.name: getattr(self, one.name) for one in fields(settings)}

    @property
    def data(self) -> DigitsSettings:
        """The examples."""
        return DigitsSettings(
            source=self.data_source,
            frames=self.frames,
            snr_ratio=self.snr_ratio,
            split_seed=self.split_seed,
        )

    @property
    def train_pair(self) -> Pair:
        """(audio SNR, visual SNR) of training."""
        return self.train_audio_snr, self.train_visual_snr

    @property
    def training(self) -> TrainingSettings:
        """Optimiser and budget."""
        return TrainingSettings(
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            epochs=self.epochs,
            epoch_examples=self.epoch_examples,
            batch_size=self.batch_size,
            examples=self.examples,
        )

    @property
    def trial(self) -> TaskTrial:
        """The trial of the digit task."""
        return TaskTrial(
            task=Digits(),
            network=self._network_settings,
            data=self.data,
            placement=placement_of(self.network.placement, self.modality),
            train={"audio_snr": self.train_audio_snr, "visual_snr": self.train_visual_snr},
            seed=self.seed,
            training=self.training,
            evaluation_split=self.evaluation_split,
            validation_examples=self.validation_examples,
            test_examples=self.test_examples,
            precision=self.precision,
            predictions=self.predictions,
            specification=self.to_json(),
        )

    @property
    def test_conditions(self) -> list[Pair]:
        """The grid: 100 conditions, or 10 when a single sense is used."""
        audio = TEST_SNRS if self.modality != "visual" else (math.inf,)
        visual = TEST_SNRS if self.modality != "audio" else (math.inf,)
        return [(a, v) for a in audio for v in visual]

    def to_plain(self) -> dict[str, Any]:
        """As YAML or JSON would hold it: infinity as "original", tuples as lists."""
        plain = {
            key: "original" if isinstance(value, float) and math.isinf(value) else value
            for key, value in asdict(self).items()
            if key not in _LATER or value != _LATER[key]
        }
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()
        }

    def to_json(self) -> str:
        """Canonical JSON: sorted keys."""
        return json.dumps(self.to_plain(), sort_keys=True, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> TrialSpecification:
        """The inverse of :meth:`to_json`."""
        plain: dict[str, Any] = json.loads(text)
        for key, value in plain.items():
            plain[key] = math.inf if value == "original" else value
            if isinstance(value, list):
                plain[key] = tuple(value)
        return TrialSpecification(**plain)

    @property
    def trial_id(self) -> str:
        """12 hexadecimal digits that any equal specification has too."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @property
    def trial_name(self) -> str:
        """For people: what a search varies, short enough for a column of the MLflow page."""
        audio = f" a{snr_text(self.train_audio_snr)}" if self.modality != "visual" else ""
        visual = f" v{snr_text(self.train_visual_snr)}" if self.modality != "audio" else ""
        placed = f" {self.placement_name}" if self.placement_name else ""
        return f"d{self.fusion_depth}{placed}{audio}{visual} s{self.seed}"

    @property
    def placement_name(self) -> str:
        """What couples the streams, such as ``mmtm1 cross-image2 gate_audio``; "" for nothing."""
        words = []
        for level in range(1, self.fusion_depth + 1):
            coupling, to_audio, to_image = self.network.placement.at(level)
            words += [f"{coupling}{level}"] * (coupling != NONE)
            words += [f"{to_audio}-audio{level}"] * (to_audio != NONE)
            words += [f"{to_image}-image{level}"] * (to_image != NONE)
        return " ".join(words + [self.fusion] * (self.fusion != CONCATENATION))


TRIAL_FIELDS: Final = tuple(field.name for field in fields(TrialSpecification))
