"""The typed, frozen description of a search."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from fusion_search.analysis.records.secrets import (
    STORAGE_REMEDY,
    TRACKING_REMEDY,
    printable,
    refuse_password,
)
from fusion_search.datasets.errors import refuse_repeats
from fusion_search.search.declaration.requirements import check_requirement
from fusion_search.search.declaration.sweeps import data_differences, swept_trials
from fusion_search.search.spaces.objectives import Objective
from fusion_search.search.spaces.parameters import Choice, options_of
from fusion_search.search.spaces.searchers import SEARCHER_NAMES as SEARCHER_NAMES
from fusion_search.search.spaces.searchers import SearcherName
from fusion_search.search.spaces.space import Space
from fusion_search.search.tasks.base import Task
from fusion_search.search.trials.specification import TrialSpecification

SchedulerName = Literal["none", "asha", "median", "pbt", "fold_rungs"]
SCHEDULER_NAMES: Final = get_args(SchedulerName)
FOLD_RUNGS: Final = "fold_rungs"
PERTURBED: Final = ("learning_rate", "weight_decay", "dropout")
"""What population-based training may change while a network is trained."""
MOST_SEEDS: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one trial gets, or one pack. Bounding memory is the user's part.

    Attributes:
        cpus_per_trial: cores, and threads of a trial.
        gpus_per_trial: fractions share a GPU.
        concurrent_trials: how many run at once; 0 for as many as fit.
        packed_trials: trials of a sweep or list that differ in seed, train condition or optimiser
            settings are trained together, up to so many on one device; 1 for each alone.
        retries: how often a trial whose worker or node was lost is tried again before it is
            recorded as failed.
        save_seconds: a running trial's state is saved after an epoch when so long has passed
            since it was saved last; a trial that is lost goes on from there. Packs save none.
        trial_deadline_seconds: a trial, or pack, that runs for longer is killed and recorded as
            failed; 0 for no deadline.
        storage_wait_seconds: how long a trial waits with its records for storage that does not
            answer, before the search stops.
        requirements: packages that pip installs for the task on a cluster's nodes, such as
            `einops==0.8`, or `-r FILE`; on this machine they have to be installed.
    """

    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    concurrent_trials: int = 0
    packed_trials: int = 1
    retries: int = 2
    save_seconds: float = 30.0
    trial_deadline_seconds: float = 0.0
    storage_wait_seconds: float = 180.0
    requirements: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (0 < self.cpus_per_trial < math.inf):
            raise ValueError(f"cpus_per_trial is {self.cpus_per_trial}; allowed: above 0, finite")
        gpus = self.gpus_per_trial
        if not (0 <= gpus <= 1 or (gpus < math.inf and gpus == int(gpus))):
            raise ValueError(f"gpus_per_trial is {gpus}; allowed: 0 to 1, or a whole number")
        if self.concurrent_trials < 0:
            raise ValueError(
                f"concurrent_trials is {self.concurrent_trials}; allowed: 0 (all that fit) or more"
            )
        if self.packed_trials < 1:
            raise ValueError(
                f"packed_trials is {self.packed_trials}; allowed: 1 (each trial alone) or more"
            )
        if self.retries < 0:
            raise ValueError(f"retries is {self.retries}; allowed: 0 or more")
        for name in ("save_seconds", "trial_deadline_seconds", "storage_wait_seconds"):
            if not (0 <= getattr(self, name) < math.inf):
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 or more, finite")
        for one in self.requirements:
            check_requirement(one, "requirements")


@dataclass(frozen=True, kw_only=True)
class Mlflow:
    """Where runs are shown.

    Attributes:
        enabled: whether they are shown at all.
        tracking_uri: any of MLflow's, without a password, since it goes into the records and onto
            the console; "" for SQLite in the storage folder.
    """

    enabled: bool = True
    tracking_uri: str = ""

    def __post_init__(self) -> None:
        refuse_password(self.tracking_uri, "tracking_uri", TRACKING_REMEDY)


@dataclass(frozen=True, kw_only=True)
class SearcherSettings:
    """Who proposes the samples of a space.

    Attributes:
        name: random; grid (every sample once); tpe and nsga2 (Optuna's; nsga2 takes several
            objectives); surrogate (placements that grow, by a model of the records).
        seed: of its choices.
        samples: how many it proposes, repeated ones not counted.
        warm_start: searches in the same storage folder whose records it knows from the start: those
            of trials of the same task, data, folds, train conditions and split.
    """

    name: SearcherName = "random"
    seed: int = 0
    samples: int = 50
    warm_start: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in SEARCHER_NAMES:
            raise ValueError(f"name is {self.name!r}; allowed: {', '.join(SEARCHER_NAMES)}")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed is {self.seed}; allowed: 0 to 2**31 - 1")
        refuse_repeats(self.warm_start, "warm_start")
        if self.warm_start and self.name in ("random", "grid"):
            raise ValueError(
                f"warm_start is given to {self.name}, which does not learn; allowed with: tpe, "
                "nsga2, surrogate"
            )
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}; allowed: 1 or more")


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    """Which trials are stopped early, by the first metric in validation at the train condition.

    Attributes:
        name: none; asha (asynchronous successive halving); median (worse than the median of the
            others' running means); pbt (population-based training: the worst take over weights
            and hyperparameters of the best, perturbed); fold_rungs (no trial is stopped: a sample
            is trained in fold after fold, and dropped between two when its mean of the objective so
            far is not among the best; docs/fold-rungs.md).
        grace_epochs: epochs before a trial can be stopped, or between two perturbations.
        reduction: of asha and fold_rungs: one in so many goes on.
        within: of asha: names of choices, such as [fusion_depth]; a sample is set against those
            alone that chose the same of them.
    """

    name: SchedulerName = "none"
    grace_epochs: int = 1
    reduction: int = 3
    within: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse_repeats(self.within, "within")
        if self.within and self.name != "asha":
            raise ValueError(
                f"within is {list(self.within)} with scheduler {self.name}, which sets no sample "
                "against its like; leave it out, or give asha"
            )
        if self.name not in SCHEDULER_NAMES:
            raise ValueError(f"name is {self.name!r}; allowed: {', '.join(SCHEDULER_NAMES)}")
        if self.grace_epochs < 1:
            raise ValueError(f"grace_epochs is {self.grace_epochs}; allowed: 1 or more")
        if self.reduction < 2:
            raise ValueError(f"reduction is {self.reduction}; allowed: 2 or more")
        if self.name == FOLD_RUNGS and self.grace_epochs != 1:
            raise ValueError(
                f"grace_epochs is {self.grace_epochs} with fold_rungs, which stops no trial within "
                "a fold; leave it out, or give asha or median"
            )


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """Training the best of a search again, beside the plain networks, on the test split.

    Attributes:
        top: how many of the best; 0 for no confirmation.
        seeds: fresh seeds for each; with fewer than six no difference can be told from chance.
        training, evaluation, data: settings that differ from the search's (a fuller budget).
    """

    top: int = 0
    seeds: int = 6
    training: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.top < 0:
            raise ValueError(f"top is {self.top}; allowed: 0 (no confirmation) or more")
        if not 1 <= self.seeds <= MOST_SEEDS:
            raise ValueError(f"seeds is {self.seeds}; allowed: 1 to {MOST_SEEDS:,}")

    @property
    def settings(self) -> dict[str, Any]:
        """All that differ, by name."""
        return {**self.training, **self.evaluation, **self.data}


@dataclass(frozen=True, kw_only=True)
class SearchOutline:
    """What can be said of a search without its task, whose code reading commands do not run.

    Attributes:
        name: of its folder.
        task: the name of its task.
        searched: whether a searcher proposes its trials.
        searcher, scheduler, objectives, confirmation: of such a search.
    """

    name: str
    task: str
    searched: bool = False
    searcher: SearcherSettings = SearcherSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    objectives: tuple[Objective, ...] = ()
    confirmation: Confirmation = Confirmation()
    resources: Resources = Resources()
    mlflow: Mlflow = Mlflow()
    storage: str = "results"

    def __post_init__(self) -> None:
        refuse_password(self.storage, "storage", STORAGE_REMEDY)


def most_loader_workers(spaces: Iterable[Space], listed: Iterable[TrialSpecification] = ()) -> int:
    """Of all trials, the most processes that one asks for to load its examples."""
    declared = [one.settings.get(("training", "loader_workers")) for one in spaces]
    asked = [int(max(options_of(one))) for one in declared if one is not None]
    return max([0, *asked, *(one.training.loader_workers for one in listed)])


@dataclass(frozen=True, kw_only=True)
class SearchSpecification(SearchOutline):
    """A whole search: a sweep, a list of trials, or a space with a searcher.

    Attributes:
        definition: its task.
        declared: what its configuration says of its trials, as plain data.
        sweep: full products to run, unless ``listed`` or ``space`` says otherwise.
        listed: every trial by itself; a confirmation is such a search.
        space: what a searcher searches.
    """

    definition: Task = field(compare=False)
    declared: Mapping[str, Any] = field(default_factory=dict)
    sweep: tuple[Space, ...] = ()
    listed: tuple[TrialSpecification, ...] = ()
    space: Space | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.space is None:
            return
        self.space.parameters()
        if self.resources.packed_trials > 1:
            raise ValueError(
                f"resources.packed_trials is {self.resources.packed_trials} in a search over a "
                "space, whose trials are proposed and may be stopped one by one; allowed: 1"
            )
        several = len(self.objectives) > 1
        if several and self.searcher.name in ("tpe", "surrogate"):
            raise ValueError(
                f"searcher.name is {self.searcher.name!r} with {len(self.objectives)} objectives; "
                "allowed: nsga2, random, grid (or one objective)"
            )
        epochs = self.space.epochs_per_sample
        if self.scheduler.name != "none" and self.scheduler.grace_epochs > epochs:
            raise ValueError(
                f"scheduler.grace_epochs is {self.scheduler.grace_epochs}; allowed: 1 to "
                f"{epochs}, the epochs of a sample"
            )
        if self.scheduler.name == "pbt":
            self._check_population(self.space)
        if self.scheduler.name == FOLD_RUNGS:
            self._check_folds(self.space)
        choices = [name for name, one in self.space.parameters().items() if isinstance(one, Choice)]
        if unknown := [name for name in self.scheduler.within if name not in choices]:
            raise ValueError(
                f"scheduler.within names {', '.join(unknown)}; "
                + (
                    f"allowed: {', '.join(choices)}, what samples choose among options"
                    if choices
                    else "samples choose nothing among options here: leave it out"
                )
            )

    def _check_folds(self, space: Space) -> None:
        if len(space.folds) < 2:
            raise ValueError(
                "scheduler.name is 'fold_rungs' with one fold, after which there is nothing to "
                "drop; allowed: two or more folds, or another scheduler"
            )
        if len(self.objectives) > 1:
            raise ValueError(
                f"scheduler.name is 'fold_rungs' with {len(self.objectives)} objectives, by which "
                "no sample is simply better than another; allowed: one objective"
            )

    @property
    def loader_workers(self) -> int:
        """The most of a trial."""
        spaces = self.sweep if self.space is None else (self.space,)
        return most_loader_workers(spaces, self.listed)

    @property
    def data_differences(self) -> str:
        """In what the data of its trials differ, in words; empty in nothing."""
        spaces = self.sweep if self.space is None else (self.space,)
        return data_differences(() if self.listed else spaces, self.listed)

    def data_words(self, note: str) -> str:
        """What the data are, to be printed at its start.

        Args:
            note: on those of the first trial, which alone are open then.
        """
        others = self.data_differences
        if not others:
            return f"data: {note}"
        return f"data of the first trial: {note}; others differ in {printable(others)}"

    @property
    def gpus_used(self) -> float:
        """What a trial gets and computes on; 0 where all are to compute on the CPU."""
        asked = {one.training.device for one in self.listed}
        spaces = self.sweep if self.space is None else (self.space,)
        for space in () if self.listed else spaces:
            device = space.settings.get(("training", "device"))
            asked |= {"auto"} if device is None else set(options_of(device))
        return 0.0 if asked == {"cpu"} else self.resources.gpus_per_trial

    def _check_population(self, space: Space) -> None:
        if self.searcher.name not in ("random", "grid"):
            raise ValueError(
                f"searcher.name is {self.searcher.name!r} with scheduler pbt, whose population is "
                "proposed at once; allowed: random, grid"
            )
        names = set(space.parameters())
        if not names or not names <= set(PERTURBED) or space.trials_per_sample > 1:
            raise ValueError(
                "scheduler.name is 'pbt', which copies weights between trials; allowed: a "
                f"space of {', '.join(PERTURBED)} alone, everything else with one option"
            )

    def planned_trials(self) -> list[TrialSpecification]:
        """Every trial of a sweep or list once; see ``swept_trials`` for a sweep's order.

        The trials of a space are not known before the searcher proposes them.
        """
        if self.space is not None:
            raise ValueError(f"search {self.name!r} has a space; its trials are not planned")
        return list(self.listed) or swept_trials(self.sweep)
