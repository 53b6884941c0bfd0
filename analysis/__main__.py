"""``python -m analysis``: draw figures and tables from the records of a search."""

import sys

from analysis.cli import main

if __name__ == "__main__":
    sys.exit(main())
