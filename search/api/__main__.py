"""``python -m fusion_search`` does what ``fusion-search`` does."""

import contextlib
import os
import sys

# Python puts the current folder first, where its files would hide what is imported from here on;
# the command itself lets it be imported from last.
with contextlib.suppress(FileNotFoundError):  # it may be gone, which the command says
    if sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109
        del sys.path[0]

from fusion_search.search.commands.command_line import main

if __name__ == "__main__":
    sys.exit(main())
