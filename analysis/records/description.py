"""What a search is of, as its folder says it: streams, axes, metrics and settings.

``task.json`` is written once, when a search is launched, from its task. Whoever reads records
reads that file beside them, and imports no task.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import pyarrow as pa

from fusion_search.analysis.records.columns import COLUMNS, LONGEST_NAME, TRIED, TYPES, check_name
from fusion_search.analysis.records.columns import ColumnDescription as ColumnDescription
from fusion_search.analysis.records.plain_data import parse_json, read_content
from fusion_search.analysis.records.secrets import sentence, shown
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.words.counts import count_label
from fusion_search.analysis.records.words.names import column_words

TASK_FILE: Final = "task.json"
ORIGINAL: Final = math.inf  # no noise, on any axis
ABSENT: Final = -math.inf  # the input is zero
DIRECTIONS: Final = ("maximize", "minimize")

_WORD: Final = "original"  # in JSON, which has no infinity
_MOST: Final = 1000  # of columns, metrics, streams
_MOST_TESTED: Final = 10_000  # SNRs of an axis


@dataclass(frozen=True)
class AxisDescription:
    """One input that is impaired.

    Attributes:
        name, input, decibel: as ``datasets.conditions.Axis`` has them.
        test: SNRs of the grid; infinity is no noise.
        absent: whether the input is also tested as absent, beside the grid.
    """

    name: str
    input: str
    test: tuple[float, ...]
    decibel: bool = False
    absent: bool = False

    def __post_init__(self) -> None:
        check_name("axis", self.name)
        object.__setattr__(self, "test", tuple(float(one) for one in self.test))
        if not len(set(self.test)) == len(self.test) in range(1, _MOST_TESTED + 1):
            raise ValueError(f"axis {self.name} tests nothing, an SNR twice, or too many")
        if any(math.isnan(one) or one == ABSENT for one in self.test):
            raise ValueError(f"axis {self.name} tests {shown(self.test)}; allowed: SNRs")

    @property
    def words(self) -> str:
        """The name for people, such as "speech SNR"."""
        return column_words(self.name)

    @property
    def short(self) -> str:
        """The name where it is clear that this is an axis, such as "speech"."""
        return self.name.removesuffix("_snr").replace("_", " ")

    @property
    def train_column(self) -> str:
        """Of the trials table."""
        return f"train_{self.name}"

    @property
    def test_column(self) -> str:
        """Of the grid."""
        return f"test_{self.name}"


class Directed:
    """Of what more is better, or less."""

    direction: str

    @property
    def words(self) -> str:
        """The name for people."""
        raise NotImplementedError

    @property
    def sign(self) -> int:
        """1 when more is better, -1 when less is."""
        return 1 if self.direction == "maximize" else -1

    @property
    def better_words(self) -> str:
        """Which way is better, in figures and reports."""
        return "higher is better" if self.sign > 0 else "lower is better"

    @property
    def label(self) -> str:
        """The name for people, and which way is better."""
        return f"{self.words} ({self.better_words})"


@dataclass(frozen=True)
class MetricDescription(Directed):
    """What networks are judged by; the attributes of ``datasets.metrics.Metric`` that are data."""

    name: str
    direction: str = "maximize"
    share: bool = False
    is_mean: bool = True
    each_epoch: bool = True

    def __post_init__(self) -> None:
        check_name("metric", self.name)
        if self.direction not in DIRECTIONS:
            raise ValueError(
                f"direction of metric {self.name} is {shown(self.direction)}; allowed: "
                f"{', '.join(DIRECTIONS)}"
            )

    def better(self, one: float, other: float) -> bool:
        """Whether ``one`` is better."""
        return self.sign * one > self.sign * other

    @property
    def words(self) -> str:
        """The name for people."""
        return self.name.replace("_", " ")

    def text(self, value: float) -> str:
        """A value for people; a dash where there is none."""
        if math.isnan(value):
            return "-"
        return f"{100 * value:.1f} %" if self.share else f"{value:.4g}"


@dataclass(frozen=True, kw_only=True)
class TaskDescription:
    """What a search is of.

    Attributes:
        task: as declared: "my_task", "my_lab.gesture:Gestures".
        streams: in the order of the network.
        classes: how many are told apart; 0 where there are none.
        labels: their names; () where they have none.
        axes: of the conditions.
        metrics: the first chooses.
        layout_fields: network settings on which the sites depend.
        settings: columns of network, data, training and evaluation settings.

    Raises:
        ValueError: a name is none, or is there twice; one sentence.
    """

    task: str
    streams: tuple[str, ...]
    classes: int = 0
    labels: tuple[str, ...] = ()
    axes: tuple[AxisDescription, ...] = ()
    metrics: tuple[MetricDescription, ...]
    layout_fields: tuple[str, ...] = ()
    settings: tuple[ColumnDescription, ...] = ()

    def __post_init__(self) -> None:
        for name in ("streams", "labels", "axes", "metrics", "layout_fields", "settings"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("streams", "axes", "metrics", "settings"):
            if len(getattr(self, name)) > _MOST:
                raise ValueError(f"there are more than {_MOST} {name}")
        if not self.task or len(self.task) > LONGEST_NAME or not self.task.isprintable():
            raise ValueError(f"task is {shown(self.task)}; allowed: its name")
        for stream in self.streams:
            check_name("stream", stream)
        if not self.metrics:
            raise ValueError("there is no metric; the first one chooses networks")
        if self.classes < 0 or len(self.labels) not in (0, self.classes):
            classes = count_label(self.classes, "class", "classes")
            raise ValueError(f"it has {count_label(len(self.labels), 'label')} for {classes}")
        for one in self.settings:
            if one.role != TRIED:
                raise ValueError(f"role of setting {one.name} is {one.role}; allowed: {TRIED}")
        settings = {one.name for one in self.settings}
        for name in self.layout_fields:
            if name not in settings:
                raise ValueError(f"layout_fields names {shown(name)}, which is no setting")
        _check_once("stream", self.streams)
        for table in COLUMNS:
            _check_once(f"column of {table}", (one.name for one in self._columns(table)))

    @property
    def metric(self) -> MetricDescription:
        """The one that chooses."""
        return self.metrics[0]

    def metric_named(self, name: str) -> MetricDescription:
        """The metric of a name.

        Raises:
            ValueError: there is none.
        """
        for one in self.metrics:
            if one.name == name:
                return one
        allowed = ", ".join(one.name for one in self.metrics)
        raise ValueError(f"metric is {shown(name)}; allowed: {allowed}")

    @property
    def train_columns(self) -> tuple[str, ...]:
        """Of the trials table: the train condition of every axis."""
        return tuple(one.train_column for one in self.axes)

    @property
    def test_columns(self) -> tuple[str, ...]:
        """Of the grid: the test condition of every axis."""
        return tuple(one.test_column for one in self.axes)

    @property
    def conditions(self) -> int:
        """How many a grid has, without those in which an input is absent."""
        return math.prod(len(one.test) for one in self.axes)

    @property
    def columns(self) -> tuple[ColumnDescription, ...]:
        """Of the trials table, in order."""
        return tuple(self._columns("trials"))

    def columns_of(self, role: str) -> tuple[ColumnDescription, ...]:
        """Those columns of the trials table that have a role."""
        return tuple(one for one in self.columns if one.role == role)

    def schema(self, table: str) -> pa.Schema:
        """Of one of ``COLUMNS``."""
        return pa.schema([(one.name, TYPES[one.type]) for one in self._columns(table)])

    def _columns(self, table: str) -> list[ColumnDescription]:
        return COLUMNS[table](self)

    def to_json(self) -> str:
        """As ``task.json`` holds it."""
        plain = asdict(self)
        for axis in plain["axes"]:
            axis["test"] = [_WORD if one == ORIGINAL else one for one in axis["test"]]
        return json.dumps(plain, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes, where: str = TASK_FILE) -> TaskDescription:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: it is damaged; one sentence that begins with ``where``.
        """
        plain = parse_json(text if isinstance(text, bytes) else text.encode(), where)
        try:
            return _parsed(plain)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{where} is damaged ({sentence(error)})") from error


_REMEDY: Final = "put a copy back (it was written when the search was launched)"


def read_description(search: Storage) -> TaskDescription:
    """What a search is of, from its folder's ``task.json``.

    Raises:
        ValueError: it is missing or damaged; one sentence that names it and the remedy.
        StorageError: the storage does not answer.
    """
    where = search.named(TASK_FILE)
    try:
        return TaskDescription.from_json(read_content(search, TASK_FILE), where)
    except FileNotFoundError as error:
        raise ValueError(f"{where} is missing; {_REMEDY}") from error
    except ValueError as error:
        raise ValueError(f"{error}; {_REMEDY}") from error


def _check_once(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} {name} is there twice")
        seen.add(name)


def _parsed(plain: Any) -> TaskDescription:
    found = _fields_of(TaskDescription, plain)
    for name, part in _PARTS.items():
        found[name] = [_fields_of(part, one) for one in found[name]]
    for axis in found["axes"]:
        axis["test"] = [ORIGINAL if one == _WORD else one for one in axis["test"]]
    for name, part in _PARTS.items():
        found[name] = tuple(part(**one) for one in found[name])
    return TaskDescription(**found)


_PARTS: Final[dict[str, type[Any]]] = {
    "axes": AxisDescription,
    "metrics": MetricDescription,
    "settings": ColumnDescription,
}


def _fields_of(part: type[Any], plain: Any) -> dict[str, Any]:
    """The fields of a dataclass in a mapping that holds these and no others, of their types."""
    types = {one.name: str(one.type) for one in fields(part)}
    if not isinstance(plain, dict) or plain.keys() != types.keys():
        raise ValueError(f"{shown(plain)} is not a mapping of {', '.join(types)}")
    for name, kind in types.items():
        if not _fits(plain[name], kind):
            raise ValueError(f"{name} is {shown(plain[name])}; allowed: {kind}")
    return dict(plain)


def _fits(value: Any, kind: str) -> bool:
    """Whether a JSON value is of a type as these dataclasses write it."""
    if kind.startswith("tuple["):
        inner = kind.removeprefix("tuple[").removesuffix(", ...]")
        return isinstance(value, list) and all(_fits(one, inner) for one in value)
    if kind == "float":
        return value == _WORD or (isinstance(value, int | float) and value is not True)
    plain = {"str": str, "int": int, "bool": bool}.get(kind.removesuffix(" | None"), dict)
    is_bool = isinstance(value, bool) and plain is not bool
    return (value is None and kind.endswith("None")) or (isinstance(value, plain) and not is_bool)
