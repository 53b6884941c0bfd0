"""Where in a network should two senses meet? What a user imports, each when it is first asked for.

>>> from fusion_search import TrialSpecification, run_trial
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from fusion_search.models.convlstm import ConvLSTM
    from fusion_search.models.early_fusion import EarlyFusionNetwork, EarlyFusionSettings
    from fusion_search.models.placement import Placement
    from fusion_search.search.trials.specification import TrialSpecification
    from fusion_search.search.trials.trial import TrialResult, run_trial

__all__ = [
    "ConvLSTM",
    "EarlyFusionNetwork",
    "EarlyFusionSettings",
    "Placement",
    "TrialResult",
    "TrialSpecification",
    "run_trial",
]

_HOMES: Final = {
    "ConvLSTM": "models.convlstm",
    "EarlyFusionNetwork": "models.early_fusion",
    "EarlyFusionSettings": "models.early_fusion",
    "Placement": "models.placement",
    "TrialResult": "search.trials.trial",
    "TrialSpecification": "search.trials.specification",
    "run_trial": "search.trials.trial",
}


def __getattr__(name: str) -> Any:
    # Later, because torch takes seconds that ``fusion-search --help`` should not wait for.
    if name not in _HOMES:
        raise AttributeError(f"fusion_search has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"fusion_search.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
