"""Clips as examples: averaged to a few frames or padded sequences, in folds over persons."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fusion_search.datasets.batch import SPLITS, Data
from fusion_search.datasets.clips import avletters
from fusion_search.datasets.clips.clip import CLIP_KIND, Clip, Values, averaged
from fusion_search.datasets.clips.folder import FORM, find_clips, read_clips
from fusion_search.datasets.decoded import Listed, decoded, in_memory
from fusion_search.datasets.errors import DataError, count_label
from fusion_search.datasets.files import data_folder, files_below, unread_words
from fusion_search.datasets.splits import absent_by_fold, split_fingerprint

Source = Literal["avletters", "clips", "builtin"]
Form = Literal["averaged", "sequence"]
Protocol = Literal["folds", "takes", "halves"]
_VALIDATION_PART: Final = 10  # of the training clips one in so many, where persons are not held out


@dataclass(frozen=True, kw_only=True)
class ClipsSettings:
    """Which clips, in which form, and who is held out.

    Attributes:
        source: avletters, clips (a folder in a form of docs/xflow.md), or builtin (a
            drawn and synthesised stand-in).
        folder: of clips, below the data folder.
        form: averaged (every clip brought to ``frames`` frames by means of windows that slide over
            it) or sequence (clips padded at their end to ``frames`` frames, and masked).
        frames: of an example; shorter clips (averaged), or longer ones (sequence) are left out.
            0 for as many as keep all clips: XFlow's 11 and 39 of AVletters.
        protocol: folds (``test_persons`` are tested in each, the ``validation_persons`` next to
            them in order validate, all others train); takes (every person's last take is tested;
            of the earlier ones a tenth, drawn at random, validates); halves (every second person
            trains, from the second on; the ``validation_persons`` first of them validate and the
            others are tested).
        test_persons: of a fold.
        validation_persons: of a fold or of halves.

    Raises:
        ValueError: a field is not one of its allowed values.
    """

    source: Source = "avletters"
    folder: str = "clips"
    form: Form = "averaged"
    frames: int = 0
    protocol: Protocol = "folds"
    test_persons: int = 1
    validation_persons: int = 2

    def __post_init__(self) -> None:
        for name, allowed in (
            ("source", get_args(Source)),
            ("form", get_args(Form)),
            ("protocol", get_args(Protocol)),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}"
                )
        for name, least in (("frames", 0), ("test_persons", 1), ("validation_persons", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: {least} or more")
        path = Path(self.folder)
        if not self.folder or path.is_absolute() or ".." in path.parts:
            raise ValueError(f"folder is {self.folder!r}; allowed: one below the data folder")


def load_clips(settings: ClipsSettings, folder: Path | None = None) -> tuple[Listed[Clip], str]:
    """The clips of a source, and what a reader of the results has to know of them.

    Args:
        settings: which ones.
        folder: where real data lie; None for FUSION_SEARCH_DATA, else the cache folder. Not looked
            for when the source is built in.

    Raises:
        DataError: a file is missing, damaged or of another form.
    """
    if settings.source == "builtin":
        # Here, since its libraries cost each process seconds.
        from fusion_search.datasets.clips.stand_in import NOTE, stand_in

        return in_memory(CLIP_KIND, stand_in()), NOTE
    root = data_folder(folder, os.environ)
    if settings.source == "clips":
        files = find_clips(root / settings.folder)
        return decoded(CLIP_KIND, files, read_clips(files)), f"clips in {settings.folder}/"
    files = avletters.find_avletters(root)
    found = decoded(CLIP_KIND, files, avletters.read_avletters(files))
    own = found.fingerprint == avletters.FINGERPRINT
    count = count_label(len(found.records), "clip")
    return found, avletters.NAME if own else f"{count} in AVletters' form"


def unread_clips(settings: ClipsSettings, folder: Path) -> str:
    """Which files of a source are not read, and the form of those that are; empty without any.

    Args:
        settings: of clips that ``load_clips`` reads.
        folder: where real data lie.
    """
    if settings.source == "builtin":
        return ""
    if settings.source == "avletters":
        return avletters.unread(folder)
    root = folder / settings.folder
    return unread_words(root, files_below(root), find_clips(root), FORM)


class ClipSplit(Dataset[Any]):
    """Clips of a split as examples.

    Items are ({"image": {"frames": [T, H, W], "there": [T]}, "audio": {"coefficients": [T, C],
    "there": [T]}}, class). ``there`` says which of the T steps the clip has: all of an averaged
    one, the first of a padded sequence. What is not there is zero; so is what noise made absent.

    Attributes:
        clips: of the split.
        targets: [N] int64, their classes.
        groups: [N], the person of each.
    """

    def __init__(
        self, clips: Sequence[Clip], labels: Sequence[str], form: Form, frames: int
    ) -> None:
        self.clips, self.form, self.frames = tuple(clips), form, frames
        self.targets = torch.tensor([labels.index(clip.label) for clip in clips])
        self.groups = [clip.person for clip in clips]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, number: int) -> tuple[dict[str, dict[str, Tensor]], Tensor]:
        clip = self.clips[number]
        steps = self.frames if self.form == "averaged" else length(clip)
        there = torch.arange(self.frames) < steps

        def brought(values: Values) -> Tensor:
            filled = np.zeros((self.frames, *values.shape[1:]), np.float32)
            filled[:steps] = averaged(values, steps)
            return torch.from_numpy(filled)

        image = {"frames": brought(clip.frames), "there": there}
        audio = {"coefficients": brought(clip.coefficients), "there": there}
        return {"image": image, "audio": audio}, self.targets[number]


def length(clip: Clip) -> int:
    """Steps of a clip as a sequence: the longer of its two parts is averaged to the shorter."""
    return min(len(clip.frames), len(clip.coefficients))


def open_clips(settings: ClipsSettings, folder: Path | None = None, fold: int = 0) -> Data:
    """The splits of a fold.

    Args:
        settings: which clips.
        folder: see ``load_clips``.
        fold: from 0 on.

    Raises:
        DataError: see ``load_clips``; or persons, takes or frames do not suffice.
    """
    listed, note = load_clips(settings, folder)
    labels = tuple(sorted({clip.label for clip in listed.records}))
    lengths = [length(clip) for clip in listed.records]
    averages = settings.form == "averaged"
    frames = settings.frames or (min(lengths) if averages else max(lengths))
    fits = [(one >= frames) if averages else (one <= frames) for one in lengths]
    split, folds, words = split_clips(settings, listed.records, fold)
    note = f"{note}; {words}; {settings.form} to {count_label(frames, 'frame')}"
    if not all(fits):
        short = "shorter" if averages else "longer"
        note += f", {fits.count(False):,} of {len(fits):,} clips {short} than that left out"
    made: dict[str, Any] = {}
    for name in SPLITS:
        kept = [
            clip
            for clip, its, fit in zip(listed.records, split, fits, strict=True)
            if fit and its == name
        ]
        if not kept:
            raise DataError(f"no clip is left in the {name} split: {note}")
        made[name] = ClipSplit(kept, labels, settings.form, frames)
    return Data(
        **made,
        classes=len(labels),
        folds=folds,
        fingerprint=listed.fingerprint,
        split_fingerprint=split_fingerprint(
            listed.fingerprint,
            {name: [clip.name for clip in one.clips] for name, one in made.items()},
        ),
        note=note,
        labels=labels,
        shared=settings.source == "builtin",
    )


def split_clips(
    settings: ClipsSettings, clips: Sequence[Clip], fold: int = 0
) -> tuple[list[str], int, str]:
    """The split of every clip, how many folds there are, and how they were made in words.

    Raises:
        DataError: there are not enough persons or takes.
    """
    persons = sorted({clip.person for clip in clips})
    if settings.protocol == "takes":
        return _by_takes(clips), 1, "the last take of every person is tested"
    tests, validates = settings.test_persons, settings.validation_persons
    if settings.protocol == "halves":
        tested, validated = persons[::2], persons[1::2][:validates]
        folds, enough = 1, len(persons) >= 2 * (validates + 1)
        words = "every second person is tested, the others train"
    else:
        first = fold * tests
        tested = persons[first : first + tests]
        turned = persons[first + tests :] + persons[:first]
        validated = turned[:validates]
        folds, enough = math.ceil(len(persons) / tests), len(persons) > tests + validates
        words = f"folds of {tests} of {len(persons)} persons"
    if not enough:
        raise DataError(
            f"there {'is' if len(persons) == 1 else 'are'} {count_label(len(persons), 'person')}, "
            f"too few to test {len(tested)}, to validate {validates} and to train others; lower "
            "test_persons or validation_persons"
        )
    of = {**dict.fromkeys(tested, "test"), **dict.fromkeys(validated, "validation")}
    return [of.get(clip.person, "train") for clip in clips], folds, words


def check_split(settings: ClipsSettings, clips: Sequence[Clip]) -> list[str]:
    """Sentences on splits that cannot be made, or that lack a label, each with what follows.

    Raises:
        DataError: no protocol can split the clips.
    """
    try:
        _, folds, _ = split_clips(settings, clips)
    except DataError as error:
        _by_takes(clips)
        return [f"{error}; data.protocol: takes needs no others"]
    labels = [clip.label for clip in clips]
    lacking = absent_by_fold(labels, (split_clips(settings, clips, one)[0] for one in range(folds)))
    return [
        f"label {label} is said by no one who trains in fold {', '.join(map(str, own))} of "
        f"{folds}: it is not learnt there; add clips of it by other persons, or name the other "
        "folds alone"
        for label, own in lacking.items()
    ]


def _by_takes(clips: Sequence[Clip]) -> list[str]:
    last = {clip.person: "" for clip in clips}
    for clip in clips:
        last[clip.person] = max(last[clip.person], clip.take)
    found = ["test" if clip.take == last[clip.person] else "train" for clip in clips]
    train = [number for number, split in enumerate(found) if split == "train"]
    if len(train) < 2:
        raise DataError("every person has one take; protocol takes needs two or more")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).tolist()
    for place in order[: max(1, len(train) // _VALIDATION_PART)]:
        found[train[place]] = "validation"
    return found
