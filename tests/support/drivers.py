"""What drivers of a search leave in its folder, and clocks that tests set."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fusion_search.analysis.records.storage import Storage
from fusion_search.search.records import claim, driver_file, lease
from fusion_search.search.records.driver_file import DRIVER_FILE, driver_content

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def write_driver(storage: Storage, silent_seconds: float = 0, **fields: Any) -> dict[str, Any]:
    """This process as a driver that was heard so long ago, but for ``fields``; what was written."""
    then = (driver_file.now() - timedelta(seconds=silent_seconds)).isoformat()
    content = driver_content(lease="f" * 32, verb="launch", started_at=then, told={})
    state = {**json.loads(content), "heard_at": then, **fields}
    storage.write(json.dumps(state).encode(), DRIVER_FILE)
    return state


class Clock:
    """One for all that a claim and a lease look at; waiting takes no time.

    Attributes:
        now: seconds since noon.
        waits: those that were waited for.
        meanwhile: called once, at the end of the first wait.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self.meanwhile: Any = None
        monkeypatch.setattr(driver_file, "now", lambda: NOON + timedelta(seconds=self.now))
        for module in (claim, driver_file, lease):
            monkeypatch.setattr(module, "uptime", lambda: self.now)
        monkeypatch.setattr(claim.time, "sleep", self.sleep)
        # Nothing happens but what a test does.
        monkeypatch.setattr(lease.Lease, "start", lambda self: None)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
