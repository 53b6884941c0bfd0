"""Settings of every type that a task may declare: checked, kept in JSON, and in a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import pyarrow as pa
import pytest
from odd_tasks import Amount, Sensors

from fusion_search.search.tasks.opened import open_task
from fusion_search.search.trials.describe import describe
from fusion_search.search.trials.fields import ConfigurationError, typed
from fusion_search.search.trials.plain import column_type
from fusion_search.search.trials.specification import TrialSpecification, parse_specification


@dataclass(frozen=True)
class Augmentation:
    probability: float = 0.5
    kind: Literal["flip", "shift"] = "flip"


@dataclass(frozen=True)
class Typed:
    """A setting of every kind."""

    backbone: Literal["resnet18", "vit"] = "resnet18"
    stride: Literal[1, 2, 4] = 1
    whole: int = 3
    share: float = 0.5
    is_frozen: bool = False
    weights: str | None = None
    limit: int | None = None
    either: int | str = 1
    kernel: tuple[int, int] = (3, 3)
    widths: tuple[int, ...] = (8,)
    words: tuple[str, ...] = ()
    augmentation: Augmentation = Augmentation()
    second: Augmentation | None = None

    def __post_init__(self) -> None:
        if self.whole < 0:
            raise ValueError(f"whole is {self.whole}; allowed: 0 or more")


class TypedSensors(Sensors):
    network = Typed


GIVEN: dict[str, Any] = {
    "backbone": "vit",
    "stride": 4,
    "whole": 0,
    "share": 1,
    "is_frozen": True,
    "weights": "imagenet",
    "limit": 5,
    "either": "all",
    "kernel": [5, 7],
    "widths": [],
    "words": ["a", "b"],
    "augmentation": {"kind": "shift"},
    "second": {"probability": 0.1, "kind": "flip"},
}
VALUES = Typed(
    backbone="vit",
    stride=4,
    whole=0,
    share=1.0,
    is_frozen=True,
    weights="imagenet",
    limit=5,
    either="all",
    kernel=(5, 7),
    widths=(),
    words=("a", "b"),
    augmentation=Augmentation(kind="shift"),
    second=Augmentation(0.1, "flip"),
)


def test_settings_of_every_type_are_read() -> None:
    found = typed(Typed, GIVEN, "network.")
    assert found == VALUES
    assert isinstance(found.share, float)
    assert isinstance(found.augmentation, Augmentation)
    assert set(GIVEN) == {one.name for one in fields(Typed)}
    assert typed(Typed, {}, "network.") == Typed()
    assert typed(Typed, {"weights": None, "second": None}, "network.") == Typed()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backbone": "resnet"}, "network.backbone is 'resnet'; allowed: resnet18, vit"),
        ({"backbone": ["vit"]}, "network.backbone is ['vit']; allowed: resnet18, vit"),
        ({"stride": 3}, "network.stride is 3; allowed: 1, 2, 4"),
        ({"stride": True}, "network.stride is True; allowed: 1, 2, 4"),
        ({"stride": "1"}, "network.stride is '1'; allowed: 1, 2, 4"),
        ({"whole": 1.5}, "network.whole is 1.5; allowed: a whole number"),
        ({"whole": -1}, "network.whole is -1; allowed: 0 or more"),
        ({"whole": 2**31}, "network.whole is 2147483648; allowed: a whole number up to"),
        ({"share": "half"}, "network.share is 'half'; allowed: a number"),
        ({"share": math.nan}, "network.share is nan; allowed: a number"),
        ({"is_frozen": 1}, "network.is_frozen is 1; allowed: true or false"),
        ({"weights": 5}, "network.weights is 5; allowed: text or null"),
        ({"limit": "many"}, "network.limit is 'many'; allowed: a whole number or null"),
        ({"limit": 2.5}, "network.limit is 2.5; allowed: a whole number or null"),
        ({"either": 1.5}, "network.either is 1.5; allowed: a whole number or text"),
        ({"kernel": 3}, "network.kernel must be a list"),
        ({"kernel": [3]}, "network.kernel is [3]; allowed: a list of 2 values"),
        ({"kernel": [3, "x"]}, "network.kernel.1 is 'x'; allowed: a whole number"),
        ({"widths": [8, 1.5]}, "network.widths.1 is 1.5; allowed: a whole number"),
        ({"words": [1]}, "network.words.0 is 1; allowed: text"),
        ({"words": "one"}, "network.words must be a list, as in ['one']"),
        ({"augmentation": "flip"}, "network.augmentation must be a mapping"),
        (
            {"augmentation": {"kind": "blur"}},
            "network.augmentation.kind is 'blur'; allowed: flip, shift",
        ),
        (
            {"augmentation": {"sort": "flip"}},
            "network.augmentation.sort is not a field; allowed: probability, kind",
        ),
        ({"second": {"probability": "x"}}, "network.second.probability is 'x'; allowed: a number"),
        ({"second": 5}, "network.second must be a mapping"),
        (
            {"second": {"probability": None}},
            "network.second.probability is None; allowed: a number",
        ),
        ({"depth": 3}, "network.depth is not a field"),
        ([], "network must be a mapping"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        typed(Typed, given, "network.")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class Needed:
    width: int
    depth: int = 1
    factors: dict[str, int] | None = None


def test_what_has_no_default_is_asked_for() -> None:
    with pytest.raises(ConfigurationError, match=r"^network\.width is missing$"):
        typed(Needed, {"depth": 2}, "network.")
    assert typed(Needed, {"width": 2, "factors": {"a": 3}}, "network.").factors == {"a": 3}
    with pytest.raises(ConfigurationError, match=r"network\.factors\.a is 'x'; allowed: a whole"):
        typed(Needed, {"width": 2, "factors": {"a": "x"}}, "network.")


@pytest.mark.parametrize("network", [Typed(), VALUES], ids=["defaults", "given"])
def test_settings_of_every_type_are_recorded_and_come_back(network: Typed) -> None:
    task = TypedSensors()
    trial = TrialSpecification(task="typed", network=network, data=Amount())
    assert parse_specification(trial.to_json(), task) == trial
    described = describe("typed", task, open_task(task, Amount()), ("ecg", "motion", "heat"))
    table = pa.Table.from_pylist([trial.columns()], described.schema("trials"))
    (row,) = table.select([one.name for one in fields(Typed)]).to_pylist()
    if network == VALUES:
        assert row == {
            **GIVEN,
            "kernel": "[5, 7]",
            "widths": "[]",
            "augmentation": '{"kind": "shift", "probability": 0.5}',
            "second": '{"kind": "flip", "probability": 0.1}',
        }
    else:
        assert (row["weights"], row["limit"], row["second"]) == (None, None, None)
        assert (row["stride"], row["either"], row["is_frozen"]) == (1, "1", False)
    defaults = {one.name: one.default for one in described.settings}
    assert defaults["stride"] == "1"
    assert defaults["augmentation"] == '{"kind": "flip", "probability": 0.5}'


@dataclass(frozen=True)
class Bounds:
    """Infinity is "original" in JSON; the text of that name is a text."""

    most: float = math.inf
    each: tuple[float | None, ...] = (1.0, -math.inf, None)
    mode: str = "original"
    either: float | str = "absent"
    nested: Augmentation = Augmentation(-math.inf)
    named: dict[str, Augmentation] = field(default_factory=lambda: {"a": Augmentation(math.inf)})
    rates: Mapping[str, float] = field(default_factory=lambda: {"a": 0.5, "b": math.inf})


class BoundedSensors(Sensors):
    network = Bounds


def test_infinite_settings_come_back_and_are_no_word_in_a_declaration() -> None:
    trial = TrialSpecification(task="bounded", network=Bounds(), data=Amount())
    assert '"most": "original"' in trial.to_json()
    assert parse_specification(trial.to_json(), BoundedSensors()) == trial
    assert typed(Bounds, {"most": math.inf}, "network.") == Bounds()
    with pytest.raises(ConfigurationError, match=r"network\.most is 'original'; allowed: a number"):
        typed(Bounds, {"most": "original"}, "network.")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (int, "int64"),
        (float | None, "float64"),
        (Literal["a", "b"], "string"),
        (Literal[1, 2] | None, "int64"),
        (Literal[1, "x"], "string"),
        (int | str, "string"),
        (bool | None, "bool"),
        (tuple[str, ...], "list<string>"),
        (tuple[int, ...], "string"),
        (Augmentation | None, "string"),
    ],
)
def test_types_of_columns(kind: Any, expected: str) -> None:
    assert column_type(kind) == expected
