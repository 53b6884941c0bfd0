"""Searches as they lie in a storage folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fusion_search.search.records.search_folder import load_outline, load_search
from fusion_search.search.trials.fields import ConfigurationError


@pytest.mark.parametrize("load", [load_outline, load_search])
def test_a_search_of_schema_version_1_is_said_to_be_one(
    load: Callable[[str, str], Any], tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    specification = tmp_path / "old" / "specification.yaml"
    specification.write_text("name: old\ntrials: {units: 8}\nsweep: [{train_pairs: [[2, 1]]}]\n")
    said = r"old/specification\.yaml was written by an earlier .*version 1.*launch the search again"
    with pytest.raises(ConfigurationError, match=said):
        load("old", str(tmp_path))
    # With its description beside it, it is one of ours that has lost its task.
    (tmp_path / "old" / "task.json").write_text("{}")
    specification.write_text("name: old\n")
    with pytest.raises(ConfigurationError, match="task is missing"):
        load("old", str(tmp_path))
