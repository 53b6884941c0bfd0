"""docs/configuration.md and its schema are what the dataclasses say now."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from fusion_search.search.declaration.document import MARKDOWN, SCHEMA, attributes, markdown, schema
from fusion_search.search.trials.settings import TrainingSettings

ROOT = Path(__file__).parents[3]
CONFIGS = sorted((ROOT / "search" / "configs").glob("*.yaml"))


def test_the_documents_are_fresh() -> None:
    assert (ROOT / "docs" / MARKDOWN).read_text() == markdown(), "run: make docs"
    assert json.loads((ROOT / "docs" / SCHEMA).read_text()) == schema(), "run: make docs"


def test_every_field_is_explained() -> None:
    missing = [line for line in markdown().splitlines() if line.endswith("|  |")]
    assert missing == []


def test_attributes_of_several_fields_and_lines() -> None:
    words = attributes(TrainingSettings)
    assert words["learning_rate"] == words["weight_decay"] == "of the optimiser."
    assert words["gradient_clip"] == "largest norm of all gradients together; 0 for no limit."


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_programs_own_searches_fit_the_schema(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), schema())


@pytest.mark.parametrize(
    "wrong",
    [
        {"searhcer": {"name": "tpe"}},
        {"training": {"optimizer": "rmsprop"}},
        {"training": {"epochs": {"low": 1}}},
        {"network": {"units": "wide"}},
        {"network": {"pooling": ["full", "half"]}},
        {"resources": {"retries": 1.5}},
    ],
)
def test_the_schema_refuses_what_the_program_refuses(wrong: dict[str, object]) -> None:
    right = {"name": "one", "task": "digits"}
    jsonschema.validate(right, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**right, **wrong}, schema())
