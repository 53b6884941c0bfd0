"""What is wrong with MLflow's store, in one sentence, and what to do."""

from __future__ import annotations

import re
import textwrap
from typing import Final

from fusion_search.analysis.records.filesystems.errors import StorageError
from fusion_search.analysis.records.secrets import without_password

_REASON_LENGTH: Final = 200
ANOTHER_FILE: Final = "move it away, or name another file in mlflow.tracking_uri"
NO_SERVER: Final = (
    "it is not MLflow that answers there: name the server's address, such as http://HOST:5000, in "
    "mlflow.tracking_uri"
)
BAD_ADDRESS: Final = (
    "it is no address of a database: write it as postgresql+psycopg2://USER@HOST:PORT/DATABASE"
)
BAD_SERVER: Final = "it is no address of a server: write it as http://HOST:PORT"
NO_FILE: Final = "it is no address of a file: write it as sqlite:////FOLDER/mlflow.db"
IN_MEMORY: Final = (
    "it is a database in memory, which ends with this process: name a file in mlflow.tracking_uri, "
    "such as sqlite:////FOLDER/mlflow.db"
)
_DAMAGED: Final = "put a copy of the file back, or move it away and all is written anew"
_OTHER_VERSION: Final = (
    "another version of MLflow made the database: copy it and run `mlflow db upgrade` with this "
    "address, or use that version"
)
_READONLY: Final = "make the file and its folder writable"
_REFUSED_USER: Final = (
    "the server refuses this user: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
    "MLFLOW_TRACKING_TOKEN, to those of a user who may write there"
)
_REFUSED_BY_DATABASE: Final = (
    "name a user of that database in mlflow.tracking_uri, and give the password by PGPASSFILE or "
    "~/.pgpass (PostgreSQL), or an option file of your database's client"
)
_UNREACHED: Final = "start the server, or name the right address in mlflow.tracking_uri"


def _driver(scheme: str, package: str) -> str:
    return f"write the address as {scheme}://..., and `pip install {package}` beside fusion-search"


# By the first pattern that the reason shows.
_REMEDIES: Final = (
    ("database is locked", "another program holds it"),
    ("readonly database|unable to open database|Permission denied:", _READONLY),
    ("No such file or directory", "make that folder, or name another in mlflow.tracking_uri"),
    ("is not a database|disk image is malformed", _DAMAGED),
    ("out-of-date database schema|Can't locate revision|No such revision", _OTHER_VERSION),
    (
        "filesystem tracking backend|Invalid database engine|[Uu]nsupported URI|Databricks"
        "|Unity Catalog|No host supplied|invalid port number",
        "name a database or a server in mlflow.tracking_uri, such as sqlite:////FOLDER/mlflow.db "
        "or http://HOST:5000",
    ),
    ("Invalid Host header", "start the server with --allowed-hosts and this address"),
    (r"error code 40[13]\b|PERMISSION_DENIED|UNAUTHENTICATED", _REFUSED_USER),
    (
        r"not in a valid JSON format|\bParseError: |error code [234]\d\d\b|ENDPOINT_NOT_FOUND"
        "|TooManyRedirects|BadStatusLine|WRONG_VERSION_NUMBER",
        NO_SERVER,
    ),
    ("LocationParseError", BAD_SERVER),
    (
        r"(?:429|50\d) error responses|error code 5\d\d\b|INTERNAL_ERROR",
        "see why in the server's log",
    ),
    (
        "could not convert string|invalid connection option|invalid keyword argument",
        "correct the options of the address in mlflow.tracking_uri",
    ),
    ("File name too long", "name another file in mlflow.tracking_uri"),
    (
        r"password authentication failed|no password supplied|pg_hba\.conf|role \S+ does not exist"
        r"|Access denied for user|Login failed",
        _REFUSED_BY_DATABASE,
    ),
    (
        r"database \S+ does not exist|Unknown database",
        "make that database, or name another in mlflow.tracking_uri",
    ),
    (
        "Connection refused|Name or service not known|No route to host|Network is unreachable"
        "|could not translate host name|timed out|timeout expired",
        _UNREACHED,
    ),
    # What "postgresql://" and "mysql://" mean without a driver depends on SQLAlchemy's version.
    (r"No module named '?psycopg2?\b", _driver("postgresql+psycopg2", "psycopg2-binary")),
    ("No module named '?MySQLdb|No module named '?pymysql", _driver("mysql+pymysql", "pymysql")),
    ("Can't load plugin", "name a driver that SQLAlchemy knows, as in postgresql+psycopg2://"),
    ("No module named", "install it beside fusion-search with pip"),
)


class UnfitStoreError(Exception):
    """What is at MLflow's address is not MLflow's; the message says what it is, and the remedy."""


class UnreadableSearchError(ValueError):
    """What MLflow is to show cannot be read; the message names the file and the remedy."""


def trouble(uri: str, error: Exception) -> str:
    """Why MLflow cannot be written: the innermost cause, without secrets, and a remedy if known."""
    where = f"MLflow at {without_password(uri)}"
    if isinstance(error, UnreadableSearchError | StorageError):  # no trouble of MLflow's
        return f"{where} lacks this search: {error}"
    if isinstance(error, UnfitStoreError):
        return f"{where} cannot be written: {error}"
    cause: BaseException = error  # what MLflow wraps: "Connection refused", not its long story
    while inner := cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__):
        if isinstance(inner, KeyError):  # how it was noticed says nothing
            break
        cause = inner
    reason = " ".join(f"{type(cause).__name__}: {cause}".split())
    remedies = [remedy for words, remedy in _REMEDIES if re.search(words, reason)][:1]
    reason = textwrap.shorten(without_password(reason), _REASON_LENGTH, placeholder=" …")
    return "; ".join([f"{where} cannot be written ({reason})", *remedies])
