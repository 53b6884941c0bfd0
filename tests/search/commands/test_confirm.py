"""What ``confirm`` may be told with ``--set``, and when it is due; no trial is run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from descriptions import write_description
from drivers import write_driver
from synthetic_records import Trial, write_planned, write_trial

from fusion_search.analysis.records.advice import RunOptions
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.commands import driving, launch, launching
from fusion_search.search.commands.command_line import main
from fusion_search.search.declaration.configuration import build_search, to_yaml
from fusion_search.search.declaration.specification import Resources, SearchSpecification
from fusion_search.search.dispatch.dispatcher import RayDispatcher
from fusion_search.search.dispatch.head_command import HeadCommand
from fusion_search.search.records.claim import claimed
from fusion_search.search.records.lease import asked_to_stop
from fusion_search.search.records.planned import write_plan
from fusion_search.search.running.confirmation import (
    Candidate,
    confirmation_search,
    write_candidates,
)
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


def test_status_says_that_a_confirmation_is_due_until_it_has_ended(
    search: SearchSpecification, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage("results").below("found")
    due = "its confirmation has not been run; go on with: fusion-search confirm found"
    broken_off = "its confirmation was interrupted; go on with: fusion-search confirm found"

    def told() -> list[str]:
        found = []
        for words in (["status", "found"], ["status"]):
            main(words)
            lines = [one.strip() for one in capsys.readouterr().out.splitlines()]
            lines = [one for one in lines if "found-" not in one and "stopped: " not in one]
            found.append([one for one in lines if "confirmation" in one])
        assert found[0] == found[1]
        return found[0]

    first, second = Trial((0.5, 0.25), seed=0), Trial((0.5, 0.25), seed=1)
    write_planned(storage, [first, second])
    write_trial(storage, first, "broken")
    # Trials are left.
    to_come = "its confirmation is still to come: its best 2, with 6 fresh seeds each"
    assert told() == [f"{to_come}; go on with: fusion-search resume found"]
    with claimed(storage, "found"):
        assert told() == [to_come]
    write_trial(storage, second, "broken")
    assert told() == []  # and now nothing can be confirmed
    write_trial(storage, second)
    assert told() == [due]
    own = open_storage("results").below("found-confirmation")
    with claimed(own, "found-confirmation"):
        assert told() == []
    own.write(to_yaml(replace(search, name="found-confirmation")).encode(), "specification.yaml")
    write_planned(own, [first])
    assert told() == [broken_off]
    RunOptions(address="auto").write(own)
    assert told() == [f"{broken_off} --address auto"]
    write_trial(own, first)
    assert told() == []


@pytest.fixture
def stopped(search: SearchSpecification) -> Storage:
    """The folder of a confirmation that was stopped; the search itself has ended."""
    storage = open_storage("results").below("found")
    one = Trial((0.5, 0.25), seed=0)
    write_planned(storage, [one])
    write_trial(storage, one)
    assert search.space is not None
    trial = search.space.any_trial()
    candidates = [Candidate("a", "top", 1, (trial,), 0.5)]
    own = open_storage("results").below("found-confirmation")
    began = confirmation_search(search, candidates)
    own.write(to_yaml(began).encode(), "specification.yaml")
    write_candidates(own, candidates)
    write_plan(own, [trial], 1)
    write_description(own)
    return own


GO_ON = "go on with: fusion-search confirm found"


def test_a_stopped_confirmation_is_the_search_stopped_and_has_one_remedy(
    stopped: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, code in (
        (["status", "found"], 0),
        (["status", "found-confirmation"], 0),
        (["attach", "found"], 130),
        (["attach", "found-confirmation"], 130),
        (["stop", "found"], 0),
        (["stop", "found-confirmation"], 0),
    ):
        assert main(words) == code
        told = capsys.readouterr().out.splitlines()
        assert sum(one.endswith(GO_ON) for one in told) == 1, words
        assert not any("resume" in one for one in told)


def test_stop_names_the_confirmation_that_it_stops(
    stopped: Storage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {"pid": os.getppid(), "process_start": None}
    both = (stopped.parent.below("found"), stopped)
    leases = [
        write_driver(one, **other, lease=letter * 32)
        for one, letter in zip(both, "ab", strict=True)
    ]

    def stop(_: float) -> None:
        assert asked_to_stop(stopped, leases[1]["lease"]) is not None
        for one in both:
            one.remove("driver.json")

    monkeypatch.setattr(driving.time, "sleep", stop)
    assert main(["stop", "found"]) == 0
    asked, ended = capsys.readouterr().out.splitlines()
    assert asked.startswith(f"search found-confirmation: process {os.getppid()} on ")
    assert ended == f"search found-confirmation has stopped; {GO_ON}"


def test_what_cannot_be_confirmed_now_is_said_before_the_search_goes_on(
    stopped: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    write_driver(stopped, pid=os.getppid(), process_start=None)
    assert main(["resume", "found"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "search 'found-confirmation' is being run by process" in told.err


def test_confirm_of_what_has_no_space_says_what_there_is_instead(
    stopped: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = build_search({"name": "swept", "task": "digits"})
    open_storage("results").below("swept").write(to_yaml(sweep).encode(), "specification.yaml")
    assert main(["confirm", "swept"]) == 2
    assert "`fusion-search report swept`, or launch a configuration" in capsys.readouterr().err
    assert main(["confirm", "found-confirmation"]) == 2
    assert "go on: `fusion-search confirm found`" in capsys.readouterr().err


def test_a_best_that_is_plain_itself_is_counted_once(search: SearchSpecification) -> None:
    assert search.space is not None
    one = search.space.any_trial()
    other = replace(one, seed=7)
    candidates = [
        Candidate("a", "top", 1, (one,), 0.5),
        Candidate("b", "plain", None, (one,), 0.5),
        Candidate("c", "plain", None, (other,), None),
    ]
    second = Candidate("d", "top", 2, (replace(one, seed=8),), 0.4)
    assert launching._confirming_words([candidates[0], second, candidates[2]], 6, 18) == (
        "confirmation: the best 2 networks and 1 plain network, each with 6 fresh seeds: 18 trials"
    )
    assert launching._confirming_words(candidates, 1, 2) == (
        "confirmation: the best network and 2 plain networks (1 of these 3 is the same network as "
        "another), each with 1 fresh seed: 2 trials"
    )


@pytest.mark.parametrize(
    "field", ["resources={requirements: [-r needs.txt]}", "resources.requirements=['-r needs.txt']"]
)
def test_files_of_requirements_are_read_where_the_command_is_given(
    search: SearchSpecification, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("needs.txt").write_text("# mine\nnumpy>=1  # arrays\n")
    here: list[Resources | None] = []
    there: list[HeadCommand] = []
    monkeypatch.setattr(
        launching, "_confirm", lambda *_, resources, **__: here.append(resources) or 0
    )
    monkeypatch.setattr(launch, "_submit", lambda _, command, detach: there.append(command) or 0)
    words = ["confirm", "found", "--set", field, "--storage", str(Path("results").absolute())]
    assert main(words) == 0
    assert main([*words, "--address", "http://head:8265"]) == 0
    (command,) = there
    assert command.sent.requirements == ("numpy>=1",)
    Path("needs.txt").unlink()  # the head node has none
    assert main(command.words) == 0
    assert [one and one.requirements for one in here] == [("numpy>=1",)] * 2


def test_a_file_of_requirements_that_is_missing_is_named_wherever_it_is_to_be_read(
    search: SearchSpecification, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["confirm", "found", "--set", "resources.requirements=['-r gone.txt']"]
    for address in ("local", "http://head:8265"):
        assert main([*words, "--address", address]) == 2
        error = capsys.readouterr().err
        assert "resources.requirements is '-r gone.txt', which cannot be read" in error
