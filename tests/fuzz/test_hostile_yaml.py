"""YAML that is written to break a reader, and what the command line says of it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from declared import PLACES, VALUES, Place, with_value
from hypothesis import given, settings
from hypothesis import strategies as st
from test_configurations import LONG, SHORT, check_sentence

from fusion_search.analysis.records.tables import CONFIRMATION_SUFFIX
from fusion_search.search.commands.command_line import main
from fusion_search.search.declaration.configuration import (
    build_search,
    is_name,
    load_configuration,
    parse_yaml,
)
from fusion_search.search.trials.fields import ConfigurationError

LAUGHS = "a0: &a0 [lol, lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)

HOSTILE: dict[str, tuple[bytes, str]] = {
    "laughs": (LAUGHS.encode() + b"name: *a11", r"alias \*a\d+ stands for too much"),
    "inside itself": (b"name: &a [*a]", "stands for too much"),
    "merged": (b"base: &b {x: 1}\nname: x\ntrials: {<<: *b}", "not valid YAML"),
    "undefined": (b"name: *nothing", "stands for too much|undefined alias"),
    "object": (b"name: !!python/object/apply:os.system ['touch /tmp/x']", "tag .*is not allowed"),
    "own tag": (b"name: !secret x", "tag !secret is not allowed"),
    "bool tag": (b"name: !!bool maybe", "is not allowed"),
    "int tag": (b"name: !!int ''", "is not allowed"),
    "time tag": (b"name: !!timestamp x", "is not allowed"),
    "deep": (b"name: " + b"[" * 100_000, "collections in one another"),
    "deep blocks": (b"".join(b" " * n + b"a:\n" for n in range(2000)), "in one another"),
    "twice": (b"name: x\nnetwork: {units: 3, units: 4}", "units is written twice"),
    "twice, tricky": (b'"\\e[31m\\n": 1\n"\\e[31m\\n": 2', "is written twice"),
    "list as key": (b"? [a, b]\n: 1", "a key is a list or a mapping"),
    "month 13": (b"name: 2026-13-45", "not valid YAML: month must be in 1..12"),
    "far time": (b"name: 0001-01-01 00:00:00 +23:59", r"name is the time|not valid YAML"),
    "no digits": (b"name: 0x_", "not valid YAML"),
    "5000 digits": (b"name: " + b"9" * 5000, "not valid YAML"),
    "20000 bits": (
        b"name: x\ntask: digits\nnetwork: {units: 0x" + b"f" * 5000 + b"}",
        "units is a whole number",
    ),
    "1e400": (b"name: x\ntask: digits\ntraining: {learning_rate: 1e400}", "learning_rate is inf"),
    "-1e400": (b"name: x\ntask: digits\ntrain: [[-1e400, 1]]", "-inf is no train condition"),
    "not UTF-8": (b"name: \xff\xfe", "not valid YAML: 'utf-8' codec"),
    "NUL": (b"name: a\0b", "not valid YAML: unacceptable character"),
    "empty": (b"", "must be a mapping with a name"),
    "a list": (b"- name: x", "must be a mapping with a name"),
    "two documents": (b"name: x\n---\nname: y", "not valid YAML: expected a single document"),
    "17 MiB": (b"#" * (17 << 20), "larger than 16 MiB"),
    "endless product": (
        b"name: x\ntask: digits\nseeds: [" + b",".join(b"%d" % n for n in range(1000)) + b"]\n"
        b"network: {units: [" + b",".join(b"%d" % n for n in range(1, 1000)) + b"]}",
        r"sweep\.0 has 999,000 trials; allowed: up to 100,000",
    ),
    "endless ratio": (
        b"name: x\ntask: digits\nsearcher: {}\nplacement: {couplings: [mmtm]}\n"
        b"network: {fusion_depth: 2, mmtm_ratio: [2147483647]}",
        "",
    ),
    "password": (
        b"name: x\ntask: digits\nmlflow: {tracking_uri: 'postgresql://me:hunter2@host/db'}",
        r"mlflow\.tracking_uri holds a password \(postgresql://me:\*\*\*@host/db\); .*PGPASSFILE",
    ),
    "storage keys": (
        b"name: x\ntask: digits\nstorage: 's3://AKIA:hun/ter2@bucket/results'",
        r"storage holds a password \(s3://AKIA:\*\*\*@.*AWS_SECRET_ACCESS_KEY",
    ),
}


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_hostile_yaml_is_refused_at_once(case: str, tmp_path: Path) -> None:
    content, message = HOSTILE[case]
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    began = time.process_time()
    if message:
        with pytest.raises(ConfigurationError, match=message) as caught:
            build_search(load_configuration(path))
        check_sentence(caught.value)
        assert "ter2" not in str(caught.value)  # the password's end
    else:
        build_search(load_configuration(path))
    assert time.process_time() - began < 5


def test_aliases_of_a_person_are_read() -> None:
    text = (
        "name: x\ntraining: &t {epochs: 3}\n"
        "confirmation: {training: *t}\nsweep: [&s {seeds: [1]}, *s]"
    )
    raw = parse_yaml(text, "test")
    assert raw["confirmation"]["training"] == {"epochs": 3}
    assert raw["sweep"] == [{"seeds": [1]}] * 2


def overrides() -> st.SearchStrategy[str]:
    ways = st.one_of(
        st.sampled_from(PLACES).map(lambda place: ".".join(map(str, place[1]))),
        st.text(max_size=20),
        st.sampled_from(["sweep.²", "sweep.-1.seeds", "sweep.99999999.seeds", "network..units"]),
    )
    values = st.one_of(
        VALUES.map(lambda value: yaml.safe_dump(value, default_flow_style=True)),
        st.text(max_size=20),
        st.sampled_from(["", "[", "*a", "!!python/name:os.system", "{a: 1, a: 2}", "&a [*a]"]),
    )
    return st.tuples(ways, values).map("=".join)


def check_overrides(words: list[str]) -> None:
    path = Path(__file__).parents[2] / "search" / "configs" / "demo.yaml"
    with contextlib.suppress(ConfigurationError):
        try:
            build_search(load_configuration(path, words))
        except ConfigurationError as error:
            check_sentence(error)
            raise


@given(words=st.lists(overrides(), min_size=1, max_size=3))
@settings(SHORT, max_examples=100)
def test_any_override(words: list[str]) -> None:
    check_overrides(words)


@pytest.mark.slow
@given(words=st.lists(overrides(), min_size=1, max_size=3))
@settings(LONG, max_examples=5_000)
def test_any_override_at_length(words: list[str]) -> None:
    check_overrides(words)


@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@settings(SHORT, max_examples=200)
def test_any_bytes(content: bytes) -> None:
    with contextlib.suppress(ConfigurationError):
        try:
            parse_yaml(content, "test")
        except ConfigurationError as error:
            check_sentence(error)
            raise


def bad_places() -> list[tuple[Place, Any]]:
    """One value of no type for every third field; the fields are checked one by one elsewhere."""
    return [(place, {"!": None}) for place in PLACES[::3] if place[1] != ("storage",)]


def test_the_command_line_says_one_sentence_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = tmp_path / "results"
    path = tmp_path / "config.yaml"
    contents = [yaml.safe_dump(with_value(place, value)).encode() for place, value in bad_places()]
    contents += [
        content
        for content, message in HOSTILE.values()
        # The option would put a good storage in the place of a bad one.
        if message and len(content) < 999 and b"storage:" not in content
    ]
    for content in contents:
        path.write_bytes(content)
        assert main(["launch", str(path), "--storage", str(storage)]) == 2, content
        said = capsys.readouterr()
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert said.err[:-1].isprintable()
        assert "hunter2" not in said.err
        assert not said.out
    for place in (tmp_path, tmp_path / "none.yaml", Path("/dev/zero")):
        assert main(["launch", str(place), "--storage", str(storage)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["config.yaml"]


@pytest.mark.parametrize(
    "name", ["../x", "/etc", ".", "", "a\nb", "x" * 300, "\x1b[31m", "mlflow.db"]
)
@pytest.mark.parametrize("command", ["status", "resume", "confirm", "sync-mlflow", "importance"])
def test_a_name_that_is_a_path_is_no_search(
    name: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "specification.yaml").write_text("name: x")
    if command == "status" and not name:
        return  # as without a name
    assert main([command, name, "--storage", str(tmp_path / "results")]) == 2
    error = capsys.readouterr().err
    assert "there is no search" in error
    assert error.count("\n") == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["results", "x"]


def test_the_longest_name_has_room_for_its_confirmation() -> None:
    assert is_name("x" * 100)
    assert is_name("x" * 100 + CONFIRMATION_SUFFIX)
    assert not is_name("x" * 101)


def test_the_home_folder_of_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = "~nobody-of-this-name/data"
    assert main(["status", "--storage", nowhere]) == 2
    assert main(["data", "check", "digits", "--folder", nowhere]) == 2
    monkeypatch.setenv("FUSION_SEARCH_DATA", nowhere)
    assert main(["draw", "noise", "--set", "source=digits"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(nowhere in line for line in lines)
