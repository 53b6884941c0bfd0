"""What is drawn, each figure from tables that are computed beside it."""

from __future__ import annotations

import contextlib
import os


def _import_matplotlib() -> None:
    """Import it whatever MPLBACKEND says, which we do not need: we draw on ``Figure`` alone.

    A notebook hands its own backend down to the commands run in it. Where that is not installed
    beside us, Matplotlib could not be imported. A notebook that imports us keeps its backend.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib as mpl
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):
            mpl.rcParams["backend"] = backend


_import_matplotlib()
