"""What the console says of a trial that ended: what its search varies, and no more."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from descriptions import digit_description

from fusion_search.analysis.records.samples import mean_objective
from fusion_search.analysis.records.selection.best import BestSample
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.words.names import without_common
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.declaration.specification import SearchSpecification
from fusion_search.search.declaration.sweeps import swept_trials
from fusion_search.search.running.progress import Progress, common_parts
from fusion_search.search.spaces.searchers.random_grid import enumerate_samples
from fusion_search.search.trials.specification import TrialSpecification

ONE = {"train": [[0.5, 0.25]], "network": {"fusion_depth": 1, "units": [4, 8]}}
PLACED = {"couplings": ["none", "mmtm"], "ends": ["concatenation", "gate_audio"]}
TWO = [{"seeds": [0], "folds": [0]}, {"network": {"fusion_depth": 1, "units": 16}}]


def every_trial(search: SearchSpecification) -> list[TrialSpecification]:
    if search.space is None:
        return list(search.listed) or swept_trials(search.sweep)
    return [
        one for sample in enumerate_samples(search.space) for one in search.space.trials(sample)
    ]


@pytest.mark.parametrize(
    ("declared", "left_out"),
    [
        (ONE, {"fusion depth 1", "plain", "audio SNR 0.5", "visual SNR 0.25", "seed 0"}),
        ({**ONE, "seeds": [0, 1]}, {"fusion depth 1", "plain", "audio SNR 0.5", "visual SNR 0.25"}),
        (
            {**ONE, "train": [[0.5, 0.25], [0.5, 1]]},
            {"fusion depth 1", "plain", "audio SNR 0.5", "seed 0"},
        ),
        ({**ONE, "placement": {"streams": [[], ["image"]]}}, {"fusion depth 1", "seed 0"}),
        (
            {**ONE, "network": {"fusion_depth": [0, 1]}},
            {"plain", "audio SNR 0.5", "visual SNR 0.25", "seed 0"},
        ),
        (
            {**ONE, "placement": PLACED, "searcher": {"name": "random"}},
            {"fusion depth 1", "audio SNR 0.5", "visual SNR 0.25", "seed 0"},
        ),
        (
            {**ONE, "sweep": TWO},
            {"fusion depth 1", "plain", "audio SNR 0.5", "visual SNR 0.25", "seed 0"},
        ),
    ],
)
def test_what_all_trials_have_is_left_out_and_nothing_else(
    declared: dict[str, Any], left_out: set[str]
) -> None:
    search = build_search({"name": "t", "task": "digits", **declared})
    common = common_parts(search)
    assert common == left_out | {"levels 2"}
    trials = every_trial(search)
    assert all(common <= set(one.name_parts) for one in trials)
    names = {one.trial_name for one in trials}
    assert len({without_common(one, common) for one in names}) == len(names) > 1


def test_a_name_of_which_nothing_would_be_left_stays() -> None:
    assert without_common("plain, seed 0", {"plain", "seed 0"}) == "plain, seed 0"
    assert without_common("a 1, b 2, c 3, b 20", {"b 2", "c 3"}) == "a 1, b 20"


def test_lines_of_a_search_fit_a_console(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    description = digit_description()
    name = (
        "levels 3, fusion depth 2, residual from audio to image at level1, MMTM at level1, cross "
        "from image to audio at level2, gate audio, learning rate 0.004312, audio SNR 0.5, visual "
        "SNR 0.25, seed 0"
    )
    common = {"levels 3", "audio SNR 0.5", "visual SNR 0.25", "seed 0"}
    earlier = {"trial_id": "z", "trial_name": name, "status": "finished", "mean_accuracy": 0.1}
    row = {"trial_name": name, "status": "finished", "seconds": 71.2, "ended_at": datetime.now(UTC)}
    best = BestSample(mean_objective(description), [{**row, **earlier}])
    progress = Progress(open_storage(tmp_path), 50, 1, 1, description, best=best, common=common)
    for trial_id, accuracy in (("a", 0.05), ("b", 0.7), ("c", 0.6)):
        values = {"mean_accuracy": accuracy, "train_condition_accuracy": 0.9}
        progress.ended({**row, **values, "trial_id": trial_id})
    progress.close()
    first, second, third = capsys.readouterr().out.splitlines()
    short = (
        "fusion depth 2, residual from audio to image at level1, MMTM at level1, cross from image "
        "to audio at level2, gate audio, learning rate 0.004312"
    )
    assert first.startswith(f"[2/50] {short}: ")
    assert first.endswith(f"; best so far: mean accuracy 10.0 % ({short})")  # of an earlier run
    assert second.endswith("; best so far: mean accuracy 70.0 % (this one)")
    assert third.endswith("; best so far: mean accuracy 70.0 % ([3/50])")
