"""A damaged JSON or YAML file of a search is named, with what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import NAME, space_folder

from fusion_search.analysis.confirmation import read_candidates
from fusion_search.analysis.records.description import read_description
from fusion_search.analysis.records.storage import Storage
from fusion_search.search.records.asha_decisions import read_asha_decisions
from fusion_search.search.records.driver_file import read_driver_file
from fusion_search.search.records.identity import read_identity
from fusion_search.search.records.planned import read_plan
from fusion_search.search.records.search_folder import load_outline
from fusion_search.search.records.task_code import read_task_code


def outline(storage: Storage) -> object:
    return load_outline(NAME, storage.parent.location)


READERS: dict[str, tuple[Callable[[Storage], Any], str]] = {
    "asha.json": (read_asha_decisions, "put a copy back, or delete it and resume the search"),
    "candidates.json": (read_candidates, "--top 3 --seeds 6 .* writes it again"),
    "code.json": (read_task_code, "put a copy back, or delete it to go on"),
    "driver.json": (read_driver_file, "delete it if no process runs the search"),
    "identity.json": (read_identity, "put a copy back, or delete it: the search then gets another"),
    "planned.json": (read_plan, "put a copy back, or delete it and resume: a sweep lists"),
    "specification.yaml": (outline, "mend it, put a copy back, or delete it and launch"),
    "task.json": (read_description, r"put a copy back \(it was written when"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_named_with_the_remedy(name: str, tmp_path: Path) -> None:
    storage = space_folder(tmp_path)
    read, remedy = READERS[name]
    for content in (b"", b'{"a": [1', b"\xff\xfe{}", b"3", b"null"):
        storage.write(content, name)
        wrong = rf"{NAME}/{name} is (damaged \(.+\)|not valid YAML: .+); .*{remedy}"
        with pytest.raises(ValueError, match=wrong):
            read(storage)
