"""What a configuration says of a table: its target, groups, splits, and an input per stream."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from fusion_search.datasets.errors import count_label, refuse_repeats

Kind = Literal["numbers", "vector", "series", "sound", "image", "clip"]
Encoder = Literal["small", "resnet18", "resnet50", "mobilenet_v3_small", "efficientnet_b0"]
KINDS: Final = get_args(Kind)
PADDED: Final = ("series", "sound", "clip")
"""Kinds whose examples may be shorter than others."""

DEFAULT_WEIGHTS: Final = "default"
RANDOM_WEIGHTS: Final = "random"
"""Of a backbone: those that torchvision downloads, and those that were never trained."""

_SIDE: Final = 2048
_LENGTH: Final = 100_000
_SNRS: Final = ((math.inf, 2.0, 1.0, 0.5), (math.inf, 2.0, 0.5), (math.inf, 1.0), (math.inf,))
_FEW_CONDITIONS: Final = 256
_MOST_CONDITIONS: Final = 5000


def _conditions(inputs: int, snrs: int) -> int:
    """How many a network is tested at: all inputs there, and each absent in turn."""
    return int(snrs**inputs + inputs * snrs ** (inputs - 1))


class Frozen(dict[str, Any]):
    """A mapping that can be compared and hashed, as settings are."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return Frozen, (dict(self),)


@dataclass(frozen=True, kw_only=True)
class Input:
    """What one stream takes, and which network reads it.

    Attributes:
        kind: numbers (of several columns), vector, series, sound, image or clip.
        column: of files or arrays: the one column.
        columns: of numbers: all of them.
        length: of a series or clip, in steps or frames. Longer series are cut at the end; of longer
            clips evenly spaced frames are taken; shorter ones are padded, and the padding masked.
        seconds: of a sound; longer ones are cut at the end, shorter ones padded.
        rate: of a sound in samples a second; others are resampled.
        mels: mel bands of a sound's spectrogram.
        size: height and width that images and frames are brought to.
        colour: whether images and clips have three channels, or one.
        encoder: small (a network of this program), or for images and clips a backbone of
            torchvision, which reads a clip frame by frame.
        weights: of a backbone: default (torchvision's own, which it downloads), a file, or random.
        frozen: whether a backbone is left as it is, and only what follows it trained.

    Raises:
        ValueError: a field is outside its range, or belongs to another kind.
    """

    kind: Kind
    column: str = ""
    columns: tuple[str, ...] = ()
    length: int = 0
    seconds: float = 0.0
    rate: int = 16000
    mels: int = 40
    size: tuple[int, int] = (64, 64)
    colour: bool = True
    encoder: Encoder = "small"
    weights: str = ""
    frozen: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; allowed: {', '.join(KINDS)}")
        if self.kind == "numbers" and (not self.columns or self.column):
            raise ValueError("numbers take columns, a list with at least one name, and no column")
        if self.kind != "numbers" and (not self.column or self.columns):
            raise ValueError(f"an input of kind {self.kind} takes column, one name, and no columns")
        refuse_repeats(self.columns, "columns")
        self._check_sizes()
        if self.encoder != "small" and self.kind not in ("image", "clip"):
            raise ValueError(f"encoder is {self.encoder} of kind {self.kind}; allowed: small")
        if self.encoder == "small" and (self.weights or self.frozen):
            raise ValueError("weights and frozen are of torchvision's backbones; encoder is small")
        if self.encoder != "small" and not self.weights:
            raise ValueError(
                f"weights of encoder {self.encoder} are not named; allowed: {DEFAULT_WEIGHTS} "
                f"(torchvision's, which are downloaded), a file, or {RANDOM_WEIGHTS}"
            )

    def _check_sizes(self) -> None:
        if self.kind in ("series", "clip") and not 1 <= self.length <= _LENGTH:
            raise ValueError(f"length is {self.length}; allowed: 1 to {_LENGTH:,} of a {self.kind}")
        if self.kind == "sound" and not 0 < self.seconds <= 3600:
            raise ValueError(f"seconds is {self.seconds:g}; allowed: above 0 to 3,600 of a sound")
        if not 1000 <= self.rate <= 192_000:
            raise ValueError(f"rate is {self.rate}; allowed: 1,000 to 192,000 samples a second")
        if not 1 <= self.mels <= 256:
            raise ValueError(f"mels is {self.mels}; allowed: 1 to 256")
        if not all(1 <= side <= _SIDE for side in self.size):
            raise ValueError(f"size is {list(self.size)}; allowed: 1 to {_SIDE:,} each")

    @property
    def names(self) -> tuple[str, ...]:
        """All its columns."""
        return self.columns or (self.column,)

    @property
    def samples(self) -> int:
        """Of a sound, at its rate."""
        return max(1, round(self.seconds * self.rate))


@dataclass(frozen=True, kw_only=True)
class TableData:
    """A table of examples.

    Attributes:
        table: the file, CSV or Parquet; file names in it are relative to its folder.
        inputs: stream -> its kind, columns and encoder, below; streams and axes are in the order
            of the alphabet.
        target: the column to predict.
        target_kind: class, or number.
        group: the column that says whose an example is (a person, a session); a group is never cut
            by a split. "" for none.
        split_column: a column that says train, validation or test. "" for random splits.
        fractions: of train, validation and test, where the splits are random.
        folds: how many; each holds out other examples (or groups) as its test split. 0 for one
            random split.
        split_seed: of random splits and folds.
        leave_out: rows that are not used, as a spreadsheet numbers them: the header is row 1.
        test_snrs: of the grid, on every input; with each input absent beside it. None named: as
            many of original, 2, 1 and 0.5 as keep it within 256 conditions.
        cache_megabytes: of decoded examples that a process keeps.

    Raises:
        ValueError: a field is outside its range.
    """

    table: str
    inputs: dict[str, Input]
    target: str
    target_kind: Literal["class", "number"] = "class"
    group: str = ""
    split_column: str = ""
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    folds: int = 0
    split_seed: int = 0
    leave_out: tuple[int, ...] = ()
    test_snrs: tuple[float | Literal["original"], ...] = ()
    cache_megabytes: int = 512

    def __post_init__(self) -> None:
        # In one order, however they were written down: it is that of streams and axes.
        object.__setattr__(self, "inputs", Frozen(sorted(self.inputs.items())))
        numbers = tuple(math.inf if one == "original" else one for one in self.test_snrs)
        object.__setattr__(self, "test_snrs", numbers)
        for name in ("table", "target"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; allowed: a name")
        if not self.inputs:
            raise ValueError("inputs is empty; allowed: at least one stream with its kind")
        for name in self.inputs:
            if not name.isidentifier():
                raise ValueError(f"inputs names stream {name!r}; allowed: letters, digits and _")
        if self.target_kind not in ("class", "number"):
            raise ValueError(f"target_kind is {self.target_kind!r}; allowed: class, number")
        if self.split_column and self.folds:
            raise ValueError("split_column and folds are both there; keep one of them")
        self._check_splits()
        for snr in numbers:
            if not snr > 0:
                raise ValueError(f"test_snrs holds {snr:g}; allowed: original, or above 0")
        refuse_repeats(["original" if math.isinf(one) else one for one in numbers], "test_snrs")
        refuse_repeats(self.leave_out, "leave_out")
        if self.conditions > _MOST_CONDITIONS:
            raise ValueError(
                f"test_snrs holds {len(self.test_snrs)} SNRs for each of "
                f"{count_label(len(self.inputs), 'input')}, which makes {self.conditions:,} "
                f"conditions; allowed: {_MOST_CONDITIONS:,}"
            )
        for name in (self.target, self.group, self.split_column):
            if name and name in self.input_columns():
                raise ValueError(
                    f"column {name!r} is an input, and also the target, group or split column"
                )

    def _check_splits(self) -> None:
        total = sum(self.fractions)
        if not (all(0 < one < 1 for one in self.fractions) and math.isclose(total, 1)):
            raise ValueError(
                f"fractions is {list(self.fractions)}; allowed: three above 0 that add up to 1"
            )
        if self.folds != 0 and not 2 <= self.folds <= 100:
            raise ValueError(f"folds is {self.folds}; allowed: 0 (no folds), 2 to 100")
        if not 0 <= self.split_seed < 2**31:
            raise ValueError(f"split_seed is {self.split_seed}; allowed: 0 to 2**31 - 1")
        if not 0 <= self.cache_megabytes < 1 << 20:
            raise ValueError(f"cache_megabytes is {self.cache_megabytes}; allowed: 0 or more")

    @property
    def snrs(self) -> tuple[float, ...]:
        """Of the grid, on every input."""
        if self.test_snrs:
            return tuple(map(float, self.test_snrs))  # original is infinity by now
        kept = [one for one in _SNRS if _conditions(len(self.inputs), len(one)) <= _FEW_CONDITIONS]
        return kept[0] if kept else _SNRS[-1]

    @property
    def conditions(self) -> int:
        """Of the grid and, beside it, with an input absent."""
        return _conditions(len(self.inputs), len(self.snrs))

    def input_columns(self) -> list[str]:
        """Every column that a stream reads."""
        return [name for one in self.inputs.values() for name in one.names]

    def wanted_columns(self) -> Iterator[str]:
        """Every column that is read, the target first."""
        others = (self.target, self.group, self.split_column, *self.input_columns())
        yield from dict.fromkeys(name for name in others if name)
