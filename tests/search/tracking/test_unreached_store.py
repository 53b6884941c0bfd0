"""A database or a server that does not let MLflow in: said within seconds, with a remedy."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tracking_records import planned_search

from fusion_search.analysis.records.storage import Storage
from fusion_search.search.running.summary import print_mlflow
from fusion_search.search.tracking import client
from fusion_search.search.tracking.syncing import TrackingError, sync
from fusion_search.search.tracking.tracker import Tracker
from fusion_search.search.tracking.trouble import trouble

UNREACHED = "start the server, or name the right address in mlflow.tracking_uri"
PASSWORD = "give the password by PGPASSFILE or ~/.pgpass (PostgreSQL)"


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is without a user's own, and shorter."""
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.5)
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "10")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


@contextmanager
def port(*, closed: bool) -> Iterator[int]:
    """One that refuses connections, or one that takes them and never says a word."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        if not closed:
            held.listen()
        yield held.getsockname()[1]


@pytest.mark.parametrize("scheme", ["postgresql+psycopg2", "http", "https"])
@pytest.mark.parametrize(("closed", "words"), [(True, "Connection refused"), (False, "timed out")])
def test_an_address_where_nobody_answers_is_said_within_seconds(
    storage: Storage, scheme: str, closed: bool, words: str
) -> None:
    search = planned_search(storage, "small", 1)
    with port(closed=closed) as number:
        began = time.monotonic()
        with pytest.raises(TrackingError) as raised:
            sync(search, f"{scheme}://me:hunter2@127.0.0.1:{number}/x")
        assert time.monotonic() - began < 30  # MLflow alone tries a database for 100 s
    sentence = str(raised.value)
    assert sentence.startswith(
        f"MLflow at {scheme}://me:***@127.0.0.1:{number}/x cannot be written"
    )
    assert words in sentence
    assert UNREACHED in sentence
    assert "hunter2" not in sentence


def test_no_command_shows_a_store_that_could_not_be_opened(
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri = "postgresql+psycopg2://me@db/x"
    print_mlflow(uri, None)
    assert capsys.readouterr().out == ""
    print_mlflow(uri, "http://127.0.0.1:5000/#/experiments/1")
    assert f"ui --port 5000 --backend-store-uri {uri}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (
            "postgresql+psycopg2://me@host:port/x",
            ": it is no address of a database: write it as postgresql+psycopg2://USER@HOST:PORT/",
        ),
        ("http://[::1", ": it is no address of a server: write it as http://HOST:PORT"),
        ("https://127.0.0.1:99999", ": it is no address of a server: write it as http://HOST"),
        ("http:///x", "; name a database or a server in mlflow.tracking_uri"),
        ("sqlite:/x.db", ": it is no address of a file: write it as sqlite:////FOLDER/mlflow.db"),
        ("sqlite:///", ": it is a database in memory, which ends with this process: name a file"),
        ("sqlite://", ": it is a database in memory, which ends with this process: name a file"),
        ("sqlite:///:memory:", ": it is a database in memory, which ends with this process"),
        ("sqlite:///file:x?mode=memory&uri=true", ": it is a database in memory, which ends with"),
        ("sqlite://folder/x.db", ": it is no address of a file: write it as sqlite:////FOLDER/"),
        ("sqlite3:////folder/x.db", "; name a database or a server in mlflow.tracking_uri"),
        ("sqlite:////proc/x/mlflow.db", "; make that folder, or name another in"),
        ("sqlite:////proc/x.db", "; make the file and its folder writable"),
        ("http://ex ample", "; it is no address of a server: write it as http://HOST:PORT"),
        ("databricks", "; name a database or a server in mlflow.tracking_uri"),
        ("mysql+nonsense://me@host/x", "; name a driver that SQLAlchemy knows, as in postgresql+"),
    ],
)
def test_an_address_that_leads_nowhere_is_said(
    storage: Storage, uri: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    search = planned_search(storage, "small", 1)
    with pytest.raises(TrackingError) as raised:
        sync(search, uri)
    assert capfd.readouterr().err == ""  # nothing of MLflow's own
    if uri.startswith("sqlite"):
        said: list[str] = []
        assert not Tracker(search, uri, said.append).close(60)
        assert words in said[0]
    assert str(raised.value).startswith(f"MLflow at {uri} cannot be written")
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        ('FATAL: password authentication failed for user "me"', PASSWORD),
        ("fe_sendauth: no password supplied", PASSWORD),
        ('FATAL: no pg_hba.conf entry for host "10.0.0.1", user "me"', PASSWORD),
        ('FATAL: role "me" does not exist', PASSWORD),
        ("(1045, \"Access denied for user 'me'@'localhost' (using password: YES)\")", PASSWORD),
        ('FATAL: database "runs" does not exist', "make that database, or name another"),
        ("(1049, \"Unknown database 'runs'\")", "make that database, or name another"),
        ('could not translate host name "db" to address', UNREACHED),
        ('connection to server at "10.0.0.1", port 5432 failed: timeout expired', UNREACHED),
        (
            "No module named 'psycopg'",
            "postgresql+psycopg2://..., and `pip install psycopg2-binary`",
        ),
        ("No module named 'psycopg2'", "and `pip install psycopg2-binary`"),
        ("No module named 'MySQLdb'", "mysql+pymysql://..., and `pip install pymysql`"),
        ('invalid dsn: invalid connection option "a"', "correct the options of the address"),
        ("No module named 'pyodbc'", "install it beside fusion-search with pip"),
        ("Can't connect to MySQL server on 'db' ([Errno 101] Network is unreachable)", UNREACHED),
    ],
)
def test_what_a_database_answers_has_a_remedy(answer: str, remedy: str) -> None:
    uri = "postgresql+psycopg2://me@db/runs"
    sentence = trouble(uri, RuntimeError(answer))
    assert sentence.startswith(f"MLflow at {uri} cannot be written (RuntimeError: ")
    assert remedy in sentence.partition("); ")[2]
