"""``fusion-search`` whose trials run in its own process, one after the other, without Ray.

    python drive_here.py WORDS...             # one command
    python drive_here.py --together N FOLDER OTHER WORDS...
                                              # N launches, s0 to sN-1, each with another process

SHORT in the environment: every time of a lease is so many times shorter. PAUSE: seconds between two
trials.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fusion_search.search.commands import launch
from fusion_search.search.commands.command_line import main
from fusion_search.search.records import claim, driver_file, lease
from fusion_search.search.running.interrupts import stopped_as_by_interrupt
from fusion_search.search.running.recorded_trial import execute

PAUSE = float(os.environ.get("PAUSE", "0"))


class Here:
    """A dispatcher of listed trials."""

    @contextmanager
    def connected(self, resources: Any) -> Iterator[None]:
        with stopped_as_by_interrupt():
            yield

    def run_trials(
        self, trials: Any, opened: Any, recorder: Any, search: Any, progress: Any, *more: Any
    ) -> None:
        tracker = more[0]

        def start(row: Any) -> None:
            progress.started(row)
            if tracker:
                tracker.trial_started(row)

        try:
            for trial in trials:
                time.sleep(PAUSE)
                row = execute(trial, opened, recorder, on_start=start)
                progress.ended(row)
                if tracker:
                    tracker.trial_ended(row["trial_id"])
        except KeyboardInterrupt:
            pass  # as Ray Tune does


def shorten(times: float) -> None:
    for module in (driver_file, claim, lease):
        for name in [one for one in vars(module) if one.endswith("_SECONDS")]:
            setattr(module, name, getattr(module, name) / times)


def together(rounds: int, folder: Path, other: str, words: list[str]) -> None:
    own = str(os.getpid())
    (folder / other).write_text(own)
    for number in range(rounds):
        (folder / f"{other}-{number}").touch()
        while len(list(folder.glob(f"*-{number}"))) < 2:
            time.sleep(0.001)
        code = main([*words, "--set", f"name=s{number}"])
        print(f"code {number} {code}", flush=True)


if __name__ == "__main__":
    shorten(float(os.environ.get("SHORT", "1")))
    launch.RayDispatcher = lambda *_: Here()  # type: ignore[assignment,misc]
    if sys.argv[1] == "--together":
        together(int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], sys.argv[5:])
    else:
        sys.exit(main(sys.argv[1:]))
