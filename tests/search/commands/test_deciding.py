"""Undecided tables name the command that would decide, where there is one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml

from fusion_search.analysis.folds.comparison import NOTHING
from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.commands.figures.deciding import more_folds, more_seeds, other_sizes

OPEN = "cannot be decided with 2 folds; 6 would do"


def declared(folder: Path, name: str = "s", task: str = "rgbd", **said: Any) -> Any:
    """A search whose trials are of two folds and two seeds."""
    storage = open_storage(folder).below(name)
    specification = {"name": name, "folds": [0, 1], "seeds": [0, 3], **said}
    storage.write(yaml.safe_dump(specification).encode(), "specification.yaml")
    trials = pd.DataFrame({"fold": [0, 1], "seed": [0, 3]})
    description = SimpleNamespace(task=task)
    return SimpleNamespace(
        name=name, storage=storage, description=description, planned=trials, finished=trials
    )


def test_all_folds_and_six_seeds_of_a_sweep_are_launched_under_another_name(
    tmp_path: Path,
) -> None:
    search = declared(tmp_path, sweep=[{"placement": {}}])
    launch = f"`fusion-search launch {tmp_path}/s/specification.yaml --set name=s-"
    assert more_folds(search, [None, OPEN]) == [
        "6 folds could decide; as many as the data have are trained by "
        f"{launch}all-folds --set folds=all --storage {tmp_path}`."
    ]
    assert more_seeds(search, 2) == [
        f"6 seeds could decide by max-T: {launch}6-seeds --set 'seeds=[0, 3, 1, 2, 4, 5]' "
        f"--storage {tmp_path}`."
    ]
    assert more_folds(search, [None, "higher"]) == []
    assert more_seeds(search, 6) == more_seeds(search, 0) == []


def test_what_compares_networks_of_any_sizes_is_named_where_a_baseline_lacks(
    tmp_path: Path,
) -> None:
    search, confirmation = declared(tmp_path), declared(tmp_path, "s-confirmation")
    confirmation.storage.write(b"[]", "candidates.json")
    (told,) = other_sizes(search, [None, NOTHING])
    assert told.endswith(f"are compared by `fusion-search draw folds s --storage {tmp_path}`.")
    (told,) = other_sizes(confirmation, [NOTHING])
    assert told.endswith(f"are compared by `fusion-search report s --storage {tmp_path}`.")
    assert other_sizes(search, [None, OPEN]) == []


@pytest.mark.parametrize(
    "said",
    [
        {"folds": "all", "sweep": [{"seeds": [0]}]},
        {"sweep": [{"folds": [0]}, {"seeds": [0, 3]}]},
        {"searcher": {"name": "tpe"}},
        {"task": "__main__:Mine"},
    ],
)
def test_where_no_command_would_decide_none_is_named(tmp_path: Path, said: dict[str, Any]) -> None:
    search = declared(tmp_path, **said)
    assert more_folds(search, [OPEN]) == more_seeds(search, 2) == []


def test_data_that_are_cut_into_fewer_folds_have_no_more(tmp_path: Path) -> None:
    search = declared(tmp_path)
    search.finished = search.finished.assign(folds=4)
    assert more_folds(search, [OPEN]) == []


def test_a_confirmation_gets_more_seeds_by_its_search_and_no_folds(tmp_path: Path) -> None:
    declared(tmp_path)
    search = declared(tmp_path, "s-confirmation", listed=[])
    search.storage.write(b"[]", "candidates.json")
    assert more_seeds(search, 2) == [
        f"6 seeds could decide by max-T: `fusion-search confirm s --seeds 6 --storage {tmp_path}`."
    ]
    assert more_folds(search, [OPEN]) == []
