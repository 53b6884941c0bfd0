"""The text on a failed trial: all that is known, no passwords, not without end."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fusion_search.analysis.records.failures import (
    FAILURES,
    LONGEST,
    failure_paths,
    read_failure,
    remove_failure,
    where_failed,
    write_failure,
)
from fusion_search.analysis.records.storage import Storage, open_storage

SECRET = "hunter2-of-this-test"
ROW = {
    "trial_id": "t1",
    "trial_name": "d2 a1 v1 s0",
    "ended_at": datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC),
    "host": "here",
    "reason": f"OSError: no https://me:{SECRET}@host/data",
}


@pytest.fixture
def search(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "test")


def kept(search: Storage, known: str) -> str:
    write_failure(search, ROW, known)
    text = read_failure(search, "t1")
    assert text is not None
    return text


def test_it_has_the_trial_the_reason_and_all_that_is_known(search: Storage) -> None:
    assert read_failure(search, "t1") is None
    assert kept(search, "Traceback\n  line 1\n\nError\n") == (
        "trial: d2 a1 v1 s0 (t1)\n"
        "ended: 2026-11-26 01:02:03 UTC on here\n"
        "reason: OSError: no https://me:***@host/data\n"
        "\n"
        "Traceback\n  line 1\n\nError\n"
    )
    assert failure_paths(search) == {"t1": search.named("failures", "t1.txt")}
    remove_failure(search, "t1")
    remove_failure(search, "t1")
    assert failure_paths(search) == {}


@pytest.mark.parametrize("place", [0, 16_000, 16_200, 16_380, 100_000, 134_600, 134_620, 150_000])
def test_a_long_one_is_cut_and_no_half_of_a_password_is_left(search: Storage, place: int) -> None:
    address = f" postgresql://someone:{SECRET * 10}@database/mlflow "
    text = kept(search, "first\n" + "x " * (place // 2) + address + "y " * 70_000 + "\nlast")
    assert len(text) < LONGEST + 100
    assert "characters are left out" in text
    assert text.endswith("\nlast\n")
    assert "\nfirst\n" in text
    assert "hunter2" not in text
    assert "of-this-test" not in text


def test_one_endless_word_is_left_out(search: Storage) -> None:
    text = kept(search, "z" * 10**6)
    assert len(text) < 400
    assert "1,000,0" in text


def test_what_cannot_be_encoded_or_kept_stops_nothing(search: Storage) -> None:
    assert "\\ud800" in kept(search, "odd: \ud800")
    remove_failure(search, "t1")
    Path(search.path(FAILURES)).rmdir()
    search.write(b"a file where the folder should be", FAILURES)
    write_failure(search, ROW, "known")
    remove_failure(search, "t1")
    assert read_failure(search, "t1") is None
    assert failure_paths(search) == {}


def test_where_is_the_line_of_code_that_raised_last() -> None:
    try:
        [][0]
    except IndexError as error:
        text = "".join(traceback.format_exception(error))
    assert where_failed(text).startswith(f'File "{__file__}", line ')
    assert where_failed("what Ray says:\nThe actor died\n") == "The actor died"
    assert where_failed("") == ""
