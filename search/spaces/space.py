"""The conditional search space of any task: every sample is a valid trial.

A space asks a chooser only for what has a meaning, in a fixed order: the streams, the network's
settings on which its sites depend, what sits at the sites that such a network has, how its streams
end, settings of couplings where there is a coupling, options of the kinds that are placed, then
everything else and the train condition.
What is not asked for does not exist in the sample.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from fusion_search.models.couplings.options import canonical
from fusion_search.models.layout import COUPLING, NONE, Layout, Placement, direction
from fusion_search.search.spaces.counting import placements_of, size_of
from fusion_search.search.spaces.kind_options import Key, KindOptions
from fusion_search.search.spaces.names import (
    END,
    STREAMS,
    TRAIN,
    condition_text,
    option_name,
    placed_name,
)
from fusion_search.search.spaces.networks import Networks
from fusion_search.search.spaces.parameters import (
    Asked,
    Choice,
    Chooser,
    Extreme,
    Follow,
    OutsideError,
    Parameter,
    Sample,
    is_searched,
    options_of,
)
from fusion_search.search.spaces.reading import TrialReader
from fusion_search.search.tasks.base import Condition, Task
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings
from fusion_search.search.trials.specification import FOLD, TrialSpecification, make_train

EVERYWHERE: Final = ""
"""In ``Space.placed``: every site that is not named."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """A space of trials.

    Attributes:
        name: of the task, as declared.
        task: what is fused.
        layout: settings of a network -> what it offers to placements.
        settings: (group, setting) -> what it may be, in the order asked; a group is network, data
            or training. What is not named has its default.
        evaluation: of every trial.
        placed: "coupling" or connection -> site -> options there.
        ends: how the streams may end; () for the layout's first.
        streams: subsets of streams, () for all.
        options: (kind, or kind and direction; option) -> what it may be, in the order asked.
        train: train conditions; every sample is trained at each of them.
        choose: they are a choice instead: a sample is trained at one.
        folds, seeds: every sample is trained in each, with each.
    """

    name: str
    task: Task = field(compare=False)
    layout: Callable[[Any], Layout] = field(compare=False)
    settings: Mapping[tuple[str, str], Parameter] = field(default_factory=dict)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    placed: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    ends: tuple[str, ...] = ()
    streams: tuple[tuple[str, ...], ...] = ((),)
    options: Mapping[Key, Parameter] = field(default_factory=dict)
    train: tuple[Condition, ...] = ({},)
    choose: bool = False
    folds: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] = (0,)

    def sample(self, chooser: Chooser) -> Sample:
        """One sample; a parameter with a single option is not part of it."""
        return self._walk(chooser)[0]

    def trials(self, sample: Sample) -> tuple[TrialSpecification, ...]:
        """The trials of a sample, fold by fold: one per seed and train condition, each once."""
        _, made, train = self._walk(Follow(sample))
        found: dict[str, TrialSpecification] = {}
        for fold, seed, condition in itertools.product(self.folds, self.seeds, train):
            one = self._trial(made, condition, fold, seed)
            found.setdefault(one.trial_id, one)
        return tuple(found.values())

    def trial_of(
        self, sample: Sample, condition: Condition, fold: int, seed: int
    ) -> TrialSpecification:
        """A sample's trial at a train condition."""
        _, made, _ = self._walk(Follow(sample))
        return self._trial(made, condition, fold, seed)

    def any_trial(self) -> TrialSpecification:
        """Some trial of the space."""
        return self.trials(self.sample(Extreme(last=False)))[0]

    def trial_at(self, condition: Condition) -> TrialSpecification:
        """Some trial at a train condition."""
        _, made, _ = self._walk(Extreme(last=False))
        return self._trial(made, condition, self.folds[0], self.seeds[0])

    def sample_of(self, trial: TrialSpecification) -> Sample | None:
        """The sample that gives this trial's searched settings; None when it lies outside."""
        try:
            sample, _, _ = self._walk(TrialReader(trial, self))
        except OutsideError:
            return None
        same = (one for one in self.trials(sample) if one.train == trial.train)
        rebuilt = next(same, None)
        if rebuilt is None or rebuilt.placement != trial.placement:
            return None
        first = {("network", name) for name in self.by_layout.first}
        searched = [key for key, one in self.settings.items() if is_searched(one) or key in first]
        equal = all(
            getattr(getattr(rebuilt, group), name) == getattr(getattr(trial, group), name)
            for group, name in searched
        )
        return sample if equal else None

    def sample_id(self, sample: Sample) -> str:
        """The same for all samples that build the same trials."""
        ids = [trial.trial_id for trial in self.trials(sample)]
        return ids[0] if len(ids) == 1 else hashlib.sha256("".join(ids).encode()).hexdigest()[:12]

    @cached_property
    def trials_per_sample(self) -> int:
        """How many trials a sample stands for, at most."""
        conditions = 1 if self.choose else len(self.train)
        return conditions * len(self.folds) * len(self.seeds)

    @property
    def epochs_per_sample(self) -> int:
        """How many epochs a sample is trained, over all its trials, at most."""
        epochs = self.settings.get(("training", "epochs"), Choice((TrainingSettings().epochs,)))
        return int(max(options_of(epochs))) * self.trials_per_sample

    def parameters(self) -> dict[str, Parameter]:
        """Every name that may occur in a sample, in the order asked, with what it may be.

        Raises:
            ValueError: a name means other options in another network.
        """
        found: dict[str, Parameter] = {}

        def declare(name: str, parameter: Parameter) -> None:
            if not is_searched(parameter):
                return
            if found.setdefault(name, parameter) != parameter:
                raise ValueError(
                    f"{name} has other options in other networks of the search, which no searcher "
                    "can compare; declare options that all of them have"
                )

        declare(STREAMS, self.streams_choice)
        there = list(self.by_layout.networks())
        for values in there:
            before: dict[str, Any] = {}
            for name in self.by_layout.first:
                declare(
                    self.by_layout.name_of(name, before), self.by_layout.parameter(name, before)
                )
                before[name] = values[name]
        layouts = [self.by_layout.layout_of(values) for values in there]
        for streams, layout in itertools.product(self.streams, layouts):
            for site, name, options in self.sites_of(layout, streams):
                declare(placed_name(site, name), Choice(options))
        for layout in layouts:
            declare(END, Choice(self.ends_of(layout)))
        for streams, layout in itertools.product(self.streams, layouts):
            if self._may_couple(layout, streams):
                for name in self.by_layout.coupling_fields:
                    declare(name, self.settings["network", name])
        possible = {
            key
            for streams, layout in itertools.product(self.streams, layouts)
            for site, name, options in self.sites_of(layout, streams)
            for kind in options
            for key in self.kind_options.used(layout, site, name, kind)
        }
        for key in self.options:
            if key in possible:
                declare(option_name(*key), self.options[key])
        for group, name in self.by_layout.rest:
            declare(name, self.settings[group, name])
        if self.choose:
            declare(TRAIN, self.train_choice)
        return found

    def size(self) -> int | None:
        """How many samples there are; None when a number is drawn from a continuous range."""
        return size_of(self)

    def placements(self) -> int:
        """How many placements there are, options of what is placed not counted."""
        return placements_of(self)

    def complexity(self, sample: Sample) -> int:
        """Number of couplings and connections; another end is one, "both" connections are two."""
        total = 0
        for name, value in sample.items():
            if name in self.placed_names:
                total += 2 if value == "both" else value != NONE
            elif name == END:
                total += value not in self.plain_ends
        return total

    @cached_property
    def plain_ends(self) -> frozenset[str]:
        """How the streams end in networks where nothing else is said."""
        layouts = [self.by_layout.layout_of(values) for values in self.by_layout.networks()]
        return frozenset(one.ends[0] for one in layouts if one.ends)

    @cached_property
    def placed_names(self) -> frozenset[str]:
        """Names in a sample that say what sits at a site."""
        layouts = [self.by_layout.layout_of(values) for values in self.by_layout.networks()]
        return frozenset(
            placed_name(site, name)
            for layout in layouts
            for site, kinds in layout.choices.items()
            for name in kinds
        )

    @cached_property
    def option_names(self) -> dict[str, Key]:
        """Names in a sample that say an option of what is placed."""
        return {option_name(*key): key for key in self.options}

    # What is asked, and in which order.

    def _walk(
        self, chooser: Chooser
    ) -> tuple[Sample, tuple[dict[str, dict[str, Any]], Placement], tuple[Condition, ...]]:
        """The sample, what it makes of settings and placement, and the train conditions."""
        asked = Asked(chooser)
        made: dict[str, dict[str, Any]] = {"network": {}, "data": {}, "training": {}}
        streams = asked.of(STREAMS, self.streams_choice)
        network = made["network"]
        for name in self.by_layout.first:
            parameter = self.by_layout.parameter(name, network)
            network[name] = asked.of(self.by_layout.name_of(name, network), parameter)
        layout = self.by_layout.layout_of(network)
        sites: dict[str, dict[str, str]] = {}
        for site, name, options in self.sites_of(layout, streams):
            kind = asked.of(placed_name(site, name), Choice(options))
            sites.setdefault(site, {})[name] = kind
        end = asked.of(END, Choice(self.ends_of(layout)))
        if any(placed.get(COUPLING, NONE) != NONE for placed in sites.values()):
            for name in self.by_layout.coupling_fields:
                network[name] = asked.of(name, self.settings["network", name])
        else:
            network |= self.by_layout.unasked
        given = self.kind_options.ask(asked, layout, sites)
        for group, name in self.by_layout.rest:
            made[group][name] = asked.of(name, self.settings[group, name])
        train = (asked.of(TRAIN, self.train_choice),) if self.choose else self.train
        placement = canonical(layout, Placement(sites, end, streams, given))
        return asked.sample, (made, placement), train

    def _trial(
        self,
        made: tuple[dict[str, dict[str, Any]], Placement],
        condition: Condition,
        fold: int,
        seed: int,
    ) -> TrialSpecification:
        values, placement = made
        return TrialSpecification(
            task=self.name,
            network=self.task.network(**values["network"]),
            data=self.task.data(**values["data"]),
            placement=placement,
            train=make_train(self.task, condition, placement.streams),
            fold=fold,
            seed=seed,
            training=TrainingSettings(**values["training"]),
            evaluation=self.evaluation,
            varied=self._varied,
        )

    @cached_property
    def _varied(self) -> tuple[str, ...]:
        names = [name for (_, name), one in self.settings.items() if is_searched(one)]
        return (*names, *([FOLD] if len(self.folds) > 1 else []))

    @cached_property
    def by_layout(self) -> Networks:
        """Its networks, by the settings on which their sites depend."""
        return Networks(self.task.network, self.layout, self.settings)

    @cached_property
    def kind_options(self) -> KindOptions:
        """Options of couplings and connections, by where they mean something."""
        return KindOptions(self.options)

    @cached_property
    def streams_choice(self) -> Choice:
        """Subsets of streams by their text."""
        return Choice(tuple("+".join(one) or "all" for one in self.streams), self.streams)

    @cached_property
    def train_choice(self) -> Choice:
        """Train conditions by their text."""
        return Choice(tuple(condition_text(one) for one in self.train), self.train)

    def sites_of(
        self, layout: Layout, streams: Sequence[str]
    ) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """(site, "coupling" or connection, options) of what can be chosen in a network."""
        sites = {site.name: site for site, _ in layout.sites}
        for site, kinds in layout.choices.items():
            there = [one for one in sites[site].after if not streams or one in streams]
            gated = sites[site].gated
            changed = [one for one in there if gated is None or one in gated]
            for name in kinds:
                wanted = self.placed.get(name, {})
                declared = wanted.get(site, wanted.get(EVERYWHERE, (NONE,)))
                needed = direction(name) if name != COUPLING else ()
                fits = len(there) > 1 and bool(changed) and all(one in there for one in needed)
                offered = (one for one in declared if layout.offers(site, name, one, streams))
                options = tuple(offered) if fits else ()
                yield site, name, options or (NONE,)

    def ends_of(self, layout: Layout) -> tuple[str, ...]:
        """How the streams of a network may end."""
        offered = layout.ends or ("",)
        return tuple(one for one in self.ends if one in offered) or offered[:1]

    def _may_couple(self, layout: Layout, streams: Sequence[str]) -> bool:
        # A coupling that is the only option of its site is in no sample, but is there.
        return any(
            name == COUPLING and options != (NONE,)
            for _, name, options in self.sites_of(layout, streams)
        )
