"""``python -m fusion_search`` does what ``fusion-search`` does."""

import os
import sys

# Python puts the current folder first, where its files would hide what is installed; the command
# itself lets it be imported from last.
if sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109
    del sys.path[0]

from fusion_search.search.commands.command_line import main

if __name__ == "__main__":
    sys.exit(main())
