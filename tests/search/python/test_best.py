"""Who is best, by one rule wherever it is said."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from synthetic_records import BEGIN, DIGITS, Trial, write_planned, write_trial

from fusion_search.analysis.figures.course import best_samples
from fusion_search.analysis.figures.timeline import choose_trial
from fusion_search.analysis.records.advice import RunOptions
from fusion_search.analysis.records.samples import choosing_objective, objectives_of
from fusion_search.analysis.records.selection import open_search
from fusion_search.analysis.records.selection.best import BestSample, best_lines, planned_trials
from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.commands.figures.drawing_options import say_kinds
from fusion_search.search.commands.status import print_searches, print_trials
from fusion_search.search.declaration.configuration import build_outline
from fusion_search.search.records.planned import read_plan
from fusion_search.search.running.progress import TrialLines
from fusion_search.search.running.summary import best_so_far, summary
from fusion_search.search.tracking.values import search_note

SWEEP = "name: made-up\ntask: digits\nmlflow: {enabled: false}\n"
SPACE = SWEEP + "searcher: {name: random, samples: 3}\nobjectives: [worst_accuracy]\n"
MADE = {
    # (depth, seed): validation accuracy, worst, minutes until it ended
    (0, 0): (0.9, 0.1, 1),
    (1, 0): (0.7, 0.25, 6),
    (1, 1): (0.5, 0.5, 5),
    (2, 0): (0.6, 0.375, 3),
    (2, 1): (0.6, 0.375, 4),
}


def made(depth: int, seed: int, *, sampled: bool) -> Trial:
    validation, worst, minutes = MADE[depth, seed]
    extra = {
        "validation_accuracy": validation,
        "worst_accuracy": worst,
        "ended_at": BEGIN + timedelta(minutes=minutes),
        "specification": f'{{"network": {{"fusion_depth": {depth}}}, "seed": {seed}}}',
    }
    if sampled:
        extra |= {"sample": f'{{"fusion_depth": {depth}}}', "objective_values": [worst]}
    return Trial((0.5, 0.25), depth=depth, seed=seed, extra=extra)


@pytest.mark.parametrize(
    ("text", "words"), [(SWEEP, "validation accuracy 60.0 %"), (SPACE, "worst accuracy 37.5 %")]
)
def test_the_best_whole_sample_is_named_everywhere_without_what_its_trials_differ_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    """Depth 0 lacks a seed; depths 1 and 2 are equal, and 2 ended first."""
    folder = open_storage(tmp_path).below("made-up")
    trials = [made(*one, sampled=text == SPACE) for one in MADE]
    for one in trials:
        write_trial(folder, one)
    write_planned(folder, trials)
    folder.write(text.encode(), "specification.yaml")
    search = open_search(open_storage(tmp_path), "made-up")
    winner = next(one for one in trials if (one.depth, one.seed) == (2, 0))
    assert choose_trial(search, None)["trial_id"] == winner.trial_id
    print_searches(str(tmp_path))
    assert words.rpartition(" ")[0].rpartition(" ")[2] in capsys.readouterr().out
    chosen = f"chosen by {words}, the mean over its 2 trials"
    print_trials("made-up", str(tmp_path))
    assert f"best: {winner.name}; {chosen}\n" in capsys.readouterr().out
    outline = build_outline({**yaml.safe_load(text), "storage": str(tmp_path)})
    summary(outline, folder, 5, None, RunOptions())
    told = capsys.readouterr().out
    assert f"best: {winner.name}; {chosen}\n" in told
    if text == SPACE:
        objectives = objectives_of(yaml.safe_load(text), DIGITS)
        (row,) = best_samples(search.trials, objectives, 1)  # as the report has it
        assert row["fusion_depth"] == 2


def test_a_confirmation_has_no_best_but_what_its_sentence_compares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a plain network is called the best by validation, beside the sentence on the test."""
    folder = open_storage(tmp_path)
    folder.below("made-up").write(SWEEP.encode(), "specification.yaml")
    own = folder.below("made-up-confirmation")
    trials = [made(*one, sampled=False) for one in MADE]
    for one in trials:
        write_trial(own, one)
    write_planned(own, trials)
    text = SWEEP.replace("made-up", "made-up-confirmation")
    own.write(text.encode(), "specification.yaml")
    own.write(b"[]", "candidates.json")
    print_trials("made-up-confirmation", str(tmp_path))
    outline = build_outline({**yaml.safe_load(text), "storage": str(tmp_path)})
    summary(outline, own, 5, None, RunOptions())
    told = capsys.readouterr().out
    assert "5 of 5 trials finished" in told
    assert "best" not in told
    # Nor in MLflow, on the console of its driver, or of who attaches to it, as trials end.
    assert best_so_far(outline, own, read_plan(own), ()) is None


def test_the_best_of_several_trials_is_named_without_their_folds_and_seeds() -> None:
    """Whichever of them is the best; a trial alone has its whole name."""
    objective = choosing_objective({"objectives": ["mean_accuracy"]}, DIGITS)
    rows = [
        {
            **{"status": "finished", "trial_id": f"t{fold}", "mean_accuracy": 0.5 + fold / 10},
            **{"ended_at": BEGIN, "sample": "{}"},
            "trial_name": f"depth alone, size 64, fold {fold}, seed 0",
        }
        for fold in range(3)
    ]
    assert BestSample(objective, rows).name == "depth alone, size 64, seed 0"
    alone = BestSample(objective, rows[:1])
    assert alone.name == "depth alone, size 64, fold 0, seed 0"


def test_it_does_not_depend_on_the_order_in_which_trials_are_heard_of() -> None:
    rows = [
        {"status": "finished", "trial_id": one.trial_id, "trial_name": one.name, **one.extra}
        for one in (made(*key, sampled=False) for key in MADE)
    ]
    objective = choosing_objective({}, DIGITS)
    found = {
        tuple(BestSample(objective, order).trial_ids) for order in itertools.permutations(rows)
    }
    assert len(found) == 1
    assert found != {()}


def test_a_sample_with_a_failed_trial_is_not_the_best() -> None:
    rows = [
        {"status": "finished", "trial_id": one.trial_id, "trial_name": one.name, **one.extra}
        for one in (made(*key, sampled=False) for key in MADE if key[0])
    ]
    rows[-1] |= {"status": "failed", "validation_accuracy": None}
    assert BestSample(choosing_objective({}, DIGITS), rows).name.startswith("name-both1")


def fold_row(name: str, fold: int, value: float, **data: Any) -> dict[str, Any]:
    """Of a sweep over two folds."""
    return {
        **{"status": "finished", "trial_id": f"{name}{fold}", "trial_name": f"{name}, fold {fold}"},
        **{"ended_at": BEGIN + timedelta(minutes=fold), "validation_accuracy": value},
        "specification": json.dumps({"network": {"end": name}, "data": data, "fold": fold}),
    }


def plan_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = [row["trial_name"].split(",")[0] for row in rows]
    return [
        {"trial_id": row["trial_id"], "fold": 0, "settings": {"end": name}}
        for row, name in zip(rows, names, strict=True)
    ]


def test_of_a_sample_that_is_not_whole_it_is_said() -> None:
    """A trial in one fold of two is no mean over both, which may be less."""
    rows = [fold_row("plain", 0, 0.7), fold_row("gate", 0, 0.6), fold_row("plain", 1, 0.5)]
    objective = choosing_objective({}, DIGITS)
    planned = planned_trials(plan_of([*rows, fold_row("gate", 1, 0.6)]))
    assert planned == {"plain0": 2, "gate0": 2, "plain1": 2, "gate1": 2}
    early = BestSample(objective, rows[:2], planned)
    assert early.words == "validation accuracy 70.0 %, of 1 of its 2 trials"
    whole = BestSample(objective, rows, planned)
    assert whole.words == "validation accuracy 60.0 %, the mean over its 2 trials"
    assert planned_trials([{"trial_id": "a", "trial_name": "a"}]) == {}


def test_each_kind_of_data_in_a_sweep_has_a_best_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Folds at random flatter; of several draws of one kind there is one."""
    rows = [
        fold_row("a", 0, 0.8, fold_by="random", split_seed=0),
        fold_row("b", 0, 0.4, fold_by="instance", split_seed=0),
        fold_row("c", 0, 0.5, fold_by="instance", split_seed=1),
    ]
    best = BestSample(choosing_objective({}, DIGITS), rows)
    told = {kind: own.trial_ids for kind, own in best.kinds().items()}
    assert told == {"fold by random": ["a0"], "fold by instance": ["c0"]}
    assert best.like(rows[1]).trial_ids == ["c0"]
    say_kinds(best)  # of what is drawn or probed where no trial is named
    assert capsys.readouterr().err == (
        "note: the best of fold by random is taken; that of others by --trial: "
        "fold by instance: c0\n"
    )
    say_kinds(best.like(rows[1]))
    assert capsys.readouterr().err == ""
    lines = best_lines(best, pd.DataFrame(rows))
    assert lines == [
        "best trial, fold by random: a, fold 0; chosen by validation accuracy 80.0 %",
        "best trial, fold by instance: c, fold 0; chosen by validation accuracy 50.0 %",
    ]
    note = search_note(pd.DataFrame(rows).assign(data_note="made up"), 3, best)
    assert "Best trial, fold by instance: c, fold 0, chosen" in note
    console = TrialLines(DIGITS, BestSample(choosing_objective({}, DIGITS), rows[:1]))
    said = {"seconds": 1.0, "mean_accuracy": 0.4, "train_condition_accuracy": None}
    assert console.ended({**rows[1], **said}, "[2/3]").endswith(
        "best so far, fold by instance: validation accuracy 40.0 % (this one)"
    )
    searched = BestSample(choosing_objective({}, DIGITS), [{**one, "sample": "{}"} for one in rows])
    assert list(searched.kinds()) == [""]  # a searcher sets them against each other


def test_data_that_a_record_does_not_tell_are_called_so() -> None:
    """As of an earlier version's record beside others; settings that it lacks tell nothing."""
    rows = [
        fold_row("a", 0, 0.8, fold_by="random", size=32),
        fold_row("b", 0, 0.4, fold_by="instance", size=32),
        {**fold_row("c", 0, 0.5), "specification": None},
    ]
    objective = choosing_objective({}, DIGITS)
    assert list(BestSample(objective, rows).kinds()) == [
        "fold by random",
        "fold by instance",
        "data not recorded",
    ]
    assert list(BestSample(objective, rows[1:]).kinds()) == ["other data", "data not recorded"]
