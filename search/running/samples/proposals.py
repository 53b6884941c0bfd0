"""The samples of a search over a space: proposed, under way, ended. No Ray here.

The history is the searcher's whole memory, and it is rebuilt from the plan and the records: what
a killed search knew, its resume knows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import (
    FAILED,
    FINISHED,
    STOPPED,
    OnDamage,
    read_rows,
    recorded_trials,
)
from fusion_search.datasets.metrics import Metric
from fusion_search.search.records.asha_decisions import AshaDecisions
from fusion_search.search.records.planned import read_plan, write_plan
from fusion_search.search.running.progress import warn_of_damage
from fusion_search.search.running.samples.observations import observation, progress_of
from fusion_search.search.running.samples.parts import Parts, Proposal
from fusion_search.search.spaces.fold_rungs import (
    Decision,
    FoldRungs,
    folds_ended,
    parse_decision,
)
from fusion_search.search.spaces.objectives import MAXIMIZE, mean_values
from fusion_search.search.spaces.parameters import Sample
from fusion_search.search.spaces.searchers import propose_new
from fusion_search.search.spaces.searchers.base import RUNNING, Observation, Searcher
from fusion_search.search.spaces.space import Space

OnChange = Callable[[Sequence[Proposal], Sequence[Decision]], None]


class Proposals:
    """Asks a searcher for samples and tells it what became of them.

    A sample that was proposed before is answered from the history: the searcher is asked again,
    and nothing is run.

    Args:
        space, searcher: where and who.
        samples: how many different ones to propose.
        known: what earlier searches tell the searcher; their samples may be proposed again,
            because they were run under other circumstances.
        rungs: decide between two folds of a sample whether it is kept; None where all are.
        asha: decides between two epochs of a sample whether it is trained further; None where all
            are.
        apart: whether the folds of a sample may run beside each other.
        on_change: called with all proposals and decisions so far before anything follows from a
            new one.
    """

    def __init__(
        self,
        space: Space,
        searcher: Searcher,
        samples: int,
        *,
        known: Sequence[Observation] = (),
        rungs: FoldRungs | None = None,
        asha: AshaDecisions | None = None,
        apart: bool = False,
        on_change: OnChange = lambda proposals, decisions: None,
    ) -> None:
        self._space = space
        self._searcher = searcher
        self._samples = samples
        self._known = tuple(known)
        self._rungs = rungs
        self._asha = asha
        self._on_change = on_change
        self._decisions: list[Decision] = []
        self._decided: dict[tuple[str, int], Decision] = {}  # by sample and folds
        self._own: list[Observation] = []
        self._proposals: list[Proposal] = []
        self._ids: set[str] = set()
        self._waiting: list[Proposal] = []
        self._parts = Parts(apart=apart)
        self.exhausted = False

    @property
    def history(self) -> tuple[Observation, ...]:
        """Everything the searcher knows: earlier searches, then this one's proposals in order."""
        return (*self._known, *self._own)

    @property
    def complete(self) -> bool:
        """Whether all proposals have ended and no more will come."""
        enough = len(self._own) >= self._samples or self.exhausted
        return enough and all(one.state != RUNNING for one in self._own)

    def next(self) -> Proposal | None:
        """The next sample to run, or the next fold of one where they are apart.

        None when there are enough or the space is exhausted.
        """
        part = self._parts.next()
        if part is None and (proposal := self._next_sample()) is not None:
            self._parts.begin(proposal)
            part = self._parts.next()
        return part

    def _next_sample(self) -> Proposal | None:
        if self._waiting:
            return self._waiting.pop(0)
        if len(self._own) >= self._samples or self.exhausted:
            return None
        sample = propose_new(
            self._searcher,
            self.history,
            lambda one: self._space.sample_id(one) not in self._ids,
        )
        if sample is None:
            self.exhausted = True
            return None
        proposal = self._add(Observation(sample=sample, state=RUNNING))
        self._on_change(self._proposals, self._decisions)
        return proposal

    def close(
        self,
        number: int,
        rows: Sequence[Mapping[str, Any]],
        progress: tuple[int, float] | None = None,
    ) -> None:
        """Tell what became of what :meth:`next` gave.

        Args:
            number: of the proposal.
            rows: of its trials that ended, from ``trials``.
            progress: (epochs run, score in validation) of an early-stopped one.
        """
        together = self._parts.ended(number, rows)
        if together is not None:
            self._close(number, together, progress)

    def wanted(self, number: int) -> bool:
        """Whether another trial of a proposal is to be run: none of those that ended failed."""
        return self._parts.wanted(number)

    def _close(
        self,
        number: int,
        rows: Sequence[Mapping[str, Any]],
        progress: tuple[int, float] | None,
    ) -> None:
        """Tell the searcher what became of a sample."""
        before, dropped = self._own[number], self.dropped(number)
        self._own[number] = (
            observation(before.sample, rows, self._metric, progress)
            if dropped is None
            else self._dropped_observation(dropped)
        )

    def goes_on(self, number: int, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a sample, of whose trials these rows have ended, is trained further.

        Fold rungs decide between two folds, once: it is written down before it is told.
        """
        decision = self._decide(number, rows)
        if decision is not None:
            self._on_change(self._proposals, [*self._decisions, decision])
            self._take(decision)
        return self.dropped(number) is None

    def goes_on_after(self, number: int, epochs: int, score: float) -> bool:
        """Whether a sample is trained beyond so many epochs, over all its trials.

        ASHA decides at its rungs, once, by the score so far (the greater, the better): it is
        written down before it is told.
        """
        if self._asha is None:
            return True
        sample = self._own[number].sample
        return self._asha.goes_on(self._space.sample_id(sample), epochs, score, sample)

    def dropped(self, number: int) -> Decision | None:
        """The decision by which a proposal was dropped; None when it was not."""
        sample = json.dumps(self._own[number].sample)
        folds = len(self._space.folds)
        made = (self._decided.get((sample, number)) for number in range(1, folds))
        return next((one for one in made if one is not None and not one.kept), None)

    def _take(self, decision: Decision) -> None:
        self._decisions.append(decision)
        self._decided[json.dumps(decision.sample), decision.folds] = decision

    def _decide(self, number: int, rows: Sequence[Mapping[str, Any]]) -> Decision | None:
        """A decision that is due and has not been made."""
        sample, trials = self._own[number].sample, self._proposals[number].trials
        if self._rungs is None or any(row["status"] != FINISHED for row in rows):
            return None
        folds = folds_ended(trials, {row["trial_id"] for row in rows})
        if folds is None or (json.dumps(sample), folds) in self._decided:
            return None
        (value, *_) = mean_values([row["objective_values"] for row in rows])
        return self._rungs.decide(self._decisions, sample, folds, value)

    def _dropped_observation(self, decision: Decision) -> Observation:
        """A searcher learns that it ranks below all that got further, and by what it was judged."""
        (direction, *_) = self._searcher.directions
        score = decision.value if direction == MAXIMIZE else -decision.value
        return Observation(sample=decision.sample, state=STOPPED, progress=(decision.folds, score))

    def restore(
        self,
        ended: Iterable[tuple[Sample, Sequence[Mapping[str, Any]]]],
        decisions: Sequence[Decision] = (),
    ) -> None:
        """Take over earlier proposals, in order, with the rows of their ended trials.

        Those that have not all ended come first when :meth:`next` is asked.

        Args:
            ended: the samples and rows.
            decisions: on them, in order. Those that are due and were not written down any more are
                made now, in the order of the proposals.
        """
        for decision in decisions:
            self._take(decision)
        taken = [
            (self._add(Observation(sample=sample, state=RUNNING)), rows) for sample, rows in ended
        ]
        for proposal, rows in taken:
            over = len(rows) == len(proposal.trials) or any(
                row["status"] != FINISHED for row in rows
            )
            if over or not self.goes_on(proposal.number, rows):
                self._close(proposal.number, rows, progress_of(rows, self._metric))
            else:
                self._waiting.append(proposal)

    @property
    def _metric(self) -> Metric:
        return self._space.task.metrics[0]

    def _add(self, observed: Observation) -> Proposal:
        trials = self._space.trials(observed.sample)
        proposal = Proposal(len(self._own), observed.sample, trials)
        self._own.append(observed)
        self._proposals.append(proposal)
        self._ids.add(self._space.sample_id(observed.sample))
        return proposal

    def to_json(self) -> str:
        """The state of this search's proposals; see :meth:`load_json`."""
        proposals = [
            {
                "sample": one.sample,
                "state": one.state,
                "values": list(one.values),
                "progress": one.progress and list(one.progress),
            }
            for one in self._own
        ]
        decisions = [asdict(one) for one in self._decisions]
        return json.dumps({"proposals": proposals, "decisions": decisions})

    def load_json(self, text: str) -> None:
        """Take over the proposals of :meth:`to_json`; those under way are run again."""
        plain = json.loads(text)
        for decision in map(parse_decision, plain["decisions"]):
            self._take(decision)
        for one in plain["proposals"]:
            proposal = self._add(Observation(sample=one["sample"], state=RUNNING))
            if one["state"] == RUNNING:
                self._waiting.append(proposal)
                continue
            epochs, score = one["progress"] or (0, 0.0)
            self._own[-1] = replace(
                self._own[-1],
                state=one["state"],
                values=tuple(one["values"]),
                progress=(epochs, score) if one["progress"] else None,
            )


def record_plan(
    storage: Storage,
    proposals: Sequence[Proposal],
    planned: int,
    decisions: Sequence[Decision] = (),
) -> None:
    """Write all proposals and decisions down before the newest is followed.

    There will be ``planned`` trials, left out ones among them.
    """
    trials = [trial for one in proposals for trial in one.trials]
    samples = {trial.trial_id: one.sample for one in proposals for trial in one.trials}
    write_plan(storage, trials, planned, samples, decisions)


def read_proposals(
    storage: Storage, *, without_failed: bool = False, on_damage: OnDamage = warn_of_damage
) -> list[tuple[Sample, list[dict[str, Any]]]]:
    """The planned samples in order, each with the rows of its trials that have ended.

    Args:
        storage: the search's folder.
        without_failed: leave failed trials out, so that they are run again.
        on_damage: told of each record that cannot be read. Such a trial has ended, and counts as
            failed: nothing is learnt of its sample, and it is not proposed again.
    """
    plan = read_plan(storage, samples=True).rows
    if not plan:
        return []
    recorded = recorded_trials(storage) & {row["trial_id"] for row in plan}
    damaged: dict[str, str] = {}
    known = read_rows(storage, "trials", sorted(recorded), on_damage=damaged.__setitem__)
    for trial_id, damage in damaged.items():
        on_damage(trial_id, damage)
    rows = {row["trial_id"]: row for row in known}
    found: dict[str, tuple[Sample, list[dict[str, Any]]]] = {}
    for planned in plan:
        _, ended = found.setdefault(json.dumps(planned["sample"]), (planned["sample"], []))
        row = rows.get(planned["trial_id"])
        if planned["trial_id"] in damaged:
            ended.append({"trial_id": planned["trial_id"], "status": FAILED})
        elif row is not None and not (without_failed and row["status"] == FAILED):
            ended.append(row)
    return list(found.values())
