"""The conditional search space of any task: every sample is a valid trial.

A space asks a chooser only for what has a meaning, in a fixed order: the streams, the network's
settings on which its sites depend, what sits at the sites that such a network has, how its streams
end, settings of couplings where there is a coupling, then everything else and the train condition.
What is not asked for does not exist in the sample.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Final

from fusion_search.models.layout import COUPLING, NONE, Layout, Placement, direction
from fusion_search.search.spaces.parameters import (
    Asked,
    Choice,
    Chooser,
    Follow,
    OutsideError,
    Parameter,
    Sample,
    choice_of,
    count_of,
    options_of,
)
from fusion_search.search.tasks.base import Condition, Task
from fusion_search.search.trials.plain import train_text
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings
from fusion_search.search.trials.specification import TrialSpecification, make_train

EVERYWHERE: Final = ""
"""In ``Space.placed``: every site that is not named."""

END: Final = "end"
STREAMS: Final = "streams"
TRAIN: Final = "train_condition"


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
        train: train conditions; every sample is trained at each of them.
        choose: they are a choice instead: a sample is trained at one.
        folds, seeds: every sample is trained in each, with each.
    """

    name: str
    task: Task
    layout: Callable[[Any], Layout]
    settings: Mapping[tuple[str, str], Parameter] = field(default_factory=dict)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    placed: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    ends: tuple[str, ...] = ()
    streams: tuple[tuple[str, ...], ...] = ((),)
    train: tuple[Condition, ...] = ({},)
    choose: bool = False
    folds: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] = (0,)

    def sample(self, chooser: Chooser) -> Sample:
        """One sample; a parameter with a single option is not part of it."""
        return self._walk(chooser)[0]

    def trials(self, sample: Sample) -> tuple[TrialSpecification, ...]:
        """The trials of a sample: one per train condition, fold and seed, each once."""
        _, made, train = self._walk(Follow(sample))
        found: dict[str, TrialSpecification] = {}
        for seed, fold, condition in itertools.product(self.seeds, self.folds, train):
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
            sample, _, _ = self._walk(_Read(trial, self))
        except OutsideError:
            return None
        same = (one for one in self.trials(sample) if one.train == trial.train)
        rebuilt = next(same, None)
        if rebuilt is None or rebuilt.placement != trial.placement:
            return None
        first = {("network", name) for name in self.first}
        searched = [key for key, one in self.settings.items() if _is_searched(one) or key in first]
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
        """Every name that may occur in a sample, in the order asked, with what it may be."""
        found: dict[str, Parameter] = {}

        def declare(name: str, parameter: Parameter) -> None:
            if _is_searched(parameter):
                found.setdefault(name, parameter)

        declare(STREAMS, self._streams)
        there = list(self.networks())
        for values in there:
            before: dict[str, Any] = {}
            for name in self.first:
                declare(self._first_name(name, before), self._first_parameter(name, before))
                before[name] = values[name]
        layouts = [self.layout_of(values) for values in there]
        for streams, layout in itertools.product(self.streams, layouts):
            for site, name, options in self._sites(layout, streams):
                declare(placed_name(site, name), Choice(options))
        for layout in layouts:
            declare(END, Choice(self._ends(layout)))
        for streams, layout in itertools.product(self.streams, layouts):
            if self._may_couple(layout, streams):
                for name in self._coupling_fields:
                    declare(name, self.settings["network", name])
        for group, name in self._rest:
            declare(name, self.settings[group, name])
        if self.choose:
            declare(TRAIN, self._train)
        return found

    def size(self) -> int | None:
        """How many samples there are; None when a number is drawn from a continuous range."""
        counts = {key: count_of(one) for key, one in self.settings.items()}
        if None in counts.values():
            return None
        coupling = math.prod(counts["network", name] or 1 for name in self._coupling_fields)
        rest = math.prod(counts[key] or 1 for key in self._rest)
        placements = 0
        for values, streams in itertools.product(self.networks(), self.streams):
            layout = self.layout_of(values)
            sites = list(self._sites(layout, streams))
            couplings = [options for _, name, options in sites if name == COUPLING]
            every = math.prod(len(one) for one in couplings)
            without = math.prod(NONE in one for one in couplings)
            connections = math.prod(len(options) for _, name, options in sites if name != COUPLING)
            ends = len(self._ends(layout))
            placements += ((every - without) * coupling + without) * connections * ends
        return placements * rest * (len(self.train) if self.choose else 1)

    def complexity(self, sample: Sample) -> int:
        """Number of couplings and connections; another end is one, "both" connections are two."""
        total = 0
        for name, value in sample.items():
            if is_placed(name):
                total += 2 if value == "both" else value != NONE
            elif name == END:
                total += value not in self.plain_ends
        return total

    @cached_property
    def plain_ends(self) -> frozenset[str]:
        """How the streams end in networks where nothing else is said."""
        layouts = [self.layout_of(values) for values in self.networks()]
        return frozenset(one.ends[0] for one in layouts if one.ends)

    # What is asked, and in which order.

    def _walk(
        self, chooser: Chooser
    ) -> tuple[Sample, tuple[dict[str, dict[str, Any]], Placement], tuple[Condition, ...]]:
        """The sample, what it makes of settings and placement, and the train conditions."""
        asked = Asked(chooser)
        made: dict[str, dict[str, Any]] = {"network": {}, "data": {}, "training": {}}
        streams = asked.of(STREAMS, self._streams)
        network = made["network"]
        for name in self.first:
            parameter = self._first_parameter(name, network)
            network[name] = asked.of(self._first_name(name, network), parameter)
        layout = self.layout_of(network)
        sites: dict[str, dict[str, str]] = {}
        for site, name, options in self._sites(layout, streams):
            kind = asked.of(placed_name(site, name), Choice(options))
            sites.setdefault(site, {})[name] = kind
        end = asked.of(END, Choice(self._ends(layout)))
        if any(placed.get(COUPLING, NONE) != NONE for placed in sites.values()):
            for name in self._coupling_fields:
                network[name] = asked.of(name, self.settings["network", name])
        for group, name in self._rest:
            made[group][name] = asked.of(name, self.settings[group, name])
        train = (asked.of(TRAIN, self._train),) if self.choose else self.train
        default = layout.ends[0] if layout.ends else ""
        placement = Placement(sites, "" if end == default else end, streams)
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
        )

    @cached_property
    def first(self) -> tuple[str, ...]:
        """Settings of the network on which its sites depend, as far as they are declared."""
        names = [one.name for one in fields(self.task.network)]
        wanted = getattr(self.task.network, "layout_fields", names)
        declared = [name for group, name in self.settings if group == "network"]
        return tuple(one for one in wanted if one in declared and one not in self._coupling_fields)

    @cached_property
    def _coupling_fields(self) -> tuple[str, ...]:
        wanted = getattr(self.task.network, "coupling_fields", ())
        return tuple(one for one in wanted if ("network", one) in self.settings)

    @cached_property
    def _rest(self) -> tuple[tuple[str, str], ...]:
        taken = {("network", name) for name in (*self.first, *self._coupling_fields)}
        return tuple(key for key in self.settings if key not in taken)

    @cached_property
    def _fixed(self) -> dict[str, Any]:
        """Settings of the network outside the first that have one option."""
        return {
            name: options_of(self.settings[group, name])[0]
            for group, name in self._rest
            if group == "network" and not _is_searched(self.settings[group, name])
        }

    @cached_property
    def _streams(self) -> Choice:
        texts = tuple("+".join(one) or "all" for one in self.streams)
        return Choice(texts, self.streams)

    @cached_property
    def _train(self) -> Choice:
        return Choice(tuple(condition_text(one) for one in self.train), self.train)

    def network(self, values: Mapping[str, Any]) -> Any:
        """Settings of a network with these values of the first."""
        return self.task.network(**{**self._fixed, **values})

    def layout_of(self, values: Mapping[str, Any]) -> Layout:
        """What a network with these values of the first offers."""
        key = tuple(map(repr, values.values()))
        if key not in self._layouts:
            self._layouts[key] = self.layout(self.network(values))
        return self._layouts[key]

    @cached_property
    def _layouts(self) -> dict[tuple[str, ...], Layout]:
        """Already asked for, since every sample asks."""
        return {}

    @cached_property
    def _choices(self) -> dict[tuple[str, ...], Choice]:
        """Already made, since every sample asks and every option is tried."""
        return {}

    def networks(self) -> Iterator[dict[str, Any]]:
        """Every combination of the settings on which the sites depend."""
        there: list[dict[str, Any]] = [{}]
        for name in self.first:
            there = [
                {**before, name: value}
                for before in there
                for value in options_of(self._first_parameter(name, before))
            ]
        yield from there

    def _first_parameter(self, name: str, before: Mapping[str, Any]) -> Parameter:
        """What it may be after these: options with which there is a network."""
        parameter = self.settings["network", name]
        if not isinstance(parameter, Choice):
            return parameter
        key = (name, *map(repr, before.values()))
        if key not in self._choices:
            valid = [one for one in options_of(parameter) if self._is_valid(before, name, one)]
            self._choices[key] = choice_of(valid)
        return self._choices[key]

    def _is_valid(self, before: Mapping[str, Any], name: str, value: Any) -> bool:
        try:
            self.network({**before, name: value})
        except ValueError:
            return False
        return True

    def _first_name(self, name: str, before: Mapping[str, Any]) -> str:
        # A name must always mean the same options.
        searched = [one for one in before if _is_searched(self.settings["network", one])]
        if not searched or name not in self._conditional:
            return name
        return "_".join([name, "of", *(str(before[one]) for one in searched)])

    @cached_property
    def _conditional(self) -> set[str]:
        """Those of the first whose options depend on what was chosen before."""
        found = set()
        there: list[dict[str, Any]] = [{}]
        for name in self.first:
            options = [self._first_parameter(name, one) for one in there]
            if any(one != options[0] for one in options):
                found.add(name)
            there = [
                {**before, name: value}
                for before, parameter in zip(there, options, strict=True)
                for value in options_of(parameter)
            ]
        return found

    def _sites(
        self, layout: Layout, streams: Sequence[str]
    ) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """(site, "coupling" or connection, options) of what can be chosen in a network."""
        after = {site.name: site.after for site, _ in layout.sites}
        for site, kinds in layout.choices.items():
            there = [one for one in after[site] if not streams or one in streams]
            for name, offered in kinds.items():
                wanted = self.placed.get(name, {})
                declared = wanted.get(site, wanted.get(EVERYWHERE, (NONE,)))
                needed = direction(name) if name != COUPLING else ()
                fits = len(there) > 1 and all(one in there for one in needed)
                options = tuple(one for one in declared if one in offered) if fits else ()
                yield site, name, options or (NONE,)

    def _ends(self, layout: Layout) -> tuple[str, ...]:
        offered = layout.ends or ("",)
        return tuple(one for one in self.ends if one in offered) or offered[:1]

    def _may_couple(self, layout: Layout, streams: Sequence[str]) -> bool:
        # A coupling that is the only option of its site is in no sample, but is there.
        return any(
            name == COUPLING and options != (NONE,)
            for _, name, options in self._sites(layout, streams)
        )


def placed_name(site: str, name: str) -> str:
    """In a sample: ``coupling_s1``, or ``to_audio_from_image_s1``."""
    if name == COUPLING:
        return f"{COUPLING}_{site}"
    source, target = direction(name)
    return f"to_{target}_from_{source}_{site}"


def is_placed(name: str) -> bool:
    """Whether a name in a sample says what sits at a site."""
    return name.startswith((f"{COUPLING}_", "to_"))


def condition_text(condition: Condition) -> str:
    """A train condition in a sample, such as ``0.5/0.25``."""
    return "/".join(train_text(one) for one in condition.values()) or "original"


def _is_searched(parameter: Parameter) -> bool:
    return not isinstance(parameter, Choice) or len(parameter.options) > 1


class Extreme:
    """Chooses the first or the last of everything."""

    def __init__(self, last: bool) -> None:
        self._last = last

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        """An end of the options."""
        return options[-1 if self._last else 0]

    def integer(self, name: str, low: int, high: int, log: bool) -> int:
        """An end of the range."""
        return high if self._last else low

    def number(self, name: str, low: float, high: float, log: bool) -> float:
        """An end of the range."""
        return high if self._last else low


class _Read(Follow):
    """Answers as a trial's settings do.

    Of settings that build the same network a trial keeps one, which the space need not have.
    """

    def __init__(self, trial: TrialSpecification, space: Space) -> None:
        super().__init__({})
        self._trial, self._space = trial, space

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        """The trial's, or an option that builds the same network."""
        same = (
            [] if self._get(name) in options else [one for one in options if self._same(name, one)]
        )
        return same[0] if same else super().choice(name, options)

    def number(self, name: str, low: float, high: float, log: bool) -> float:
        """The trial's, or the lowest when that builds the same network."""
        inside = low <= float(self._get(name)) <= high
        return low if not inside and self._same(name, low) else super().number(name, low, high, log)

    def _same(self, name: str, value: Any) -> bool:
        if name not in getattr(self._trial.network, "coupling_fields", ()):
            return False
        return self._trial.with_settings({name: value}) == self._trial

    def _get(self, name: str) -> Any:
        trial, space = self._trial, self._space
        if name == STREAMS:
            return space._streams.option(trial.placement.streams)
        if name == TRAIN:
            return condition_text(trial.train)
        if name == END:
            return trial.placement.end or self._default_end()
        if is_placed(name):
            return self._placed(name)
        own = name.partition("_of_")[0] if name not in trial.settings() else name
        for (_, setting), parameter in space.settings.items():
            if setting == own:
                value = trial.settings()[own]
                return parameter.option(value) if isinstance(parameter, Choice) else value
        raise OutsideError(name)

    def _default_end(self) -> str:
        ends = self._space.layout(self._trial.network).ends
        return ends[0] if ends else ""

    def _placed(self, name: str) -> str:
        layout = self._space.layout(self._trial.network)
        for site, kinds in layout.choices.items():
            for kind in kinds:
                if placed_name(site, kind) == name:
                    return self._trial.placement.at(site, kind)
        raise OutsideError(name)
