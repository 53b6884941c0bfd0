"""``fusion-search`` with faults planned in its workers.

FAULTS in the environment is JSON: which trials misbehave, by seed, in the step that it names.

``{"hang": [seeds]}``: waits in C for an hour and holds Python's global lock, as a deadlock in a
library would: the worker answers nobody.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

from fusion_search.search.dispatch import tuner
from fusion_search.search.trials.training import TrialTraining

FAULTS: dict[str, list[int]] = json.loads(os.environ.get("FAULTS", "{}"))
_STEPS_BEFORE = 3
_trainable = tuner._trainable
_step = TrialTraining.step


def step(self: TrialTraining, *words: Any) -> float:
    if self.batches_taken > _STEPS_BEFORE and self.trial.seed in FAULTS.get("hang", []):
        ctypes.PyDLL(None).sleep(3600)
    return _step(self, *words)


def trainable(config: dict[str, Any], **words: Any) -> None:
    """Ray brings this function to the workers by name: they import this file, too."""
    TrialTraining.step = step  # type: ignore[method-assign]
    _trainable(config, **words)


def main() -> int:
    from fusion_search.search.commands.command_line import main as search_main

    tuner._trainable = trainable
    return search_main()


if __name__ == "__main__":
    import faulty_search  # by its name, which workers find

    sys.exit(faulty_search.main())
