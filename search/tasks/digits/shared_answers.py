"""A network's answers at a product of SNRs, nothing computed twice.

Every example's unit noise is drawn once and scaled to each SNR. What depends on a sound alone is
run once per recording and audio SNR, what depends on an image alone once per image and visual SNR;
the silence before a recording is run once per noisy image, whatever is heard after it.

Shapes: N pairs, R recordings, A audio SNRs, V visual SNRs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from fusion_search.datasets.batch import Batch
from fusion_search.datasets.digits.data import DigitData
from fusion_search.models.cases import Sounds
from fusion_search.models.early_fusion import EarlyFusionNetwork
from fusion_search.models.placement import PLAIN
from fusion_search.search.tasks.base import Answer
from fusion_search.search.tasks.run import Run

LOSSES: Final = "losses"
"""Key in a batch's extra of each example's loss [n], counted with those of all conditions."""

# Noisy images whose states are held while their sounds begin, and sounds run at once. A GPU is
# idle with few: there, so many cases are run at once that a network of 64 units needs 2 GiB.
_ROWS_AT_ONCE: Final = {"cpu": 128, "cuda": 512}
_GPU_UNITS_AT_ONCE: Final = 16384


@dataclass(frozen=True)
class _Heard:
    """The sounds of all pairs: of every recording [R] at every audio SNR [A], in this order."""

    sounds: Sounds  # R * A
    recordings: Tensor  # [N], place of each pair's recording

    def of(self, chunk: Tensor, audio: int) -> tuple[Sounds, Tensor]:
        """Those of some pairs [n] at ``audio`` SNRs, and where each pair's begin [n]."""
        different, place = self.recordings[chunk].unique(return_inverse=True)
        rows = (different[:, None] * audio + torch.arange(audio)).flatten()
        device = self.sounds.silent.device
        return self.sounds.pick(rows.to(device)), (place * audio).to(device)


class SharedAnswers:
    """Gives the logits of many pairs at many SNRs.

    Args:
        data: on the device of ``run``.
        run: precision and device.
        noise_seed: of the unit noise.
        batch_size: cases that are run through the C-LSTM levels at once.
    """

    def __init__(self, data: DigitData, run: Run, *, noise_seed: int, batch_size: int) -> None:
        self.data, self.run = data, run
        self.noise_seed, self.batch_size = noise_seed, batch_size
        self._rows_at_once = _ROWS_AT_ONCE[run.device.type]

    def answers(
        self,
        network: EarlyFusionNetwork,
        split: str,
        pairs: Tensor,
        conditions: Sequence[Mapping[str, Any]],
    ) -> Iterator[Answer]:
        """Logits [n, classes] of parts of ``pairs`` [N] at every condition, on the CPU.

        The conditions are a product of SNRs; each example's loss comes with the batch.
        """
        at = {(one["audio_snr"], one["visual_snr"]): one for one in conditions}
        audio_snrs = sorted({audio for audio, _ in at}, reverse=True)
        visual_snrs = sorted({visual for _, visual in at}, reverse=True)
        images, recordings, labels = self.data.splits[split].lookup(pairs)
        order = self._order(images, recordings)
        pairs, images, labels = pairs[order], images[order], labels[order]
        with torch.inference_mode():
            heard = self._hear(network, split, pairs, recordings[order], audio_snrs)
            for chunk, visuals in self._chunks(network, images, len(audio_snrs), visual_snrs):
                seen, image_of = self._see(split, pairs[chunk], images[chunk], visuals)
                sounds, sound_of = heard.of(chunk, len(audio_snrs))
                # Every pair's image at every visual SNR with its sound at every audio SNR.
                image_rows, sound_rows = torch.broadcast_tensors(
                    image_of[:, None, None] + self._range(visuals)[:, None],
                    sound_of[:, None, None] + self._range(audio_snrs),
                )
                with self.run.autocast():
                    answer = network.answer(
                        seen,
                        image_rows.flatten(),
                        sounds,
                        sound_rows.flatten(),
                        batch=self._cases_at_once(network),
                    )
                logits = answer.float().cpu().unflatten(0, image_rows.shape)
                expected = labels[chunk, None, None].expand(logits.shape[:-1])
                losses = functional.cross_entropy(logits.movedim(-1, 1), expected, reduction="none")
                for column, visual in enumerate(visuals):
                    for row, audio in enumerate(audio_snrs):
                        if (audio, visual) in at:
                            own = {LOSSES: losses[:, column, row]}
                            batch = Batch({}, labels[chunk], own)
                            one = at[audio, visual]
                            yield Answer(one, logits[:, column, row], batch, pairs[chunk])

    def _cases_at_once(self, network: EarlyFusionNetwork) -> int:
        if self.run.device.type == "cpu":
            return self.batch_size
        return max(self.batch_size, _GPU_UNITS_AT_ONCE // network.settings.units)

    def _order(self, images: Tensor, recordings: Tensor) -> Tensor:
        """All pairs of an image together, and images with like silence."""
        _, image = images.unique(return_inverse=True)
        onsets = self.data.onset_frames(recordings)
        longest = torch.zeros_like(onsets).scatter_reduce(0, image, onsets, "amax")
        return torch.argsort(longest[image] * len(images) + image, stable=True)

    def _chunks(
        self, network: EarlyFusionNetwork, images: Tensor, audio: int, visual_snrs: list[float]
    ) -> Iterator[tuple[Tensor, list[float]]]:
        """Which pairs are run at which visual SNRs together, always at all A audio SNRs."""
        if network.settings.placement == PLAIN:
            # Rows are shared up to the C-LSTM levels, which take their cases batch by batch.
            _, number = images.unique_consecutive(return_inverse=True)
            visual = len(visual_snrs)
            together = max(1, self._rows_at_once // visual)
        else:
            # Where streams meet earlier there are features of every case: a batch of them.
            number = torch.arange(len(images))
            visual = min(max(1, self.batch_size // audio), len(visual_snrs))
            together = max(1, self.batch_size // (audio * visual))
        _, counts = (number // together).unique_consecutive(return_counts=True)
        for chunk in torch.arange(len(images)).split(counts.tolist()):
            for first in range(0, len(visual_snrs), visual):
                yield chunk, visual_snrs[first : first + visual]

    def _hear(
        self,
        network: EarlyFusionNetwork,
        split: str,
        pairs: Tensor,
        recordings: Tensor,
        audio_snrs: list[float],
    ) -> _Heard:
        different, place = recordings.unique(return_inverse=True)
        # Any pair of a recording has its sound.
        some_pair = torch.empty_like(different).scatter_(0, place, pairs)
        parts = []
        for chunk in some_pair.split(max(1, self._rows_at_once // len(audio_snrs))):
            with self.run.data_clock:
                examples = self.data.examples(split, chunk, noise_seed=self.noise_seed)
                sounds = examples.audio_at(audio_snrs)
                silent = examples.onset_frames.repeat_interleave(len(audio_snrs))
            with self.run.autocast():
                parts.append(network.hear(sounds.flatten(0, 1), silent))
        return _Heard(Sounds.join(parts), place)

    def _see(
        self, split: str, pairs: Tensor, images: Tensor, visual_snrs: list[float]
    ) -> tuple[Tensor, Tensor]:
        """Every image at every visual SNR [., 1, S, S], and where each pair's begin [n]."""
        different, place = images.unique_consecutive(return_inverse=True)
        some_pair = torch.empty_like(different).scatter_(0, place, pairs)
        with self.run.data_clock:
            examples = self.data.examples(split, some_pair, noise_seed=self.noise_seed)
            seen = torch.stack([examples.visual(snr) for snr in visual_snrs], dim=1)
        return seen.flatten(0, 1), (place * len(visual_snrs)).to(self.run.device)

    def _range(self, values: Sequence[float]) -> Tensor:
        return torch.arange(len(values), device=self.run.device)
