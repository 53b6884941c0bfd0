"""A search as declared in YAML: loaded safely, checked field by field, then frozen."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, get_type_hints

import yaml

from search.specification import TRAIN_PAIRS, Pair, TrialSpecification

SWEPT: Final = ("modality", "fusion_depth", "train_audio_snr", "train_visual_snr", "seed")
_TYPE_WORDS: Final = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


class ConfigurationError(ValueError):
    """The configuration is wrong; the message is one sentence for the user."""


@dataclass(frozen=True, kw_only=True)
class SweepBlock:
    """A full product of choices; a search's sweep is a list of such blocks."""

    fusion_depths: tuple[int, ...] = (0,)
    train_pairs: tuple[Pair, ...] = TRAIN_PAIRS
    modalities: tuple[str, ...] = ("both",)
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one trial gets. Fractions of a GPU share it; bounding memory is the user's part."""

    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    concurrent_trials: int = 0  # 0: as many as fit

    def __post_init__(self) -> None:
        if not (0 < self.cpus_per_trial < math.inf):
            raise ValueError(f"cpus_per_trial is {self.cpus_per_trial}; allowed: above 0")
        gpus = self.gpus_per_trial
        if not (0 <= gpus <= 1 or (gpus == int(gpus) and gpus < math.inf)):
            raise ValueError(f"gpus_per_trial is {gpus}; allowed: 0 to 1, or a whole number")
        if self.concurrent_trials < 0:
            raise ValueError(
                f"concurrent_trials is {self.concurrent_trials}; allowed: 0 (all that fit) or more"
            )


@dataclass(frozen=True, kw_only=True)
class Mlflow:
    """Where runs are shown: any tracking URI; by default SQLite in the storage folder."""

    enabled: bool = True
    tracking_uri: str = ""


@dataclass(frozen=True, kw_only=True)
class SearchSpecification:
    """A whole search. ``trials`` holds the fields that all trials share."""

    name: str
    trials: Mapping[str, Any] = field(default_factory=dict)
    sweep: tuple[SweepBlock, ...] = (SweepBlock(),)
    resources: Resources = Resources()
    mlflow: Mlflow = Mlflow()
    storage: str = "results"

    def planned_trials(self) -> list[TrialSpecification]:
        """Every trial of the sweep once, in the order declared, seed by seed.

        A unimodal trial does not depend on the other sense's SNR, so pairs that differ only there
        are one trial.
        """
        trials: dict[str, TrialSpecification] = {}
        for block in self.sweep:
            for seed in block.seeds:
                for modality in block.modalities:
                    for audio, visual in block.train_pairs:
                        for depth in block.fusion_depths:
                            one = TrialSpecification(
                                **self.trials,
                                modality=modality,
                                fusion_depth=depth,
                                train_audio_snr=math.inf if modality == "visual" else audio,
                                train_visual_snr=math.inf if modality == "audio" else visual,
                                seed=seed,
                            )
                            trials.setdefault(one.trial_id, one)
        return list(trials.values())


class _Loader(yaml.SafeLoader):
    """The safe loader, refusing a key written twice and reading 1e-3 as a number."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise ConfigurationError(
                f"{', '.join(sorted(twice))} is written twice in one mapping "
                f"(line {node.start_mark.line + 1}); keep one"
            )
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def load_configuration(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML file and apply ``field=value`` overrides (``trials.examples=2000``).

    Raises:
        ConfigurationError: the file is missing or is not a YAML mapping, or an override is off.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"configuration {path} cannot be read: {error}") from error
    raw = parse_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise ConfigurationError(f"configuration {path} must be a mapping with a name")
    for override in overrides:
        _apply(raw, override)
    return raw


def parse_yaml(text: str, where: str) -> Any:
    """Plain data from YAML text. Raises ``ConfigurationError``."""
    try:
        # A subclass of SafeLoader: it builds plain data only.
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        detail = " ".join(str(error).split())
        raise ConfigurationError(f"{where} is not valid YAML: {detail}") from error


def _apply(raw: dict[str, Any], override: str) -> None:
    path, equals, value = override.partition("=")
    if not equals or not path:
        raise ConfigurationError(f"--set {override!r} must have the form field=value")
    *parents, last = path.split(".")
    target: Any = raw
    for parent in parents:
        if isinstance(target, list) and parent.isdigit() and int(parent) < len(target):
            target = target[int(parent)]
        elif isinstance(target, dict):
            target = target.setdefault(parent, {})
        else:
            target = None
    if isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = parse_yaml(value, f"--set {override!r}")
    elif isinstance(target, dict):
        target[last] = parse_yaml(value, f"--set {override!r}")
    else:
        raise ConfigurationError(f"--set {override!r} names no field of the configuration")


def build_search(raw: Mapping[str, Any]) -> SearchSpecification:
    """Check a configuration and freeze it.

    Raises:
        ConfigurationError: names the field and the allowed values.
    """
    values = _known(SearchSpecification, raw, "")
    if "name" not in values:
        raise ConfigurationError("name is missing; give the search a name")
    name = values["name"]
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigurationError(
            f"name is {name!r}; allowed: up to 100 letters, digits, dots, dashes and underscores"
        )
    if not isinstance(values.get("storage", ""), str) or values.get("storage") == "":
        raise ConfigurationError("storage must be a folder or a URI")
    if "trials" in values:
        values["trials"] = _trial_fields(values["trials"])
    if "sweep" in values:
        values["sweep"] = _sweep(values["sweep"])
    if "resources" in values:
        values["resources"] = _typed(Resources, values["resources"], "resources.")
    if "mlflow" in values:
        values["mlflow"] = _typed(Mlflow, values["mlflow"], "mlflow.")
    search = SearchSpecification(**values)
    try:
        search.planned_trials()
    except ValueError as error:
        raise ConfigurationError(f"trials: {error}") from error
    return search


def _trial_fields(raw: Any) -> dict[str, Any]:
    """The shared fields, typed; their ranges are checked when the trials are planned."""
    if isinstance(raw, Mapping):
        for name in SWEPT:
            if name in raw:
                raise ConfigurationError(f"trials.{name} is swept; declare it under sweep")
    return _checked(TrialSpecification, raw, "trials.")


def _sweep(raw: Any) -> tuple[SweepBlock, ...]:
    blocks = raw if isinstance(raw, list) else [raw]
    if not blocks:
        raise ConfigurationError("sweep is empty; give at least one block")
    return tuple(_sweep_block(block, f"sweep.{index}.") for index, block in enumerate(blocks))


def _sweep_block(raw: Any, where: str) -> SweepBlock:
    values = _known(SweepBlock, raw, where)
    elements = {"fusion_depths": int, "modalities": str, "seeds": int}
    for name, value in values.items():
        if name == "train_pairs" and value == "all":
            values[name] = TRAIN_PAIRS
            continue
        if not isinstance(value, list) or not value:
            hint = ", or all" if name == "train_pairs" else ""
            raise ConfigurationError(f"{where}{name} must be a list with at least one value{hint}")
        if name == "train_pairs":
            values[name] = tuple(_pair(one, f"{where}{name}") for one in value)
        else:
            values[name] = tuple(_value(elements[name], one, where + name) for one in value)
    return SweepBlock(**values)


def _pair(raw: Any, where: str) -> Pair:
    if not isinstance(raw, list) or len(raw) != 2:
        raise ConfigurationError(f"{where} holds {raw!r}; allowed: [audio SNR, visual SNR]")
    audio, visual = (math.inf if one == "original" else _value(float, one, where) for one in raw)
    return audio, visual


def _known(kind: type, raw: Any, where: str) -> dict[str, Any]:
    """The mapping's own copy, after checking that it is one and every key is a field."""
    if not isinstance(raw, Mapping):
        raise ConfigurationError(f"{where.rstrip('.') or 'the configuration'} must be a mapping")
    allowed = [one.name for one in fields(kind)]
    for key in raw:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(allowed)}"
            raise ConfigurationError(f"{where}{key} is not a field; {hint}")
    return dict(raw)


def _checked(kind: type, raw: Any, where: str) -> dict[str, Any]:
    hints = get_type_hints(kind)
    values = _known(kind, raw, where)
    return {key: _value(hints[key], value, where + key) for key, value in values.items()}


def _typed(kind: type, raw: Any, where: str) -> Any:
    values = _checked(kind, raw, where)
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigurationError(f"{where}{error}") from error


def _value(kind: type, value: Any, where: str) -> Any:
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and math.isnan(value)):
        raise ConfigurationError(f"{where} is {value!r}; allowed: {_TYPE_WORDS[kind]}")
    return value


def to_plain(search: SearchSpecification) -> dict[str, Any]:
    """As YAML would hold it; :func:`build_search` gives the same search back."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, tuple):
            return [plain(one) for one in value]
        if isinstance(value, SweepBlock | Resources | Mlflow):
            return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
        return "original" if isinstance(value, float) and math.isinf(value) else value

    return {one.name: plain(getattr(search, one.name)) for one in fields(search)}


def to_yaml(search: SearchSpecification) -> str:
    """The whole specification as YAML."""
    text: str = yaml.safe_dump(to_plain(search), sort_keys=False, allow_unicode=True)
    return text
