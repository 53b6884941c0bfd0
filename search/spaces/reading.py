"""Which sample of a space a trial belongs to: the space's questions, answered by the trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fusion_search.models.couplings.options import canonical, value_of_option
from fusion_search.search.spaces.kind_options import Key
from fusion_search.search.spaces.names import END, STREAMS, TRAIN, placed_name
from fusion_search.search.spaces.parameters import Choice, Follow, OutsideError
from fusion_search.search.trials.specification import TrialSpecification, make_train

if TYPE_CHECKING:
    from fusion_search.search.spaces.space import Space


class TrialReader(Follow):
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
        value = self._get(name)
        inside = isinstance(value, int | float) and low <= float(value) <= high
        return low if not inside and self._same(name, low) else super().number(name, low, high, log)

    def _same(self, name: str, value: Any) -> bool:
        if name in self._space.option_names:
            return self._same_options(self._space.option_names[name], value)
        if name not in getattr(self._trial.network, "coupling_fields", ()):
            return False
        return self._trial.with_settings({name: value}) == self._trial

    def _same_options(self, key: Key, option: Any) -> bool:
        """Whether saying so leaves the placement as it is: it is what holds anyway."""
        placement, (kind, name) = self._trial.placement, key
        parameter = self._space.options[key]
        value = parameter.value(option) if isinstance(parameter, Choice) else option
        said = {**placement.options, kind: {**placement.options.get(kind, {}), name: value}}
        layout = self._space.layout(self._trial.network)
        return canonical(layout, replace(placement, options=said)) == placement

    def _option(self, key: Key) -> Any:
        """As the trial has it, said or not."""
        layout = self._space.layout(self._trial.network)
        value = value_of_option(layout, self._trial.placement, *key)
        parameter = self._space.options[key]
        return parameter.option(value) if isinstance(parameter, Choice) else value

    def _get(self, name: str) -> Any:
        trial, space = self._trial, self._space
        if name == STREAMS:
            return space.streams_choice.option(trial.placement.streams)
        if name == TRAIN:
            return self._condition()
        if name == END:
            return trial.placement.end or self._default_end()
        if name in space.placed_names:
            return self._placed(name)
        if name in space.option_names:
            return self._option(space.option_names[name])
        # A setting of its own, or of one that depends on what was chosen before.
        named = [own for _, own in space.settings if f"{name}_of_".startswith(f"{own}_of_")]
        if not named:
            raise OutsideError(name)
        own = max(named, key=len)
        value = trial.settings()[own]
        parameter = next(one for (_, setting), one in space.settings.items() if setting == own)
        return parameter.option(value) if isinstance(parameter, Choice) else value

    def _condition(self) -> str:
        task, trial, train = self._space.task, self._trial, self._space.train_choice
        for text, one in zip(train.options, train.values, strict=True):
            # Of a stream that is not there, the condition is not kept.
            if make_train(task, one, trial.placement.streams) == trial.train:
                return str(text)
        raise OutsideError(TRAIN)

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
