"""A model over all test SNR conditions.

Every example's unit noise is drawn once and scaled to each SNR. The frames before a batch's
earliest onset are exactly zero whatever the audio SNR, so they are run once per visual SNR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from datasets.digits import DigitData
from datasets.examples import Examples
from models.early_fusion import EarlyFusionNetwork
from models.streams import State
from search.cost import Stopwatch
from search.specification import Pair


@dataclass
class Condition:
    """Counts at one test condition; ``loss`` is the sum of cross-entropies, nats."""

    pair: Pair
    n: int = 0
    correct: int = 0
    loss: float = 0.0
    predicted: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Grid:
    """One model's results at every condition, and the test pairs in the order predicted."""

    conditions: list[Condition]
    pairs: Tensor
    labels: Tensor

    def accuracy(self, pair: Pair) -> float | None:
        """Share of correct answers at one condition; None when it was not tested."""
        return next((one.correct / one.n for one in self.conditions if one.pair == pair), None)

    @property
    def accuracies(self) -> list[float]:
        """Share of correct answers at every condition."""
        return [one.correct / one.n for one in self.conditions]

    @property
    def mean_accuracy(self) -> float:
        """Mean over the conditions: robust accuracy."""
        return sum(self.accuracies) / len(self.conditions)


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """How a model is evaluated: on what, where, with which noise."""

    data: DigitData
    device: torch.device
    precision: str
    noise_seed: int
    batch_size: int
    data_clock: Stopwatch

    def grid(
        self,
        network: EarlyFusionNetwork,
        split: str,
        pairs: Tensor,
        conditions: Sequence[Pair],
        *,
        keep_predictions: bool = False,
    ) -> Grid:
        """Evaluate ``pairs`` [N] of a split at every condition (a full product of SNRs)."""
        audio_snrs = sorted({audio for audio, _ in conditions}, reverse=True)
        results = {pair: Condition(pair) for pair in conditions}
        pairs = pairs[self._by_onset(split, pairs)]
        labels = []
        network.eval()
        with torch.inference_mode():
            # The batch is repeated for every audio SNR; memory is that of a training batch.
            for chunk in pairs.split(max(1, self.batch_size // len(audio_snrs))):
                with self.data_clock:
                    examples = self.data.examples(split, chunk, noise_seed=self.noise_seed)
                    examples = examples.to(self.device)
                    sounds = torch.stack([examples.audio(snr) for snr in audio_snrs])
                labels.append(examples.labels.cpu())
                for visual in sorted({visual for _, visual in conditions}, reverse=True):
                    logits = self._logits(network, examples, visual, sounds)
                    for audio, part in zip(audio_snrs, logits, strict=True):
                        if (audio, visual) in results:
                            _count(results[audio, visual], part, examples, keep_predictions)
        return Grid(list(results.values()), pairs, torch.cat(labels))

    def _by_onset(self, split: str, pairs: Tensor) -> Tensor:
        """The order that puts clips with like onsets into one batch."""
        _, recordings, _ = self.data.splits[split].lookup(pairs)
        return torch.argsort(self.data.onset_frames(recordings), stable=True)

    def _logits(
        self, network: EarlyFusionNetwork, examples: Examples, visual: float, sounds: Tensor
    ) -> Tensor:
        """[A, B, classes] for sounds [A, B, T, F] at one visual SNR, in float32."""
        with self.data_clock:
            images = examples.visual(visual)
        audio_count, batch = sounds.shape[:2]
        onset = int(examples.onset_frames.min())
        if network.settings.placement.coupled:
            # Couplings look at the whole sound: nothing is shared between audio SNRs.
            with autocast(self.device, self.precision):
                whole: Tensor = network(images.repeat(audio_count, 1, 1, 1), sounds.flatten(0, 1))
            return whole.float().view(audio_count, batch, -1)
        with autocast(self.device, self.precision):
            maps = network.image_features(images)
            states: list[State] | None = None
            if onset:
                _, states = network.resume(maps, sounds[0, :, :onset])
                states = [_repeat_state(state, audio_count) for state in states]
            maps = maps.repeat(audio_count, 1, 1, 1)
            logits, _ = network.resume(maps, sounds[:, :, onset:].flatten(0, 1), states)
        return logits.float().view(audio_count, batch, -1)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision by setting; the weights and the logits stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _repeat_state(state: State, times: int) -> State:
    """Repeat along the batch: dimension 1 of an LSTM's [1, B, U], dimension 0 of a C-LSTM's."""
    hidden, cell = state
    counts = (1, times, 1) if hidden.dim() == 3 else (times, 1, 1, 1)
    return hidden.repeat(counts), cell.repeat(counts)


def _count(condition: Condition, logits: Tensor, examples: Examples, keep: bool) -> None:
    predicted = logits.argmax(1)
    condition.n += len(predicted)
    condition.correct += int((predicted == examples.labels).sum())
    condition.loss += functional.cross_entropy(logits, examples.labels, reduction="sum").item()
    if keep:
        condition.predicted.append(predicted.cpu())
