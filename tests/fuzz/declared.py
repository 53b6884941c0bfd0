"""Every field of every section of a configuration, taken from the dataclasses themselves.

A field added to one of them is fuzzed without a change here.
"""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import Any, Final

from hypothesis import strategies as st

from fusion_search.search.declaration import space_fields
from fusion_search.search.declaration.specification import (
    Confirmation,
    Mlflow,
    Resources,
    SchedulerSettings,
    SearcherSettings,
    SearchSpecification,
    SweepBlock,
)
from fusion_search.search.spaces.objectives import Objective
from fusion_search.search.trials.specification import TrialSpecification

Place = tuple[str, tuple[str | int, ...]]
"""A base configuration, and the way to one field in it."""

BASES: Final[dict[str, dict[str, Any]]] = {
    "sweep": {
        "name": "x",
        "trials": {},
        "sweep": [{"train_pairs": [[1, 0.5]]}],
        "resources": {},
        "mlflow": {},
    },
    "space": {
        "name": "x",
        "trials": {"epochs": 2},
        "space": {"train_pairs": [[1, 0.5]], "couplings": ["none", "mmtm"]},
        "searcher": {},
        "scheduler": {},
        "objectives": [{"name": "mean_accuracy"}],
        "confirmation": {"trials": {}},
    },
    "listed": {"name": "x", "listed": [{"train_audio_snr": 1, "train_visual_snr": "original"}]},
}

_SECTIONS: Final = {
    ("sweep", ()): SearchSpecification,
    ("sweep", ("sweep", 0)): SweepBlock,
    ("sweep", ("resources",)): Resources,
    ("sweep", ("mlflow",)): Mlflow,
    ("sweep", ("trials",)): TrialSpecification,
    ("space", ("trials",)): TrialSpecification,
    ("space", ("searcher",)): SearcherSettings,
    ("space", ("scheduler",)): SchedulerSettings,
    ("space", ("objectives", 0)): Objective,
    ("space", ("confirmation",)): Confirmation,
    ("space", ("confirmation", "trials")): TrialSpecification,
    ("listed", ("listed", 0)): TrialSpecification,
}

PLACES: Final[list[Place]] = [
    *((base, (*way, one.name)) for (base, way), kind in _SECTIONS.items() for one in fields(kind)),
    *(("space", ("space", name)) for name in space_fields._FIELDS),
]

_WORDS: Final = sorted(
    {
        *("all", "average", "low", "high", "log", "original", "test", "validation", "builtin"),
        *("both", "visual", "audio", "power", "amplitude", "eager", "compiled", "auto", "cpu"),
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
