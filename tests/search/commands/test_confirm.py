"""What ``confirm`` may be told with ``--set``; no trial is run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.commands import launching
from fusion_search.search.commands.command_line import main
from fusion_search.search.declaration.configuration import build_search, to_yaml
from fusion_search.search.declaration.specification import Resources, SearchSpecification
from fusion_search.search.dispatch.dispatcher import RayDispatcher
from fusion_search.search.running.confirmation import Candidate, confirmation_search
from fusion_search.search.running.run import Environment

HERE = Environment(data_folder=None, dispatcher=RayDispatcher("local"))


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchSpecification:
    monkeypatch.chdir(tmp_path)
    search = build_search(
        {
            "name": "found",
            "task": "digits",
            "network": {"units": [2, 4]},
            "searcher": {"name": "random"},
            "confirmation": {"top": 2, "training": {"epochs": 3}},
            "resources": {"cpus_per_trial": 1, "retries": 5},
        }
    )
    open_storage("results").below("found").write(to_yaml(search).encode(), "specification.yaml")
    return search


@pytest.mark.parametrize(
    ("words", "training", "anew", "cpus"),
    [
        ([], {"epochs": 3}, False, None),
        (["confirmation.training.epochs=9"], {"epochs": 9}, True, None),
        (["confirmation.training.batch_size=4"], {"epochs": 3, "batch_size": 4}, True, None),
        (["resources.cpus_per_trial=2"], {"epochs": 3}, False, 2.0),
    ],
)
def test_a_confirmation_takes_its_own_fields_and_resources(
    search: SearchSpecification,
    words: list[str],
    training: dict[str, int],
    anew: bool,
    cpus: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, Any] = {}

    def confirm(found: SearchSpecification, environment: Environment, **how: Any) -> int:
        given.update(how, search=found)
        return 0

    monkeypatch.setattr(launching, "_confirm", confirm)
    assert main(["confirm", "found", *(word for one in words for word in ("--set", one))]) == 0
    assert given["search"].confirmation == replace(search.confirmation, training=training)
    assert given["search"].space == search.space
    assert given["anew"] == anew
    own = given["resources"]
    assert own == (None if cpus is None else Resources(cpus_per_trial=cpus, retries=5))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("network.units=8", "--set network is not of a confirmation; allowed: confirmation.* and"),
        ("seeds=[1]", "--set seeds is not of a confirmation"),
        ("confirmation.training.units=8", "confirmation.training.units is not a field"),
        ("confirmation.seeds=0", "confirmation.seeds is 0; allowed: 1 to 1,000"),
        ("resources.cpus_per_trial", "must have the form field=value"),
    ],
)
def test_what_is_not_of_a_confirmation_is_refused(
    search: SearchSpecification, word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["confirm", "found", "--set", word]) == 2
    assert message in capsys.readouterr().err


def test_a_confirmation_that_began_goes_on_with_other_resources(
    search: SearchSpecification,
) -> None:
    assert search.space is not None
    trial = search.space.any_trial()
    began = confirmation_search(search, [Candidate("a", "top", 1, (trial,), 0.5)])
    storage = open_storage("results").below(began.name)
    storage.write(to_yaml(began).encode(), "specification.yaml")
    more = Resources(cpus_per_trial=2, retries=0)
    for resources, expected in ((more, more), (None, more)):  # the second time as the first
        found = launching._confirming(
            search, storage, HERE, begin=False, anew=False, resources=resources
        )
        assert found.resources == expected
        assert found.listed == (trial,)
