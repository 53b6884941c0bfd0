"""Ray as what runs a search's trials. Importing this does not import Ray, which takes seconds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusion_search.search.declaration.specification import Resources, SearchSpecification
    from fusion_search.search.records.recorder import Recorder
    from fusion_search.search.running.progress import Progress
    from fusion_search.search.running.samples.proposals import Proposals
    from fusion_search.search.tasks.opened import OpenedTask
    from fusion_search.search.tracking.tracker import Tracker
    from fusion_search.search.trials.specification import TrialSpecification


@dataclass(frozen=True)
class RayDispatcher:
    """Runs trials on a Ray cluster, or on this machine with the address "local".

    Attributes:
        address: of the cluster.
        left_out: nodes that run no trial, by their hosts, names or addresses.
    """

    address: str = "local"
    left_out: tuple[str, ...] = ()

    def connected(self, resources: Resources) -> AbstractContextManager[None]:
        """Ray, for as long as the block runs."""
        if self.address == "local":
            listen_here_alone()
        from fusion_search.search.dispatch.connection import connect

        return connect(self.address, resources, self.left_out)

    def run_trials(
        self,
        trials: Sequence[TrialSpecification] | Proposals,
        opened: OpenedTask,
        recorder: Recorder,
        search: SearchSpecification,
        progress: Progress,
        tracker: Tracker | None,
        resume: str,
    ) -> None:
        """Run trials by Ray Tune on the connected Ray."""
        from fusion_search.search.dispatch.tuner import run_trials

        run_trials(trials, opened, recorder, search, progress, tracker, resume, self.left_out)


def listen_here_alone() -> None:
    """Let Ray listen on this machine alone; to be called before it is imported.

    Else a Ray that is started here listens on every network interface, and only its token keeps
    others out. This is Ray's own switch for laptops.
    """
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
