"""`python -m execo_g5k`."""

from __future__ import annotations

import sys

from ._cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
