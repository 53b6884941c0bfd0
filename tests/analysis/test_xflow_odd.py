"""XFlow's tables from records that lack what they are made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from xflow_records import opened, write_variant, xflow_description

from fusion_search.analysis.folds.comparison import compute_folds
from fusion_search.analysis.folds.runs import distinct
from fusion_search.analysis.records.selection import AnalysisError
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.xflow.tables import compute_xflow


@pytest.mark.parametrize("name", ["widened", "form", "source", "folder", "protocol"])
@pytest.mark.parametrize("described", [True, False])
def test_what_tells_variants_and_data_is_named_where_it_is_missing(
    name: str, described: bool, tmp_path: Path
) -> None:
    of = xflow_description()
    if not described:
        of = replace(of, settings=tuple(one for one in of.settings if one.name != name))
    storage = open_storage(tmp_path)
    folder = storage.below("made-up")
    write_variant(folder, "baseline", 0, 0.5, description=of)
    unknown: dict[str, Any] = {name: None}
    write_variant(folder, "both", 0, 0.5, description=of, **unknown)
    with pytest.raises(AnalysisError, match=f"do not say {name} of every trial"):
        compute_xflow(opened(storage))


def test_a_form_that_the_paper_has_not_stands_by_itself(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    write_variant(storage.below("made-up"), "baseline", 0, 0.5, form="other")
    _, (group,) = compute_xflow(opened(storage))
    assert (group.network, group.printed) == ("other", None)


def test_trials_that_were_not_tested_where_they_were_trained_are_named(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    folder = storage.below("made-up")
    for fold in range(2):
        write_variant(folder, "baseline", fold, 0.5, train_condition_accuracy=None)
    with pytest.raises(AnalysisError, match="was tested at its train condition"):
        compute_xflow(opened(storage))
    write_variant(folder, "both", 0, 0.5, train_condition_accuracy=None, optimistic_accuracy=0.7)
    table, _ = compute_xflow(opened(storage))
    assert set(table["measure"]) == {"optimistic_accuracy"}


def test_groups_of_one_name_stay_apart(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    folder = storage.below("made-up")
    write_variant(folder, "baseline", 0, 0.5)
    write_variant(folder, "baseline", 0, 0.7, folder="other")  # which AVletters does not read
    table, groups = compute_xflow(opened(storage))
    assert [one.words[-4:] for one in groups] == ["ters", " (2)"]
    assert table.groupby("group")["mean"].max().tolist() == [0.5, 0.7]


def test_epochs_of_unknown_length_leave_the_corrected_tests_out(tmp_path: Path) -> None:
    of = xflow_description()
    of = replace(of, settings=tuple(one for one in of.settings if one.name != "epoch_examples"))
    storage = open_storage(tmp_path)
    for fold in range(2):
        write_variant(storage.below("made-up"), "baseline", fold, 0.5, description=of)
    table, _ = compute_folds(opened(storage))
    assert table["test_share"].isna().all()


def test_networks_whose_rounded_settings_read_alike_are_all_there(tmp_path: Path) -> None:
    assert distinct(["a", "b", "a", "a (2)", "a"]) == ["a", "b", "a (2)", "a (2) (2)", "a (3)"]
    of = xflow_description()
    storage = open_storage(tmp_path)
    for number, rate in enumerate((0.0012341, 0.0012342)):
        specification = (
            f'{{"network": {{}}, "data": {{}}, "training": {{"learning_rate": {rate}}}, '
            '"evaluation": {}, "varied": ["learning_rate"]}'
        )
        write_variant(
            *(storage.below("made-up"), "baseline", 0, 0.5 + number / 4),
            description=of,
            learning_rate=rate,
            specification=specification,
        )
    table, _ = compute_folds(opened(storage))
    own = table[table["measure"] == "train_condition_accuracy"]
    assert own["mean"].tolist() == [0.5, 0.75]
    assert own["network"].str.endswith("(2)").tolist() == [False, True]
