"""What lies or answers at MLflow's address is not MLflow's: left alone, said with a remedy."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tracking_records import end_row, planned_search, record

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.tracking.sqlite_file import prepared
from fusion_search.search.tracking.syncing import TrackingError, sync
from fusion_search.search.tracking.tracker import Tracker

FIRST = "CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT)"
VERSION = "CREATE TABLE alembic_version (version_num TEXT)"


@pytest.fixture
def search(tmp_path: Path) -> Storage:
    search = planned_search(open_storage(tmp_path), "small", 1)
    record(search, end_row(0))
    return search


def database(path: Path, *statements: str) -> bytes:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("statements", "shown"),
    [
        (["CREATE TABLE customers (a)"], "customers"),
        (["CREATE TABLE experiments (a)"], "experiments"),
        ([VERSION, "CREATE TABLE runs (a)"], "alembic_version, runs"),
        ([FIRST, "CREATE TABLE customers (a)"], "customers, experiments"),
    ],
)
def test_another_programs_database_is_left_alone(
    search: Storage, tmp_path: Path, statements: list[str], shown: str
) -> None:
    path = tmp_path / "mlflow.db"
    before = database(path, *statements)
    with pytest.raises(TrackingError) as raised:
        sync(search, f"sqlite:///{path}")
    assert str(raised.value) == (
        f"MLflow at sqlite:///{path} cannot be written: it holds another program's tables "
        f"({shown}); move it away, or name another file in mlflow.tracking_uri; 0 of 1 trial are "
        "there"
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize("statements", [[], [FIRST], [FIRST, VERSION, "CREATE TABLE new (a)"]])
def test_an_empty_file_a_begun_one_and_a_later_versions_are_mlflows(
    tmp_path: Path, statements: list[str]
) -> None:
    path = tmp_path / "mlflow.db"
    path.touch()
    database(path, *statements)
    with prepared(f"sqlite:///{path}") as address:
        assert address == f"sqlite:///{path}"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("folder", "it is a folder, not a file; move it away, or name another file in"),
        ("pipe", "it is a pipe or a device, not a file; move it away, or name another file in"),
        ("below a file", "/file is to be a folder, and a file is in its way; move it away, or"),
        ("option", "(ValueError: could not convert string to float: 'long'); correct the options"),
        ("long name", "; name another file in mlflow.tracking_uri"),
        ("plain folder", "name a database or a server in mlflow.tracking_uri, such as sqlite:"),
        ("unknown", "unsupported URI 'ftp://host/mlflow'"),
    ],
)
def test_what_is_no_file_is_said_with_a_remedy(
    search: Storage, tmp_path: Path, kind: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    uri = {
        "folder": f"sqlite:///{tmp_path}/folder",
        "pipe": f"sqlite:///{tmp_path}/pipe",
        "below a file": f"sqlite:///{tmp_path}/file/mlflow.db",
        "option": f"sqlite:///{tmp_path}/x.db?timeout=long",
        "long name": f"sqlite:///{tmp_path}/{'n' * 300}.db",
        "plain folder": str(tmp_path / "folder"),
        "unknown": "ftp://host/mlflow",
    }[kind]
    with pytest.raises(TrackingError) as raised:
        sync(search, uri)
    sentence = str(raised.value)
    assert sentence.startswith(f"MLflow at {uri} cannot be written")
    assert words in sentence
    assert sentence.count("mlflow.tracking_uri") == 1
    output = capfd.readouterr()
    assert output.out + output.err == ""


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[tuple[int, bytes]]]]:
    """The address of a server, and a list whose last entry it answers to everything."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    given: list[tuple[int, bytes]] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = given[-1]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 (the library's name)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", given
        server.shutdown()


NOT_MLFLOW = "it is not MLflow that answers there: name the server's address, such as http://HOST"
REFUSED = "the server refuses this user: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"


def test_what_is_no_server_of_mlflows_is_said_with_a_remedy(
    search: Storage, answers: tuple[str, list[tuple[int, bytes]]]
) -> None:
    uri, given = answers
    for status, body, remedy in (
        (200, b"<html>hello</html>", NOT_MLFLOW),
        (200, b'{"a":1}', NOT_MLFLOW),
        (200, b'{"experiments": 3}', NOT_MLFLOW),
        (204, b"", NOT_MLFLOW),
        (302, b"", NOT_MLFLOW),
        (418, b"teapot", NOT_MLFLOW),
        (404, b'{"error_code": "ENDPOINT_NOT_FOUND", "message": "x"}', NOT_MLFLOW),
        (404, b"<html>not found</html>", NOT_MLFLOW),
        (401, b"You are not authenticated", REFUSED),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', REFUSED),
        (403, b"Invalid Host header", "start the server with --allowed-hosts and this address"),
        (429, b"later", "see why in the server's log"),
        (500, b"oops", "see why in the server's log"),
    ):
        given.append((status, body))
        with pytest.raises(TrackingError) as raised:
            sync(search, uri)
        assert str(raised.value).startswith(f"MLflow at {uri} cannot be written"), body
        assert remedy in str(raised.value), body
        assert str(raised.value).endswith("; 0 of 1 trial are there"), body


def test_a_search_goes_on_beside_what_is_not_mlflows(search: Storage, tmp_path: Path) -> None:
    path, said = tmp_path / "mlflow.db", list[str]()
    before = database(path, "CREATE TABLE customers (a)")
    tracker = Tracker(search, f"sqlite:///{path}", said.append)
    tracker.trial_ended("t000")
    assert not tracker.close(60)
    problem = f"MLflow at sqlite:///{path} cannot be written: it holds another program's tables"
    assert [one.startswith(problem) for one in said] == [True, False]
    assert "trials and their records are not affected, and it is tried again" in said[0]
    assert "runs of 1 trial are missing there" in said[1]
    assert f"`fusion-search sync-mlflow small --storage {tmp_path}` writes the runs" in said[1]
    assert path.read_bytes() == before
