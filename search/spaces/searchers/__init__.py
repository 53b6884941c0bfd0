"""Searchers: who proposes the next sample of a space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, get_args

from fusion_search.search.spaces.parameters import Sample
from fusion_search.search.spaces.searchers.base import Observation, Searcher
from fusion_search.search.spaces.searchers.optuna_searchers import NSGA2Searcher, TPESearcher
from fusion_search.search.spaces.searchers.random_grid import GridSearcher, RandomSearcher
from fusion_search.search.spaces.searchers.surrogate import SurrogateSearcher
from fusion_search.search.spaces.space import Space

SearcherName = Literal["random", "grid", "tpe", "nsga2", "surrogate"]
SEARCHER_NAMES: Final = get_args(SearcherName)

SEARCHERS: Final[dict[str, type[Searcher]]] = {
    "random": RandomSearcher,
    "grid": GridSearcher,
    "tpe": TPESearcher,
    "nsga2": NSGA2Searcher,
    "surrogate": SurrogateSearcher,
}

_ATTEMPTS: Final = 5  # refused proposals before chance helps out
_RANDOM_ATTEMPTS: Final = 500  # before the space counts as exhausted


def make_searcher(name: str, space: Space, directions: Sequence[str], seed: int) -> Searcher:
    """The searcher of this name.

    Raises:
        ValueError: it cannot have so many objectives.
    """
    return SEARCHERS[name](space, directions, seed)


def propose_new(
    searcher: Searcher, history: Sequence[Observation], is_new: Callable[[Sample], bool]
) -> Sample | None:
    """The searcher's next sample that is new; what is not is refused, at no cost.

    A searcher that is sure of itself may propose the same for ever: then a random sample keeps
    the search going. None when the searcher, or chance, finds nothing new.
    """
    for attempt in range(_ATTEMPTS):
        sample = searcher.propose(history, attempt)
        if sample is None or is_new(sample):
            return sample
    chance = RandomSearcher(searcher.space, searcher.directions, searcher.seed)
    for attempt in range(_ATTEMPTS, _ATTEMPTS + _RANDOM_ATTEMPTS):
        sample = chance.propose(history, attempt)
        assert sample is not None
        if is_new(sample):
            return sample
    return None
