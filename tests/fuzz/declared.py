"""Every field of every section of a configuration, taken from the dataclasses themselves.

A field added to one of them is fuzzed without a change here.
"""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import Any, Final

from hypothesis import strategies as st
from small_trials import small_trial

from fusion_search.datasets.digits.data import DigitsSettings
from fusion_search.search.declaration.configuration import FIELDS
from fusion_search.search.declaration.document import PLACEMENT
from fusion_search.search.declaration.space_fields import PARTS
from fusion_search.search.declaration.specification import (
    Confirmation,
    Mlflow,
    Resources,
    SchedulerSettings,
    SearcherSettings,
)
from fusion_search.search.spaces.objectives import Objective
from fusion_search.search.tasks.digits.task import DigitsNetwork
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings

Place = tuple[str, tuple[str | int, ...]]
"""A base configuration, and the way to one field in it."""

_LISTED: Final = ("listed", ("listed", 0))


def _names(kind: type) -> list[str]:
    return [one.name for one in fields(kind)]


_GROUPS: Final = {
    "network": DigitsNetwork,
    "data": DigitsSettings,
    "training": TrainingSettings,
    "evaluation": EvaluationSettings,
}
_DIGITS: Final = {
    "name": "x",
    "task": "digits",
    "network": {"fusion_depth": 2},
    "train": [[1, 0.5]],
}
BASES: Final[dict[str, dict[str, Any]]] = {
    "sweep": {
        **_DIGITS,
        **{"data": {}, "training": {}, "evaluation": {}, "placement": {}},
        "sweep": [{name: {} for name in _GROUPS}],
        "resources": {},
        "mlflow": {},
    },
    "space": {
        **_DIGITS,
        "data": {},
        "training": {"epochs": 2},
        "evaluation": {},
        "placement": {"couplings": ["none", "mmtm"]},
        "searcher": {},
        "scheduler": {},
        "objectives": [{"name": "mean_accuracy"}],
        "confirmation": {"training": {}, "evaluation": {}, "data": {}},
    },
    "listed": {"name": "x", "task": "digits", "listed": [small_trial().to_plain()]},
}

_SECTIONS: Final[dict[tuple[str, tuple[str | int, ...]], list[str]]] = {
    ("sweep", ()): FIELDS,
    ("sweep", ("sweep", 0)): list(PARTS),
    ("sweep", ("resources",)): _names(Resources),
    ("sweep", ("mlflow",)): _names(Mlflow),
    ("space", ("searcher",)): _names(SearcherSettings),
    ("space", ("scheduler",)): _names(SchedulerSettings),
    ("space", ("objectives", 0)): _names(Objective),
    ("space", ("confirmation",)): _names(Confirmation),
    **{("space", ("confirmation", name)): _names(_GROUPS[name]) for name in list(_GROUPS)[1:]},
    ("listed", ("listed", 0)): list(small_trial().to_plain()),
    **{
        (base, (*way, name)): _names(kind)
        for base, way in (("sweep", ()), ("space", ()), ("sweep", ("sweep", 0)), _LISTED)
        for name, kind in _GROUPS.items()
    },
    ("sweep", ("placement",)): list(PLACEMENT),
    ("space", ("placement",)): list(PLACEMENT),
}

PLACES: Final[list[Place]] = [
    (base, (*way, name)) for (base, way), names in _SECTIONS.items() for name in names
]

_WORDS: Final = sorted(
    {
        *("all", "average", "low", "high", "log", "original", "test", "validation", "builtin"),
        *(
            "image",
            "audio",
            "absent",
            "any",
            "choose",
            "digits",
            "image>audio",
            "level1",
            "power",
            "amplitude",
            "eager",
            "compiled",
            "auto",
            "cpu",
        ),
        *("none", "mmtm", "squeeze_excitation", "convolutional", "sum", "cross", "residual"),
        *("concatenation", "gate_audio", "gate_image", "random", "tpe", "nsga2", "grid"),
        *("surrogate", "asha", "median", "pbt", "maximize", "minimize", "quantile_accuracy"),
        *("../x", "/etc/passwd", "a/b", "~nobody/x", "nul\0", "line\nbreak", "\x1b[31m", ""),
        *("postgresql://u:hunter2@h/db", "s3://key:hunter2@bucket", "x" * 5000, "ä" * 300),
        *("mlflow.db", ".", "..", "-x", "x-confirmation", "\u202egnp", "1e400", "NaN", "null"),
    }
)
_SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.integers(),
    st.sampled_from([2**31 - 1, 2**31, 2**63, -(2**63), 10**400, 10**4000]),
    st.floats(),
    st.floats(0, 1),
    st.sampled_from(_WORDS),
    st.text(max_size=30),
    st.dates(),
    st.binary(max_size=3),
)
VALUES: Final = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(st.lists(st.floats(0.1, 4), min_size=2, max_size=2), min_size=1, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(_WORDS), st.integers(0, 7)), inner, max_size=4),
    ),
    max_leaves=8,
)


def with_value(place: Place, value: Any) -> dict[str, Any]:
    """The base configuration with this value at this place."""
    base, way = place
    raw = copy.deepcopy(BASES[base])
    target: Any = raw
    for step in way[:-1]:
        target = target[step]
    target[way[-1]] = value
    return raw
