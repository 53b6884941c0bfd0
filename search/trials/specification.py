"""The typed, frozen description of one trial: all that a trial needs to run.

The names of its settings are the column names of the records and the parameter names in MLflow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, get_type_hints

from fusion_search.analysis.records.words.names import column_words
from fusion_search.analysis.records.words.networks import PLAIN, placed_words, setting_words
from fusion_search.datasets.conditions import ORIGINAL, TrainCondition, check_train
from fusion_search.models.couplings.options import canonical
from fusion_search.models.layout import Placement
from fusion_search.search.tasks.base import Condition, Task, check_kind
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.fields import known, typed, value_of
from fusion_search.search.trials.plain import (
    column_value,
    parse_train,
    parse_value,
    plain_settings,
    plain_train,
    plain_value,
    train_text,
)
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings
from fusion_search.search.trials.task_trial import TaskTrial

GROUPS: Final = ("network", "data", "training", "evaluation")
"""What has settings."""

NO_COLUMNS: Final = ("device",)
"""Settings whose column says what was used, not what was asked for."""


FOLD: Final = "fold"
"""Among the names of what a search varies."""


@dataclass(frozen=True, kw_only=True)
class TrialSpecification:
    """One network trained at one train condition, in one fold, with one seed.

    Attributes:
        task: its name, as in a search's declaration.
        network, data: settings of the task's types. Those of the network are brought to their
            canonical form, so that specifications that build the same network are equal.
        placement: what couples the streams, and which there are.
        train: axis -> train condition, of every axis of the task.
        fold: which persons or objects are held out.
        seed: of the initial weights, the drawn examples and the noise. Trials with the same seed
            are trained and tested on the same examples with the same unit noise.
        training: optimiser, schedule and budget.
        evaluation: what it is tested on.
        varied: names of settings that its search varies, and ``FOLD`` where it has several, for
            its name alone.

    Raises:
        ValueError: a field is outside its range.
    """

    task: str
    network: Any
    data: Any
    placement: Placement = field(default_factory=Placement)
    train: Mapping[str, TrainCondition] = field(default_factory=dict)
    fold: int = 0
    seed: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    varied: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed is {self.seed}; allowed: 0 to 2**31 - 1")
        if self.fold < 0:
            raise ValueError(f"fold is {self.fold}; allowed: 0 or more")
        if own := getattr(self.network, "canonical", None):
            network, placement = own(self.placement)
            object.__setattr__(self, "network", network)
            object.__setattr__(self, "placement", placement)
        # What is read from the trial's JSON must be equal, and written equally.
        train = {name: parse_train(plain_train(one)) for name, one in self.train.items()}
        object.__setattr__(self, "train", MappingProxyType(train))

    def __hash__(self) -> int:
        return hash(self.trial_id)

    def __reduce__(self) -> tuple[Any, ...]:
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return _again, ({**values, "train": dict(self.train)},)

    def canonical(self, opened: OpenedTask) -> TrialSpecification:
        """The same as a search has it: equal, so of one id, for all that build one network.

        Args:
            opened: its task with its data, whose network says what its sites take.

        Raises:
            ValueError: the placement is none of the network's.
        """
        layout = opened.task.layout(self.network, lambda: opened.data(self.data, self.fold))
        layout.check(self.placement)
        return replace(self, placement=canonical(layout, self.placement))

    def for_task(self, task: Task) -> TaskTrial:
        """The trial of a task that has been found by its name.

        Raises:
            TaskError: the settings are of another task.
        """
        check_kind(task, "network", self.network)
        check_kind(task, "data", self.data)
        return TaskTrial(
            task=task,
            network=self.network,
            data=self.data,
            placement=self.placement,
            train=self.train,
            fold=self.fold,
            seed=self.seed,
            training=self.training,
            evaluation=self.evaluation,
            specification=self.to_json(),
        )

    def settings(self) -> dict[str, Any]:
        """Every setting of network, data, training and evaluation by its name."""
        groups = [getattr(self, name) for name in GROUPS]
        return {one.name: getattr(group, one.name) for group in groups for one in fields(group)}

    def with_settings(self, values: Mapping[str, Any]) -> TrialSpecification:
        """The same with other values for some settings, by name."""
        changed: dict[str, Any] = {}
        for name in GROUPS:
            group = getattr(self, name)
            own = {one.name for one in fields(group)} & set(values)
            changed[name] = replace(group, **{one: values[one] for one in own})
        return replace(self, **changed)

    def to_plain(self, *, told: bool = True) -> dict[str, Any]:
        """As YAML or JSON would hold it; without ``told`` only settings not at their default."""
        plain: dict[str, Any] = {
            name: plain_settings(getattr(self, name), told=told) for name in GROUPS
        }
        return {
            "task": self.task,
            **plain,
            "placement": self.placement.to_plain(),
            "train": {name: plain_train(one) for name, one in self.train.items()},
            "fold": self.fold,
            "seed": self.seed,
            **({"varied": list(self.varied)} if told else {}),
        }

    def to_json(self) -> str:
        """Canonical JSON: sorted keys."""
        return json.dumps(self.to_plain(), sort_keys=True, allow_nan=False)

    def is_told_in(self, text: str) -> bool:
        """Whether :meth:`to_json` gave it, perhaps in a program that lacked later settings.

        What a search varies is not the trial's own. Raises ``ValueError`` for what is no JSON.
        """
        told = json.loads(text)
        own = self.to_plain()
        del own["varied"]
        if not isinstance(told, dict):
            return False
        told.pop("varied", None)
        return _within(self.to_plain(told=False), told) and _within(told, own)

    @cached_property
    def trial_id(self) -> str:
        """12 hexadecimal digits that any equal specification has too.

        Settings at their default do not count, so that one which comes later changes no id.
        """
        text = json.dumps(self.to_plain(told=False), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def trial_name(self) -> str:
        """For people: where the streams meet and what couples them, train condition and seed."""
        return ", ".join(self.name_parts)

    @property
    def name_parts(self) -> tuple[str, ...]:
        """What the name consists of: first layout and placement, then settings, condition, seed."""
        words = [setting_words(name, one) for name, one in self.layout_settings().items()]
        words += self.placed_parts or [PLAIN]
        words += [setting_words(name, plain_value(one)) for name, one in self.told().items()]
        words += self.condition_parts
        words += [f"fold {self.fold}"] if self.fold or FOLD in self.varied else []
        return (*filter(None, words), f"seed {self.seed}")

    @property
    def placed_parts(self) -> list[str]:
        """What couples the streams, how they end, and which there are, in words."""
        placed = self.placement
        return placed_words(placed.sites, placed.options, placed.end, placed.streams)

    @property
    def condition_parts(self) -> list[str]:
        """The train condition of every axis in words."""
        return [f"{column_words(name)} {train_text(one)}" for name, one in self.train.items()]

    def layout_settings(self) -> dict[str, Any]:
        """The network's settings on which its sites depend."""
        return {name: getattr(self.network, name) for name in _layout_fields(self.network)}

    def told(self) -> dict[str, Any]:
        """The other settings that its search varies."""
        settings, layout_fields = self.settings(), _layout_fields(self.network)
        others = [one for one in self.varied if one not in (*layout_fields, FOLD)]
        return {name: settings[name] for name in others}

    def columns(self) -> dict[str, Any]:
        """What was tried, as columns of the ``trials`` table."""
        kinds: dict[str, Any] = {}
        for group in GROUPS:
            kinds |= get_type_hints(type(getattr(self, group)))
        settings = {
            name: column_value(value, kinds[name])
            for name, value in self.settings().items()
            if name not in NO_COLUMNS
        }
        return {
            "task": self.task,
            **self.placement_columns(),
            **self.train_columns(),
            "train": self.train_json(),
            "fold": self.fold,
            "seed": self.seed,
            **settings,
        }

    def placement_columns(self) -> dict[str, Any]:
        """The placement as columns."""
        plain = self.placement.to_plain()
        return {
            "streams": plain["streams"],
            "placement": json.dumps(plain["sites"], sort_keys=True),
            "placement_options": json.dumps(plain.get("options", {}), sort_keys=True),
            "end": plain["end"],
        }

    def train_columns(self) -> dict[str, float | None]:
        """The train SNR on every axis; None where it is drawn for every example."""
        return {
            f"train_{name}": one if isinstance(one, float) else None
            for name, one in self.train.items()
        }

    def train_json(self) -> str:
        """The train condition, axis -> as YAML has it."""
        return json.dumps({name: plain_train(one) for name, one in self.train.items()})

    def planned(self) -> dict[str, Any]:
        """As a search's list of planned trials has it."""
        plain = self.to_plain()
        values = {name: one for group in GROUPS for name, one in plain[group].items()}
        return {
            "trial_id": self.trial_id,
            "trial_name": self.trial_name,
            "fold": self.fold,
            "seed": self.seed,
            **self.placement_columns(),
            "train": self.train_json(),
            **self.layout_settings(),
            "settings": {name: values[name] for name in self.told()},
        }


def _layout_fields(network: Any) -> tuple[str, ...]:
    return tuple(getattr(network, "layout_fields", ()))


def _again(values: dict[str, Any]) -> TrialSpecification:
    return TrialSpecification(**values)


def make_train(task: Task, train: Mapping[str, Any], streams: tuple[str, ...]) -> Condition:
    """The train condition of every axis; ORIGINAL where none is given, or the stream is not there.

    Args:
        task: its axes.
        train: axis -> condition.
        streams: of the placement; () for all.

    Raises:
        ValueError: there is no such axis, or a condition is outside its range.
    """
    names = [axis.name for axis in task.axes]
    for name in train:
        if name not in names:
            allowed = ", ".join(names) or "none, for the task has no axis"
            raise ValueError(f"train names axis {name!r}; allowed: {allowed}")
    made = {}
    for axis in task.axes:
        dropped = streams and axis.input.partition(".")[0] not in streams
        one = ORIGINAL if dropped else train.get(axis.name, ORIGINAL)
        check_train(axis, one)
        made[axis.name] = one
    return made


def parse_data(text: str, task: Task) -> tuple[Any, int]:
    """Data settings and fold of a trial's JSON: what its task is opened with.

    Raises:
        ValueError: it is no trial's.
    """
    plain = _whole(text)
    return _settings(task.data, plain, "data"), value_of(int, plain["fold"], "fold")


def parse_specification(text: str, task: Task) -> TrialSpecification:
    """The inverse of ``TrialSpecification.to_json``, of a trial of this task.

    Args:
        text: the JSON.
        task: opened, where its axes are those of its data.

    Raises:
        ValueError: it is none.
    """
    plain = _whole(text)
    placed = known(["sites", "end", "streams", "options"], plain["placement"], "placement.")
    placement = Placement(
        value_of(dict[str, dict[str, str]], placed.get("sites", {}), "placement.sites"),
        value_of(str, placed.get("end", ""), "placement.end"),
        value_of(tuple[str, ...], placed.get("streams", []), "placement.streams"),
        value_of(dict[str, dict[str, Any]], placed.get("options", {}), "placement.options"),
    )
    train = known([axis.name for axis in task.axes], plain["train"], "train.")
    return TrialSpecification(
        task=value_of(str, plain["task"], "task"),
        network=_settings(task.network, plain, "network"),
        data=_settings(task.data, plain, "data"),
        training=_settings(TrainingSettings, plain, "training"),
        evaluation=_settings(EvaluationSettings, plain, "evaluation"),
        placement=placement,
        train=make_train(
            task, {name: parse_train(one) for name, one in train.items()}, placement.streams
        ),
        fold=value_of(int, plain["fold"], "fold"),
        seed=value_of(int, plain["seed"], "seed"),
        varied=value_of(tuple[str, ...], plain["varied"], "varied"),
    )


def _whole(text: str) -> dict[str, Any]:
    """The JSON of a trial, with every field and no other."""
    plain = known(TrialSpecification, json.loads(text), "")
    for one in fields(TrialSpecification):
        if one.name not in plain:
            raise ValueError(f"{one.name} is missing")
    return plain


def _settings(kind: type, plain: Mapping[str, Any], name: str) -> Any:
    return typed(kind, parse_value(plain[name], kind), f"{name}.")


def _within(part: Any, whole: Any) -> bool:
    """Whether all that plain data say others say, too."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and _within(one, whole[name]) for name, one in part.items())
    return bool(part == whole)
