"""Texts fit to be shown: without passwords and keys, and without what commands a terminal."""

from __future__ import annotations

import re
import reprlib
from datetime import date, datetime
from typing import Any, Final

STORAGE_REMEDY: Final = (
    "leave it out, and give the keys by environment variables (AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY) or by the files of your storage's own tools"
)


TRACKING_REMEDY: Final = (
    "leave it out, and give it by MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (a "
    "server), PGPASSFILE or ~/.pgpass (PostgreSQL), or an option file of your database's client"
)

_USER_INFO: Final = re.compile(r"(\w://[^\s/?#:@]*:)(?!\d*[/?#])\S*@")  # not a port
_WEB_TOKEN: Final = re.compile(r"(https?://)[^\s/?#:@]+@")
_PARAMETER: Final = re.compile(
    r"(?i)([?&;][^\s=&;]*(?:password|passwd|pwd|token|secret|signature|credential|(?:access|secret)_?key|sig"
    r"|sas)(?:=|%3D))[^\s&;]+"
)


def without_password(text: str) -> str:
    """``text`` with the passwords, keys and tokens of the URIs in it replaced by ``***``."""
    text = _USER_INFO.sub(r"\1***@", text)
    return _PARAMETER.sub(r"\1***", _WEB_TOKEN.sub(r"\1***@", text))


def printable(text: object) -> str:
    """A text on one line, with what would command a terminal made visible as a replacement mark.

    Records may come from anybody: whatever text of theirs is printed goes through here.
    """
    return "".join(
        one if one.isprintable() else " " if one.isspace() else "\ufffd" for one in str(text)
    )


def sentence(error: BaseException) -> str:
    """An error's message for people: one line, printable, no passwords."""
    return without_password(printable(" ".join(str(error).split())))


def refuse_password(uri: str, where: str, remedy: str) -> None:
    """Raise ``ValueError`` when a URI holds a password: what is stored would hold it too."""
    if without_password(uri) != uri:
        raise ValueError(f"{where} holds a password ({without_password(uri)}); {remedy}")


class _Shown(reprlib.Repr):
    """``repr`` of bounded length, of hostile values too."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 2, 100, 100

    def repr_date(self, value: date, level: int) -> str:
        return f"the date {value}"

    def repr_datetime(self, value: datetime, level: int) -> str:
        return f"the time {value}"

    def repr_int(self, value: int, level: int) -> str:
        # More digits than these Python refuses to write, or takes long for.
        if value.bit_length() > 128:
            return f"a whole number of {value.bit_length():,} bits"
        return repr(value)


_SHOWN: Final = _Shown()


def shown(value: Any) -> str:
    """A value for a message: on one line, printable and not long."""
    return _SHOWN.repr(value)


def shown_name(name: Any) -> str:
    """A field's name for a message, bare where that is harmless."""
    return name if isinstance(name, str) and name.isprintable() and len(name) < 100 else shown(name)
