"""Which search it is: an id that is drawn once, when it is launched, and kept in its folder.

A search is told from others by the name of its folder and its id together, and neither will do
alone. The name is what people type, and it is used again: a folder is deleted, and another search
launched in its place. It has another id, so nothing that was left of the first elsewhere (its
confirmation beside it, its runs in MLflow) is taken for its own. The id travels with the folder:
``mv a b`` and ``cp -r a b`` cannot be told apart afterwards, and after either the records of b are
those that were made under this id. So a copy keeps it, and is another search by its name: it has
its own lease (in its folder), its own confirmation (``b-confirmation``) and its own experiment in
MLflow (``b``). Of one name and one id in two storages, both are the same search twice: moved, or
kept as a copy. What they write to one MLflow are the same runs, of which the later writing counts.

A confirmation names the id of the search whose best it trains again (``confirms``). One that names
another is left alone: ``b-confirmation`` of a b that was deleted, or copied over, says nothing of
the b that is there now. ``cp -r a b; cp -r a-confirmation b-confirmation`` is b with its
confirmation, for their ids agree as before.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from typing import Final, TypeGuard

from fusion_search.analysis.records.plain_data import read_json
from fusion_search.analysis.records.storage import Storage

IDENTITY_FILE: Final = "identity.json"


@dataclass(frozen=True)
class Identity:
    """Of a search.

    Attributes:
        search_id: 32 hexadecimal digits.
        confirms: the id of the search that this one confirms; None where it confirms none, or was
            begun by a version that did not say.
    """

    search_id: str
    confirms: str | None = None


def write_identity(storage: Storage, confirms: str | None = None) -> Identity:
    """Draw the id of a search that begins, and keep it in its folder."""
    identity = Identity(uuid.uuid4().hex, confirms)
    content = {"search_id": identity.search_id, **({"confirms": confirms} if confirms else {})}
    storage.write(json.dumps(content).encode(), IDENTITY_FILE)
    return identity


def read_identity(storage: Storage) -> Identity | None:
    """What :func:`write_identity` wrote; None when it never did.

    Raises:
        ValueError: the file is damaged.
    """
    remedy = (
        "put a copy back, or delete it: the search then gets another id, and new runs in MLflow"
    )
    try:
        return read_json(storage, IDENTITY_FILE, remedy, _identity)
    except FileNotFoundError:
        return None


def _identity(plain: object) -> Identity:
    found = plain if isinstance(plain, dict) else {}
    search_id, confirms = found.get("search_id"), found.get("confirms")
    if _is_id(search_id) and (confirms is None or _is_id(confirms)):
        return Identity(search_id, confirms)
    raise ValueError("it holds no id of a search")


def kept_identity(storage: Storage) -> Identity:
    """The same; where there is none, as of a search of an earlier version, one is drawn now."""
    return read_identity(storage) or write_identity(storage)


def _is_id(text: object) -> TypeGuard[str]:
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{32}", text) is not None
