"""What is drawn, each figure from tables that are computed beside it."""

from __future__ import annotations

import contextlib
import logging
import os


def _import_matplotlib() -> None:
    """Import it whatever MPLBACKEND says, which we do not need: we draw on ``Figure`` alone.

    A notebook hands its own backend down to the commands run in it. Where that is not installed
    beside us, Matplotlib could not be imported. A notebook that imports us keeps its backend.
    Where it may not write into the home folder it makes a temporary one, of which it need not tell.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it makes a temporary folder where the home is read-only
    try:
        import matplotlib as mpl

        mpl.get_configdir()
        mpl.get_cachedir()
    finally:
        logger.setLevel(level)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):
            mpl.rcParams["backend"] = backend


_import_matplotlib()
